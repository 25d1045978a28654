//! A head that learns beside the encoder how large the loss of an image is: the table `[uncertainty]` of a recipe.
//!
//! It reads features whose gradient is stopped, as the online [probe](super::probe) does, and has an optimiser of its own: it
//! changes no bit of what the method learns. The targets are the method's losses of the images of the joint batch, the
//! same for all views of an image. All ranks train the same head on the joint batch.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use super::TrainError;
use crate::{
    layers::{Init, LossHead},
    objective::loss_prediction,
    optim::{Adam, Algorithm, Gradients, Optimizer, OptimizerConfig},
    recipe::{LossObjective, UncertaintySection},
    tensors::{
        self,
        state::{self, StateError, Tensors},
    },
};

/// The head in training.
pub struct LossHeadTraining {
    section: UncertaintySection,
    head: LossHead,
    optimizer: Optimizer,
    /// The device without autodiff.
    device: Device,
}

impl LossHeadTraining {
    /// Makes a head for features of length `dim`; `seed` fixes every value.
    ///
    /// # Errors
    /// A number of the section is out of range.
    pub fn new(
        section: UncertaintySection,
        dim: usize,
        device: &Device,
        seed: u64,
    ) -> Result<Self, TrainError> {
        let training = device.clone().autodiff();
        let head = LossHead::new(dim, &section.hidden, &Init::beside(&training, seed));
        let config = OptimizerConfig {
            algorithm: Algorithm::Adamw(Adam::default()),
            lr: section.lr,
            scale_lr: false,
            weight_decay: section.weight_decay,
            ..OptimizerConfig::default()
        };
        // The rate does not depend on the batch.
        let optimizer = Optimizer::new(config, 1)?;
        Ok(Self { section, head, optimizer, device: device.clone() })
    }

    /// Learns from one batch, and returns the head's loss, `[1]`, still on the device. `rate` turns the base rate into the
    /// rate of this step.
    ///
    /// # Shapes — each of `features`: `[n, dim]`, of the same n images; `losses`: `[n]`; all off the autodiff device.
    ///
    /// # Errors
    /// The optimiser's.
    pub fn step(
        &mut self,
        features: &[Tensor<2>],
        losses: Tensor<1>,
        rate: impl Fn(f64) -> f64,
    ) -> Result<Tensor<1>, TrainError> {
        let (views, n) = (features.len(), losses.dims()[0]);
        let strategy = self.head.layers[0].weight.val().gradient_checkpointing_strategy();
        let strategy = strategy.expect("the head is on the autodiff device");
        let x = Tensor::from_inner(Tensor::cat(features.to_vec(), 0)); // [views·n, dim]
        let losses = Tensor::from_inner(losses).with_gradient_checkpointing_strategy(strategy);
        let predicted = self.head.forward(x.with_gradient_checkpointing_strategy(strategy));
        let of_view = |view: usize| {
            let predicted = predicted.clone().narrow(0, view * n, n);
            let UncertaintySection { margin, leeway, .. } = self.section;
            match self.section.objective {
                LossObjective::Order => {
                    loss_prediction::order(predicted, losses.clone(), margin, leeway)
                }
                LossObjective::Squared => loss_prediction::squared(predicted, losses.clone()),
            }
        };
        let sum = (0..views).map(of_view).reduce(|a, b| a + b);
        let loss = sum.expect("there is a view at least") / views as f64;
        let gradients = Gradients::collect(loss.backward(), &self.head);
        self.head = self.optimizer.step(self.head.clone(), gradients, rate)?;
        Ok(loss.detach().inner())
    }

    /// Returns how many numbers a checkpoint holds: the weights and the optimiser's state.
    pub fn numbers(&self) -> u64 {
        self.head.numbers() * (1 + self.optimizer.moments())
    }

    /// Returns the weights, and the state of the optimiser.
    pub fn state(&self) -> [Tensors; 2] {
        [state::collect(&self.head), self.optimizer.state()]
    }

    /// Restores the weights and the optimiser's state of a checkpoint.
    ///
    /// # Errors
    /// The tensors are of another head.
    pub fn load(&mut self, weights: Tensors, optimizer: Tensors) -> Result<(), TrainError> {
        let head = state::restore(self.head.valid().train(), weights);
        self.head = head.map_err(|source: StateError| TrainError::LossHead(Box::new(source)))?;
        let parameters = tensors::parameters(&self.head);
        self.optimizer.load_state(optimizer, &parameters, &self.device)?;
        Ok(())
    }
}
