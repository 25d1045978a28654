//! Backbones that are not among those of this crate: a program writes one as a type that implements [`OwnNetwork`] and
//! makes it known by [`register`]. Called by [`super::Backbone`].
//!
//! A recipe names such a backbone as `architecture = "own"` and `name = …`. A program that reads the recipe of a run,
//! to go on with it or to evaluate it, has to register the backbone first.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

use crate::layers::{BatchNorm, Conv2d, Init, LayerNorm, Linear, Mode};

/// A backbone of a program's own.
pub trait OwnNetwork: fmt::Debug + Send + Sync + 'static {
    /// Returns the name, by which recipes and files know the backbone. It may say the sizes.
    fn name(&self) -> &str;

    /// Returns the length of a feature.
    fn dim(&self) -> usize;

    /// Makes the layers with their initial values, in the order in which [`OwnNetwork::forward`] finds them.
    /// [`Init::channels`] says how many channels the images have.
    fn layers(&self, init: &Init) -> Vec<Layer>;

    /// Returns the features. Batch normalisation has to run in `mode`; everything else computes an image without regard
    /// to the others.
    ///
    /// # Shapes — `[n, channels, h, w]` to `[n, dim]`.
    fn forward(&self, layers: &[Layer], x: Tensor<4>, mode: Mode) -> Tensor<2>;

    /// Returns the numbers of the activations of an image of `size` × `size` pixels that are alive at once without
    /// gradients, from above. The number of images of a forward pass is chosen by it.
    fn activations(&self, size: usize) -> f64 {
        256.0 * (size as f64).powi(2)
    }
}

/// A layer of a backbone of a program's own.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant, reason = "a network has few")]
pub enum Layer {
    /// A convolution.
    Conv(Conv2d),
    /// A batch normalisation.
    BatchNorm(BatchNorm),
    /// A linear layer.
    Linear(Linear),
    /// A layer normalisation.
    LayerNorm(LayerNorm),
    /// A parameter of one axis.
    Vector(Param<Tensor<1>>),
    /// A parameter of two axes.
    Matrix(Param<Tensor<2>>),
    /// A parameter of three axes.
    Tokens(Param<Tensor<3>>),
    /// A parameter of four axes.
    Filters(Param<Tensor<4>>),
}

/// Defines a function that returns the layer inside of a variant.
macro_rules! inside {
    ($($name:ident, $variant:ident: $type:ty, $what:literal;)+) => {$(
        #[doc = concat!("Returns the ", $what, ".\n\n# Panics\nIf the layer is another one.")]
        pub fn $name(&self) -> &$type {
            match self {
                Self::$variant(layer) => layer,
                other => panic!("expected a {}, found {other:?}", $what),
            }
        }
    )+};
}

impl Layer {
    inside! {
        conv, Conv: Conv2d, "convolution";
        batch_norm, BatchNorm: BatchNorm, "batch normalisation";
        linear, Linear: Linear, "linear layer";
        layer_norm, LayerNorm: LayerNorm, "layer normalisation";
        vector, Vector: Param<Tensor<1>>, "parameter of one axis";
        matrix, Matrix: Param<Tensor<2>>, "parameter of two axes";
        tokens, Tokens: Param<Tensor<3>>, "parameter of three axes";
        filters, Filters: Param<Tensor<4>>, "parameter of four axes";
    }
}

/// A backbone of a program's own as a setting: two of the same name are the same.
#[derive(Clone, Debug)]
pub struct OwnConfig(pub Arc<dyn OwnNetwork>);

impl PartialEq for OwnConfig {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
    }
}

/// The layers of a backbone of a program's own, and what it computes with them.
#[derive(Module, Debug)]
pub struct Own {
    layers: Vec<Layer>,
    #[module(skip)]
    network: Arc<dyn OwnNetwork>,
}

impl Own {
    /// Makes a network with initial values.
    pub fn new(config: &OwnConfig, init: &Init) -> Self {
        Self { layers: config.0.layers(init), network: Arc::clone(&config.0) }
    }

    /// # Shapes — `[n, channels, h, w]` to `[n, dim]`.
    pub fn forward(&self, x: Tensor<4>, mode: Mode) -> Tensor<2> {
        self.network.forward(&self.layers, x, mode)
    }
}

/// The backbones that this process has been told of.
static KNOWN: Mutex<Vec<Arc<dyn OwnNetwork>>> = Mutex::new(Vec::new());

/// Makes a backbone known under its name, in place of an earlier one of this name, and returns its setting.
pub fn register(network: impl OwnNetwork) -> OwnConfig {
    let network: Arc<dyn OwnNetwork> = Arc::new(network);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.retain(|other| other.name() != network.name());
    known.push(Arc::clone(&network));
    OwnConfig(network)
}

/// Returns the backbone of a name, if it was registered.
pub(super) fn find(name: &str) -> Option<OwnConfig> {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known
        .iter()
        .find(|network| network.name() == name)
        .map(|network| OwnConfig(Arc::clone(network)))
}
