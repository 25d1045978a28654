//! Arguments of the commands on recipes: `vssl config` and `vssl new-recipe`.

use std::path::PathBuf;

use clap::{Args, builder::PossibleValuesParser};
use vssl::methods::METHODS;

/// Arguments of `vssl config`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vssl config recipes/cifar10/vssl.toml --set optimizer.lr=0.5")]
pub struct Config {
    /// The recipe.
    pub recipe: PathBuf,
    /// Encoder to start from, as for `vssl pretrain`: its architecture and normalisation are shown.
    #[arg(long, value_name = "ENCODER")]
    pub from: Option<PathBuf>,
    /// Frozen teacher, as for `vssl pretrain`.
    #[arg(long, value_name = "ENCODER")]
    pub teacher: Option<PathBuf>,
    /// Change a setting of the recipe; can be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
}

/// Arguments of `vssl new-recipe`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vssl new-recipe byol --data photos/\n  vssl new-recipe vssl \
                  --data data/cifar10 --out mine.toml --force\n  vssl new-recipe vicreg --data photos/ \
                  --from resnet18.pth")]
pub struct NewRecipe {
    /// The method; `vssl methods` lists all methods.
    #[arg(value_parser = PossibleValuesParser::new(METHODS.iter().map(|entry| entry.name)))]
    pub method: String,
    // This argument hides the common one of the same name: the command has no use for a data root.
    /// The images: a folder, or a CIFAR archive; the format is recognised from the files.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The folder of the training images below DIR, where the usual names are not meant, as data.train of the
    /// recipe; "." takes all images.
    #[arg(long, value_name = "FOLDER")]
    pub train: Option<String>,
    /// The number of channels that images are read with, as data.channels of the recipe: 1 for grey, 3 for RGB, more
    /// for multispectral images. By default it is counted on a sample of the files.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub channels: Option<u8>,
    /// Write a recipe that starts from this encoder: see `vssl pretrain --from`. It has a lower rate and fewer epochs.
    #[arg(long, value_name = "ENCODER")]
    pub from: Option<PathBuf>,
    /// The frozen teacher of a method that has one, such as distill: see `vssl pretrain --teacher`.
    #[arg(long, value_name = "ENCODER")]
    pub teacher: Option<PathBuf>,
    /// The file to write; by default <method>.toml.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Replace the file if it exists.
    #[arg(long)]
    pub force: bool,
}
