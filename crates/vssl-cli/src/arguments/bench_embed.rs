//! Arguments of `vssl bench embed`.

use std::path::PathBuf;

use clap::{Args, value_parser};
use vssl::device::DeviceChoice;

use super::backbone::BackboneArguments;

/// Arguments of `vssl bench embed`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vssl bench embed --root photos --json\n  vssl bench embed --backbone \
                  resnet50 --root photos --batch 8\n  vssl bench embed --size 32 --images 5000\n\nThe \
                  encoder has random weights. bench/torch_embed.py does the same work in PyTorch."
)]
pub struct EmbedBenchArguments {
    /// The encoder of the benchmark. A ResNet has the stem for small images up to 64 pixels.
    #[command(flatten)]
    pub backbone: BackboneArguments,
    /// Side of the square that the network sees, in pixels.
    #[arg(long, value_name = "S", default_value_t = 224, value_parser = value_parser!(u16).range(1..=4096))]
    pub size: u16,
    /// Folder of images to decode; by default noise images of that size, held in memory.
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Number of images; a smaller set is read repeatedly. By default those of the folder, or 512.
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1 << 24))]
    pub images: Option<u32>,
    /// Images of one forward pass, 65536 at most; by default as `vssl embed` chooses them.
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=65536))]
    pub batch: Option<u32>,
    /// Number of threads that decode; by default as for `vssl embed`, and 0 decodes between forward passes.
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(..=1024))]
    pub workers: Option<u16>,
    /// Device: cpu, cuda[:n], rocm[:n], vulkan[:n], metal, webgpu[:n] or libtorch[:cuda[:n]].
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: DeviceChoice,
}
