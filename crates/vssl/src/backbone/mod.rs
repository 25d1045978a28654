//! Image encoders, which turn the pixels of an image into a feature vector.

mod config;
mod convnext;
mod footprint;
mod grid;
mod inference;
mod own;
pub(crate) mod positions;
mod resnet;
mod table;
mod tokens;
mod vit;
mod wide_resnet;

use burn::{module::Module, tensor::Tensor};
use vssl_kernels::breakdown::{self, Part};

pub use config::{
    Architecture, BackboneConfig, ConvNextConfig, ConvNextShape, ConvNextSize, ConvNextVersion,
    Dinov2Size, Dinov3Size, Interpolation, Mlp, Patches, Placed, Pooling, PoolingError, Positions,
    ResnetConfig, ResnetDepth, ResnetShape, ResnetVariant, Stem, StemShape, VitConfig, VitSize,
    WideResnetConfig,
};
pub use convnext::ConvNext;
pub use grid::Grid;
pub(crate) use grid::outside_graph;
pub use inference::InferenceNetwork;
pub use own::{Layer, Own, OwnConfig, OwnNetwork, register};
pub use positions::sincos;
pub use resnet::Resnet;
pub(crate) use table::TABLE;
pub use tokens::Tokens;
pub use vit::{Masked, Vit};
pub use wide_resnet::WideResnet;

use crate::layers::{Chosen, Init, Mode};
use grid::Constants;

/// What a transformer makes of images of which it sees some patches.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The features, `[n, dim]`: of the class token, or of the patches that were seen.
    pub features: Tensor<2>,
    /// The class token, `[n, 1, dim]`, if there is one.
    pub class: Option<Tensor<3>>,
    /// The patches that were seen, in the order of the choice, `[n, count, dim]`.
    pub patches: Tensor<3>,
}

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
    /// Makes a network with initial values, for images of as many channels as `init` says.
    pub fn new(config: &BackboneConfig, init: &Init) -> Self {
        match config {
            BackboneConfig::Resnet(config) => Self::Resnet(Resnet::new(config, init)),
            BackboneConfig::WideResnet(config) => Self::WideResnet(WideResnet::new(config, init)),
            BackboneConfig::Vit(config) => Self::Vit(Vit::new(config, init)),
            BackboneConfig::ConvNext(config) => Self::ConvNext(ConvNext::new(config, init)),
            BackboneConfig::Own(config) => Self::Own(Own::new(config, init)),
        }
    }

    /// Returns the same network with another pooling of its tokens, with the weights that it has; networks other than
    /// transformers stay as they are. [`BackboneConfig::pooled`] says whether it makes sense.
    pub fn pooled(self, pooling: Pooling) -> Self {
        match self {
            Self::Vit(network) => Self::Vit(network.pooled(pooling)),
            other => other,
        }
    }

    /// Returns the features: the globally pooled activations, or the class token. In [`Mode::Heads`] they carry no
    /// gradient.
    ///
    /// # Shapes — `[n, channels, h, w]` to `[n, dim]`.
    pub fn forward(&self, x: Tensor<4>, mode: Mode) -> Tensor<2> {
        if let Mode::Heads(_) = mode {
            return self.frozen(x, |network, x| network.forward(x, Mode::Eval));
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
    /// # Shapes — `[n, channels, h, w]` to `[n, dim]` and `[n, patches, dim]`.
    pub fn forward_with_patches(&self, x: Tensor<4>) -> Option<(Tensor<2>, Tensor<3>)> {
        match self {
            Self::Vit(network) => Some(network.forward_with_patches(x)),
            _ => None,
        }
    }

    /// Returns the features and the tokens of images of which a transformer sees the patches `visible` only; `None` for
    /// other networks. In [`Mode::Heads`] they carry no gradient. A transformer has no statistics of a batch, so all other
    /// modes are alike.
    ///
    /// # Shapes — `[n, 3, h, w]` to `[n, dim]` and tokens as of [`Vit::visible_tokens`].
    pub fn forward_visible(&self, x: Tensor<4>, visible: &Chosen, mode: Mode) -> Option<Seen> {
        let Self::Vit(network) = self else { return None };
        let tokens = self.tokens_by(x, mode, &|network, x| network.visible_tokens(x, visible))?;
        let (prefix, count) = (network.prefix(), visible.count());
        Some(Seen {
            features: network.feature_of_visible(tokens.clone()),
            class: network.has_class_token().then(|| tokens.clone().narrow(1, 0, 1)),
            patches: tokens.narrow(1, prefix, count),
        })
    }

    /// Returns the rows and columns of patches of a transformer's image; `None` for other networks.
    pub fn grid(&self, x: &Tensor<4>) -> Option<[usize; 2]> {
        match self {
            Self::Vit(network) => Some(network.grid(x)),
            _ => None,
        }
    }

    /// Returns the side of a transformer's patch in pixels; `None` for other networks.
    pub fn patch(&self) -> Option<usize> {
        match self {
            Self::Vit(network) => Some(network.patch()),
            _ => None,
        }
    }

    /// Returns the features as [`Backbone::forward`] does and those of the places of the images, in one pass; `None` for a
    /// backbone of a program's own, whose places are not known.
    ///
    /// # Shapes — `[n, 3, h, w]` to `[n, dim]` and a grid of `[n, rows · columns, dim]`.
    pub fn forward_with_grid(&self, x: Tensor<4>, mode: Mode) -> Option<(Tensor<2>, Grid)> {
        if let Mode::Heads(_) = mode {
            return self.frozen(x, |network, x| network.forward_with_grid(x, Mode::Eval));
        }
        if let Self::Own(_) = self {
            return None;
        }
        let mut places = None;
        let features = breakdown::network(Part::Backbone, || {
            let (features, grid) = match self {
                Self::Resnet(network) => network.forward_with_grid(x, mode),
                Self::Vit(network) => network.forward_with_grid(x),
                Self::WideResnet(network) => network.forward_with_grid(x, mode),
                Self::ConvNext(network) => network.forward_with_grid(x),
                Self::Own(_) => unreachable!("it is left above"),
            };
            places = Some(grid);
            features
        });
        places.map(|grid| (features, grid))
    }

    /// Runs `run` with the transformer, and without gradient in [`Mode::Heads`]; `None` for other networks.
    fn tokens_by(
        &self,
        x: Tensor<4>,
        mode: Mode,
        run: &dyn Fn(&Vit, Tensor<4>) -> Tensor<3>,
    ) -> Option<Tensor<3>> {
        if let Mode::Heads(_) = mode {
            return self.frozen(x, |network, x| network.tokens_by(x, Mode::Eval, run));
        }
        let Self::Vit(network) = self else { return None };
        Some(breakdown::network(Part::Backbone, || run(network, x)))
    }

    /// Runs the network by its running statistics and without gradient, outside of the autodiff graph.
    fn frozen<T: Constants>(&self, x: Tensor<4>, run: impl Fn(&Self, Tensor<4>) -> T) -> T {
        match x.gradient_checkpointing_strategy() {
            None => run(self, x),
            Some(strategy) => run(&self.valid(), x.inner()).into_graph(strategy),
        }
    }
}
