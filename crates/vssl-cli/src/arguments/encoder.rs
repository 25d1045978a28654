//! Arguments of every command that takes a frozen encoder.

use std::path::{Path, PathBuf};

use clap::Args;
use vssl::{device::DeviceChoice, method::learner::Network};

use super::{FormatName, NetworkName, checkpoint};

/// Which copy of a run's encoder, and where it computes.
#[derive(Clone, Debug, Args)]
pub struct EncoderCopy {
    /// Which copy of the encoder of a run.
    #[arg(long, value_enum, default_value_t)]
    pub network: NetworkName,
    /// Which checkpoint of a run: latest, best or step-N.
    #[arg(long, value_name = "CHECKPOINT", default_value = "latest", value_parser = checkpoint)]
    pub checkpoint: String,
    /// cpu, cuda[:n], rocm[:n], vulkan[:n], metal, webgpu[:n] or libtorch[:cuda[:n]].
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: DeviceChoice,
}

/// Which encoder, and which images.
#[derive(Debug, Args)]
pub struct EncoderArguments {
    /// A run folder, or a file that `vssl export` or `vssl import` wrote.
    pub encoder: PathBuf,
    /// Which copy of it.
    #[command(flatten)]
    pub copy: EncoderCopy,
    /// Images: a folder, an archive of CIFAR, or a recipe; those that trained the run unless given.
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// How these images are stored; told from the files unless given.
    #[arg(long, value_enum, requires = "images")]
    pub format: Option<FormatName>,
}

impl EncoderArguments {
    /// The images that are named, and how they are stored.
    pub fn named(&self) -> (Option<&Path>, Option<FormatName>) {
        (self.images.as_deref(), self.format)
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
