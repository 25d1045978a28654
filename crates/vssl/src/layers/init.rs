//! Initial values of parameters: PyTorch's distributions, drawn from addressed randomness.
//!
//! The n-th parameter that a network asks for has the address (seed, [`Stream::Init`], 0, n): the
//! same seed gives the same network on every back end. A head beside the network has the addresses (…, 2, n), so that it
//! changes no value of the network; (…, 1, 0) is the online probe's.

use std::cell::Cell;

use burn::{
    module::Param,
    tensor::{Device, Shape, Tensor, TensorData},
};
use rand::Rng;
use rand_distr::StandardNormal;
use vssl_data::rng::{Stream, rng};

use super::budget::claim;

/// The source of all initial parameters of a network.
pub struct Init<'a> {
    device: &'a Device,
    /// `None` for zeros.
    seed: Option<u64>,
    /// The third part of the addresses.
    place: u64,
    /// The number of channels of the images.
    channels: usize,
    drawn: Cell<u64>,
}

impl<'a> Init<'a> {
    /// Makes a source of parameters on `device`; `seed` fixes every value.
    pub fn new(device: &'a Device, seed: u64) -> Self {
        Self { device, seed: Some(seed), place: 0, channels: 3, drawn: Cell::new(0) }
    }

    /// Makes a source of parameters as [`Init::new`] does, for a head beside the network of the same seed.
    pub fn beside(device: &'a Device, seed: u64) -> Self {
        Self { place: 2, ..Self::new(device, seed) }
    }

    /// Makes a source of zeros, for a network whose values are replaced by stored ones: to draw millions of numbers
    /// takes longer than to read them.
    pub fn blank(device: &'a Device) -> Self {
        Self { device, seed: None, place: 0, channels: 3, drawn: Cell::new(0) }
    }

    /// Says how many channels the images have that the network takes; 3 unless it is said.
    pub fn with_channels(self, channels: usize) -> Self {
        Self { channels, ..self }
    }

    /// Returns the number of channels of the images that the network takes.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Returns the device of the parameters.
    pub fn device(&self) -> &Device {
        self.device
    }

    /// Draws from a normal distribution with mean 0.
    pub fn normal<const D: usize>(&self, shape: [usize; D], std: f64) -> Param<Tensor<D>> {
        self.draw(shape, |rng| (rng.sample::<f64, _>(StandardNormal) * std) as f32)
    }

    /// Draws from a normal distribution with mean 0, again until the value lies within ±2. This is PyTorch's
    /// `trunc_normal_`, whose bounds are not in units of `std`.
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

    /// Draws uniformly from `[-bound, bound]`.
    pub fn uniform<const D: usize>(&self, shape: [usize; D], bound: f64) -> Param<Tensor<D>> {
        self.draw(shape, |rng| rng.random_range(-bound..=bound) as f32)
    }

    /// Makes a parameter whose entries are all `value`.
    pub fn constant<const D: usize>(&self, shape: [usize; D], value: f32) -> Param<Tensor<D>> {
        claim(&shape);
        Param::from_tensor(Tensor::full(shape, value, self.device))
    }

    fn draw<const D: usize>(
        &self,
        shape: [usize; D],
        mut value: impl FnMut(&mut dyn rand::RngCore) -> f32,
    ) -> Param<Tensor<D>> {
        claim(&shape);
        let Some(seed) = self.seed else {
            return Param::from_tensor(Tensor::zeros(shape, self.device));
        };
        let index = self.drawn.replace(self.drawn.get() + 1);
        let mut rng = rng(seed, Stream::Init, self.place, index);
        let shape = Shape::from(shape);
        let values: Vec<f32> = (0..shape.num_elements()).map(|_| value(&mut rng)).collect();
        Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), self.device))
    }
}
