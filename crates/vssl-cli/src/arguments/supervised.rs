//! Arguments of `vssl linear` and `vssl finetune`.

use std::path::PathBuf;

use clap::Args;

use super::EncoderArguments;

/// Arguments of `vssl linear`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vssl linear runs/quickstart-0\n  vssl linear runs/quickstart-0 \
                  --cached\n  vssl linear encoder.safetensors --images photos/ --out photos-linear \
                  --set rates=[0.1,1]\n  vssl linear runs/quickstart-0 --resume\n\nCtrl-C finishes \
                  the step and saves; a second one ends at once. The rate that counts is chosen by \
                  accuracy on training images."
)]
pub struct Linear {
    /// Which encoder, which images.
    #[command(flatten)]
    pub encoder: EncoderArguments,
    /// Output folder and settings.
    #[command(flatten)]
    pub training: TrainingArguments,
    /// The fast answer: features once, without augmentation, then a logistic regression.
    #[arg(long, conflicts_with = "resume")]
    pub cached: bool,
}

/// Arguments of `vssl finetune`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vssl finetune runs/quickstart-0 --labels 0.1\n  vssl finetune \
                  runs/vit-0 --set layer_decay=0.7 --set mixup=0.2 --set optimizer.name=adamw --set \
                  optimizer.lr=1e-3\n  vssl finetune runs/quickstart-0 --labels 0.1 --resume\n\nCtrl-C finishes the step and saves; a \
                  second one ends at once."
)]
pub struct Finetune {
    /// Which encoder, which images.
    #[command(flatten)]
    pub encoder: EncoderArguments,
    /// Output folder and settings.
    #[command(flatten)]
    pub training: TrainingArguments,
    /// Share of the training images whose labels are used, evenly over the classes: 0.01, 0.1, 1.
    #[arg(long, value_name = "SHARE")]
    pub labels: Option<f64>,
}

/// Of every training on labels.
#[derive(Debug, Args)]
pub struct TrainingArguments {
    /// Output folder; one inside the run unless given, needed for an encoder from a file.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Settings as TOML; the published ones unless given.
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    pub config: Option<PathBuf>,
    /// Change a setting; can be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Go on in the output folder, exactly where its last checkpoint stands.
    #[arg(long)]
    pub resume: bool,
    /// Replace what is in the output folder.
    #[arg(long, conflicts_with = "resume")]
    pub force: bool,
}
