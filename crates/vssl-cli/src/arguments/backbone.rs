//! The encoder that a benchmark runs, as arguments.

use clap::{Args, ValueEnum, value_parser};
use vssl::backbone::{Architecture, Stem};

/// The encoder that a benchmark runs.
#[derive(Clone, Copy, Debug, Args)]
pub struct BackboneArguments {
    /// Architecture of the encoder, by its name in recipes.
    #[arg(long, visible_alias = "architecture", value_enum, value_name = "NAME", default_value_t)]
    pub backbone: BackboneName,
    /// Channels of a ResNet's first stage; by default the published 64, for `agreement` 8.
    #[arg(long, value_name = "W", value_parser = value_parser!(u16).range(1..=1024))]
    pub width: Option<u16>,
    /// First layers of a ResNet; by default those for small images.
    #[arg(long, value_enum)]
    pub stem: Option<StemName>,
    /// Side of a transformer's patches in pixels; by default 16.
    #[arg(long, value_name = "P", value_parser = value_parser!(u16).range(1..=1024))]
    pub patch: Option<u16>,
}

/// Architectures, as the command line names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum BackboneName {
    #[default]
    Resnet18,
    Resnet34,
    Resnet50,
    WideResnet28,
    VitTiny,
    VitSmall,
    VitBase,
}

impl BackboneName {
    /// The name as it is typed.
    pub fn name(self) -> String {
        let value = self.to_possible_value().expect("no variant is hidden");
        value.get_name().to_owned()
    }
}

impl From<BackboneName> for Architecture {
    fn from(name: BackboneName) -> Self {
        match name {
            BackboneName::Resnet18 => Self::Resnet18,
            BackboneName::Resnet34 => Self::Resnet34,
            BackboneName::Resnet50 => Self::Resnet50,
            BackboneName::WideResnet28 => Self::WideResnet28,
            BackboneName::VitTiny => Self::VitTiny,
            BackboneName::VitSmall => Self::VitSmall,
            BackboneName::VitBase => Self::VitBase,
        }
    }
}

/// First layers of a ResNet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum StemName {
    /// 3×3, stride 1.
    #[default]
    Cifar,
    /// 7×7, stride 2, then max-pooling.
    Imagenet,
}

impl StemName {
    /// The stem as a recipe has it.
    pub fn stem(self) -> Stem {
        match self {
            Self::Cifar => Stem::Cifar,
            Self::Imagenet => Stem::Imagenet,
        }
    }

    /// The name as it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cifar => "cifar",
            Self::Imagenet => "imagenet",
        }
    }
}
