//! Arguments of `vssl import` and `vssl export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use vssl::{
    backbone::{Architecture, Pooling, Stem},
    recipe::normalisation_of,
};
use vssl_data::Normalisation;

use super::{
    backbone::architecture,
    values::{NetworkName, checkpoint},
};

/// Arguments of `vssl import`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vssl import resnet50.pth --to encoder.safetensors\n  vssl import \
                  byol.ckpt --to encoder.safetensors --stem-padding 2 --normalisation cifar10\n  vssl \
                  import deit_small.pth --to encoder.safetensors --heads 6 --pooling token\n\n\
                  The file is read as data; nothing in it is run."
)]
pub struct Import {
    /// A state dict: .pth, .pt, .ckpt or .safetensors of solo-learn, Lightning, lightly, torchvision
    /// or timm.
    pub file: PathBuf,
    /// The file to write, a .safetensors file; every command that takes an encoder reads it.
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// Architecture that the file must have; by default the tensors decide.
    #[arg(long, value_name = "NAME", value_parser = architecture(), hide_possible_values = true)]
    pub architecture: Option<Architecture>,
    /// Stem that a ResNet must have: imagenet (7×7) or cifar (3×3); by default the tensors decide.
    #[arg(long, value_name = "STEM", value_parser = stem)]
    pub stem: Option<Stem>,
    /// Padding of a 3×3 stem, which no file states: 1 is usual, solo-learn's recipes have 2.
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(0..=8))]
    pub stem_padding: Option<u16>,
    /// Attention heads of a transformer: 3 for vit-tiny, 6 for vit-small and 12 for vit-base in timm; MAE-Lite's
    /// vit-tiny and MoCo V3's vit-small have 12.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub heads: Option<u16>,
    /// Which tokens of a transformer become the feature: token (the class token), mean (of the
    /// patches) or fc-norm (a norm of that mean; the tensors show it).
    #[arg(long, value_enum, value_name = "POOLING")]
    pub pooling: Option<PoolingName>,
    /// Side of the images; by default 224, for a 3×3 stem 32, for a transformer what its positions say.
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(1..))]
    pub size: Option<u16>,
    /// Length of an image's shorter side before the centre is cut out.
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(1..))]
    pub resize: Option<u16>,
    /// Normalisation: imagenet, cifar10, cifar100, mean,std for all channels, or the means of all channels and then
    /// their deviations.
    #[arg(long, value_name = "NAME", value_parser = normalisation_of)]
    pub normalisation: Option<Normalisation>,
    /// Network to read, where the file has a moving average as well.
    #[arg(long, value_enum, default_value_t)]
    pub network: NetworkName,
    /// Prefix of the encoder's tensor names, where the file has several encoders.
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<String>,
    /// Import the tensors that fit, even if others are missing or unexpected.
    #[arg(long)]
    pub allow_partial: bool,
}

/// Arguments of `vssl export`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vssl export runs/quickstart-0 --to encoder.safetensors --checkpoint \
                  best\n  vssl export runs/quickstart-0 --to encoder.onnx --with-normalisation 0-1"
)]
pub struct Export {
    /// A run folder, or a file that `vssl export` or `vssl import` wrote.
    pub run: PathBuf,
    /// The file to write: .safetensors, .onnx or .bpk, Burn's record.
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// Format of the file; by default its extension decides.
    #[arg(long, value_enum)]
    pub format: Option<ExportFormat>,
    /// Put the normalisation into the ONNX network, which then takes RGB in this range.
    #[arg(long, value_enum, value_name = "RANGE")]
    pub with_normalisation: Option<Range>,
    /// Make an ONNX network that takes images of any height and width; transformers with a table of positions
    /// cannot.
    #[arg(long)]
    pub any_size: bool,
    /// Store the weights in half precision, in half the room; an ONNX network still computes in single
    /// precision.
    #[arg(long)]
    pub half: bool,
    /// Network of a run.
    #[arg(long, value_enum, default_value_t)]
    pub network: NetworkName,
    /// Checkpoint of a run: latest, best or step-N.
    #[arg(long, value_name = "CHECKPOINT", default_value = "latest", value_parser = checkpoint)]
    pub checkpoint: String,
}

/// The pooling of a transformer's tokens, as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PoolingName {
    /// The class token after the last norm.
    #[value(alias = "class")]
    Token,
    /// The mean of the patches after the last norm.
    #[value(alias = "avg")]
    Mean,
    /// The mean of the patches, and a norm of it.
    #[value(alias = "fc_norm")]
    FcNorm,
}

impl From<PoolingName> for Pooling {
    fn from(name: PoolingName) -> Self {
        match name {
            PoolingName::Token => Self::Token,
            PoolingName::Mean => Self::Mean,
            PoolingName::FcNorm => Self::FcNorm,
        }
    }
}

/// Formats of an exported encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Tensors with the names of torchvision, timm or solo-learn.
    Safetensors,
    /// A network for onnxruntime and other runtimes.
    Onnx,
    /// A record that Burn loads into the same module.
    Burn,
}

/// The range of an RGB value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Range {
    /// From 0 to 1, as torchvision's `ToTensor` gives them.
    #[value(name = "0-1")]
    Unit,
    /// From 0 to 255, as image files store them.
    #[value(name = "0-255")]
    Bytes,
}

fn stem(text: &str) -> Result<Stem, String> {
    serde_json::from_value(text.into()).map_err(|_| "expected imagenet or cifar".to_owned())
}
