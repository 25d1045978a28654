//! Arguments of `vssl linear` and `vssl finetune`.

use std::path::PathBuf;

use clap::Args;

use super::{EncoderArguments, EvaluatedName};

/// Arguments of `vssl linear`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vssl linear runs/quickstart-0\n  vssl linear runs/quickstart-0 \
                  --cached\n  vssl linear encoder.safetensors --images photos/ --out photos-linear \
                  --set rates=[0.1,1]\n  vssl linear runs/quickstart-0 --resume\n  vssl linear \
                  runs/quickstart-0 --resume --set train.epochs=200\n\nCtrl-C finishes \
                  the step and saves; a second Ctrl-C ends at once. The rate that counts is chosen by \
                  accuracy on training images."
)]
pub struct Linear {
    /// The encoder, and the images.
    #[command(flatten)]
    pub encoder: EncoderArguments,
    /// Output folder and settings.
    #[command(flatten)]
    pub training: TrainingArguments,
    /// Be fast: compute features once, without augmentation, and fit a logistic regression.
    #[arg(long, conflicts_with_all = ["resume", "continues"])]
    pub cached: bool,
}

/// Arguments of `vssl finetune`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vssl finetune runs/quickstart-0 --labels 0.1\n  vssl finetune \
                  runs/vit-0 --set layer_decay=0.7 --set mixup=0.2 --set optimizer.name=adamw --set \
                  optimizer.lr=1e-3\n  vssl finetune runs/quickstart-0 --labels 0.1 --resume\n\nCtrl-C \
                  finishes the step and saves; a second Ctrl-C ends at once."
)]
pub struct Finetune {
    /// The encoder, and the images.
    #[command(flatten)]
    pub encoder: EncoderArguments,
    /// Output folder and settings.
    #[command(flatten)]
    pub training: TrainingArguments,
    /// Share of the training images that is used, evenly over the classes, such as 0.01 or 0.1.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub labels: Option<f64>,
}

/// Parses a share, and explains percentages. The settings check its bounds.
fn share(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|text| text.trim().parse::<f64>().ok());
    match (text.parse(), percent) {
        (Ok(share), _) => Ok(share),
        (_, Some(percent)) => Err(format!(
            "expected a share of 1, without a percent sign: --labels {}",
            (percent * 1e8).round() / 1e10
        )),
        _ => Err("expected a share of the labels above 0, up to 1, such as 0.1".to_owned()),
    }
}

/// Arguments that linear evaluation and fine-tuning share.
#[derive(Debug, Args)]
pub struct TrainingArguments {
    /// Images to evaluate on. The results on test images have a folder of their own.
    #[arg(long, value_enum, value_name = "SPLIT", default_value_t)]
    pub split: EvaluatedName,
    /// Output folder; by default inside the run folder. An encoder from a file needs it.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// TOML file of settings; by default the published settings.
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    pub config: Option<PathBuf>,
    /// Change a setting; can be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Resume from the last checkpoint in the output folder, bit for bit; with --set train.epochs=N go on
    /// to another number of epochs.
    #[arg(long)]
    pub resume: bool,
    /// Resume if these settings began what is in the output folder, or start: for scripts that are submitted
    /// again.
    #[arg(long = "continue", conflicts_with_all = ["resume", "force"])]
    pub continues: bool,
    /// Replace what is in the output folder.
    #[arg(long, conflicts_with = "resume")]
    pub force: bool,
    /// Resume although images were added, removed or changed since the checkpoint: epochs and schedules
    /// follow the new images.
    #[arg(long, requires = "resume")]
    pub allow_changed_data: bool,
}
