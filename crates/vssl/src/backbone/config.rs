//! Which encoder: the table `[backbone]` of a recipe.

use serde::{Deserialize, Serialize};

/// Architecture, width and stem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackboneConfig {
    /// Depth and kind of block.
    pub architecture: Architecture,
    /// Channels of the first stage; 64 is the published network.
    pub width: usize,
    /// First layers.
    pub stem: Stem,
    /// Padding of the `cifar` stem. solo-learn's published recipes run 2, which makes 34 × 34 of
    /// 32 × 32 pixels; the usual choice is 1. The `imagenet` stem always has 3.
    pub stem_padding: usize,
}

impl Default for BackboneConfig {
    fn default() -> Self {
        Self {
            architecture: Architecture::Resnet18,
            width: 64,
            stem: Stem::Imagenet,
            stem_padding: 1,
        }
    }
}

/// The ResNets of He et al. 2016 (arXiv:1512.03385), as torchvision builds them: the stride of a
/// bottleneck sits on its 3×3 convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// Basic blocks 2, 2, 2, 2.
    Resnet18,
    /// Basic blocks 3, 4, 6, 3.
    Resnet34,
    /// Bottlenecks 3, 4, 6, 3.
    Resnet50,
}

/// The layers before the first block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stem {
    /// 7×7 stride 2, then max-pool 3×3 stride 2.
    Imagenet,
    /// 3×3 stride 1, no max-pool.
    Cifar,
}

impl BackboneConfig {
    /// Length of a feature vector.
    pub fn dim(&self) -> usize {
        8 * self.width * self.architecture.expansion()
    }
}

impl Architecture {
    /// Blocks of the four stages.
    pub(super) fn depths(self) -> [usize; 4] {
        match self {
            Self::Resnet18 => [2, 2, 2, 2],
            Self::Resnet34 | Self::Resnet50 => [3, 4, 6, 3],
        }
    }

    /// Output channels of a block over its inner width.
    pub(super) fn expansion(self) -> usize {
        match self {
            Self::Resnet18 | Self::Resnet34 => 1,
            Self::Resnet50 => 4,
        }
    }
}
