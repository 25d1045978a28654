//! Image encoders: pixels in, one feature vector an image out.

mod config;
mod resnet;

use burn::{module::Module, tensor::Tensor};

pub use config::{Architecture, BackboneConfig, Stem};
pub use resnet::Resnet;

use crate::layers::{Init, Mode};

/// One of the known architectures. Paths of parameters do not show the variant.
#[derive(Module, Debug)]
pub enum Backbone {
    /// He et al. 2016, arXiv:1512.03385.
    Resnet(Resnet),
}

impl Backbone {
    /// A fresh network.
    pub fn new(config: &BackboneConfig, init: &Init) -> Self {
        Self::Resnet(Resnet::new(config, init))
    }

    /// Features after global pooling.
    ///
    /// # Shapes — `[n, 3, h, w]` to `[n, dim]`.
    pub fn forward(&self, x: Tensor<4>, mode: Mode) -> Tensor<2> {
        match self {
            Self::Resnet(network) => network.forward(x, mode),
        }
    }
}
