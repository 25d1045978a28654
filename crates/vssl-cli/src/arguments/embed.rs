//! Arguments of `vssl embed` and `vssl search`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use vssl::device::DeviceChoice;

use super::{EncoderArguments, NetworkName, checkpoint};

/// Arguments of `vssl embed`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vssl embed runs/quickstart-0 --to features.parquet\n  vssl embed \
                  encoder.safetensors --images photos/ --to photos.npy --skip-unreadable\n  vssl \
                  embed runs/quickstart-0 --split validation --checkpoint best --to val.safetensors"
)]
pub struct Embed {
    /// Which encoder, and which images.
    #[command(flatten)]
    pub encoder: EncoderArguments,
    /// Which of these images; a folder without train/ has one split only.
    #[arg(long, value_enum, default_value_t)]
    pub split: SplitName,
    /// The file to write: .parquet, .csv, .npy or .safetensors.
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// What to write; told from the file's extension unless given.
    #[arg(long, value_enum, value_name = "FORM")]
    pub to_format: Option<FormName>,
    /// Leave out mean, variance and uncertainty of a method that has them: twice as fast.
    #[arg(long)]
    pub features_only: bool,
    /// Images of one forward pass.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub batch: u32,
    /// Leave images out that cannot be read, and name them, instead of stopping.
    #[arg(long)]
    pub skip_unreadable: bool,
}

/// Which images of a set, as on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SplitName {
    /// Those to learn from.
    #[default]
    Train,
    /// Those to judge by.
    #[value(alias = "val", alias = "test")]
    Validation,
}

/// What `vssl embed` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormName {
    /// A table with lists.
    Parquet,
    /// A table with a column for each number.
    Csv,
    /// numpy's arrays, one a file.
    Npy,
    /// Arrays in one file.
    Safetensors,
}

/// Arguments of `vssl search`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vssl search features.parquet query.jpg\n  vssl search \
                  features.parquet a.jpg b.jpg --k 8 --draw found.png")]
pub struct Search {
    /// A .parquet or .safetensors file that `vssl embed` wrote.
    pub index: PathBuf,
    /// Image files to search for.
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<PathBuf>,
    /// Images that are found for each.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub k: u32,
    /// Draw the images and what was found for them.
    #[arg(long, value_name = "FILE.png")]
    pub draw: Option<PathBuf>,
    /// Pixels of a drawn image.
    #[arg(long, value_name = "PIXELS", default_value_t = 96, value_parser = clap::value_parser!(u32).range(8..=1024))]
    pub side: u32,
    /// Where the indexed images lie, if they were moved since.
    #[arg(long, value_name = "DIR")]
    pub images_root: Option<PathBuf>,
    /// The encoder that made the index, if it was moved since.
    #[arg(long, value_name = "ENCODER")]
    pub encoder: Option<PathBuf>,
    /// Which copy of it, if not the one that the index names.
    #[arg(long, value_enum)]
    pub network: Option<NetworkName>,
    /// Which checkpoint of it, likewise: latest, best or step-N.
    #[arg(long, value_name = "CHECKPOINT", value_parser = checkpoint)]
    pub checkpoint: Option<String>,
    /// cpu, cuda[:n], rocm[:n], vulkan[:n], metal, webgpu[:n] or libtorch[:cuda[:n]].
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: DeviceChoice,
}
