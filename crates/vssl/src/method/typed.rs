//! What stands behind the object-safe traits: a configured method, and its student and memory, with their types.

use std::{collections::BTreeMap, sync::Arc};

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use serde::Serialize;
use vssl_kernels::breakdown::{self, Part};

use crate::{
    backbone::{Backbone, BackboneConfig, Patches},
    layers::Init,
    method::{
        FrozenTeacher, Loss, Method, PosteriorReader, Sizes, Views,
        learner::{AnyMethod, BACKBONE, Initial, Learner, Network, Outcome},
    },
    optim::{Gradients, OptimError, Optimizer},
    schedule::Step,
    tensors::{
        self, ParameterInfo,
        state::{self, StateError, Tensors},
    },
};

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

    fn visible_share(&self) -> f64 {
        self.method.visible_share()
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
