//! Arguments of `vssl uncertainty`.

use std::path::PathBuf;

use clap::Args;
use vssl::device::DeviceChoice;

use super::{
    EvaluatedName, ReadingArguments,
    values::{FormatName, checkpoint},
};

/// Arguments of `vssl uncertainty`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vssl uncertainty runs/quickstart-0\n  vssl uncertainty runs/c10 \
                  --ood data/fashion-mnist-tenth --ood photos/ --out uncertainty.csv --out risk.svg\n\n\
                  Every score is asked to tell the run's test images from those of --ood, from \
                  generated pictures and from corrupted copies, to rank the errors of a linear probe, \
                  and, where images have classes, to tell those whose nearest other image is of \
                  another class (R@1, R-AUROC)."
)]
pub struct Uncertainty {
    /// A run folder, or a file that `vssl export` or `vssl import` wrote.
    pub run: PathBuf,
    /// Checkpoint of a run: latest, best or step-N.
    #[arg(long, value_name = "CHECKPOINT", default_value = "latest", value_parser = checkpoint)]
    pub checkpoint: String,
    /// Unusual images: a folder, a CIFAR archive, or a recipe; can be repeated.
    #[arg(long, value_name = "DIR")]
    pub ood: Vec<PathBuf>,
    /// Usual images; by default those of the run.
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// Format of the usual images; by default it is recognised from the files.
    #[arg(long, value_enum, requires = "images")]
    pub format: Option<FormatName>,
    /// How the images are read.
    #[command(flatten)]
    pub reading: ReadingArguments,
    /// Which of the usual images are judged.
    #[arg(long, value_enum, value_name = "SPLIT", default_value_t)]
    pub split: EvaluatedName,
    /// Largest number of images of each set.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..))]
    pub count: u32,
    /// The score neighbour-distance is the distance to the K-th nearest training feature.
    #[arg(long, value_name = "K", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub k: u32,
    /// Views of each image for the spread scores; 0 leaves these scores out.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16))]
    pub views: u16,
    /// Seed of the views, the noise and the generated pictures.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub seed: u64,
    /// Write the figures as .json or .csv, or the curves as .svg, by extension; can be repeated.
    #[arg(long, value_name = "FILE")]
    pub out: Vec<PathBuf>,
    /// Device: cpu, cuda[:n], rocm[:n], vulkan[:n], metal, webgpu[:n] or libtorch[:cuda[:n]].
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: DeviceChoice,
}
