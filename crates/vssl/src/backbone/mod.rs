//! Image encoders: pixels in, one feature vector an image out.

mod config;
pub(crate) mod positions;
mod resnet;
mod table;
mod vit;
mod wide_resnet;

use burn::{module::Module, tensor::Tensor};

pub use config::{
    Architecture, BackboneConfig, Positions, ResnetConfig, ResnetDepth, Stem, VitConfig, VitSize,
    WideResnetConfig,
};
pub use resnet::Resnet;
pub(crate) use table::TABLE;
pub use vit::Vit;
pub use wide_resnet::WideResnet;

use crate::layers::{Init, Mode};

/// One of the known architectures. Paths of parameters do not show the variant.
#[derive(Module, Debug)]
pub enum Backbone {
    /// He et al. 2016, arXiv:1512.03385.
    Resnet(Resnet),
    /// Dosovitskiy et al. 2021, arXiv:2010.11929.
    Vit(Vit),
    /// Zagoruyko and Komodakis 2016, arXiv:1605.07146.
    WideResnet(WideResnet),
}

impl Backbone {
    /// A fresh network.
    pub fn new(config: &BackboneConfig, init: &Init) -> Self {
        match config {
            BackboneConfig::Resnet(config) => Self::Resnet(Resnet::new(config, init)),
            BackboneConfig::WideResnet(config) => Self::WideResnet(WideResnet::new(config, init)),
            BackboneConfig::Vit(config) => Self::Vit(Vit::new(config, init)),
        }
    }

    /// Features: after global pooling, or the class token.
    ///
    /// # Shapes — `[n, 3, h, w]` to `[n, dim]`.
    pub fn forward(&self, x: Tensor<4>, mode: Mode) -> Tensor<2> {
        match self {
            Self::Resnet(network) => network.forward(x, mode),
            Self::Vit(network) => network.forward(x),
            Self::WideResnet(network) => network.forward(x, mode),
        }
    }
}
