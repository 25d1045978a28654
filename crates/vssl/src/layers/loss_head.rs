//! A head that says of one image how large its loss is expected to be (the uncertainty head of the URL benchmark,
//! Kirchhof et al. 2023, arXiv:2307.03810): linear layers with leaky ReLU between them, and a softplus that keeps the
//! number positive.
//!
//! Trained beside the encoder by `train`, read by `encoder`.

use burn::{
    module::Module,
    tensor::{
        Device, Tensor,
        activation::{leaky_relu, softplus},
    },
};

use super::{Init, Linear};
use crate::tensors::state::{self, StateError, Tensors};

/// The slope of the leaky ReLU below zero.
pub const SLOPE: f64 = 0.01;

/// The least number that the head gives.
pub const LEAST: f64 = 1e-6;

/// `features → hidden → … → 1`, one positive number a row.
#[derive(Module, Debug)]
pub struct LossHead {
    /// The linear layers, in order; the last has one output.
    pub layers: Vec<Linear>,
}

impl LossHead {
    /// Makes a head for features of length `dim` with hidden layers of these widths.
    pub fn new(dim: usize, hidden: &[usize], init: &Init) -> Self {
        let widths: Vec<usize> = [&[dim], hidden, &[1]].concat();
        let layers = widths.windows(2).map(|pair| Linear::new(pair[0], pair[1], init)).collect();
        Self { layers }
    }

    /// Makes a head of the tensors of a file, whose shapes say how many layers there are and how wide they are.
    ///
    /// # Errors
    /// The tensors are not those of a head for features of length `dim`.
    pub fn stored(tensors: Tensors, dim: usize, device: &Device) -> Result<Self, StateError> {
        let width = |layer: usize| {
            let bias = tensors.get(&format!("layers.{layer}.bias"))?;
            bias.shape().as_slice().first().copied()
        };
        let mut hidden: Vec<usize> = (0..).map_while(width).collect();
        hidden.pop();
        state::restore(Self::new(dim, &hidden, &Init::blank(device)), tensors)
    }

    /// Returns how many numbers the head has.
    pub fn numbers(&self) -> u64 {
        self.num_params() as u64
    }

    /// `softplus(linear(… leaky_relu(linear(x)) …)) + 1e-6` of each row.
    ///
    /// # Shapes — `[n, dim]` to `[n]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<1> {
        let n = x.dims()[0];
        let mut x = x;
        for (number, layer) in self.layers.iter().enumerate() {
            if number > 0 {
                x = leaky_relu(x, SLOPE);
            }
            x = layer.forward(x);
        }
        softplus(x, 1.0).reshape([n]) + LEAST // [n, 1] -> [n]
    }
}
