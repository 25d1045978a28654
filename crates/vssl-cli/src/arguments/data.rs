//! Arguments of `vssl data` and its subcommands.

use std::path::PathBuf;

use clap::{Args, Subcommand, builder::PossibleValuesParser};

use super::values::FormatName;

/// Arguments of `vssl data`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vssl data fetch cifar10\n  vssl data check recipes/quickstart.toml\n  vssl \
                  data pack photos/ --to shards/\n  vssl data show photo.jpg --to sheet.png --recipe recipes/cifar10/vssl.toml"
)]
pub struct DataCommand {
    /// The subcommand.
    #[command(subcommand)]
    pub command: DataAction,
}

/// The subcommands of `vssl data`.
#[derive(Debug, Subcommand)]
pub enum DataAction {
    /// Download a dataset, or resume a download, verify its checksums, and unpack what is read unpacked.
    #[command(after_help = "Example:\n  vssl data fetch cifar10 --data /datasets")]
    Fetch {
        /// The dataset.
        #[arg(value_parser = PossibleValuesParser::new(["cifar10", "cifar100", "fashion-mnist", "stl10", "tiny-imagenet"]))]
        name: String,
    },
    /// Read every image and report the images that cannot be used.
    #[command(after_help = "Examples:\n  vssl data check photos/\n  vssl data check data/cifar10 \
                      --format cifar10\n  vssl data check recipes/quickstart.toml")]
    Check {
        /// A folder, shards, a list, a CIFAR archive, or a recipe.
        source: PathBuf,
        /// Format of the images; by default it is recognised from the files.
        #[arg(long, value_enum)]
        format: Option<FormatName>,
        /// Number of channels of the images, 3 (RGB) unless a recipe says it: 1 for grey, more for multispectral ones.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
        channels: Option<u8>,
    },
    /// Write images into tar shards, as they are or scaled down, and read them back.
    #[command(
        after_help = "Examples:\n  vssl data pack photos/ --to shards/\n  vssl data pack photos/ --to \
                            shards/ --side 256 --quality 90\n  vssl data pack downloaded-parquet/ --to shards/"
    )]
    Pack {
        /// A folder, shards, a list, an archive, or a recipe.
        source: PathBuf,
        /// The folder of the shards, train/000000.tar and so on: empty or new, and DIR.part until it is whole.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// Scale images down whose smaller side has more pixels than this, and store them as JPEG; by default
        /// files stay as they are. Images that are no files (CIFAR, STL-10, MNIST) become PNGs.
        #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=65535))]
        side: Option<u32>,
        /// Quality of the JPEGs that are written.
        #[arg(long, value_name = "Q", default_value_t = 90, requires = "side",
              value_parser = clap::value_parser!(u8).range(1..=100))]
        quality: u8,
        /// Size of a shard in MiB.
        #[arg(long, value_name = "MIB", default_value_t = 256,
              value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
        shard_size: u32,
        /// Leave images out that cannot be read, and name them, instead of stopping.
        #[arg(long)]
        skip_bad: bool,
        /// Format of the images; by default it is recognised from the files.
        #[arg(long, value_enum)]
        format: Option<FormatName>,
        /// Number of channels of the images, 3 (RGB) unless a recipe says it: 1 for grey, more for multispectral ones.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
        channels: Option<u8>,
    },
    /// Measure the mean and the deviation of each channel of the training images, as keys of a recipe.
    #[command(
        after_help = "Examples:\n  vssl data statistics photos/\n  vssl data statistics tiles/ --channels 4 --range \
                      0,10000"
    )]
    Statistics {
        /// A folder, shards, a list, a CIFAR archive, or a recipe.
        source: PathBuf,
        /// Format of the images; by default it is recognised from the files.
        #[arg(long, value_enum)]
        format: Option<FormatName>,
        /// Number of channels of the images, 3 (RGB) unless a recipe says it: 1 for grey, more for multispectral ones.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
        channels: Option<u8>,
        /// Which numbers are black and white in images of more than 8 bits a sample: full, percentiles or LOW,HIGH, as
        /// data.range of a recipe.
        #[arg(long, value_name = "RANGE", allow_hyphen_values = true)]
        range: Option<vssl_data::dataset::Range>,
        /// Leave images out that cannot be read, and count them, instead of stopping.
        #[arg(long)]
        skip_bad: bool,
    },
    /// Draw images as they are decoded and, with a recipe, their augmented views as the network gets them.
    #[command(
        after_help = "Examples:\n  vssl data show a.jpg b.png --to sheet.png\n  vssl data show a.jpg \
                      --to sheet.png --recipe recipes/cifar10/vssl.toml --draws 4 --seed 1"
    )]
    Show {
        /// Image files.
        #[arg(value_name = "IMAGE", required = true)]
        images: Vec<PathBuf>,
        /// The PNG file to write: a row for each image and draw, the image on the left.
        #[arg(long, value_name = "FILE.png")]
        to: PathBuf,
        /// Recipe, or run folder, whose views are drawn.
        #[arg(long, value_name = "RECIPE")]
        recipe: Option<PathBuf>,
        /// How often the views of each image are drawn.
        #[arg(
            long,
            value_name = "N",
            default_value_t = 1,
            requires = "recipe",
            value_parser = clap::value_parser!(u32).range(1..=1000)
        )]
        draws: u32,
        /// Seed of the views, instead of the recipe's.
        #[arg(long, value_name = "SEED", requires = "recipe")]
        seed: Option<u64>,
        /// Number of channels of the images, 3 (RGB) unless the recipe says it. Of more than three channels the first
        /// three are drawn, of two the first.
        #[arg(long, value_name = "N", conflicts_with = "recipe", value_parser = clap::value_parser!(u8).range(1..=64))]
        channels: Option<u8>,
    },
}
