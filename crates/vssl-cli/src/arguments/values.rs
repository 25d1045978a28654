//! Types of arguments that several commands share.

use clap::ValueEnum;
use vssl::precision::Precision;

/// The format of a set of images, as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormatName {
    /// Image files in folders.
    Folder,
    /// Tar files in WebDataset's naming.
    Tar,
    /// Parquet files in the layout of Hugging Face's datasets.
    Parquet,
    /// A list of image files, as CSV or Parquet.
    List,
    /// CIFAR-10, binary version or the one for Python.
    Cifar10,
    /// CIFAR-100, binary version or the one for Python.
    Cifar100,
    /// STL-10, binary version.
    Stl10,
    /// MNIST or Fashion-MNIST.
    Idx,
    /// 100 classes of an ImageNet tree.
    Imagenet100,
}

/// The number type of a backbone's products, as the command line names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PrecisionName {
    /// Single precision, on every device.
    #[default]
    F32,
    /// bfloat16.
    Bf16,
    /// 16-bit floats, with a scaled loss.
    F16,
}

impl From<PrecisionName> for Precision {
    fn from(name: PrecisionName) -> Self {
        match name {
            PrecisionName::F32 => Self::F32,
            PrecisionName::Bf16 => Self::Bf16,
            PrecisionName::F16 => Self::F16,
        }
    }
}

/// The network of a run, as the command line names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum NetworkName {
    /// The network that the optimiser trains.
    #[default]
    Student,
    /// The moving average of the student, for methods that have a teacher.
    Teacher,
}

/// Parses a finite number that is not negative.
pub(super) fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err("expected a finite number that is not negative, as in 1e-4".to_owned()),
    }
}

/// Parses the name of a checkpoint.
pub(super) fn checkpoint(text: &str) -> Result<String, String> {
    let step = text.strip_prefix("step-").is_some_and(|step| step.parse::<u64>().is_ok());
    match step || text == "latest" || text == "best" {
        true => Ok(text.to_owned()),
        false => Err("expected latest, best or step-N, as in step-1000".to_owned()),
    }
}
