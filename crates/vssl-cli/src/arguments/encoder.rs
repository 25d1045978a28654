//! Arguments that the commands with a frozen encoder share.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use vssl::{backbone::Pooling, device::DeviceChoice, method::learner::Network};

use super::{
    reading::ReadingArguments,
    values::{FormatName, NetworkName, checkpoint},
};

/// A network of a run at one of its checkpoints, and the device that it computes on.
#[derive(Clone, Debug, Args)]
pub struct EncoderCopy {
    /// Network of a run.
    #[arg(long, value_enum, default_value_t)]
    pub network: NetworkName,
    /// Checkpoint of a run: latest, best or step-N.
    #[arg(long, value_name = "CHECKPOINT", default_value = "latest", value_parser = checkpoint)]
    pub checkpoint: String,
    /// Feature of a transformer; by default what the recipe of a run evaluates (evaluation.pooling), and otherwise the
    /// network's own.
    #[arg(long, value_enum, value_name = "POOLING")]
    pub pooling: Option<FeatureName>,
    /// Device: cpu, cuda[:n], rocm[:n], vulkan[:n], metal, webgpu[:n] or libtorch[:cuda[:n]].
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: DeviceChoice,
}

/// An encoder, and images for it.
#[derive(Debug, Args)]
pub struct EncoderArguments {
    /// A run folder, or a file that `vssl export` or `vssl import` wrote.
    pub encoder: PathBuf,
    /// The network of a run.
    #[command(flatten)]
    pub copy: EncoderCopy,
    /// Images: a folder, a CIFAR archive, or a recipe; by default the images of the run.
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// Format of these images; by default it is recognised from the files.
    #[arg(long, value_enum, requires = "images")]
    pub format: Option<FormatName>,
    /// How the images are read.
    #[command(flatten)]
    pub reading: ReadingArguments,
}

impl EncoderArguments {
    /// The path and the format of the images, where they were given.
    pub fn named(&self) -> (Option<&Path>, Option<FormatName>) {
        (self.images.as_deref(), self.format)
    }
}

/// The feature of a transformer, as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FeatureName {
    /// The class token after the last norm.
    #[value(alias = "class")]
    Token,
    /// The mean of the patches after the last norm.
    #[value(alias = "avg")]
    Mean,
    /// Both beside each other: twice the numbers.
    #[value(alias = "token_mean", alias = "class-mean")]
    TokenMean,
}

impl From<FeatureName> for Pooling {
    fn from(name: FeatureName) -> Self {
        match name {
            FeatureName::Token => Self::Token,
            FeatureName::Mean => Self::Mean,
            FeatureName::TokenMean => Self::TokenMean,
        }
    }
}

impl From<NetworkName> for Network {
    fn from(name: NetworkName) -> Self {
        match name {
            NetworkName::Student => Network::Student,
            NetworkName::Teacher => Network::Teacher,
        }
    }
}
