//! Arguments of `vssl pretrain`.

use std::path::PathBuf;

use clap::Args;
use vssl::device::DeviceChoice;

use super::values::PrecisionName;

/// Arguments of `vssl pretrain`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vssl pretrain recipes/quickstart.toml\n  vssl pretrain \
                  recipes/cifar10/vssl.toml --out runs/a --set train.epochs=200 --set seed=1\n  \
                  vssl pretrain --resume runs/a\n  vssl pretrain --resume runs/a --set \
                  train.epochs=400\n  vssl pretrain recipes/cifar10/vssl.toml --out runs/a \
                  --continue\n  vssl pretrain mine.toml --from resnet50.pth --set init.freeze_epochs=1\n  vssl \
                  pretrain recipes/cifar10/distill.toml --teacher runs/vssl-0\n  vssl \
                  pretrain recipes/imagenet100/vssl.toml --device cuda \
                  --precision bf16\n\nCtrl-C finishes the step and saves; a second one ends at once.")]
pub struct Pretrain {
    /// The recipe.
    #[arg(required_unless_present = "resume", conflicts_with = "resume")]
    pub recipe: Option<PathBuf>,
    /// Resume the run in this folder from its last checkpoint, bit for bit; with --set train.epochs=N it
    /// goes on, finished or not, to another number of epochs.
    #[arg(long, value_name = "RUN")]
    pub resume: Option<PathBuf>,
    /// Resume the run in the run folder if this recipe began it, or start it: for scripts that are submitted
    /// again.
    #[arg(long = "continue", requires = "recipe", conflicts_with_all = ["resume", "force"])]
    pub continues: bool,
    /// Start from this encoder instead of random weights: a run folder, a file that `vssl export` or `vssl import`
    /// wrote, or another program's weights (.pth, .safetensors); short for --set init.from=….
    #[arg(long, value_name = "ENCODER", conflicts_with = "resume")]
    pub from: Option<PathBuf>,
    /// Frozen teacher of a method that has one, such as distill: what --from takes; short for --set teacher.from=….
    #[arg(long, value_name = "ENCODER", conflicts_with = "resume")]
    pub teacher: Option<PathBuf>,
    /// Run folder; by default runs/<recipe>-<seed>.
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub out: Option<PathBuf>,
    /// Change a setting of the recipe, or remove it (KEY=); can be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Device: cpu, cuda[:n], rocm[:n], vulkan[:n], metal, webgpu[:n] or libtorch[:cuda[:n]].
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: DeviceChoice,
    /// Number type of the backbone's products; short for --set train.precision=….
    #[arg(long, value_enum, value_name = "TYPE")]
    pub precision: Option<PrecisionName>,
    /// Replace a run that is in the run folder already.
    #[arg(long, conflicts_with = "resume")]
    pub force: bool,
    /// Resume although images were added, removed or changed since the checkpoint: epochs and schedules
    /// follow the new images.
    #[arg(long, conflicts_with = "recipe")]
    pub allow_changed_data: bool,
    /// Longest time in seconds that the processes of a job (mpirun, srun) wait for each other.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    pub rank_timeout: u32,
    /// Stop, as on Ctrl-C, when standard input ends. Programs that start runs use it.
    #[arg(long, hide = true)]
    pub stop_at_eof: bool,
}
