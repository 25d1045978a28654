//! Layer scale (Touvron et al. 2021, arXiv:2103.17239): a learned factor for each channel of a residual branch. It is
//! applied by [`super::Linear::forward_added`].

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

use super::Init;

/// A factor for each channel.
#[derive(Module, Debug)]
pub struct LayerScale {
    /// The factors γ, `[c]`.
    pub gamma: Param<Tensor<1>>,
}

impl LayerScale {
    /// Makes factors that all have the same initial value.
    pub fn new(width: usize, value: f32, init: &Init) -> Self {
        Self { gamma: init.constant([width], value) }
    }

    /// Makes a layer of factors that another module holds.
    pub fn of(gamma: &Param<Tensor<1>>) -> Self {
        Self { gamma: gamma.clone() }
    }
}
