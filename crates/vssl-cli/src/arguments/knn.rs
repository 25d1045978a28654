//! Arguments of `vssl knn`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{EncoderCopy, EvaluatedName, ReadingArguments, values::FormatName};

/// The numbers of neighbours that vote unless others are given.
pub const K_BY_DEFAULT: [u32; 7] = [1, 5, 10, 20, 50, 100, 200];

/// Arguments of `vssl knn`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vssl knn runs/quickstart-0\n  vssl knn encoder.safetensors \
                  --images data/cifar10 --k 1,20,200 --temperature 0.07 --distance cosine\n  vssl \
                  knn --features train.parquet --queries val.parquet --confusion confusion.csv\n  vssl knn --features \
                  train.npy --labels y.npy --queries val.npy --query-labels z.npy --memory 1GiB")]
pub struct Knn {
    /// A run folder, or a file that `vssl export` or `vssl import` wrote.
    #[arg(required_unless_present = "features")]
    pub encoder: Option<PathBuf>,
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
    /// Images to classify.
    #[arg(long, value_enum, value_name = "SPLIT", default_value_t)]
    pub split: EvaluatedName,
    /// Stored features of images with known classes, instead of an encoder: all that `vssl embed` writes
    /// (.parquet, .csv, .npy, .safetensors), or arrays of another program.
    #[arg(
        long,
        value_name = "FILE",
        requires = "queries",
        conflicts_with_all = [
            "encoder", "images", "network", "checkpoint", "pooling", "device", "on_bad_image",
            "allow_missing_classes", "split"
        ]
    )]
    pub features: Option<PathBuf>,
    /// Stored features of the images to classify.
    #[arg(long, value_name = "FILE", requires = "features")]
    pub queries: Option<PathBuf>,
    /// Classes for --features; by default the file's own, or NAME.labels.npy beside NAME.npy.
    #[arg(long, value_name = "FILE", requires = "features")]
    pub labels: Option<PathBuf>,
    /// Classes for --queries; by default the file's own, or NAME.labels.npy beside NAME.npy.
    #[arg(long, value_name = "FILE", requires = "queries")]
    pub query_labels: Option<PathBuf>,
    /// Write the classes that the best cell gave as CSV: class, predicted class, number of images.
    #[arg(long, value_name = "FILE.csv")]
    pub confusion: Option<PathBuf>,
    /// Memory for features and the search; features that do not fit go to a temporary file.
    #[arg(long, value_name = "BYTES", default_value = "4GiB", value_parser = bytes)]
    pub memory: u64,
    /// Numbers of neighbours that vote [default: 1,5,10,20,50,100,200].
    #[arg(
        long,
        value_name = "K,…",
        value_delimiter = ',',
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub k: Option<Vec<u32>>,
    /// Temperatures: similarities are divided by T before they become weights. Cosine only.
    #[arg(
        long,
        value_name = "T,…",
        value_delimiter = ',',
        value_parser = temperature,
        default_value = "0.02,0.07,0.1,0.2,0.5,1"
    )]
    pub temperature: Vec<f64>,
    /// Distances between features.
    #[arg(
        long,
        value_enum,
        value_name = "DISTANCE,…",
        value_delimiter = ',',
        default_value = "cosine,euclidean"
    )]
    pub distance: Vec<DistanceName>,
}

/// Parses a temperature.
pub(super) fn temperature(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "expected a number above 0, such as 0.07".to_owned())
}

/// Parses a number of bytes with its unit: KiB, MiB, GiB, TiB, B or none for bytes.
fn bytes(text: &str) -> Result<u64, String> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40), ("B", 0)];
    let known = units.iter().find_map(|&(unit, bits)| Some((text.strip_suffix(unit)?, bits)));
    let (number, bits) = known.unwrap_or((text, 0));
    let bytes = number.trim_end().parse::<f64>().ok().map(|number| number * 2f64.powi(bits));
    match bytes {
        Some(bytes) if (1.0..2f64.powi(63)).contains(&bytes) => Ok(bytes as u64),
        _ => Err("expected a number of bytes, as 2GiB, 512MiB or 1000000".to_owned()),
    }
}

/// Distances between features, as the command line names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DistanceName {
    /// Cosine similarity; a neighbour's weight is exp(similarity / T).
    Cosine,
    /// Euclidean distance; a neighbour's weight is 1 / distance.
    Euclidean,
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_are_read_with_their_unit() {
        let cases = [("2GiB", 2 << 30), ("1.5 KiB", 1536), ("7", 7), ("12B", 12)];
        for (text, expected) in cases {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "GiB", "-1", "0", "2GB", "1e30", "NaN", "infTiB"] {
            assert!(bytes(text).unwrap_err().contains("2GiB"), "{text}");
        }
    }
}
