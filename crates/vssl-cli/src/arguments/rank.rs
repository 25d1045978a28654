//! Arguments of `vssl rank`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use vssl::ranking::Criterion;

use super::{EncoderCopy, EvaluatedName, ReadingArguments, values::FormatName};

/// Arguments of `vssl rank`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vssl rank runs/\n  vssl rank runs/byol-0 --checkpoints --by rankme\n  vssl rank \
                  runs/byol-0 imported.safetensors --images data/cifar10 --limit 2000 --json\n\nOf LiDAR, RankMe and \
                  the effective rank more is better; of alpha-ReQ, what is nearer to 1."
)]
pub struct Rank {
    /// Run folders, folders with run folders at any depth, or files that `vssl export` or `vssl import` wrote.
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// The figure that decides the order; by default lidar, and rankme without LiDAR.
    #[arg(long, value_enum, value_name = "FIGURE")]
    pub by: Option<CriterionName>,
    /// Judge every checkpoint that the run folders keep.
    #[arg(long, conflicts_with = "checkpoint")]
    pub checkpoints: bool,
    /// The networks that are judged.
    #[command(flatten)]
    pub copy: EncoderCopy,
    /// Images: a folder, a CIFAR archive, or a recipe; by default the images of each run. A file needs them.
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// Format of these images; by default it is recognised from the files.
    #[arg(long, value_enum, requires = "images")]
    pub format: Option<FormatName>,
    /// How the images are read.
    #[command(flatten)]
    pub reading: ReadingArguments,
    /// Images to judge on; training images, where there are no others.
    #[arg(long, value_enum, value_name = "SPLIT", default_value_t)]
    pub split: EvaluatedName,
    /// Largest number of images, drawn by --seed; by default all of the split.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    pub limit: Option<u32>,
    /// Largest number of these images whose views LiDAR compares; 0 leaves LiDAR out, which takes most of the time.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub lidar_images: u32,
    /// Views of each image for LiDAR.
    #[arg(long, value_name = "Q", default_value_t = 10, value_parser = clap::value_parser!(u16).range(2..=1000))]
    pub views: u16,
    /// Recipe, or run folder, whose global views LiDAR takes; by default the views of each run, and SimCLR's for a
    /// file.
    #[arg(long, value_name = "RECIPE")]
    pub recipe: Option<PathBuf>,
    /// Seed of the views, and of the choice of images: the same for all encoders.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub seed: u64,
}

/// A figure without labels, as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CriterionName {
    /// The number of directions that tell images apart from their views (LiDAR).
    Lidar,
    /// The effective rank with the constant of RankMe's paper.
    Rankme,
    /// The effective rank.
    #[value(name = "effective_rank", alias = "effective-rank")]
    EffectiveRank,
    /// The decay of the spectrum (alpha-ReQ).
    #[value(name = "alpha_req", alias = "alpha-req")]
    AlphaReq,
}

impl From<CriterionName> for Criterion {
    fn from(name: CriterionName) -> Self {
        match name {
            CriterionName::Lidar => Self::Lidar,
            CriterionName::Rankme => Self::RankMe,
            CriterionName::EffectiveRank => Self::EffectiveRank,
            CriterionName::AlphaReq => Self::AlphaReq,
        }
    }
}
