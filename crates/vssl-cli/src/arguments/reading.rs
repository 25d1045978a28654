//! Arguments on which images of a set are used, and how they are read.

use clap::{Args, ValueEnum};
use vssl_data::{
    DataConfig, OnBadImage,
    dataset::{Evaluated, MissingClasses},
};

/// How the images of a command are read.
#[derive(Clone, Debug, Default, Args)]
pub struct ReadingArguments {
    /// Treatment of images that cannot be read; by default that of the run for its own images, otherwise stop.
    #[arg(long, value_enum, value_name = "TREATMENT")]
    pub on_bad_image: Option<BadImageName>,
    /// Go on although class folders have no file of a format that vssl reads.
    #[arg(long)]
    pub allow_missing_classes: bool,
}

impl ReadingArguments {
    /// The set with the classes that may be missing.
    pub fn allowing(&self, mut config: DataConfig) -> DataConfig {
        if self.allow_missing_classes {
            config.missing_classes = MissingClasses::Allow;
        }
        config
    }
}

/// Treatments of an image that cannot be read, as the command line names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BadImageName {
    /// The command stops and names the image.
    Stop,
    /// The image is left out and counted; in training another image takes its place.
    Skip,
}

impl From<BadImageName> for OnBadImage {
    fn from(name: BadImageName) -> Self {
        match name {
            BadImageName::Stop => Self::Stop,
            BadImageName::Skip => Self::Skip,
        }
    }
}

/// The images to evaluate on, as the command line names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum EvaluatedName {
    /// The validation images; the test images, where there are no validation images.
    #[default]
    #[value(alias = "val")]
    Validation,
    /// The test images.
    Test,
}

impl From<EvaluatedName> for Evaluated {
    fn from(name: EvaluatedName) -> Self {
        match name {
            EvaluatedName::Validation => Self::Validation,
            EvaluatedName::Test => Self::Test,
        }
    }
}
