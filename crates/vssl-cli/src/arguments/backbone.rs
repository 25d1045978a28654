//! The encoder that a benchmark runs, as arguments.

use std::fmt;

use clap::{
    Args, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
    value_parser,
};
use vssl::backbone::{Architecture, Stem};

/// The encoder that a benchmark runs.
#[derive(Clone, Copy, Debug, Args)]
pub struct BackboneArguments {
    /// Architecture of the encoder, by its name in recipes.
    #[arg(long, visible_alias = "architecture", value_name = "NAME", default_value_t,
          value_parser = architecture().map(BackboneName))]
    pub backbone: BackboneName,
    /// Channels of the first stage of a ResNet or a ConvNeXt; by default the published ones, for `agreement` 8.
    #[arg(long, value_name = "W", value_parser = value_parser!(u16).range(1..=1024))]
    pub width: Option<u16>,
    /// First layers of a ResNet; by default those for small images.
    #[arg(long, value_enum)]
    pub stem: Option<StemName>,
    /// Side of the patches of a transformer or a ConvNeXt in pixels; by default the published one.
    #[arg(long, value_name = "P", value_parser = value_parser!(u16).range(1..=1024))]
    pub patch: Option<u16>,
}

/// An architecture, as the command line names it: by its name in recipes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackboneName(pub Architecture);

impl BackboneName {
    /// The name as it is typed.
    pub fn name(self) -> String {
        self.0.name().to_owned()
    }
}

impl fmt::Display for BackboneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl From<BackboneName> for Architecture {
    fn from(name: BackboneName) -> Self {
        name.0
    }
}

/// Reads the name of an architecture.
pub fn architecture() -> impl TypedValueParser<Value = Architecture> {
    let names = PossibleValuesParser::new(Architecture::ALL.map(Architecture::name));
    names.map(|name| {
        let known = Architecture::ALL.into_iter().find(|known| known.name() == name);
        known.expect("the parser lets through what has a name")
    })
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
