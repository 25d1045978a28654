//! What a self-supervised method is: all that a contributor implements.
//!
//! The training loop knows nothing else about a method. State has three homes: the *student*, which
//! gradients and the optimiser see; the *memory*, which is kept beside it without gradients; and
//! everything that is a function of the [`Step`] and therefore stored nowhere.

pub mod learner;
mod views;

use std::collections::BTreeMap;

use burn::{module::Module, tensor::Tensor};

use crate::{backbone::Backbone, layers::Init, objective::gaussian::Gaussian, schedule::Step};

pub use views::{Rows, Views};

/// The results of a forward pass.
pub struct Loss<C> {
    /// What is minimised, `[1]`.
    pub total: Tensor<1>,
    /// Its terms and whatever else is worth a curve, each `[1]`. The learner takes their gradients off.
    pub parts: Vec<(&'static str, Tensor<1>)>,
    /// Backbone features of the views, each `[n, dim]` of the own rows, in the order of [`Views::all`].
    /// The learner keeps those of the global views and takes their gradients off: the probe and the
    /// health figures read them.
    pub features: Vec<Tensor<2>>,
    /// What [`Method::remember`] takes into memory of this batch.
    pub carry: C,
}

/// What a network puts out for images, where its output is a distribution.
#[derive(Clone, Debug)]
pub struct HeadOutput {
    /// Features of its backbone, `[n, features]`.
    pub features: Tensor<2>,
    /// Mean and variance of its output, both `[n, d]`. Where [`Posterior::free_variance`] says so, the
    /// "variance" is a vector of any sign.
    pub gaussian: Gaussian,
}

/// What a method with Gaussian outputs puts out for images, by running statistics and without gradient.
#[derive(Clone, Debug)]
pub struct Posterior {
    /// The posterior: the student's.
    pub student: HeadOutput,
    /// The prior: the teacher's.
    pub teacher: HeadOutput,
    /// KL(posterior ‖ prior) of each image, `[n]`, as the method's loss has it.
    pub divergence: Tensor<1>,
    /// Whether the variances are vectors of which the loss only sees the direction.
    pub free_variance: bool,
}

/// How a [`Posterior`] is read off the networks of the method `M`, off the autodiff device.
///
/// # Shapes — the images: `[n, 3, h, w]`.
pub type ReadPosterior<M> =
    fn(&M, &<M as Method>::Student, &<M as Method>::Memory, Tensor<4>) -> Posterior;

/// The sizes of a run that a method's settings and memory depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Images of the training set; where settings are checked, the images of an epoch's whole batches.
    pub images: usize,
    /// Images of one forward pass, of all ranks together.
    pub batch: usize,
    /// Full-size views of an image.
    pub global_views: usize,
    /// Small crops of an image.
    pub local_views: usize,
}

impl Sizes {
    /// Refuses all but two global views without local ones: for methods that compare one pair.
    ///
    /// # Errors
    /// The keys, what they add up to and what `method` expects.
    pub fn require_one_pair(&self, method: &str) -> Result<(), String> {
        let Self { global_views, local_views, .. } = *self;
        if (global_views, local_views) == (2, 0) {
            return Ok(());
        }
        Err(format!(
            "views.count adds up to {global_views} global and {local_views} local views; {method} \
             compares one pair: expected 2 global views (views.count, views.local = false) and \
             none with views.local = true"
        ))
    }

    /// Refuses forward passes of a single image: for methods whose negatives are the other images.
    ///
    /// # Errors
    /// The keys, what they come to and what `method` expects.
    pub fn require_other_images(&self, method: &str) -> Result<(), String> {
        if self.batch >= 2 {
            return Ok(());
        }
        Err(format!(
            "train.batch / train.accumulate is {}; {method} needs other images in the same forward \
             pass: expected at least 2",
            self.batch
        ))
    }

    /// Refuses fewer than two global views; any number of local ones will do.
    ///
    /// # Errors
    /// The keys, what they add up to and what `method` expects.
    pub fn require_two_global(&self, method: &str) -> Result<(), String> {
        if self.global_views >= 2 {
            return Ok(());
        }
        Err(format!(
            "views.count adds up to {} global views (those without views.local = true); {method} \
             predicts one global view from another: expected at least 2",
            self.global_views
        ))
    }
}

/// A method; the value itself is its configuration.
///
/// The associated modules must keep every tensor that lasts in a `Param`: Burn drops bare tensors
/// and numbers from what it records.
pub trait Method: Send + Sync {
    /// The networks that gradients and the optimiser see. One field is the backbone, named `backbone`.
    type Student: Module;
    /// State beside the student, without gradients; [`Nothing`] for a method that remembers nothing.
    type Memory: Module;
    /// What [`Method::loss`] hands to [`Method::remember`].
    type Carry;

    /// Refuses settings that do not fit these sizes.
    ///
    /// # Errors
    /// The keys and values that do not fit, and what was expected instead.
    fn check(&self, _sizes: &Sizes) -> Result<(), String> {
        Ok(())
    }

    /// The student around a fresh backbone with features of length `dim`.
    fn student(&self, backbone: Backbone, dim: usize, init: &Init) -> Self::Student;

    /// The memory at the start.
    fn memory(&self, student: &Self::Student, sizes: &Sizes, init: &Init) -> Self::Memory;

    /// Paths of student parameters, or of modules with all that is in them, that this step leaves
    /// as they are: neither gradient nor weight decay nor momentum moves them.
    fn frozen(&self, _at: &Step) -> &'static [&'static str] {
        &[]
    }

    /// The loss of one batch.
    fn loss(
        &self,
        student: &Self::Student,
        memory: &Self::Memory,
        views: &Views,
        at: &Step,
    ) -> Loss<Self::Carry>;

    /// The encoder inside the student: what is evaluated and exported.
    fn backbone<'a>(&self, student: &'a Self::Student) -> &'a Backbone;

    /// The encoder inside the momentum teacher, for a method that has a teacher.
    fn teacher<'a>(&self, _memory: &'a Self::Memory) -> Option<&'a Backbone> {
        None
    }

    /// How the posterior is read, for a method whose outputs are distributions.
    fn posterior(&self) -> Option<ReadPosterior<Self>>
    where
        Self: Sized,
    {
        None
    }

    /// After the backward pass: take in what the loss carried.
    fn remember(&self, memory: Self::Memory, _carry: Self::Carry, _at: &Step) -> Self::Memory {
        memory
    }

    /// After the optimiser's step: the momentum update.
    fn after_step(
        &self,
        memory: Self::Memory,
        _student: &Self::Student,
        _at: &Step,
    ) -> Self::Memory {
        memory
    }

    /// A warning, when the parts that were logged show a collapse that only this method knows.
    fn symptom(&self, _figures: &BTreeMap<String, f64>) -> Option<String> {
        None
    }

    /// Before the first step of an epoch.
    fn before_epoch(
        &self,
        memory: Self::Memory,
        _student: &Self::Student,
        _at: &Step,
    ) -> Self::Memory {
        memory
    }
}

/// The memory of a method that remembers nothing.
#[derive(Module, Debug)]
pub struct Nothing;

/// A frozen copy that shares nothing with `student`, batch-norm statistics included.
///
/// A plain `clone()` shares the running statistics, and `no_grad()` on a fresh clone freezes the
/// original too (lazy initialisation is shared): `valid()` is what makes new ones.
pub fn teacher_of<M: Module>(student: &M) -> M {
    student.valid().train().no_grad()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_that_a_method_cannot_use_are_refused_by_their_key() {
        let sizes = Sizes { images: 100, batch: 10, global_views: 2, local_views: 6 };
        assert_eq!(sizes.require_two_global("swav"), Ok(()));
        let single = Sizes { global_views: 1, ..sizes };
        let message = single.require_two_global("swav").unwrap_err();
        assert!(message.contains("views.count") && message.contains("swav"), "{message}");
        let message = sizes.require_one_pair("byol").unwrap_err();
        assert!(message.contains("6 local views") && message.contains("byol"), "{message}");
        assert_eq!(Sizes { local_views: 0, ..sizes }.require_one_pair("byol"), Ok(()));
        assert!(Sizes { batch: 1, ..sizes }.require_other_images("simclr").is_err());
    }
}
