//! The settings of a vision transformer.

use serde::{Deserialize, Serialize};

use super::Pooling;
use crate::layers::{BlockShape, BlockWeights};

/// The settings of a vision transformer: its architecture, and the table `[backbone.vit]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VitConfig {
    /// The network that has a name: its width, depth and number of heads, and the defaults of the other settings.
    pub size: VitSize,
    /// The length of a token; `None` is that of the size.
    pub width: Option<usize>,
    /// The number of blocks; `None` is that of the size.
    pub depth: Option<usize>,
    /// The number of attention heads; `None` is timm's number for the size. MoCo V3's ViT-S has 12.
    pub heads: Option<usize>,
    /// The side of a patch in pixels.
    pub patch: usize,
    /// The side of the images that the positions are for. For images of other sizes, such as small crops, the
    /// positions are interpolated.
    pub image_size: usize,
    /// The kind of position embedding.
    pub positions: Positions,
    /// The tokens that have a position.
    pub placed: Placed,
    /// How positions are interpolated.
    pub interpolation: Interpolation,
    /// Whether the patch projection keeps its initial values (MoCo V3, arXiv:2104.02057, §4.1).
    pub frozen_patch_projection: bool,
    /// Whether there is a class token.
    pub class_token: bool,
    /// The number of register tokens (Darcet et al. 2024, arXiv:2309.16588).
    pub registers: usize,
    /// The initial value of the layer scale (Touvron et al. 2021, arXiv:2103.17239); 0 for none.
    pub layer_scale: f64,
    /// The second part of a block.
    pub mlp: Mlp,
    /// The hidden width of the second part of a block; `None` is four times the width, and for SwiGLU two thirds
    /// of that, rounded up to a multiple of 8.
    pub hidden: Option<usize>,
    /// Whether queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// How the tokens become one feature.
    pub pooling: Pooling,
}

/// The kinds of position embedding: see [`VitConfig::positions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// The positions are parameters.
    Learned,
    /// The positions are sines and cosines of row and column, which are not trained (MoCo V3).
    Sincos,
    /// Queries and keys are turned by angles that row and column give them (Su et al. 2021, arXiv:2104.09864), with the
    /// coordinates, the names and the normalisations of DINOv3's networks (Siméoni et al. 2025, arXiv:2508.10104), as timm
    /// builds them. No table of positions belongs to one size of images.
    Rotary,
}

/// The tokens that have a position: see [`VitConfig::placed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Placed {
    /// The class token and the patches; registers have none (DINOv2).
    Class,
    /// All tokens, also registers (timm's networks with registers and without `no_embed_class`).
    All,
    /// The patches (timm's `no_embed_class`).
    Patches,
}

/// The ways in which positions are interpolated: see [`VitConfig::interpolation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Bicubic with antialiasing, to the number of patches (timm; DINOv2 with registers).
    Antialiased,
    /// Bicubic without antialiasing, by the factor (patches + 0.1) / positions of each side (DINOv2 without
    /// registers).
    Offset,
}

/// The kinds of the second part of a block: see [`VitConfig::mlp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mlp {
    /// Linear, GELU, linear.
    Gelu,
    /// `silu(gate) · value`, linear; gate and value are the halves of one linear layer (Shazeer 2020,
    /// arXiv:2002.05202).
    Swiglu,
}

/// The vision transformers that have a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VitSize {
    /// ViT-Tiny: width 192, 12 blocks, 3 heads.
    #[default]
    Tiny,
    /// ViT-Small: width 384, 12 blocks, 6 heads.
    Small,
    /// ViT-Base: width 768, 12 blocks, 12 heads.
    Base,
    /// ViT-Large: width 1024, 24 blocks, 16 heads.
    Large,
    /// A network of DINOv2 (Oquab et al. 2024, arXiv:2304.07193), as timm builds it.
    Dinov2(Dinov2Size),
    /// A network of DINOv2 with four registers (Darcet et al. 2024, arXiv:2309.16588), as timm builds it.
    Dinov2Registers(Dinov2Size),
    /// A network of DINOv3 (Siméoni et al. 2025, arXiv:2508.10104), as timm builds it.
    Dinov3(Dinov3Size),
}

/// The sizes of DINOv3's networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dinov3Size {
    /// ViT-Small.
    Small,
    /// ViT-Small with SwiGLU.
    SmallPlus,
    /// ViT-Base.
    Base,
    /// ViT-Large.
    Large,
    /// Width 1280, 32 blocks, 20 heads and SwiGLU.
    HugePlus,
}

impl Dinov3Size {
    /// Returns whether the second part of a block is a SwiGLU.
    pub(crate) fn is_gated(self) -> bool {
        matches!(self, Self::SmallPlus | Self::HugePlus)
    }
}

/// The sizes of DINOv2's networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dinov2Size {
    /// ViT-Small.
    Small,
    /// ViT-Base.
    Base,
    /// ViT-Large.
    Large,
    /// Width 1536, 40 blocks, 24 heads and SwiGLU.
    Giant,
}

impl Default for VitConfig {
    fn default() -> Self {
        Self {
            size: VitSize::default(),
            width: None,
            depth: None,
            heads: None,
            patch: 16,
            image_size: 224,
            positions: Positions::Learned,
            placed: Placed::Class,
            interpolation: Interpolation::Antialiased,
            frozen_patch_projection: false,
            class_token: true,
            registers: 0,
            layer_scale: 0.0,
            mlp: Mlp::Gelu,
            hidden: None,
            qkv_bias: true,
            pooling: Pooling::Token,
        }
    }
}

impl VitConfig {
    /// Returns the settings of the published network.
    pub fn of(size: VitSize) -> Self {
        let (of, registers) = match size {
            VitSize::Dinov2(of) => (of, 0),
            VitSize::Dinov2Registers(of) => (of, 4),
            VitSize::Dinov3(of) => {
                return Self {
                    size,
                    image_size: 256,
                    positions: Positions::Rotary,
                    registers: 4,
                    layer_scale: 1e-5,
                    mlp: if of.is_gated() { Mlp::Swiglu } else { Mlp::Gelu },
                    qkv_bias: false,
                    ..Self::default()
                };
            }
            _ => return Self { size, ..Self::default() },
        };
        Self {
            size,
            patch: 14,
            image_size: 518,
            placed: if registers > 0 { Placed::Patches } else { Placed::Class },
            registers,
            layer_scale: 1e-5,
            mlp: if of == Dinov2Size::Giant { Mlp::Swiglu } else { Mlp::Gelu },
            ..Self::default()
        }
    }

    /// Returns the length of a token.
    pub fn width(&self) -> usize {
        self.width.unwrap_or(self.size.shape().0)
    }

    /// Returns the number of blocks.
    pub fn depth(&self) -> usize {
        self.depth.unwrap_or(self.size.shape().1)
    }

    /// Returns the number of attention heads.
    pub fn heads(&self) -> usize {
        self.heads.unwrap_or(self.size.shape().2)
    }

    /// Returns the hidden width of the second part of a block.
    pub fn hidden(&self) -> usize {
        self.hidden.unwrap_or_else(|| match (self.mlp, self.size) {
            (Mlp::Gelu, _) | (_, VitSize::Dinov3(_)) => 4 * self.width(),
            (Mlp::Swiglu, _) => (self.width() * 8 / 3).next_multiple_of(8),
        })
    }

    /// Returns the shape of the block number `index`, counted from 0.
    pub(crate) fn block(&self, index: usize) -> BlockShape {
        BlockShape {
            width: self.width(),
            heads: self.heads(),
            hidden: self.hidden(),
            gated: self.mlp == Mlp::Swiglu,
            qkv_bias: self.qkv_bias,
            rotary: self.is_rotary(),
            layer_scale: self.layer_scale,
            norm_eps: self.eps(),
            weights: match self.positions {
                Positions::Learned => BlockWeights::Normal,
                Positions::Sincos => BlockWeights::XavierOfParts,
                Positions::Rotary => BlockWeights::NormalOfBlock(index + 1),
            },
        }
    }

    /// Returns the same network without the sizes that it has anyway: one network has one description.
    pub(crate) fn shortest(self) -> Self {
        let bare = Self { width: None, depth: None, heads: None, hidden: None, ..self };
        let sizes = Self {
            width: self.width.filter(|&width| width != bare.width()),
            depth: self.depth.filter(|&depth| depth != bare.depth()),
            heads: self.heads.filter(|&heads| heads != bare.heads()),
            ..self
        };
        let usual = Self { hidden: None, ..sizes }.hidden();
        Self { hidden: self.hidden.filter(|&hidden| hidden != usual), ..sizes }
    }

    /// Returns the number of tokens in front of the patches: class token and registers.
    pub fn prefix(&self) -> usize {
        usize::from(self.class_token) + self.registers
    }

    /// Returns whether queries and keys are turned by their positions.
    pub(crate) fn is_rotary(&self) -> bool {
        self.positions == Positions::Rotary
    }

    /// Returns the ε of the normalisations: that of DINOv3 with rotary positions, and otherwise that of timm's transformers.
    pub(crate) fn eps(&self) -> f64 {
        if self.is_rotary() { 1e-5 } else { 1e-6 }
    }

    /// Returns the number of positions in front of those of the patches.
    pub(crate) fn placed_prefix(&self) -> usize {
        match self.placed {
            Placed::Class => usize::from(self.class_token),
            Placed::All => self.prefix(),
            Placed::Patches => 0,
        }
    }

    /// Returns what is wrong with the settings of a network, without their relation to the images: the key below
    /// `vit`, what was found and what is expected.
    pub(crate) fn problem(&self) -> Option<(&'static str, String, String)> {
        let (width, heads) = (self.width(), self.heads());
        let zero = [
            ("width", self.width),
            ("depth", self.depth),
            ("hidden", self.hidden),
            ("patch", Some(self.patch)),
        ];
        if let Some((key, _)) = zero.into_iter().find(|(_, value)| *value == Some(0)) {
            return Some((key, "0".to_owned(), "at least 1".to_owned()));
        }
        if heads == 0 || !width.is_multiple_of(heads) {
            let expected = format!("a divisor of the width, {width}");
            return Some(("heads", heads.to_string(), expected));
        }
        if self.positions == Positions::Sincos && !width.is_multiple_of(4) {
            let expected =
                "a multiple of 4: a quarter each for sines and cosines of column and row";
            return Some(("width", width.to_string(), expected.to_owned()));
        }
        if self.is_rotary() && !(width / heads).is_multiple_of(4) {
            let expected = format!(
                "a divisor of the width, {width}, whose quotient is a multiple of 4: half of a query each is turned by row \
                 and by column, in pairs"
            );
            return Some(("heads", heads.to_string(), expected));
        }
        let table = Self::default();
        if self.is_rotary()
            && (self.placed, self.interpolation) != (table.placed, table.interpolation)
        {
            let (key, is_placed) = ("interpolation", self.placed != table.placed);
            let key = if is_placed { "placed" } else { key };
            let expected = "no such key with positions = \"rotary\", which are of the patches and of every size";
            return Some((key, "another value than the default".to_owned(), expected.to_owned()));
        }
        if !(self.layer_scale.is_finite() && self.layer_scale >= 0.0) {
            let expected = "a number of at least 0; 0 is without layer scale";
            return Some(("layer_scale", self.layer_scale.to_string(), expected.to_owned()));
        }
        if !self.class_token && self.pooling == Pooling::Token {
            let expected = "\"mean\" or \"fc_norm\": there is no class token";
            return Some(("pooling", "\"token\"".to_owned(), expected.to_owned()));
        }
        if self.pooling == Pooling::TokenMean {
            let expected = "\"token\", \"mean\" or \"fc_norm\": \"token_mean\" is of evaluations (evaluation.pooling, \
                            --pooling)";
            return Some(("pooling", "\"token_mean\"".to_owned(), expected.to_owned()));
        }
        None
    }
}

impl VitSize {
    /// Returns the width and depth, and the number of heads that timm's network of this size has.
    pub(crate) fn shape(self) -> (usize, usize, usize) {
        match self {
            Self::Tiny => (192, 12, 3),
            Self::Small => (384, 12, 6),
            Self::Base => (768, 12, 12),
            Self::Large => (1024, 24, 16),
            Self::Dinov2(size) | Self::Dinov2Registers(size) => match size {
                Dinov2Size::Small => (384, 12, 6),
                Dinov2Size::Base => (768, 12, 12),
                Dinov2Size::Large => (1024, 24, 16),
                Dinov2Size::Giant => (1536, 40, 24),
            },
            Self::Dinov3(size) => match size {
                Dinov3Size::Small | Dinov3Size::SmallPlus => (384, 12, 6),
                Dinov3Size::Base => (768, 12, 12),
                Dinov3Size::Large => (1024, 24, 16),
                Dinov3Size::HugePlus => (1280, 32, 20),
            },
        }
    }
}
