//! Arguments of `vssl report` and `vssl watch`.

use std::path::PathBuf;

use clap::Args;

use super::EncoderCopy;

/// Arguments of `vssl report`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vssl report runs/quickstart-0\n  vssl report runs/byol-0 runs/vssl-0 \
                  --to comparison.html\n  vssl report runs/quickstart-0 --projector features/"
)]
pub struct Report {
    /// Run folders, or folders with run folders at any depth.
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// The page.
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    pub to: PathBuf,
    /// Features, labels and pictures for TensorBoard's embedding projector as well; of one run.
    #[arg(long, value_name = "DIR")]
    pub projector: Option<PathBuf>,
    /// What is shown.
    #[command(flatten)]
    pub shown: Shown,
}

/// Arguments of `vssl watch`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vssl watch runs/quickstart-0\n  vssl watch runs/quickstart-0 --port \
                  9000 --curves\n\nThe run need not exist yet. Ctrl-C ends the page, not the run."
)]
pub struct Watch {
    /// The run folder.
    pub run: PathBuf,
    /// Where this machine, and no other, finds the page; 0 is any free port.
    #[arg(long, value_name = "PORT", default_value_t = 8787)]
    pub port: u16,
    /// What is shown.
    #[command(flatten)]
    pub shown: Shown,
}

/// What a page shows of an encoder.
#[derive(Clone, Debug, Args)]
pub struct Shown {
    /// Curves, results and recipe only: neither the encoder nor the images are opened.
    #[arg(long)]
    pub curves: bool,
    /// Images on the map, at most; fewer of each run where there are many runs.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 2000,
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub points: u32,
    /// Which copy of the encoder.
    #[command(flatten)]
    pub copy: EncoderCopy,
}
