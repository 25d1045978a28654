//! Arguments of `vssl embed` and `vssl search`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use vssl::device::DeviceChoice;

use super::{
    EncoderArguments,
    values::{NetworkName, checkpoint},
};

/// Arguments of `vssl embed`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vssl embed runs/quickstart-0 --to features.parquet\n  vssl embed \
                  encoder.safetensors --images photos/ --to photos.npy --skip-unreadable\n  vssl \
                  embed runs/quickstart-0 --split validation --checkpoint best --to val.safetensors"
)]
pub struct Embed {
    /// The encoder, and the images.
    #[command(flatten)]
    pub encoder: EncoderArguments,
    /// The split of these images; a folder without train/ has one split only.
    #[arg(long, value_enum, default_value_t)]
    pub split: SplitName,
    /// The file to write: .parquet, .csv, .npy or .safetensors.
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// Format of the file; by default its extension decides.
    #[arg(long, value_enum, value_name = "FORM")]
    pub to_format: Option<FormName>,
    /// Leave out the mean, variance and uncertainty that some methods give; this is twice as fast.
    #[arg(long)]
    pub features_only: bool,
    /// Write the patch tokens of a transformer as well, [images, patches, numbers]: beside an .npy file, or in a
    /// .safetensors file.
    #[arg(long)]
    pub tokens: bool,
    /// Images of one forward pass; by default as many as are fast and leave the process on the CPU
    /// below 1 GiB.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub batch: Option<u32>,
    /// Leave out images that cannot be read, and name them; the same as --on-bad-image skip.
    #[arg(long, conflicts_with = "on_bad_image")]
    pub skip_unreadable: bool,
}

/// A split of a set of images, as the command line names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SplitName {
    /// The training images.
    #[default]
    Train,
    /// The validation images; the test images, where there are no validation images.
    #[value(alias = "val")]
    Validation,
    /// The test images.
    Test,
}

/// Formats of the file that `vssl embed` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormName {
    /// A table with a row for each image and its feature as a list.
    Parquet,
    /// A table with a row for each image and a column for each number of its feature.
    Csv,
    /// Arrays of numpy, each in its own file.
    Npy,
    /// Named arrays in one file.
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
    /// Number of images that are found for each.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub k: u32,
    /// Draw the given images, and beside each the images that were found, as a PNG file.
    #[arg(long, value_name = "FILE.png")]
    pub draw: Option<PathBuf>,
    /// Side of a drawn image in pixels.
    #[arg(long, value_name = "PIXELS", default_value_t = 96, value_parser = clap::value_parser!(u32).range(8..=1024))]
    pub side: u32,
    /// Folder of the indexed images, if they were moved since.
    #[arg(long, value_name = "DIR")]
    pub images_root: Option<PathBuf>,
    /// The encoder that made the index, if it was moved since.
    #[arg(long, value_name = "ENCODER")]
    pub encoder: Option<PathBuf>,
    /// Network of that encoder, if not the network that the index names.
    #[arg(long, value_enum)]
    pub network: Option<NetworkName>,
    /// Checkpoint of that encoder (latest, best or step-N), if not the one that the index names.
    #[arg(long, value_name = "CHECKPOINT", value_parser = checkpoint)]
    pub checkpoint: Option<String>,
    /// Device: cpu, cuda[:n], rocm[:n], vulkan[:n], metal, webgpu[:n] or libtorch[:cuda[:n]].
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: DeviceChoice,
}
