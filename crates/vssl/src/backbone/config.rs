//! The encoder that a recipe asks for. [`super::table`] reads and writes its table.

mod architecture;
mod convnext;
mod resnet;
mod vit;

pub use architecture::Architecture;
pub use convnext::{ConvNextConfig, ConvNextShape, ConvNextSize, ConvNextVersion};
pub use resnet::{ResnetConfig, ResnetDepth, ResnetShape, ResnetVariant, Stem, StemShape};
pub use vit::{
    Dinov2Size, Dinov3Size, Interpolation, Mlp, Placed, Pooling, Positions, VitConfig, VitSize,
};

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
            Self::Vit(config) => config.width(),
            Self::ConvNext(config) => 8 * config.width(),
            Self::Own(config) => config.0.dim(),
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
