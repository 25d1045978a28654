//! What a self-supervised method is: all that a contributor implements.
//!
//! The training loop knows nothing else about a method. State has three homes: the *student*, which
//! gradients and the optimiser see; the *memory*, which is kept beside it without gradients; and
//! everything that is a function of the [`Step`] and therefore stored nowhere.

pub mod learner;

use std::collections::BTreeMap;

use burn::{
    module::Module,
    tensor::{Tensor, TensorData},
};
use rand::Rng;
use rand_distr::StandardNormal;
use vssl_data::rng::{Stream, rng};

use crate::{
    backbone::Backbone,
    collective::Group,
    layers::{Init, Mode},
    objective::gaussian::Gaussian,
    schedule::Step,
};

/// The augmented views of one batch, or of a rank's share of it. Labels are not here: no method sees
/// them.
///
/// A method that runs its networks in [`Views::mode`], and computes its loss, figures and what it
/// carries of nothing but what [`Views::gather`] returns, works on any number of ranks. Parameters
/// come before the gathering only.
pub struct Views {
    /// Which image of the training set each row is of, `[n]`.
    pub images: Vec<usize>,
    /// Full-size views, each `[n, 3, h, w]`, in the order of the recipe.
    pub global: Vec<Tensor<4>>,
    /// Small crops, which only the student sees.
    pub local: Vec<Tensor<4>>,
    /// Who has the other shares of the joint batch.
    pub group: Group,
}

impl Views {
    /// Global views, then local ones: the order of the student's forward passes.
    pub fn all(&self) -> impl Iterator<Item = &Tensor<4>> {
        self.global.iter().chain(&self.local)
    }

    /// How batch normalisation runs, the student's and the teacher's.
    pub fn mode(&self) -> Mode<'_> {
        if self.group.is_alone() { Mode::Train } else { Mode::Joint(&self.group) }
    }

    /// Rows of the joint batch; gradients flow to the own ones. See [`Group::gather_all`].
    ///
    /// # Shapes — each `[n, dim]` to `[world · n, dim]`.
    pub fn gather<const N: usize>(&self, own: [Tensor<2>; N]) -> [Tensor<2>; N] {
        self.group.gather(own)
    }

    /// The same for any number of tensors.
    pub fn gather_all(&self, own: Vec<Tensor<2>>) -> Vec<Tensor<2>> {
        self.group.gather_all(own)
    }

    /// Which image of the training set each row of the joint batch is of.
    pub fn joint_images(&self) -> Vec<usize> {
        let own: Vec<u64> = self.images.iter().map(|&image| image as u64).collect();
        self.group.gather_numbers(&own).into_iter().map(|image| image as usize).collect()
    }

    /// ε ~ N(0, I) of this step and view, in the shape of `like`: the own rows of what one process
    /// would draw for the joint batch.
    pub fn standard_normal(&self, like: &Tensor<2>, view: usize, at: &Step) -> Tensor<2> {
        let rng = rng(at.seed, Stream::Posterior, at.index, at.micro << 16 | view as u64);
        let shape = like.shape();
        let count = shape.num_elements();
        // A normal number takes a varying number of random bits: those of the ranks before are drawn.
        let own = rng.sample_iter(StandardNormal).skip(self.group.rank() * count).take(count);
        let values: Vec<f32> = own.collect();
        Tensor::from_data(TensorData::new(values, shape), &like.device())
    }
}

/// What a forward pass put out.
pub struct Loss<C> {
    /// What is minimised, `[1]`.
    pub total: Tensor<1>,
    /// Its terms and whatever else is worth a curve, each `[1]`, without gradient.
    pub parts: Vec<(&'static str, Tensor<1>)>,
    /// Backbone features of the global views, each `[n, dim]` of the own rows, without gradient: the
    /// probe and the health figures read them.
    pub features: Vec<Tensor<2>>,
    /// What memory wants to remember of this batch.
    pub carry: C,
}

/// What a network says of images whose output is a distribution.
#[derive(Clone, Debug)]
pub struct Belief {
    /// Features of its backbone, `[n, features]`.
    pub features: Tensor<2>,
    /// Mean and variance of its output, both `[n, d]`. Where [`Posterior::free_variance`] says so, the
    /// "variance" is a vector of any sign.
    pub gaussian: Gaussian,
}

/// What a method with Gaussian outputs says of images, by running statistics and without gradient.
#[derive(Clone, Debug)]
pub struct Posterior {
    /// The posterior: the student's.
    pub student: Belief,
    /// The prior: the teacher's.
    pub teacher: Belief,
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

/// What a method may want to know of a run before it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Images of the training set; where settings are checked, those in whole batches of an epoch.
    pub images: usize,
    /// Images of one forward pass, those of all ranks together.
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

    /// Refuses forward passes of a single image: for methods whose negatives are the others.
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
    /// What gradients and the optimiser see. One of its fields is the backbone, named `backbone`.
    type Student: Module;
    /// What is kept beside it without gradients; [`Nothing`] if nothing.
    type Memory: Module;
    /// What [`Method::loss`] computed that memory wants.
    type Carry;

    /// Whether a recipe of these sizes makes sense, in words if not.
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

    /// The encoder inside the momentum teacher, where there is one.
    fn teacher<'a>(&self, _memory: &'a Self::Memory) -> Option<&'a Backbone> {
        None
    }

    /// How its posterior is read, of a method whose outputs are distributions.
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
