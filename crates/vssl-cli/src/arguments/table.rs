//! Arguments of `vssl table`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use vssl::{
    comparison::{Format, Layout},
    device::DeviceChoice,
};

/// Arguments of `vssl table`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vssl table runs/\n  vssl table runs/byol-0 runs/byol-1 runs/vssl-0 \
                  --format latex --out table.tex\n  vssl table runs/ --layout paper --format latex\n  vssl table --grid study.toml\n\nA grid is TOML: \
                  recipes = [\"a.toml\", …], seeds = [0, 1], out = \"runs/study\", set = \
                  [\"KEY=VALUE\", …].\nCtrl-C stops it after a checkpoint; the same command goes on."
)]
pub struct Table {
    /// Run folders, or folders with run folders at any depth.
    #[arg(value_name = "RUN", required_unless_present = "grid", conflicts_with = "grid")]
    pub runs: Vec<PathBuf>,
    /// Do all runs of this grid that are not done yet, then show their table.
    #[arg(long, value_name = "GRID")]
    pub grid: Option<PathBuf>,
    /// Where the grid runs: cpu, cuda[:n], rocm[:n], vulkan[:n], metal, webgpu[:n] or libtorch[:cuda[:n]].
    #[arg(long, value_name = "DEVICE", default_value = "cpu", requires = "grid")]
    pub device: DeviceChoice,
    /// How the table is written; markdown unless given.
    #[arg(long, value_enum)]
    pub format: Option<FormatOfTable>,
    /// Which figures: full has all of them; paper is Table I of VSSL's paper, online and offline for
    /// each dataset, with published values below.
    #[arg(long, value_enum, default_value_t)]
    pub layout: LayoutOfTable,
    /// Write the table to this file.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Which figures a table shows, as on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LayoutOfTable {
    /// All of them.
    #[default]
    Full,
    /// Online and offline, with published values.
    Paper,
}

impl LayoutOfTable {
    /// As the library calls it.
    pub fn layout(self) -> Layout {
        match self {
            Self::Full => Layout::Full,
            Self::Paper => Layout::Paper,
        }
    }
}

/// How a table is written, as on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormatOfTable {
    /// For a terminal or a forge.
    Markdown,
    /// For a spreadsheet.
    Csv,
    /// For a paper, with the package booktabs.
    Latex,
    /// A page.
    Html,
    /// For programs, as with --json.
    Json,
}

impl FormatOfTable {
    /// As the library calls it.
    pub fn format(self) -> Format {
        match self {
            Self::Markdown => Format::Markdown,
            Self::Csv => Format::Csv,
            Self::Latex => Format::Latex,
            Self::Html => Format::Html,
            Self::Json => Format::Json,
        }
    }
}
