//! The command line: every command and its arguments.

mod backbone;
mod bench;
mod bench_embed;
mod data;
mod embed;
mod encoder;
mod evaluate;
mod interchange;
mod knn;
mod manual;
mod page;
mod pretrain;
mod rank;
mod reading;
mod recipe;
mod supervised;
mod table;
mod uncertainty;
mod values;
mod version;

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Command as Description, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use backbone::{BackboneArguments, StemName};
pub use bench::{
    AgreementArguments, AllreduceArguments, BenchAction, BenchCommand, DataArguments,
    KernelArguments, KnnBenchArguments, LogisticBenchArguments, StepArguments,
};
pub use bench_embed::EmbedBenchArguments;
pub use data::{DataAction, DataCommand};
pub use embed::{Embed, FormName, Search, SplitName};
pub use encoder::{EncoderArguments, EncoderCopy};
pub use evaluate::Evaluate;
pub use interchange::{Export, ExportFormat, Import, Range};
pub use knn::{DistanceName, K_BY_DEFAULT, Knn};
pub use manual::{Completions, Man};
pub use page::{Report, Shown, Watch};
pub use pretrain::Pretrain;
pub use rank::{CriterionName, Rank};
pub use reading::{EvaluatedName, ReadingArguments};
pub use recipe::{Config, NewRecipe};
pub use supervised::{Finetune, Linear, TrainingArguments};
pub use table::Table;
pub use uncertainty::Uncertainty;
pub use values::{FormatName, NetworkName};
pub use version::{COMMIT, json as version_as_json};

/// Pretrain image encoders without labels.
#[derive(Debug, Parser)]
#[command(
    name = "vssl",
    version,
    long_version = version::long(),
    about,
    arg_required_else_help = true,
    after_help = "Example:\n  vssl pretrain recipes/quickstart.toml\n\nExit codes: 0 done, 1 failed, \
                  2 wrong arguments or a wrong recipe, 128 and the number of a signal that ended the \
                  command early (130 after Ctrl-C)."
)]
pub struct Arguments {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
    /// Arguments that every command takes.
    #[command(flatten)]
    pub common: Common,
}

impl Arguments {
    /// Reads the arguments of a command line. Negative numbers are values of options, so that the option can say what
    /// it expects.
    ///
    /// # Errors
    /// Wrong arguments, or a request for help or the version.
    pub fn read(line: impl Iterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut description = with_negative_numbers(Self::command());
        let matches = description.try_get_matches_from_mut(line)?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut description))
    }
}

fn with_negative_numbers(command: Description) -> Description {
    let command = command.mut_args(|argument| {
        let is_option = !argument.is_positional() && argument.get_action().takes_values();
        argument.allow_negative_numbers(is_option)
    });
    command.mut_subcommands(with_negative_numbers)
}

/// Arguments that every command takes.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// Print the result alone, without notes and progress.
    #[arg(short, long, global = true, help_heading = "For every command")]
    pub quiet: bool,
    /// Show all figures of a training step, not only the five that matter most.
    #[arg(
        short,
        long,
        global = true,
        conflicts_with_all = ["quiet", "json"],
        help_heading = "For every command"
    )]
    pub verbose: bool,
    /// Print one JSON object a line, for programs.
    #[arg(long, global = true, conflicts_with = "quiet", help_heading = "For every command")]
    pub json: bool,
    /// Number of threads that compute; by default one for each core.
    #[arg(
        long,
        global = true,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..),
        help_heading = "For every command"
    )]
    pub threads: Option<u16>,
    /// Folder of the datasets. A relative data path is looked for there first, then in the working
    /// folder and its folder data.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "VSSL_DATA",
        default_value = "data",
        help_heading = "For every command"
    )]
    pub data: PathBuf,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train an encoder on images without labels, or resume a run.
    Pretrain(Pretrain),
    /// Show a recipe with all its defaults, and where each value comes from.
    Config(Config),
    /// Download, check, measure, pack and draw datasets.
    Data(DataCommand),
    /// List the methods.
    #[command(after_help = "Example:\n  vssl methods --json")]
    Methods,
    /// Write a recipe for your own images, with every key explained.
    NewRecipe(NewRecipe),
    /// Read an encoder from another program's weights: PyTorch pickles or safetensors.
    Import(Box<Import>),
    /// Write an encoder to a file that other tools load: safetensors, ONNX or a Burn record.
    Export(Export),
    /// Evaluate a frozen encoder by the evaluators that recipes name, each quick: knn, linear, spectrum, quality.
    Evaluate(Evaluate),
    /// Evaluate a frozen encoder by linear classifiers, at several learning rates at once.
    Linear(Linear),
    /// Fine-tune an encoder with all labels or a share of them.
    Finetune(Finetune),
    /// Evaluate an encoder by the nearest neighbours of its features.
    Knn(Knn),
    /// Evaluate uncertainty scores on unusual images, corrupted images and the errors of a probe.
    Uncertainty(Uncertainty),
    /// Write the features of images to a file: Parquet, CSV, numpy or safetensors.
    Embed(Embed),
    /// Find the images nearest to given images, among those that `vssl embed` wrote.
    Search(Search),
    /// Compare finished runs in a table, a row for each method; or first run a grid of recipes.
    Table(Table),
    /// Order checkpoints or runs without labels: LiDAR, RankMe, effective rank, alpha-ReQ.
    Rank(Rank),
    /// Write runs as one HTML page: results, curves, features, views. The page needs no network.
    Report(Report),
    /// Serve the page of a run while it trains, to this machine only.
    Watch(Watch),
    /// Measure speed: training steps, convolutions, the input pipeline, searches, exchanges.
    Bench(BenchCommand),
    /// Print a script that completes commands and options in a shell.
    Completions(Completions),
    /// Write manual pages.
    Man(Man),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(command: &clap::Command, visit: &mut dyn FnMut(&clap::Command)) {
        visit(command);
        for child in command.get_subcommands().filter(|child| child.get_name() != "help") {
            walk(child, visit);
        }
    }

    #[test]
    fn the_arguments_are_consistent_and_every_help_has_an_example() {
        let command = Arguments::command();
        command.clone().debug_assert();
        walk(&command, &mut |command| {
            let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(text.contains("  vssl "), "{} has no example", command.get_name());
        });
    }

    #[test]
    fn every_example_can_be_parsed() {
        let mut count = 0;
        walk(&Arguments::command(), &mut |command| {
            let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in text.lines().filter(|line| line.starts_with("  vssl ")) {
                Arguments::read(line.split_whitespace().map(OsString::from)).unwrap();
                count += 1;
            }
        });
        assert!(count >= 10);
    }

    #[test]
    fn a_negative_number_is_refused_by_the_option_that_it_was_given_to() {
        for line in ["vssl knn runs/a --k -1", "vssl pretrain a.toml --rank-timeout -5"] {
            let error = Arguments::read(line.split_whitespace().map(OsString::from)).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("invalid value") && !text.contains("-- -"), "{text}");
        }
    }
}
