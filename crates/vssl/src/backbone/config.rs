//! The encoder that a recipe asks for. [`super::table`] reads and writes it.

use serde::{Deserialize, Serialize};

/// An encoder and its settings; a ResNet-18 with torchvision's stem unless said otherwise.
#[derive(Clone, Debug, PartialEq)]
pub enum BackboneConfig {
    /// He et al. 2016 (arXiv:1512.03385), as torchvision builds it: the stride of a bottleneck sits
    /// on its 3×3 convolution.
    Resnet(ResnetConfig),
    /// Zagoruyko and Komodakis 2016 (arXiv:1605.07146), as solo-learn builds it: pre-activation
    /// blocks 4, 4, 4.
    WideResnet(WideResnetConfig),
    /// Dosovitskiy et al. 2021 (arXiv:2010.11929) and Touvron et al. 2021 (arXiv:2012.12877), as timm
    /// builds it.
    Vit(VitConfig),
}

/// Settings of a ResNet.
#[derive(Clone, Debug, PartialEq)]
pub struct ResnetConfig {
    /// Number and kind of its blocks.
    pub depth: ResnetDepth,
    /// Channels of the first stage; 64 is the published network.
    pub width: usize,
    /// The layers before the first block.
    pub stem: Stem,
    /// Padding of the `cifar` stem. solo-learn's published recipes run 2, which makes 34 × 34 of
    /// 32 × 32 pixels; the usual choice is 1. The `imagenet` stem always has 3.
    pub stem_padding: usize,
}

/// Settings of a Wide ResNet.
#[derive(Clone, Debug, PartialEq)]
pub struct WideResnetConfig {
    /// The stages have 16, 32 and 64 times as many channels; 2.
    pub widen: usize,
}

/// Settings of a vision transformer: its architecture, and the table `[backbone.vit]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VitConfig {
    /// Width, depth and heads.
    #[serde(skip)]
    pub size: VitSize,
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

/// See [`ResnetConfig::stem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stem {
    /// 7×7 stride 2, then max-pool 3×3 stride 2.
    Imagenet,
    /// 3×3 stride 1, no max-pool.
    Cifar,
}

/// Blocks of the four stages of a ResNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResnetDepth {
    /// Basic blocks 2, 2, 2, 2.
    Resnet18,
    /// Basic blocks 3, 4, 6, 3.
    Resnet34,
    /// Bottlenecks 3, 4, 6, 3.
    Resnet50,
}

/// Size of a vision transformer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VitSize {
    /// Width 192, 12 blocks, 3 heads.
    #[default]
    Tiny,
    /// Width 384, 12 blocks, 6 heads.
    Small,
    /// Width 768, 12 blocks, 12 heads.
    Base,
}

/// What a recipe calls an encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are those of the literature")]
pub enum Architecture {
    Resnet18,
    Resnet34,
    Resnet50,
    #[serde(rename = "wide-resnet28")]
    WideResnet28,
    #[serde(rename = "vit-tiny")]
    VitTiny,
    #[serde(rename = "vit-small")]
    VitSmall,
    #[serde(rename = "vit-base")]
    VitBase,
}

impl Default for BackboneConfig {
    fn default() -> Self {
        Self::Resnet(ResnetConfig::default())
    }
}

impl Default for ResnetConfig {
    fn default() -> Self {
        let depth = ResnetDepth::Resnet18;
        Self { depth, width: 64, stem: Stem::Imagenet, stem_padding: 1 }
    }
}

impl Default for WideResnetConfig {
    fn default() -> Self {
        Self { widen: 2 }
    }
}

impl Default for VitConfig {
    fn default() -> Self {
        Self {
            size: VitSize::default(),
            patch: 16,
            image_size: 224,
            positions: Positions::Learned,
            frozen_patch_projection: false,
        }
    }
}

impl From<ResnetConfig> for BackboneConfig {
    fn from(config: ResnetConfig) -> Self {
        Self::Resnet(config)
    }
}

impl From<WideResnetConfig> for BackboneConfig {
    fn from(config: WideResnetConfig) -> Self {
        Self::WideResnet(config)
    }
}

impl From<VitConfig> for BackboneConfig {
    fn from(config: VitConfig) -> Self {
        Self::Vit(config)
    }
}

impl BackboneConfig {
    /// An architecture with its default settings.
    pub fn of(architecture: Architecture) -> Self {
        let resnet = |depth| ResnetConfig { depth, ..ResnetConfig::default() }.into();
        let vit = |size| VitConfig { size, ..VitConfig::default() }.into();
        match architecture {
            Architecture::Resnet18 => resnet(ResnetDepth::Resnet18),
            Architecture::Resnet34 => resnet(ResnetDepth::Resnet34),
            Architecture::Resnet50 => resnet(ResnetDepth::Resnet50),
            Architecture::WideResnet28 => WideResnetConfig::default().into(),
            Architecture::VitTiny => vit(VitSize::Tiny),
            Architecture::VitSmall => vit(VitSize::Small),
            Architecture::VitBase => vit(VitSize::Base),
        }
    }

    /// What a recipe calls this encoder.
    pub fn architecture(&self) -> Architecture {
        match self {
            Self::Resnet(config) => match config.depth {
                ResnetDepth::Resnet18 => Architecture::Resnet18,
                ResnetDepth::Resnet34 => Architecture::Resnet34,
                ResnetDepth::Resnet50 => Architecture::Resnet50,
            },
            Self::WideResnet(_) => Architecture::WideResnet28,
            Self::Vit(config) => match config.size {
                VitSize::Tiny => Architecture::VitTiny,
                VitSize::Small => Architecture::VitSmall,
                VitSize::Base => Architecture::VitBase,
            },
        }
    }

    /// Length of a feature vector.
    pub fn dim(&self) -> usize {
        match self {
            Self::Resnet(config) => 8 * config.width * config.depth.expansion(),
            Self::WideResnet(config) => 64 * config.widen,
            Self::Vit(config) => config.size.shape().0,
        }
    }

    /// The settings of a vision transformer; `None` for other encoders.
    pub fn vit(&self) -> Option<&VitConfig> {
        match self {
            Self::Vit(config) => Some(config),
            _ => None,
        }
    }

    /// Paths of parameters, relative to the backbone, that pretraining leaves as they are.
    pub fn frozen(&self) -> Vec<&'static str> {
        let projection = self.vit().is_some_and(|vit| vit.frozen_patch_projection);
        self.fixed().into_iter().chain(projection.then_some("patch_embed.proj")).collect()
    }

    /// Path of the parameter that no training changes: fixed positions, where the settings ask for
    /// them.
    pub fn fixed(&self) -> Option<&'static str> {
        let fixed = self.vit().is_some_and(|vit| vit.positions == Positions::Sincos);
        fixed.then_some("pos_embed")
    }
}

impl ResnetDepth {
    /// Blocks of the four stages.
    pub(crate) fn blocks(self) -> [usize; 4] {
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

impl VitSize {
    /// Width, depth and heads.
    pub(crate) fn shape(self) -> (usize, usize, usize) {
        match self {
            Self::Tiny => (192, 12, 3),
            Self::Small => (384, 12, 6),
            Self::Base => (768, 12, 12),
        }
    }
}
