//! Arguments of `vssl knn`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{EncoderCopy, FormatName};

/// Arguments of `vssl knn`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vssl knn runs/quickstart-0\n  vssl knn encoder.safetensors \
                  --images data/cifar10 --k 1,20,200 --temperature 0.07 --distance cosine\n  vssl \
                  knn --features train.safetensors --queries val.safetensors\n  vssl knn --features \
                  train.npy --labels y.npy --queries val.npy --query-labels z.npy --memory 1GiB")]
pub struct Knn {
    /// A run folder, or a file that `vssl export` or `vssl import` wrote.
    #[arg(required_unless_present = "features")]
    pub encoder: Option<PathBuf>,
    /// Which copy of it.
    #[command(flatten)]
    pub copy: EncoderCopy,
    /// Images: a folder, an archive of CIFAR, or a recipe; those that trained the run unless given.
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// How these images are stored; told from the files unless given.
    #[arg(long, value_enum, requires = "images")]
    pub format: Option<FormatName>,
    /// Instead of an encoder, stored features of images with known classes: .npy, or .safetensors
    /// with the tensors `features` and `labels`.
    #[arg(
        long,
        value_name = "FILE",
        requires = "queries",
        conflicts_with_all = ["encoder", "images", "network", "checkpoint", "device"]
    )]
    pub features: Option<PathBuf>,
    /// Stored features of the images that are judged by them.
    #[arg(long, value_name = "FILE", requires = "features")]
    pub queries: Option<PathBuf>,
    /// Classes for --features; those in its file, or in NAME.labels.npy beside NAME.npy, unless given.
    #[arg(long, value_name = "FILE", requires = "features")]
    pub labels: Option<PathBuf>,
    /// Classes for --queries, likewise.
    #[arg(long, value_name = "FILE", requires = "queries")]
    pub query_labels: Option<PathBuf>,
    /// Memory for features and the search; what does not fit goes to a temporary file.
    #[arg(long, value_name = "BYTES", default_value = "4GiB", value_parser = bytes)]
    pub memory: u64,
    /// Numbers of neighbours that vote.
    #[arg(
        long,
        value_name = "K,…",
        value_delimiter = ',',
        value_parser = clap::value_parser!(u32).range(1..),
        default_value = "1,5,10,20,50,100,200"
    )]
    pub k: Vec<u32>,
    /// What similarities are divided by before they become weights; cosine only.
    #[arg(
        long,
        value_name = "T,…",
        value_delimiter = ',',
        default_value = "0.02,0.07,0.1,0.2,0.5,1"
    )]
    pub temperature: Vec<f64>,
    /// What makes two images near.
    #[arg(
        long,
        value_enum,
        value_name = "DISTANCE,…",
        value_delimiter = ',',
        default_value = "cosine,euclidean"
    )]
    pub distance: Vec<DistanceName>,
}

/// A number of bytes, with one of the units that memory is counted in.
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

/// What makes two images near.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DistanceName {
    /// The angle between features; weights exp(similarity / T).
    Cosine,
    /// The distance between features; weights 1 / distance.
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
