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
                  --format latex --out table.tex\n  vssl table runs/ --layout paper --format \
                  latex\n  vssl table --grid study.toml\n\nA grid is TOML: \
                  recipes = [\"a.toml\", …], seeds = [0, 1], out = \"runs/study\", set = \
                  [\"KEY=VALUE\", …].\nCtrl-C stops it after a checkpoint; the same command goes on."
)]
pub struct Table {
    /// Run folders, or folders with run folders at any depth.
    #[arg(value_name = "RUN", required_unless_present = "grid", conflicts_with = "grid")]
    pub runs: Vec<PathBuf>,
    /// Run what is left to do of this grid, then show its table.
    #[arg(long, value_name = "GRID")]
    pub grid: Option<PathBuf>,
    /// Device of the grid: cpu, cuda[:n], rocm[:n], vulkan[:n], metal, webgpu[:n] or libtorch[:cuda[:n]].
    #[arg(long, value_name = "DEVICE", default_value = "cpu", requires = "grid")]
    pub device: DeviceChoice,
    /// Format of the table; by default markdown.
    #[arg(long, value_enum)]
    pub format: Option<FormatOfTable>,
    /// Figures in the table: full has all; paper has those of Table I of VSSL's paper, online and
    /// offline accuracy for each dataset, with published values below.
    #[arg(long, value_enum, default_value_t)]
    pub layout: LayoutOfTable,
    /// Write the table to this file.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// The figures of a table, as the command line names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LayoutOfTable {
    /// All figures.
    #[default]
    Full,
    /// Online and offline accuracy, with published values.
    Paper,
}

impl LayoutOfTable {
    /// The same in the library.
    pub fn layout(self) -> Layout {
        match self {
            Self::Full => Layout::Full,
            Self::Paper => Layout::Paper,
        }
    }
}

/// The format of a table, as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormatOfTable {
    /// A table for terminals, README files and issues.
    Markdown,
    /// A table for spreadsheets.
    Csv,
    /// A table for papers, which needs the package booktabs.
    Latex,
    /// An HTML page.
    Html,
    /// The JSON object that --json prints.
    Json,
}

impl FormatOfTable {
    /// The same in the library.
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
