//! Arguments of `vssl bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, value_parser};
use vssl::{
    device::DeviceChoice,
    optim::{Adam, Algorithm, Lars, Sgd},
};

use super::{
    backbone::BackboneArguments,
    bench_embed::EmbedBenchArguments,
    values::{PrecisionName, not_negative},
};

/// Arguments of `vssl bench`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  vssl bench step --width 16 --batch 32\n\nMachines are noisy: compare \
                  numbers only from runs in turn, as bench/compare.py takes them."
)]
pub struct BenchCommand {
    /// What is measured.
    #[command(subcommand)]
    pub command: BenchAction,
}

/// The subcommands of `vssl bench`.
#[derive(Debug, Subcommand)]
pub enum BenchAction {
    /// Training steps of a method on random views, or of a recipe on its images: forward, backward, optimiser, teacher.
    Step(StepArguments),
    /// Whether a device computes what the CPU computes: three steps of every method on both.
    Agreement(AgreementArguments),
    /// Each convolution of ResNet-18 and ResNet-50 beside a plain matrix product of its size.
    Kernels(KernelArguments),
    /// The input pipeline: two SimCLR views of each image, decoding included.
    Data(DataArguments),
    /// The features of a set of images, from files to vectors.
    Embed(EmbedBenchArguments),
    /// The exact search of nearest neighbours, on random features.
    Knn(KnnBenchArguments),
    /// A logistic regression on random features, or on those of a file, to its minimum.
    Logistic(LogisticBenchArguments),
    /// The sum of gradients over the processes of a job that mpirun or srun started.
    Allreduce(AllreduceArguments),
}

/// Arguments of `vssl bench knn`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  vssl bench knn --train 100000 --queries 10000 --dim 512 --json"
)]
pub struct KnnBenchArguments {
    /// Number of rows that are searched.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = value_parser!(u32).range(1..))]
    pub train: u32,
    /// Number of rows whose neighbours are found.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = value_parser!(u32).range(1..))]
    pub queries: u32,
    /// Length of a row.
    #[arg(long, value_name = "D", default_value_t = 512, value_parser = value_parser!(u32).range(1..=1 << 20))]
    pub dim: u32,
    /// Number of neighbours that vote.
    #[arg(long, value_name = "K", default_value_t = 200, value_parser = value_parser!(u32).range(1..))]
    pub k: u32,
    /// Number of classes of the rows.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = value_parser!(u32).range(1..=1 << 20))]
    pub classes: u32,
}

/// Arguments of `vssl bench logistic`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vssl bench logistic --images 5000 --dim 2048 --classes 100 --json\n  \
                        vssl bench logistic --features x.npy --labels y.npy --l2 1e-4"
)]
pub struct LogisticBenchArguments {
    /// Number of images, at least that of the classes.
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = value_parser!(u32).range(1..))]
    pub images: u32,
    /// Length of a feature.
    #[arg(long, value_name = "D", default_value_t = 512, value_parser = value_parser!(u32).range(1..=1 << 20))]
    pub dim: u32,
    /// Number of classes.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = value_parser!(u32).range(1..=1 << 20))]
    pub classes: u32,
    /// Features of a file, .npy or .safetensors, in place of random ones.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["images", "dim", "classes"])]
    pub features: Option<PathBuf>,
    /// The class of each row, where --features has none of its own.
    #[arg(long, value_name = "FILE", requires = "features")]
    pub labels: Option<PathBuf>,
    /// Strength of the L2 penalty: the loss is the mean cross entropy plus half of it times the squared weights.
    #[arg(long, value_name = "X", default_value_t = 1e-4, value_parser = not_negative, allow_negative_numbers = true)]
    pub l2: f64,
    /// The fit ends when no entry of the gradient is larger than this share of the largest at weights of zero.
    #[arg(long, value_name = "X", default_value_t = 1e-4, value_parser = not_negative, allow_negative_numbers = true)]
    pub tolerance: f64,
    /// Iterations, at most.
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = value_parser!(u32).range(1..))]
    pub iterations: u32,
}

/// Arguments of `vssl bench allreduce`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vssl bench allreduce --sizes 4096,1048576\n\nStart it as a job: mpirun \
                  -n 4 vssl bench allreduce"
)]
pub struct AllreduceArguments {
    /// Bytes that each process contributes to a sum; several sizes are separated by commas.
    #[arg(
        long,
        value_name = "BYTES",
        value_delimiter = ',',
        default_values_t = [1 << 10, 1 << 14, 1 << 18, 1 << 22, 45_000_000, 100_000_000],
        value_parser = value_parser!(u64).range(4..=1 << 33)
    )]
    pub sizes: Vec<u64>,
    /// Number of sums of each size that are timed.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u32).range(1..))]
    pub rounds: u32,
}

/// Arguments of `vssl bench step`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vssl bench step --method vssl --width 64 --size 32 --batch \
                        64 --steps 5 --threads 2 --json\n  vssl bench step --stem imagenet --size \
                        224 --batch 16\n  vssl bench step --backbone vit-small --size 224 --batch 64 \
                        --device cuda --precision bf16\n  vssl bench step --method dino --backbone vit-tiny --patch 4 --local-views 6 \
                        --local-size 16 --optimizer adamw --breakdown\n  vssl bench step --recipe \
                        recipes/quickstart.toml --set train.batch=64 --breakdown")]
pub struct StepArguments {
    /// Train by a recipe, on its images and with its loader, instead of a method's default settings on random views.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["method", "backbone", "width", "stem", "patch", "size", "stem_padding", "batch",
            "local_views", "local_size", "optimizer", "precision", "hidden", "dim"]
    )]
    pub recipe: Option<PathBuf>,
    /// Change a setting of the recipe, or remove it (KEY=); can be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "recipe")]
    pub overrides: Vec<String>,
    /// Show which part of a step takes how long; on the CPU only.
    #[arg(long)]
    pub breakdown: bool,

    /// The method, with the default settings of its recipe table.
    #[arg(long, value_name = "NAME", default_value = "vssl")]
    pub method: String,
    /// The encoder of the benchmark.
    #[command(flatten)]
    pub backbone: BackboneArguments,
    /// Side of the views in pixels.
    #[arg(long, value_name = "S", default_value_t = 32, value_parser = value_parser!(u16).range(1..=1024))]
    pub size: u16,
    /// Padding of the CIFAR stem of a ResNet; by default 1.
    #[arg(long, value_name = "P", value_parser = value_parser!(u16).range(..=3))]
    pub stem_padding: Option<u16>,
    /// Small crops of each image, which only the student sees.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = value_parser!(u16).range(..=64))]
    pub local_views: u16,
    /// Side of the small crops in pixels; by default half of --size.
    #[arg(long, value_name = "S", requires = "local_views", value_parser = value_parser!(u16).range(1..=1024))]
    pub local_size: Option<u16>,
    /// The update rule, with its default settings.
    #[arg(long, value_enum, value_name = "RULE", default_value_t)]
    pub optimizer: OptimizerName,
    /// Images of a step, each seen as two views and the small crops.
    #[arg(long, value_name = "B", default_value_t = 64, value_parser = value_parser!(u16).range(1..))]
    pub batch: u16,
    /// Number of steps that are timed.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u16).range(1..))]
    pub steps: u16,
    /// Number of steps before the clock starts.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub warmup: u16,
    /// Device: cpu, cuda[:n], rocm[:n], vulkan[:n], metal, webgpu[:n] or libtorch[:cuda[:n]].
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: DeviceChoice,
    /// Number type of the backbone's products.
    #[arg(long, value_enum, value_name = "TYPE", default_value_t)]
    pub precision: PrecisionName,
    /// Hidden width of the heads, where the method has a setting of this name.
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1 << 20))]
    pub hidden: Option<u32>,
    /// Output length of the heads, where the method has a setting of this name.
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1 << 20))]
    pub dim: Option<u32>,
}

/// Update rules, as the command line names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OptimizerName {
    #[default]
    Lars,
    Sgd,
    Adam,
    Adamw,
}

impl From<OptimizerName> for Algorithm {
    fn from(name: OptimizerName) -> Self {
        match name {
            OptimizerName::Lars => Self::Lars(Lars::default()),
            OptimizerName::Sgd => Self::Sgd(Sgd::default()),
            OptimizerName::Adam => Self::Adam(Adam::default()),
            OptimizerName::Adamw => Self::Adamw(Adam::default()),
        }
    }
}

/// Arguments of `vssl bench agreement`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vssl bench agreement --device cuda\n  vssl bench agreement \
                        --device cuda --precision bf16 --method byol --method dino\n  vssl bench \
                        agreement --store cpu.safetensors\n  vssl bench agreement --device webgpu \
                        --against cpu.safetensors\n\nExit codes: 0 when all methods agree, 1 when one \
                        does not.")]
pub struct AgreementArguments {
    /// A method; can be repeated. By default all methods that can train the encoder.
    #[arg(long = "method", value_name = "NAME")]
    pub methods: Vec<String>,
    /// The encoder of the benchmark.
    #[command(flatten)]
    pub backbone: BackboneArguments,
    /// Side of the views in pixels.
    #[arg(long, value_name = "S", default_value_t = 32, value_parser = value_parser!(u16).range(1..=1024))]
    pub size: u16,
    /// Images of a step, each seen as two views.
    #[arg(long, value_name = "B", default_value_t = 32, value_parser = value_parser!(u16).range(1..))]
    pub batch: u16,
    /// Device: cpu, cuda[:n], rocm[:n], vulkan[:n], metal, webgpu[:n] or libtorch[:cuda[:n]].
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: DeviceChoice,
    /// Number type of the backbone's products.
    #[arg(long, value_enum, value_name = "TYPE", default_value_t)]
    pub precision: PrecisionName,
    /// Write the weights, views and numbers of the CPU to a file, and do not compare.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["against", "device", "precision"])]
    pub store: Option<PathBuf>,
    /// Compare with a file that --store wrote, here or on another machine, instead of this CPU.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["backbone", "width", "stem", "patch", "size", "batch"])]
    pub against: Option<PathBuf>,
}

/// Arguments of `vssl bench kernels`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vssl bench kernels --threads 1\n  vssl bench kernels --size 32 \
                        --batch 64 --json"
)]
pub struct KernelArguments {
    /// Side of the images in pixels; up to 64 the network has the stem for small images. By default
    /// 32 and then 224.
    #[arg(long, value_name = "S", value_parser = value_parser!(u16).range(1..=1024))]
    pub size: Option<u16>,
    /// Channels of the first stage.
    #[arg(long, value_name = "W", default_value_t = 64, value_parser = value_parser!(u16).range(1..=1024))]
    pub width: u16,
    /// Images of a batch.
    #[arg(long, value_name = "B", default_value_t = 16, value_parser = value_parser!(u16).range(1..=1024))]
    pub batch: u16,
    /// Milliseconds that each pass is repeated for; every pass runs at least twice.
    #[arg(long, value_name = "MS", default_value_t = 200)]
    pub budget: u16,
}

/// Arguments of `vssl bench data`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vssl bench data --size 32 --threads 1 --json\n  vssl bench \
                        data --size 224 --root photos --threads 1")]
pub struct DataArguments {
    /// Side of the views in pixels.
    #[arg(long, value_name = "S", default_value_t = 32, value_parser = value_parser!(u16).range(1..=4096))]
    pub size: u16,
    /// Folder or shards of images to decode; by default 512 noise images of 32 pixels, held in memory.
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Number of images that are timed; a smaller set is read repeatedly.
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = value_parser!(u32).range(1..))]
    pub images: u32,
    /// Probability of a blur; by default 0 up to 32 pixels and 0.5 above.
    #[arg(long, value_name = "P")]
    pub blur: Option<f64>,
}
