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
    /// The file to write.
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    pub to: PathBuf,
    /// Folder to write the features, labels and pictures of one run for TensorBoard's projector.
    #[arg(long, value_name = "DIR")]
    pub projector: Option<PathBuf>,
    /// What the page shows.
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
    /// Port of the page, which only this machine can open; 0 chooses any free port.
    #[arg(long, value_name = "PORT", default_value_t = 8787)]
    pub port: u16,
    /// What the page shows.
    #[command(flatten)]
    pub shown: Shown,
}

/// What a page shows of an encoder.
#[derive(Clone, Debug, Args)]
pub struct Shown {
    /// Show curves, results and recipe only; neither the encoder nor the images are read.
    #[arg(long)]
    pub curves: bool,
    /// Largest number of images on the map; with many runs each gets fewer.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 2000,
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub points: u32,
    /// The network of the run.
    #[command(flatten)]
    pub copy: EncoderCopy,
}
