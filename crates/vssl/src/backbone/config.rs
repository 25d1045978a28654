//! Which encoder: the table `[backbone]` of a recipe.

use serde::{Deserialize, Serialize};

/// Architecture, width and stem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackboneConfig {
    /// Depth and kind of block.
    pub architecture: Architecture,
    /// Channels of a ResNet's first stage; 64 is the published network. The others' width comes
    /// with their architecture.
    pub width: usize,
    /// First layers of a ResNet.
    pub stem: Stem,
    /// Padding of the `cifar` stem. solo-learn's published recipes run 2, which makes 34 × 34 of
    /// 32 × 32 pixels; the usual choice is 1. The `imagenet` stem always has 3.
    pub stem_padding: usize,
    /// Factor of a Wide ResNet's channels, for Wide ResNets only; without it they have 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub widen: Option<usize>,
    /// The table `[backbone.vit]`, for transformers only; without it they have its defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vit: Option<VitConfig>,
}

/// What a vision transformer needs beside its architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VitConfig {
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Side of the images that the positions are for. Images of other sizes (small crops) get
    /// interpolated ones.
    pub image_size: usize,
    /// How patches know their place.
    pub positions: Positions,
    /// Leave the patch projection at its initial values (MoCo V3, arXiv:2104.02057, §4.1).
    pub frozen_patch_projection: bool,
}

/// See [`VitConfig::positions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// Parameters.
    Learned,
    /// Sines and cosines of row and column, fixed (MoCo V3).
    Sincos,
}

impl Default for VitConfig {
    fn default() -> Self {
        Self {
            patch: 16,
            image_size: 224,
            positions: Positions::Learned,
            frozen_patch_projection: false,
        }
    }
}

impl Default for BackboneConfig {
    fn default() -> Self {
        Self {
            architecture: Architecture::Resnet18,
            width: 64,
            stem: Stem::Imagenet,
            stem_padding: 1,
            widen: None,
            vit: None,
        }
    }
}

/// The ResNets of He et al. 2016 (arXiv:1512.03385), as torchvision builds them: the stride of a
/// bottleneck sits on its 3×3 convolution. The transformers of Dosovitskiy et al. 2021
/// (arXiv:2010.11929) and Touvron et al. 2021 (arXiv:2012.12877), as timm builds them. The Wide
/// ResNet of Zagoruyko and Komodakis 2016 (arXiv:1605.07146), as solo-learn builds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// Basic blocks 2, 2, 2, 2.
    Resnet18,
    /// Basic blocks 3, 4, 6, 3.
    Resnet34,
    /// Bottlenecks 3, 4, 6, 3.
    Resnet50,
    /// Pre-activation blocks 4, 4, 4 of widths 16, 32 and 64 times [`BackboneConfig::widen`].
    #[serde(rename = "wide-resnet28")]
    WideResnet28,
    /// Width 192, 12 blocks, 3 heads.
    #[serde(rename = "vit-tiny")]
    VitTiny,
    /// Width 384, 12 blocks, 6 heads.
    #[serde(rename = "vit-small")]
    VitSmall,
    /// Width 768, 12 blocks, 12 heads.
    #[serde(rename = "vit-base")]
    VitBase,
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
        if self.architecture.is_transformer() {
            return self.architecture.transformer().0;
        }
        if self.architecture == Architecture::WideResnet28 {
            return 64 * self.widen();
        }
        8 * self.width * self.architecture.expansion()
    }

    /// A Wide ResNet's factor, default included.
    pub fn widen(&self) -> usize {
        self.widen.unwrap_or(2)
    }

    /// A transformer's settings, defaults included.
    pub fn vit(&self) -> VitConfig {
        self.vit.unwrap_or_default()
    }

    /// Paths of parameters, relative to the backbone, that pretraining leaves as they are.
    pub fn frozen(&self) -> Vec<&'static str> {
        let projection = self.architecture.is_transformer() && self.vit().frozen_patch_projection;
        self.fixed().into_iter().chain(projection.then_some("patch_embed.proj")).collect()
    }

    /// The one that no training changes: sines and cosines, where a recipe asks for them.
    pub fn fixed(&self) -> Option<&'static str> {
        let fixed = self.vit().positions == Positions::Sincos;
        (self.architecture.is_transformer() && fixed).then_some("pos_embed")
    }
}

impl Architecture {
    /// Blocks of the four stages.
    pub(crate) fn depths(self) -> [usize; 4] {
        match self {
            Self::Resnet18 => [2, 2, 2, 2],
            Self::Resnet34 | Self::Resnet50 => [3, 4, 6, 3],
            _ => unreachable!("only ResNets have four stages"),
        }
    }

    /// Output channels of a block over its inner width.
    pub(super) fn expansion(self) -> usize {
        match self {
            Self::Resnet50 => 4,
            _ => 1,
        }
    }

    /// Whether this is a vision transformer.
    pub fn is_transformer(self) -> bool {
        matches!(self, Self::VitTiny | Self::VitSmall | Self::VitBase)
    }

    /// Width, depth and heads of a transformer.
    pub(crate) fn transformer(self) -> (usize, usize, usize) {
        match self {
            Self::VitTiny => (192, 12, 3),
            Self::VitSmall => (384, 12, 6),
            _ => (768, 12, 12),
        }
    }
}
