//! Object-safe traits that hide the types of methods and their networks, so that the loop is compiled once.

use std::{collections::BTreeMap, fmt, sync::Arc};

use burn::tensor::{Device, Tensor};
use serde::{Serialize, Serializer};

pub use super::{
    initial::{BACKBONE, Initial, Network},
    typed::erase,
};
use crate::{
    backbone::{Backbone, BackboneConfig, Patches},
    method::{FrozenTeacher, PosteriorReader, Sizes, Views},
    optim::{Gradients, OptimError, Optimizer},
    schedule::Step,
    tensors::{
        ParameterInfo,
        state::{StateError, Tensors},
    },
};

/// A configured method whose types are hidden.
pub trait AnyMethod: Send + Sync {
    /// Returns the name of the method in a recipe, which is also the name of the table with its settings.
    fn name(&self) -> &'static str;

    /// Returns all settings, defaults included.
    fn settings(&self) -> toml::Table;

    /// Checks that the settings fit the sizes of a run: see [`Method::check`](super::Method::check).
    ///
    /// # Errors
    /// The settings do not fit; the error says what was expected.
    fn check(&self, sizes: &Sizes) -> Result<(), String>;

    /// Checks that the method can work with the patches of a full-size view: see [`Method::check_patches`](super::Method::check_patches).
    ///
    /// # Errors
    /// The method cannot work with the backbone; the error says what was expected.
    fn check_patches(&self, patches: Option<Patches>) -> Result<(), String>;

    /// Returns the share of an image's patches that the student's backbone sees: see
    /// [`Method::visible_share`](super::Method::visible_share).
    fn visible_share(&self) -> f64;

    /// Returns whether the method's learners have a posterior.
    fn has_posterior(&self) -> bool;

    /// Returns whether the method can tell the loss of each image: see [`Method::has_image_losses`](super::Method::has_image_losses).
    fn has_image_losses(&self) -> bool;

    /// Returns whether the method uses labels: see [`Method::sees_labels`](super::Method::sees_labels).
    fn sees_labels(&self) -> bool;

    /// Returns whether the method learns from a frozen teacher: see [`Method::teach`](super::Method::teach).
    fn has_frozen_teacher(&self) -> bool;

    /// Checks that a student with this backbone can learn from this teacher by the method.
    ///
    /// # Errors
    /// It cannot, or the method has no frozen teacher; the error says what was expected.
    fn check_teacher(
        &self,
        teacher: &Arc<FrozenTeacher>,
        backbone: &BackboneConfig,
    ) -> Result<(), String>;

    /// Makes networks with initial values for images of three channels and inputs of these sizes on `device`; `seed` fixes every value. A frozen
    /// teacher has initial values as well, other ones than the student, and the architecture of its backbone.
    fn learner(
        &self,
        backbone: &BackboneConfig,
        sizes: &Sizes,
        device: &Device,
        seed: u64,
    ) -> Box<dyn Learner> {
        self.learner_of((backbone, 3), sizes, device, seed)
    }

    /// Makes networks with initial values as [`AnyMethod::learner`] does, for images of so many channels.
    fn learner_of(
        &self,
        (backbone, channels): (&BackboneConfig, usize),
        sizes: &Sizes,
        device: &Device,
        seed: u64,
    ) -> Box<dyn Learner> {
        let initial = Initial { channels, ..Initial::default() };
        let made = self.learner_from(initial, backbone, sizes, device, seed);
        made.expect("without weights of an encoder there is nothing that could not fit")
    }

    /// Makes networks whose backbones, the student's and the teacher's, start as `initial` says; all else has initial
    /// values as from [`AnyMethod::learner`].
    ///
    /// # Errors
    /// A tensor of the encoder does not fit the backbone.
    ///
    /// # Panics
    /// The teacher is one that [`AnyMethod::check_teacher`] refuses.
    fn learner_from(
        &self,
        initial: Initial,
        backbone: &BackboneConfig,
        sizes: &Sizes,
        device: &Device,
        seed: u64,
    ) -> Result<Box<dyn Learner>, StateError>;

    /// Returns a copy.
    fn clone_box(&self) -> Box<dyn AnyMethod>;
}

impl Clone for Box<dyn AnyMethod> {
    fn clone(&self) -> Self {
        self.clone_box()
    }
}

/// A method is serialised as its name: the key `method` of a recipe.
impl Serialize for dyn AnyMethod {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl fmt::Debug for dyn AnyMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple(self.name()).field(&self.settings()).finish()
    }
}

/// The result of one forward pass for the training loop: see [`Loss`](super::Loss).
pub struct Outcome {
    /// The loss that was minimised.
    pub total: Tensor<1>,
    /// The terms of the loss and other figures, without gradient.
    pub parts: Vec<(&'static str, Tensor<1>)>,
    /// The features of each global view, without gradient.
    pub features: Vec<Tensor<2>>,
    /// The loss of each image of the joint batch, without gradient, where it was asked for.
    pub image_losses: Option<Tensor<1>>,
}

/// The student and the memory of a method, and the gradients of the current step.
pub trait Learner {
    /// Runs a forward and a backward pass. The gradients, multiplied by `share`, are added to those of
    /// earlier micro-batches, which wait for the update.
    fn forward_backward(&mut self, views: &Views, share: f64, at: &Step) -> Outcome;

    /// Takes the waiting gradients out of the learner.
    fn take_gradients(&mut self) -> Gradients;

    /// Makes one optimiser step, then updates the memory. `rate` turns a base rate into this step's rate.
    ///
    /// # Errors
    /// The gradients are not of this student.
    fn update(
        &mut self,
        optimizer: &mut Optimizer,
        gradients: Gradients,
        rate: &dyn Fn(f64) -> f64,
        at: &Step,
    ) -> Result<(), OptimError>;

    /// Prepares the memory for an epoch, before its first step.
    fn before_epoch(&mut self, at: &Step);

    /// Returns a copy of the encoder for inference, off the autodiff device; `None` for the teacher of a
    /// method without a teacher.
    fn encoder(&self, network: Network) -> Option<Backbone>;

    /// Returns a function that computes the distributions of images by copies of the networks as they are now, off
    /// the autodiff device; `None` for a method without distributions.
    fn posterior(&self) -> Option<PosteriorReader>;

    /// Returns the parameters that the optimiser trains.
    fn parameters(&self) -> Vec<ParameterInfo>;

    /// Returns whether the parameter of this path does not change at this step: see [`Method::frozen`](super::Method::frozen).
    fn is_frozen(&self, path: &str, at: &Step) -> bool;

    /// Returns how many numbers the student and the memory hold, running statistics included.
    fn numbers(&self) -> [u64; 2];

    /// Returns all tensors of the student.
    fn student(&self) -> Tensors;

    /// Returns all tensors of the memory.
    fn memory(&self) -> Tensors;

    /// Replaces the tensors of the student and of the memory.
    ///
    /// # Errors
    /// The tensors are of another network; the learner is unchanged then.
    fn load(&mut self, student: Tensors, memory: Tensors) -> Result<(), StateError>;

    /// Returns a warning where the figures show a collapse: see [`Method::symptom`](super::Method::symptom).
    fn symptom(&self, figures: &BTreeMap<String, f64>) -> Option<String>;
}
