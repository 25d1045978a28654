//! The encoder that a recipe asks for. [`super::table`] reads and writes its table.

mod architecture;
mod convnext;
mod pooling;
mod resnet;
mod vit;

pub use architecture::Architecture;
pub use convnext::{ConvNextConfig, ConvNextShape, ConvNextSize, ConvNextVersion};
pub use pooling::{Pooling, PoolingError};
pub use resnet::{ResnetConfig, ResnetDepth, ResnetShape, ResnetVariant, Stem, StemShape};
pub use vit::{Dinov2Size, Dinov3Size, Interpolation, Mlp, Placed, Positions, VitConfig, VitSize};

use super::own::OwnConfig;

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
    /// A ConvNeXt (Liu et al. 2022, arXiv:2201.03545; Woo et al. 2023, arXiv:2301.00808), as timm builds it.
    ConvNext(ConvNextConfig),
    /// A backbone of a program's own.
    Own(OwnConfig),
}

/// The settings of a Wide ResNet.
#[derive(Clone, Debug, PartialEq)]
pub struct WideResnetConfig {
    /// The widening factor: the stages have 16, 32 and 64 times as many channels; 2.
    pub widen: usize,
}

/// The patches into which a vision transformer cuts an image, and what is known of its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patches {
    /// The rows and columns of patches.
    pub grid: [usize; 2],
    /// Whether there is a class token beside the patches.
    pub class_token: bool,
    /// Whether all tokens go through a last norm; otherwise only their mean goes through one.
    pub normalised: bool,
}

impl From<[usize; 2]> for Patches {
    /// Makes the patches of a transformer with a class token and a last norm of all tokens.
    fn from(grid: [usize; 2]) -> Self {
        Self { grid, class_token: true, normalised: true }
    }
}

impl Default for BackboneConfig {
    fn default() -> Self {
        Self::Resnet(ResnetConfig::default())
    }
}

impl Default for WideResnetConfig {
    fn default() -> Self {
        Self { widen: 2 }
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

impl From<ConvNextConfig> for BackboneConfig {
    fn from(config: ConvNextConfig) -> Self {
        Self::ConvNext(config)
    }
}

impl From<OwnConfig> for BackboneConfig {
    fn from(config: OwnConfig) -> Self {
        Self::Own(config)
    }
}

impl BackboneConfig {
    /// Returns the length of a feature vector.
    pub fn dim(&self) -> usize {
        match self {
            Self::Resnet(config) => config.shape().outputs()[3],
            Self::WideResnet(config) => 64 * config.widen,
            Self::Vit(config) if config.pooling == Pooling::TokenMean => 2 * config.width(),
            Self::Vit(config) => config.width(),
            Self::ConvNext(config) => 8 * config.width(),
            Self::Own(config) => config.0.dim(),
        }
    }

    /// Returns what decides the feature beside the weights: the table `[backbone]`, in any case with the heads and the
    /// pooling of a transformer, and without its keys that only a training reads.
    pub(crate) fn of_feature(&self) -> toml::Table {
        let mut table = toml::Table::try_from(self).expect("plain values");
        if let (Some(vit), Some(toml::Value::Table(written))) = (self.vit(), table.get_mut("vit")) {
            written.remove("frozen_patch_projection");
            written.remove("layer_scale");
            written.insert("heads".to_owned(), toml::Value::Integer(vit.heads() as i64));
            written.insert("pooling".to_owned(), vit.pooling.name().into());
        }
        table
    }

    /// Returns the path of the weight that meets the channels of an image, `[out, channels, k, k]`, relative to the
    /// backbone; `None` for a backbone of a program's own.
    pub fn stem(&self) -> Option<&'static str> {
        Some(match self {
            Self::Resnet(config) if matches!(config.shape().stem, StemShape::Deep(_)) => {
                "conv1.0.weight"
            }
            Self::Resnet(_) | Self::WideResnet(_) => "conv1.weight",
            Self::Vit(_) => "patch_embed.proj.weight",
            Self::ConvNext(_) => "stem.0.weight",
            Self::Own(_) => return None,
        })
    }

    /// Returns the settings of a vision transformer; `None` for other encoders.
    pub fn vit(&self) -> Option<&VitConfig> {
        match self {
            Self::Vit(config) => Some(config),
            _ => None,
        }
    }

    /// Returns how the tokens of a transformer become one feature; `None` for other encoders.
    pub fn pooling(&self) -> Option<Pooling> {
        self.vit().map(|vit| vit.pooling)
    }

    /// Returns the same network with another pooling of its tokens: [`Backbone::pooled`](super::Backbone::pooled) makes it.
    ///
    /// # Errors
    /// The network has no tokens, or not the one that is asked for, or no norm of its tokens.
    pub fn pooled(&self, pooling: Pooling) -> Result<Self, PoolingError> {
        let refused = |expected| {
            let architecture = self.architecture().name();
            Err(PoolingError { pooling: pooling.name(), architecture, expected })
        };
        let Some(vit) = self.vit() else {
            return refused(
                "it has no tokens, and only transformers have a class token and patches to choose from; expected no pooling",
            );
        };
        match (vit.pooling, pooling) {
            (own, asked) if own == asked => Ok(self.clone()),
            (Pooling::FcNorm, _) => refused(
                "its last norm is of the mean of the patches (pooling = \"fc_norm\"), so neither the class token nor a patch \
                 goes through a norm; expected its own pooling",
            ),
            (_, Pooling::FcNorm) => refused(
                "its last norm is of the tokens, not of their mean; expected token, mean or token_mean",
            ),
            (_, asked) if asked.has_token() && !vit.class_token => {
                refused("there is no class token; expected mean")
            }
            _ => Ok(VitConfig { pooling, ..*vit }.into()),
        }
    }

    /// Returns the patches of square images of this side; `None` for an encoder without patches.
    pub fn patches(&self, side: usize) -> Option<Patches> {
        let vit = self.vit()?;
        Some(Patches {
            grid: [side / vit.patch.max(1); 2],
            class_token: vit.class_token,
            normalised: vit.pooling != Pooling::FcNorm,
        })
    }

    /// Returns whether [`Backbone::forward_with_grid`](super::Backbone::forward_with_grid) tells the places of the images.
    pub fn has_grid(&self) -> bool {
        !matches!(self, Self::Own(_))
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
