//! Arguments of `vssl evaluate`.

use clap::Args;

use super::{EncoderArguments, EvaluatedName};

/// Arguments of `vssl evaluate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vssl evaluate runs/quickstart-0\n  vssl evaluate \
                  runs/quickstart-0 --evaluators knn,spectrum --k 5\n  vssl evaluate \
                  encoder.safetensors --images data/cifar10 --json")]
pub struct Evaluate {
    /// The encoder and its images.
    #[command(flatten)]
    pub encoder: EncoderArguments,
    /// Images to evaluate on.
    #[arg(long, value_enum, value_name = "SPLIT", default_value_t)]
    pub split: EvaluatedName,
    /// Names of the evaluators: knn, linear, spectrum, quality; by default the evaluators that the run's recipe names,
    /// and knn and linear for a file.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub evaluators: Vec<String>,
    /// Number of neighbours that vote; by default as in the run's recipe, and 20 for a file.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub k: Option<u32>,
    /// Temperature of the neighbours' weights; by default as in the run's recipe, and 0.07 for a file.
    #[arg(long, value_name = "T", value_parser = super::knn::temperature)]
    pub temperature: Option<f64>,
}
