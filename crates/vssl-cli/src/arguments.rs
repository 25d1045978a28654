//! What can be typed.

mod bench;
mod embed;
mod encoder;
mod interchange;
mod knn;
mod page;
mod supervised;
mod table;
mod uncertainty;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, builder::PossibleValuesParser};
use vssl::{device::DeviceChoice, methods::METHODS, precision::Precision};

pub use bench::{
    AllreduceArguments, BenchAction, BenchCommand, DataArguments, KernelArguments,
    KnnBenchArguments, StepArguments,
};
pub use embed::{Embed, FormName, Search, SplitName};
pub use encoder::{EncoderArguments, EncoderCopy};
pub use interchange::{Export, ExportFormat, Import, Range};
pub use knn::{DistanceName, Knn};
pub use page::{Report, Shown, Watch};
pub use supervised::{Finetune, Linear, TrainingArguments};
pub use table::Table;
pub use uncertainty::Uncertainty;

/// Pretrain image encoders without labels.
#[derive(Debug, Parser)]
#[command(
    name = "vssl",
    version,
    about,
    arg_required_else_help = true,
    after_help = "Example:\n  vssl pretrain recipes/quickstart.toml\n\nExit codes: 0 done, 1 failed, \
                  2 wrong arguments or a wrong recipe."
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// For every command.
    #[command(flatten)]
    pub common: Common,
}

/// For every command.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// Print the result and nothing else.
    #[arg(short, long, global = true, help_heading = "For every command")]
    pub quiet: bool,
    /// Print one JSON object a line, for programs.
    #[arg(long, global = true, conflicts_with = "quiet", help_heading = "For every command")]
    pub json: bool,
    /// Threads that compute; all cores unless given.
    #[arg(
        long,
        global = true,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..),
        help_heading = "For every command"
    )]
    pub threads: Option<u16>,
    /// Where datasets lie: a relative data path is looked for there first, then from here.
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

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train an encoder on images without labels, or go on with a run.
    Pretrain(Pretrain),
    /// Show a recipe with all its defaults, and where each value comes from.
    Config(Config),
    /// Fetch and check datasets.
    Data(DataCommand),
    /// List the methods.
    #[command(after_help = "Example:\n  vssl methods --json")]
    Methods,
    /// Write a recipe for your own images, every key in it explained.
    NewRecipe(NewRecipe),
    /// Make an encoder of another program's weights: PyTorch's pickles and safetensors.
    Import(Import),
    /// Write an encoder to a file that other tools load: safetensors, ONNX or a Burn record.
    Export(Export),
    /// Judge a frozen encoder by linear classifiers, several learning rates at once.
    Linear(Linear),
    /// Train an encoder on with labels, all of them or a share.
    Finetune(Finetune),
    /// Judge an encoder by the nearest neighbours of its features.
    Knn(Knn),
    /// Judge what uncertainty is worth: unusual and corrupted images, errors of a probe.
    Uncertainty(Uncertainty),
    /// Write the features of images to a file: Parquet, CSV, numpy or safetensors.
    Embed(Embed),
    /// Find the images of such a file that are nearest to given ones, and draw them.
    Search(Search),
    /// Put finished runs side by side, a row for each method; or run a grid of them first.
    Table(Table),
    /// Show runs as one HTML page: results, curves, features, views. It needs no network.
    Report(Report),
    /// Serve the same page while a run trains, to this machine only.
    Watch(Watch),
    /// Measure the speed of training, of its convolutions and of the input pipeline.
    Bench(BenchCommand),
}

/// Arguments of `vssl pretrain`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vssl pretrain recipes/quickstart.toml\n  vssl pretrain \
                  recipes/cifar10/vssl.toml --out runs/a --set train.epochs=200 --set seed=1\n  \
                  vssl pretrain --resume runs/a\n  vssl pretrain \
                  recipes/imagenet100/vssl.toml --device cuda --precision bf16\n\nCtrl-C finishes the step and saves; a second \
                  one ends at once.")]
pub struct Pretrain {
    /// The recipe.
    #[arg(required_unless_present = "resume", conflicts_with = "resume")]
    pub recipe: Option<PathBuf>,
    /// Go on with the run in this folder, exactly where its last checkpoint stands.
    #[arg(long, value_name = "RUN")]
    pub resume: Option<PathBuf>,
    /// Run folder; runs/<recipe>-<seed> unless given.
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub out: Option<PathBuf>,
    /// Change a setting of the recipe; can be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// cpu, cuda[:n], rocm[:n], vulkan[:n], metal, webgpu[:n] or libtorch[:cuda[:n]].
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: DeviceChoice,
    /// Type in which the backbone multiplies; short for --set train.precision=….
    #[arg(long, value_enum, value_name = "TYPE")]
    pub precision: Option<PrecisionName>,
    /// Replace the run in the run folder.
    #[arg(long, conflicts_with = "resume")]
    pub force: bool,
    /// Go on although images were added, removed or changed since the checkpoint: epochs and schedules follow
    /// the new images.
    #[arg(long, conflicts_with = "recipe")]
    pub allow_changed_data: bool,
    /// Seconds that the processes of a job, started by mpirun or srun, wait for each other at most.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    pub rank_timeout: u32,
    /// Stop, as on Ctrl-C, when standard input ends: for programs that start runs.
    #[arg(long, hide = true)]
    pub stop_at_eof: bool,
}

/// Arguments of `vssl config`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vssl config recipes/cifar10/vssl.toml --set optimizer.lr=0.5")]
pub struct Config {
    /// The recipe.
    pub recipe: PathBuf,
    /// Change a setting of the recipe; can be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
}

/// Arguments of `vssl new-recipe`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vssl new-recipe byol --data photos/\n  vssl new-recipe vssl \
                  --data data/cifar10 --out mine.toml --force")]
pub struct NewRecipe {
    /// Which method; `vssl methods` lists them.
    #[arg(value_parser = PossibleValuesParser::new(METHODS.iter().map(|entry| entry.schema.name)))]
    pub method: String,
    // Takes the place of the data root, which this command has no use for.
    /// The images: a folder, or an archive of CIFAR; the format is told from the files.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The file to write; <method>.toml unless given.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Replace the file if it is there.
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `vssl data`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vssl data fetch cifar10\n  vssl data check recipes/quickstart.toml"
)]
pub struct DataCommand {
    /// What to do.
    #[command(subcommand)]
    pub command: DataAction,
}

/// What `vssl data` does.
#[derive(Debug, Subcommand)]
pub enum DataAction {
    /// Download a dataset, or go on with a download, and verify it.
    #[command(after_help = "Example:\n  vssl data fetch cifar10 --data /datasets")]
    Fetch {
        /// Which one.
        #[arg(value_parser = PossibleValuesParser::new(["cifar10", "cifar100", "fashion-mnist"]))]
        name: String,
    },
    /// Read every image and report those that cannot be used.
    #[command(after_help = "Examples:\n  vssl data check photos/\n  vssl data check data/cifar10 \
                      --format cifar10\n  vssl data check recipes/quickstart.toml")]
    Check {
        /// A folder, an archive, or a recipe.
        source: PathBuf,
        /// How the images are stored; told from the files unless given.
        #[arg(long, value_enum)]
        format: Option<FormatName>,
    },
}

/// How images are stored, as on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormatName {
    /// Image files in folders.
    Folder,
    /// CIFAR-10, binary version.
    Cifar10,
    /// CIFAR-100, binary version.
    Cifar100,
    /// MNIST or Fashion-MNIST.
    Idx,
    /// 100 classes of an ImageNet tree.
    Imagenet100,
}

/// In what a backbone multiplies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PrecisionName {
    /// Single precision, on every device.
    #[default]
    F32,
    /// bfloat16.
    Bf16,
    /// 16-bit floats, with a scaled loss.
    F16,
}

impl From<PrecisionName> for Precision {
    fn from(name: PrecisionName) -> Self {
        match name {
            PrecisionName::F32 => Self::F32,
            PrecisionName::Bf16 => Self::Bf16,
            PrecisionName::F16 => Self::F16,
        }
    }
}

/// Which copy of the encoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum NetworkName {
    /// The one that gradients train.
    #[default]
    Student,
    /// Its moving average, where the method has one.
    Teacher,
}

fn checkpoint(text: &str) -> Result<String, String> {
    let step = text.strip_prefix("step-").is_some_and(|step| step.parse::<u64>().is_ok());
    match step || text == "latest" || text == "best" {
        true => Ok(text.to_owned()),
        false => Err("expected latest, best or step-N, as in step-1000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

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
                Arguments::try_parse_from(line.split_whitespace()).unwrap();
                count += 1;
            }
        });
        assert!(count >= 10);
    }
}
