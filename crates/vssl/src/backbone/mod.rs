//! Image encoders, which turn the pixels of an image into a feature vector.

mod config;
mod convnext;
mod footprint;
mod inference;
mod own;
pub(crate) mod positions;
mod resnet;
mod table;
mod vit;
mod wide_resnet;

use burn::{module::Module, tensor::Tensor};
use vssl_kernels::breakdown::{self, Part};

pub use config::{
    Architecture, BackboneConfig, ConvNextConfig, ConvNextShape, ConvNextSize, ConvNextVersion,
    Dinov2Size, Dinov3Size, Interpolation, Mlp, Placed, Pooling, Positions, ResnetConfig,
    ResnetDepth, ResnetShape, ResnetVariant, Stem, StemShape, VitConfig, VitSize, WideResnetConfig,
};
pub use convnext::ConvNext;
pub use inference::InferenceNetwork;
pub use own::{Layer, Own, OwnConfig, OwnNetwork, register};
pub use resnet::Resnet;
pub(crate) use table::TABLE;
pub use vit::{Masked, Vit};
pub use wide_resnet::WideResnet;

use crate::layers::{Init, Mode};

/// A network of one of the known architectures. The paths of its parameters do not show the variant.
#[derive(Module, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a program has a few networks, and each has far larger weights"
)]
pub enum Backbone {
    /// A ResNet (He et al. 2016, arXiv:1512.03385).
    Resnet(Resnet),
    /// A vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929).
    Vit(Vit),
    /// A Wide ResNet (Zagoruyko and Komodakis 2016, arXiv:1605.07146).
    WideResnet(WideResnet),
    /// A ConvNeXt (Liu et al. 2022, arXiv:2201.03545).
    ConvNext(ConvNext),
    /// A backbone of a program's own.
    Own(Own),
}

impl Backbone {
    /// Makes a network with initial values.
    pub fn new(config: &BackboneConfig, init: &Init) -> Self {
        match config {
            BackboneConfig::Resnet(config) => Self::Resnet(Resnet::new(config, init)),
            BackboneConfig::WideResnet(config) => Self::WideResnet(WideResnet::new(config, init)),
            BackboneConfig::Vit(config) => Self::Vit(Vit::new(config, init)),
            BackboneConfig::ConvNext(config) => Self::ConvNext(ConvNext::new(config, init)),
            BackboneConfig::Own(config) => Self::Own(Own::new(config, init)),
        }
    }

    /// Returns the features: the globally pooled activations, or the class token. In [`Mode::Heads`] they carry no
    /// gradient.
    ///
    /// # Shapes — `[n, 3, h, w]` to `[n, dim]`.
    pub fn forward(&self, x: Tensor<4>, mode: Mode) -> Tensor<2> {
        if let Mode::Heads(_) = mode {
            return self.frozen_features(x);
        }
        breakdown::network(Part::Backbone, || match self {
            Self::Resnet(network) => network.forward(x, mode),
            Self::Vit(network) => network.forward(x),
            Self::WideResnet(network) => network.forward(x, mode),
            Self::ConvNext(network) => network.forward(x),
            Self::Own(network) => network.forward(x, mode),
        })
    }

    /// Returns the features and the patches of a transformer after its last norm, row by row; `None` for other
    /// networks, which have no patches.
    ///
    /// # Shapes — `[n, 3, h, w]` to `[n, dim]` and `[n, patches, dim]`.
    pub fn forward_with_patches(&self, x: Tensor<4>) -> Option<(Tensor<2>, Tensor<3>)> {
        match self {
            Self::Vit(network) => Some(network.forward_with_patches(x)),
            _ => None,
        }
    }

    /// Returns the features by running statistics. They are computed outside the autodiff graph, which would keep the
    /// activations of all layers for a backward pass that does not come.
    fn frozen_features(&self, x: Tensor<4>) -> Tensor<2> {
        match x.gradient_checkpointing_strategy() {
            None => self.forward(x, Mode::Eval),
            Some(strategy) => {
                let features = self.valid().forward(x.inner(), Mode::Eval);
                Tensor::from_inner(features).with_gradient_checkpointing_strategy(strategy)
            }
        }
    }
}
