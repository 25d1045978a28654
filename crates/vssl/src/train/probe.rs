//! The online linear probe: a classifier that learns beside the encoder on features whose gradient
//! is stopped, so that its accuracy costs no extra pass and changes nothing.
//!
//! As in solo-learn, the loss is the cross entropy averaged over the global views, on the features of the
//! training pass. In solo-learn the classifier is a parameter group of the method's own optimiser, such as
//! LARS or AdamW. Here it is always trained by SGD with momentum, so that the accuracies of different methods
//! come from one rule. The gradient with respect to the logits is softmax − one-hot.

use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use rand::Rng;
use vssl_data::rng::{Stream, rng};

use crate::{
    recipe::ProbeConfig,
    tensors::state::{self, StateError, Tensors},
};

/// The weights `[classes, dim]`, the bias `[classes]` and their momentum. They live off the autodiff device.
#[derive(Clone)]
pub struct Probe {
    config: ProbeConfig,
    weight: Tensor<2>,
    bias: Tensor<1>,
    weight_momentum: Tensor<2>,
    bias_momentum: Tensor<1>,
}

/// The figures of one step of the probe.
pub struct ProbeStep {
    /// The mean cross entropy and the number of rows whose largest logit was the label; `[2]`, still on the
    /// device.
    pub figures: Tensor<1>,
    /// The number of rows.
    pub seen: u64,
}

impl Probe {
    /// Makes a probe with weights uniform in ±1/√dim, as in PyTorch's linear layer.
    pub fn new(
        config: ProbeConfig,
        dim: usize,
        classes: usize,
        device: &Device,
        seed: u64,
    ) -> Self {
        let bound = 1.0 / (dim as f32).sqrt();
        let mut rng = rng(seed, Stream::Init, 1, 0);
        let mut uniform = |count: usize| -> Vec<f32> {
            (0..count).map(|_| rng.random_range(-bound..=bound)).collect()
        };
        let weight = TensorData::new(uniform(classes * dim), [classes, dim]);
        let bias = TensorData::new(uniform(classes), [classes]);
        Self {
            config,
            weight: Tensor::from_data(weight, device),
            bias: Tensor::from_data(bias, device),
            weight_momentum: Tensor::zeros([classes, dim], device),
            bias_momentum: Tensor::zeros([classes], device),
        }
    }

    /// Learns from one batch at the learning rate `lr`.
    ///
    /// # Shapes — each of `features`: `[n, dim]`, of the same n images; `labels`: n.
    pub fn step(&mut self, features: Vec<Tensor<2>>, labels: &[u32], lr: f64) -> ProbeStep {
        let views = features.len();
        let x = Tensor::cat(features, 0); // [views·n, dim]
        let targets = self.targets(labels).repeat_dim(0, views); // [views·n]
        let logits = self.logits(x.clone());
        let rows = logits.dims()[0];
        // Not Burn's `one_hot`: it reads the labels back from the device, twice.
        let classes = Tensor::<1, Int>::arange(0..self.bias.dims()[0] as i64, &targets.device());
        let one_hot = targets.clone().unsqueeze_dim::<2>(1).equal(classes.unsqueeze_dim(0)).float();
        let log_p = activation::log_softmax(logits.clone(), 1);
        let loss = -(log_p.clone() * one_hot.clone()).sum() / rows as f64;
        let correct = logits.argmax(1).reshape([rows]).equal(targets).int().sum();
        let error = (log_p.exp() - one_hot) / rows as f64; // [rows, classes]
        self.descend(error.clone().transpose().matmul(x), error.sum_dim(0).squeeze_dim(0), lr);
        let figures = Tensor::cat(vec![loss, correct.float()], 0);
        ProbeStep { figures, seen: rows as u64 }
    }

    fn descend(&mut self, weight: Tensor<2>, bias: Tensor<1>, lr: f64) {
        let ProbeConfig { momentum, weight_decay, .. } = self.config;
        let weight = weight + self.weight.clone() * weight_decay;
        self.weight_momentum = self.weight_momentum.clone() * momentum + weight;
        self.bias_momentum = self.bias_momentum.clone() * momentum + bias;
        self.weight = self.weight.clone() - self.weight_momentum.clone() * lr;
        self.bias = self.bias.clone() - self.bias_momentum.clone() * lr;
    }

    /// Returns the logits of frozen features.
    ///
    /// # Shapes — `[n, dim]` to `[n, classes]`.
    pub fn logits(&self, x: Tensor<2>) -> Tensor<2> {
        vssl_kernels::linear(x, self.weight.clone(), Some(self.bias.clone()))
    }

    fn targets(&self, labels: &[u32]) -> Tensor<1, Int> {
        let labels: Vec<i64> = labels.iter().map(|&label| i64::from(label)).collect();
        let count = labels.len();
        Tensor::from_data(TensorData::new(labels, [count]), &self.weight.device())
    }

    /// Returns how many numbers a checkpoint holds: weights, biases and their momentum.
    pub fn numbers(&self) -> u64 {
        2 * (self.weight.shape().num_elements() + self.bias.shape().num_elements()) as u64
    }

    /// Returns the tensors that a checkpoint holds.
    pub fn state(&self) -> Tensors {
        [
            ("weight", self.weight.to_data()),
            ("weight_momentum", self.weight_momentum.to_data()),
            ("bias", self.bias.to_data()),
            ("bias_momentum", self.bias_momentum.to_data()),
        ]
        .map(|(name, tensor)| (name.to_owned(), tensor))
        .into()
    }

    /// Restores the tensors of a checkpoint.
    ///
    /// # Errors
    /// The tensors are of other features or classes.
    pub fn load(&mut self, mut state: Tensors) -> Result<(), StateError> {
        let device = self.weight.device();
        let (weights, biases) = (self.weight.dims(), self.bias.dims());
        *self = Self {
            config: self.config.clone(),
            weight: take(&mut state, "weight", weights, &device)?,
            bias: take(&mut state, "bias", biases, &device)?,
            weight_momentum: take(&mut state, "weight_momentum", weights, &device)?,
            bias_momentum: take(&mut state, "bias_momentum", biases, &device)?,
        };
        Ok(())
    }
}

fn take<const D: usize>(
    state: &mut Tensors,
    name: &str,
    shape: [usize; D],
    device: &Device,
) -> Result<Tensor<D>, StateError> {
    let tensor = state.remove(name).ok_or_else(|| StateError::Missing(name.to_owned()))?;
    Ok(Tensor::from_data(state::of_shape(tensor, name, &shape)?, device))
}
