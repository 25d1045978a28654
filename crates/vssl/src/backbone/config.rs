//! The encoder that a recipe asks for. [`super::table`] reads and writes its table.

use serde::{Deserialize, Serialize};

/// An encoder and its settings; a ResNet-18 with torchvision's stem by default.
#[derive(Clone, Debug, PartialEq)]
pub enum BackboneConfig {
    /// A ResNet (He et al. 2016, arXiv:1512.03385), as torchvision builds it: the stride of a bottleneck is
    /// in its 3×3 convolution.
    Resnet(ResnetConfig),
    /// A Wide ResNet (Zagoruyko and Komodakis 2016, arXiv:1605.07146), as solo-learn builds it:
    /// pre-activation blocks 4, 4, 4.
    WideResnet(WideResnetConfig),
    /// A vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929; Touvron et al. 2021,
    /// arXiv:2012.12877), as timm builds it.
    Vit(VitConfig),
}

/// The settings of a ResNet.
#[derive(Clone, Debug, PartialEq)]
pub struct ResnetConfig {
    /// The number and kind of the blocks.
    pub depth: ResnetDepth,
    /// The number of channels of the first stage; 64 is the published network.
    pub width: usize,
    /// The layers before the first block.
    pub stem: Stem,
    /// The padding of the `cifar` stem. solo-learn's published recipes use 2, which turns 32 × 32 into 34 ×
    /// 34 pixels; the usual choice is 1. The `imagenet` stem always has 3.
    pub stem_padding: usize,
}

/// The settings of a Wide ResNet.
#[derive(Clone, Debug, PartialEq)]
pub struct WideResnetConfig {
    /// The widening factor: the stages have 16, 32 and 64 times as many channels; 2.
    pub widen: usize,
}

/// The settings of a vision transformer: its architecture, and the table `[backbone.vit]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VitConfig {
    /// The width, depth and number of heads.
    #[serde(skip)]
    pub size: VitSize,
    /// The side of a patch in pixels.
    pub patch: usize,
    /// The side of the images that the positions are for. For images of other sizes, such as small crops, the
    /// positions are interpolated.
    pub image_size: usize,
    /// The kind of position embedding.
    pub positions: Positions,
    /// Whether the patch projection keeps its initial values (MoCo V3, arXiv:2104.02057, §4.1).
    pub frozen_patch_projection: bool,
    /// The number of attention heads; `None` is timm's number for the size. MoCo V3's ViT-S has 12.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heads: Option<usize>,
    /// How the tokens become one feature.
    #[serde(skip_serializing_if = "Pooling::is_token")]
    pub pooling: Pooling,
}

/// The ways in which the tokens of a transformer become one feature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The class token after the last norm.
    #[default]
    Token,
    /// The mean of the patches after the last norm, without the class token: timm's `global_pool="avg"` with
    /// `fc_norm=False`.
    Mean,
}

/// The kinds of position embedding: see [`VitConfig::positions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// The positions are parameters.
    Learned,
    /// The positions are sines and cosines of row and column, which are not trained (MoCo V3).
    Sincos,
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
}

/// The sizes of a vision transformer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VitSize {
    /// ViT-Tiny: width 192, 12 blocks, 3 heads.
    #[default]
    Tiny,
    /// ViT-Small: width 384, 12 blocks, 6 heads.
    Small,
    /// ViT-Base: width 768, 12 blocks, 12 heads.
    Base,
}

/// The names of encoders in a recipe.
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
            heads: None,
            pooling: Pooling::Token,
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
    /// Returns an architecture with its default settings.
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

    /// Returns the name of this encoder in a recipe.
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

    /// Returns the length of a feature vector.
    pub fn dim(&self) -> usize {
        match self {
            Self::Resnet(config) => 8 * config.width * config.depth.expansion(),
            Self::WideResnet(config) => 64 * config.widen,
            Self::Vit(config) => config.size.shape().0,
        }
    }

    /// Returns the settings of a vision transformer; `None` for other encoders.
    pub fn vit(&self) -> Option<&VitConfig> {
        match self {
            Self::Vit(config) => Some(config),
            _ => None,
        }
    }

    /// Returns the paths of the parameters that pretraining does not change, relative to the backbone.
    pub fn frozen(&self) -> Vec<&'static str> {
        let projection = self.vit().is_some_and(|vit| vit.frozen_patch_projection);
        self.fixed().into_iter().chain(projection.then_some("patch_embed.proj")).collect()
    }

    /// Returns the path of the parameter that no training changes: the position embedding, where it is fixed.
    pub fn fixed(&self) -> Option<&'static str> {
        let fixed = self.vit().is_some_and(|vit| vit.positions == Positions::Sincos);
        fixed.then_some("pos_embed")
    }
}

impl VitConfig {
    /// Returns the number of attention heads.
    pub fn heads(&self) -> usize {
        self.heads.unwrap_or(self.size.shape().2)
    }
}

impl Pooling {
    /// Returns whether this is the class token; serde needs a reference.
    fn is_token(&self) -> bool {
        *self == Self::Token
    }
}

impl ResnetDepth {
    /// Returns the number of blocks of each of the four stages.
    pub(crate) fn blocks(self) -> [usize; 4] {
        match self {
            Self::Resnet18 => [2, 2, 2, 2],
            Self::Resnet34 | Self::Resnet50 => [3, 4, 6, 3],
        }
    }

    /// Returns the ratio of a block's output channels to its inner width.
    pub(super) fn expansion(self) -> usize {
        match self {
            Self::Resnet18 | Self::Resnet34 => 1,
            Self::Resnet50 => 4,
        }
    }
}

impl VitSize {
    /// Returns the width and depth, and the number of heads that timm's network of this size has.
    pub(crate) fn shape(self) -> (usize, usize, usize) {
        match self {
            Self::Tiny => (192, 12, 3),
            Self::Small => (384, 12, 6),
            Self::Base => (768, 12, 12),
        }
    }
}
