//! The settings of a ResNet.

use serde::{Deserialize, Serialize};

/// The settings of a ResNet.
#[derive(Clone, Debug, PartialEq)]
pub struct ResnetConfig {
    /// The number and kind of the blocks.
    pub depth: ResnetDepth,
    /// What the network has in another way than the usual one.
    pub variant: ResnetVariant,
    /// The number of channels of the first stage; 64 is the published network.
    pub width: usize,
    /// The layers before the first block. [`ResnetVariant::Deep`] has a stem of its own, which has the geometry of
    /// `imagenet`.
    pub stem: Stem,
    /// The padding of the `cifar` stem. solo-learn's published recipes use 2, which turns 32 × 32 into 34 ×
    /// 34 pixels; the usual choice is 1. The `imagenet` stem always has 3.
    pub stem_padding: usize,
}

/// The kinds of stem: see [`ResnetConfig::stem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stem {
    /// A 7×7 convolution of stride 2, then a 3×3 max-pool of stride 2.
    Imagenet,
    /// A 3×3 convolution of stride 1 without max-pool.
    Cifar,
}

/// The blocks of the four stages of a ResNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResnetDepth {
    /// ResNet-18: 2, 2, 2 and 2 basic blocks.
    Resnet18,
    /// ResNet-34: 3, 4, 6 and 3 basic blocks.
    Resnet34,
    /// ResNet-50: 3, 4, 6 and 3 bottlenecks.
    Resnet50,
    /// ResNet-101: 3, 4, 23 and 3 bottlenecks.
    Resnet101,
    /// ResNet-152: 3, 8, 36 and 3 bottlenecks.
    Resnet152,
}

/// What a ResNet has in another way than the usual one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResnetVariant {
    /// The ResNet of torchvision.
    #[default]
    Plain,
    /// ResNet-D (He et al. 2019, arXiv:1812.01187, §4), as timm builds it: three 3×3 convolutions instead of the
    /// 7×7, and shortcuts that average before they project.
    Deep,
    /// A bottleneck has twice the inner width (torchvision's `wide_resnet50_2`; Zagoruyko and Komodakis 2016,
    /// arXiv:1605.07146).
    Wide,
}

/// The sizes of any ResNet, for networks that have no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResnetShape {
    /// The number of blocks of each stage.
    pub blocks: [usize; 4],
    /// The base width of each stage; the outputs of a bottleneck have four times as many channels.
    pub channels: [usize; 4],
    /// Whether the blocks are bottlenecks.
    pub bottleneck: bool,
    /// The inner width of a bottleneck in 64ths of the stage's base width: torchvision's `width_per_group`.
    pub width_per_group: usize,
    /// The layers before the first block.
    pub stem: StemShape,
    /// Whether a shortcut with a stride averages 2×2 pixels before its 1×1 convolution, which has no stride then.
    pub average_down: bool,
}

/// The sizes of a ResNet's stem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StemShape {
    /// A 7×7 convolution of stride 2 with this many channels, then a max-pool.
    Imagenet(usize),
    /// A 3×3 convolution with this many channels and this padding.
    Cifar(usize, usize),
    /// Three 3×3 convolutions, the first of stride 2, with this many, as many and twice as many channels, then a
    /// max-pool.
    Deep(usize),
}

impl Default for ResnetConfig {
    fn default() -> Self {
        Self {
            depth: ResnetDepth::Resnet18,
            variant: ResnetVariant::Plain,
            width: 64,
            stem: Stem::Imagenet,
            stem_padding: 1,
        }
    }
}

impl ResnetConfig {
    /// Returns the sizes of the network.
    pub fn shape(&self) -> ResnetShape {
        let Self { depth, variant, width, stem, stem_padding } = *self;
        let deep = variant == ResnetVariant::Deep;
        ResnetShape {
            blocks: depth.blocks(),
            channels: [0, 1, 2, 3].map(|stage| width << stage),
            bottleneck: depth.is_of_bottlenecks(),
            width_per_group: if variant == ResnetVariant::Wide { 128 } else { 64 },
            stem: match stem {
                // The last of the three convolutions has twice as many channels as the first two.
                Stem::Imagenet if deep => StemShape::Deep(width / 2),
                Stem::Imagenet => StemShape::Imagenet(width),
                Stem::Cifar => StemShape::Cifar(width, stem_padding),
            },
            average_down: deep,
        }
    }
}

impl ResnetShape {
    /// Returns the ratio of a block's output channels to the stage's base width.
    pub(crate) fn expansion(&self) -> usize {
        if self.bottleneck { 4 } else { 1 }
    }

    /// Returns the number of channels of each stage's output.
    pub(crate) fn outputs(&self) -> [usize; 4] {
        self.channels.map(|channels| channels * self.expansion())
    }

    /// Returns the width of the 3×3 convolutions of a stage.
    pub(crate) fn inner(&self, stage: usize) -> usize {
        match self.bottleneck {
            true => self.channels[stage] * self.width_per_group / 64,
            false => self.channels[stage],
        }
    }
}

impl ResnetDepth {
    /// Returns the number of blocks of each of the four stages.
    pub(crate) fn blocks(self) -> [usize; 4] {
        match self {
            Self::Resnet18 => [2, 2, 2, 2],
            Self::Resnet34 | Self::Resnet50 => [3, 4, 6, 3],
            Self::Resnet101 => [3, 4, 23, 3],
            Self::Resnet152 => [3, 8, 36, 3],
        }
    }

    /// Returns whether the blocks are bottlenecks.
    pub(crate) fn is_of_bottlenecks(self) -> bool {
        !matches!(self, Self::Resnet18 | Self::Resnet34)
    }
}
