//! Object-safe traits that hide the types of methods and their networks, so that the loop is compiled once.

use std::{collections::BTreeMap, fmt, sync::Arc};

pub use super::initial::{BACKBONE, Initial, Network};
use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use serde::{Serialize, Serializer};
use vssl_kernels::breakdown::{self, Part};

use crate::{
    backbone::{Backbone, BackboneConfig, Patches},
    layers::Init,
    method::{FrozenTeacher, Loss, Method, PosteriorReader, Sizes, Views},
    optim::{Gradients, OptimError, Optimizer},
    schedule::Step,
    tensors::{
        self, ParameterInfo,
        state::{self, StateError, Tensors},
    },
};

/// A configured method whose types are hidden.
pub trait AnyMethod: Send + Sync {
    /// Returns the name of the method in a recipe, which is also the name of the table with its settings.
    fn name(&self) -> &'static str;

    /// Returns all settings, defaults included.
    fn settings(&self) -> toml::Table;

    /// Checks that the settings fit the sizes of a run: see [`Method::check`].
    ///
    /// # Errors
    /// The settings do not fit; the error says what was expected.
    fn check(&self, sizes: &Sizes) -> Result<(), String>;

    /// Checks that the method can work with the patches of a full-size view: see [`Method::check_patches`].
    ///
    /// # Errors
    /// The method cannot work with the backbone; the error says what was expected.
    fn check_patches(&self, patches: Option<Patches>) -> Result<(), String>;

    /// Returns whether the method's learners have a posterior.
    fn has_posterior(&self) -> bool;

    /// Returns whether the method can tell the loss of each image: see [`Method::has_image_losses`].
    fn has_image_losses(&self) -> bool;

    /// Returns whether the method uses labels: see [`Method::sees_labels`].
    fn sees_labels(&self) -> bool;

    /// Returns whether the method learns from a frozen teacher: see [`Method::teach`].
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

/// Hides the types of a configured method, be it of this crate or your own. Recipes call the method `name`.
pub fn erase<M: Method + Clone + Serialize + 'static>(
    name: &'static str,
    method: M,
) -> Box<dyn AnyMethod> {
    Box::new(Configured { name, method })
}

#[derive(Clone)]
struct Configured<M> {
    name: &'static str,
    method: M,
}

impl<M: Method + Clone + Serialize + 'static> AnyMethod for Configured<M> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn settings(&self) -> toml::Table {
        toml::Table::try_from(&self.method).expect("settings are a table of plain values")
    }

    fn check(&self, sizes: &Sizes) -> Result<(), String> {
        self.method.check(sizes)
    }

    fn check_patches(&self, patches: Option<Patches>) -> Result<(), String> {
        self.method.check_patches(patches)
    }

    fn has_posterior(&self) -> bool {
        self.method.posterior().is_some()
    }

    fn has_image_losses(&self) -> bool {
        self.method.has_image_losses()
    }

    fn sees_labels(&self) -> bool {
        self.method.sees_labels()
    }

    fn has_frozen_teacher(&self) -> bool {
        self.method.teach().is_some()
    }

    fn check_teacher(
        &self,
        teacher: &Arc<FrozenTeacher>,
        backbone: &BackboneConfig,
    ) -> Result<(), String> {
        match self.method.teach() {
            Some(teach) => teach(self.method.clone(), Arc::clone(teacher), backbone).map(drop),
            None => Err(format!("{} has no frozen teacher", self.name)),
        }
    }

    fn clone_box(&self) -> Box<dyn AnyMethod> {
        Box::new(self.clone())
    }

    fn learner_from(
        &self,
        initial: Initial,
        backbone: &BackboneConfig,
        sizes: &Sizes,
        device: &Device,
        seed: u64,
    ) -> Result<Box<dyn Learner>, StateError> {
        let mut method = self.method.clone();
        if let Some(teach) = method.teach() {
            let untrained =
                || Arc::new(FrozenTeacher::untrained((backbone, initial.channels), device));
            let teacher = initial.teacher.unwrap_or_else(untrained);
            method = teach(method, teacher, backbone).expect("the teacher was checked");
        }
        let init = Init::new(device, seed).with_channels(initial.channels);
        let mut encoder = Backbone::new(backbone, &init);
        if let Some(weights) = initial.weights {
            encoder = state::restore(encoder, weights)?;
        }
        let student = method.student(encoder, backbone.dim(), &init);
        let memory = method.memory(&student, sizes, &init);
        Ok(Box::new(TypedLearner {
            method,
            student: Some(student),
            memory: Some(memory),
            gradients: None,
            frozen: backbone.frozen().iter().map(|path| format!("{BACKBONE}.{path}")).collect(),
            freeze_epochs: initial.freeze_epochs,
        }))
    }
}

/// The result of one forward pass for the training loop: see [`Loss`].
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

    /// Returns whether the parameter of this path does not change at this step: see [`Method::frozen`].
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

    /// Returns a warning where the figures show a collapse: see [`Method::symptom`].
    fn symptom(&self, figures: &BTreeMap<String, f64>) -> Option<String>;
}

/// The student and the memory of a method, with their types.
///
/// Both fields are options only so that an update can own their values: a clone would make every tensor
/// shared and every in-place operation a copy. They are `Some` between calls.
struct TypedLearner<M: Method> {
    method: M,
    student: Option<M::Student>,
    memory: Option<M::Memory>,
    gradients: Option<Gradients>,
    /// The paths of the student's backbone that are never trained.
    frozen: Vec<String>,
    /// The number of epochs in which no path of the backbone is trained.
    freeze_epochs: u64,
}

const WHOLE: &str = "student and memory are only absent inside an update";

impl<M: Method> TypedLearner<M> {
    fn parts(&self) -> (&M::Student, &M::Memory) {
        (self.student.as_ref().expect(WHOLE), self.memory.as_ref().expect(WHOLE))
    }

    fn freezes_backbone(&self, at: &Step) -> bool {
        at.epoch < self.freeze_epochs
    }

    fn update_memory(&mut self, update: impl FnOnce(&M, M::Memory, &M::Student) -> M::Memory) {
        let memory = self.memory.take().expect(WHOLE);
        let student = self.student.as_ref().expect(WHOLE);
        self.memory = Some(update(&self.method, memory, student));
    }
}

impl<M: Method> Learner for TypedLearner<M> {
    fn forward_backward(&mut self, views: &Views, share: f64, at: &Step) -> Outcome {
        breakdown::enter(Part::Loss);
        let (student, memory) = self.parts();
        let frozen = self.freezes_backbone(at).then(|| views.with_frozen_backbone());
        let views = frozen.as_ref().unwrap_or(views);
        let Loss { total, parts, features, image_losses, carry } =
            self.method.loss(student, memory, views, at);
        let parts = parts.into_iter().map(|(name, part)| (name, part.detach())).collect();
        let global = features.into_iter().take(views.global.len());
        let features = global.map(Tensor::detach).collect();
        let mut gradients = Gradients::collect(breakdown::backward(total.clone() * share), student);
        gradients.0.retain(|path, _| !self.is_frozen(path, at));
        self.gradients = Some(match self.gradients.take() {
            Some(earlier) => earlier.accumulate(gradients),
            None => gradients,
        });
        breakdown::enter(Part::Memory);
        self.update_memory(|method, memory, _| method.remember(memory, carry, at));
        breakdown::enter(Part::Loss);
        let image_losses = image_losses.map(Tensor::detach);
        Outcome { total: total.detach(), parts, features, image_losses }
    }

    fn take_gradients(&mut self) -> Gradients {
        self.gradients.take().expect("a backward pass comes before an update")
    }

    fn update(
        &mut self,
        optimizer: &mut Optimizer,
        gradients: Gradients,
        rate: &dyn Fn(f64) -> f64,
        at: &Step,
    ) -> Result<(), OptimError> {
        breakdown::enter(Part::Optimizer);
        let student = self.student.take().expect(WHOLE);
        optimizer.decay_at(at);
        self.student = Some(optimizer.step(student, gradients, rate)?);
        breakdown::enter(Part::Memory);
        self.update_memory(|method, memory, student| method.after_step(memory, student, at));
        Ok(())
    }

    fn before_epoch(&mut self, at: &Step) {
        breakdown::enter(Part::Memory);
        self.update_memory(|method, memory, student| method.before_epoch(memory, student, at));
    }

    fn encoder(&self, network: Network) -> Option<Backbone> {
        let (student, memory) = self.parts();
        match network {
            Network::Student => Some(self.method.backbone(student).valid()),
            Network::Teacher => self.method.teacher(memory).map(Module::valid),
        }
    }

    fn posterior(&self) -> Option<PosteriorReader> {
        let prepare = self.method.posterior()?;
        let (student, memory) = self.parts();
        Some(prepare(&self.method, &student.valid(), &memory.valid()))
    }

    fn parameters(&self) -> Vec<ParameterInfo> {
        tensors::parameters(self.parts().0)
    }

    fn is_frozen(&self, path: &str, at: &Step) -> bool {
        let at_this_step = self.method.frozen(at).iter().copied();
        let backbone = self.freezes_backbone(at).then_some(BACKBONE);
        at_this_step.chain(backbone).chain(self.frozen.iter().map(String::as_str)).any(|frozen| {
            path.strip_prefix(frozen).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    fn numbers(&self) -> [u64; 2] {
        let (student, memory) = self.parts();
        [student.num_params() as u64, memory.num_params() as u64]
    }

    fn student(&self) -> Tensors {
        state::collect(self.parts().0)
    }

    fn memory(&self) -> Tensors {
        state::collect(self.parts().1)
    }

    fn load(&mut self, student: Tensors, memory: Tensors) -> Result<(), StateError> {
        // `valid().train()` unshares the running statistics, so that a failure half-way does not change the
        // originals.
        let (old_student, old_memory) = self.parts();
        let student = state::restore(old_student.valid().train(), student)?;
        let memory = state::restore(old_memory.valid().train(), memory)?;
        (self.student, self.memory) = (Some(student), Some(memory));
        Ok(())
    }

    fn symptom(&self, figures: &BTreeMap<String, f64>) -> Option<String> {
        self.method.symptom(figures)
    }
}
