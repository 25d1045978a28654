//! Initial values: PyTorch's distributions, drawn from addressed randomness.
//!
//! The n-th parameter that a network asks for has the address (seed, [`Stream::Init`], 0, n): the
//! same seed gives the same network on every back end.

use std::cell::Cell;

use burn::{
    module::Param,
    tensor::{Device, Shape, Tensor, TensorData},
};
use rand::Rng;
use rand_distr::StandardNormal;
use vssl_data::rng::{Stream, rng};

/// Hands out initialised parameters.
pub struct Init<'a> {
    device: &'a Device,
    seed: u64,
    drawn: Cell<u64>,
}

impl<'a> Init<'a> {
    /// Parameters on `device`; `seed` fixes every value.
    pub fn new(device: &'a Device, seed: u64) -> Self {
        Self { device, seed, drawn: Cell::new(0) }
    }

    /// Where the parameters live.
    pub fn device(&self) -> &Device {
        self.device
    }

    /// Normal with mean 0.
    pub fn normal<const D: usize>(&self, shape: [usize; D], std: f64) -> Param<Tensor<D>> {
        self.draw(shape, |rng| (rng.sample::<f64, _>(StandardNormal) * std) as f32)
    }

    /// Normal with mean 0, drawn again until it lies within ±2: PyTorch's `trunc_normal_`, whose
    /// bounds are not in units of `std`.
    pub fn truncated_normal<const D: usize>(
        &self,
        shape: [usize; D],
        std: f64,
    ) -> Param<Tensor<D>> {
        self.draw(shape, |rng| {
            loop {
                let value = rng.sample::<f64, _>(StandardNormal) * std;
                if value.abs() <= 2.0 {
                    return value as f32;
                }
            }
        })
    }

    /// Uniform in `[-bound, bound]`.
    pub fn uniform<const D: usize>(&self, shape: [usize; D], bound: f64) -> Param<Tensor<D>> {
        self.draw(shape, |rng| rng.random_range(-bound..=bound) as f32)
    }

    /// The same value everywhere.
    pub fn constant<const D: usize>(&self, shape: [usize; D], value: f32) -> Param<Tensor<D>> {
        Param::from_tensor(Tensor::full(shape, value, self.device))
    }

    fn draw<const D: usize>(
        &self,
        shape: [usize; D],
        mut value: impl FnMut(&mut dyn rand::RngCore) -> f32,
    ) -> Param<Tensor<D>> {
        let index = self.drawn.replace(self.drawn.get() + 1);
        let mut rng = rng(self.seed, Stream::Init, 0, index);
        let shape = Shape::from(shape);
        let values: Vec<f32> = (0..shape.num_elements()).map(|_| value(&mut rng)).collect();
        Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), self.device))
    }
}
