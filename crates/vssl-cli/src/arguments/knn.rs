//! Arguments of `vssl knn`.

use clap::{Args, ValueEnum};

use super::EncoderArguments;

/// Arguments of `vssl knn`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vssl knn runs/quickstart-0\n  vssl knn encoder.safetensors \
                  --images data/cifar10 --k 1,20,200 --temperature 0.07 --distance cosine")]
pub struct Knn {
    /// Which encoder, and which images.
    #[command(flatten)]
    pub encoder: EncoderArguments,
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

/// What makes two images near.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DistanceName {
    /// The angle between features; weights exp(similarity / T).
    Cosine,
    /// The distance between features; weights 1 / distance.
    Euclidean,
}
