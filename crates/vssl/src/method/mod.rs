//! The trait of a self-supervised method, and all other types that a contributor needs to write a method.
//!
//! The training loop knows a method only through this trait. State has three homes: the *student*, which has
//! gradients and is trained by the optimiser; the *memory*, which has no gradients; and the quantities that
//! are a function of the [`Step`], which are not stored.

pub mod block_mask;
mod frozen;
mod initial;
pub mod learner;
pub mod mask;
mod typed;
mod views;

use std::collections::BTreeMap;

use burn::{module::Module, tensor::Tensor};

use vssl_data::counted;

use crate::{
    backbone::{Backbone, Patches},
    layers::Init,
    objective::gaussian::Gaussian,
    schedule::Step,
};

pub use frozen::{FrozenTeacher, Teach};
pub use views::{Rows, Views};

/// The results of a forward pass.
pub struct Loss<C> {
    /// The loss that is minimised, `[1]`.
    pub total: Tensor<1>,
    /// The terms of the loss and other figures that should be logged, each `[1]`. The learner detaches them.
    pub parts: Vec<(&'static str, Tensor<1>)>,
    /// The backbone features of the views, each `[n, dim]` of the own rows, in the order of [`Views::all`].
    /// The learner keeps those of the global views and detaches them, for the probe and the health figures.
    pub features: Vec<Tensor<2>>,
    /// The loss of each image of the joint batch, `[N]`, whose mean is `total` without the terms that belong to a whole
    /// batch (KoLeo of DINOv2; no other method has both); `None` where
    /// [`Step::image_losses`] does not ask for it, or where the method [has none](Method::has_image_losses). The learner
    /// detaches it.
    pub image_losses: Option<Tensor<1>>,
    /// The part of this batch that [`Method::remember`] takes into the memory.
    pub carry: C,
}

/// The output of a network whose head gives a distribution.
#[derive(Clone, Debug)]
pub struct HeadOutput {
    /// The features of the backbone, `[n, features]`.
    pub features: Tensor<2>,
    /// The mean and variance of the head's output, both `[n, d]`. Where [`Posterior::free_variance`] is set,
    /// the "variance" is a vector of any sign.
    pub gaussian: Gaussian,
}

/// The distributions that a method with Gaussian outputs assigns to images, by running statistics and without
/// gradient.
#[derive(Clone, Debug)]
pub struct Posterior {
    /// The posterior, which is the student's output.
    pub student: HeadOutput,
    /// The prior, which is the teacher's output.
    pub teacher: HeadOutput,
    /// KL(posterior ‖ prior) of each image, `[n]`, in the form of the method's loss.
    pub divergence: Tensor<1>,
    /// Whether the variances are vectors of which only the direction has an effect on the loss.
    pub free_variance: bool,
}

/// A function that computes the [`Posterior`] of images by networks that it holds, off the autodiff device.
///
/// # Shapes — the images: `[n, channels, h, w]`.
pub type PosteriorReader = Box<dyn Fn(Tensor<4>) -> Posterior>;

/// A function that prepares the networks of the method `M`, which are off the autodiff device, for the posteriors of
/// many batches of images.
pub type PreparePosterior<M> =
    fn(&M, &<M as Method>::Student, &<M as Method>::Memory) -> PosteriorReader;

/// The sizes of a run that a method's settings and memory depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// The number of images of the training set; where settings are checked, the images of an epoch's whole
    /// batches.
    pub images: usize,
    /// The number of images of one forward pass, over all ranks.
    pub batch: usize,
    /// The number of full-size views of an image.
    pub global_views: usize,
    /// The number of small crops of an image.
    pub local_views: usize,
}

impl Sizes {
    /// Checks that there are two global and no local views, for methods that compare one pair.
    ///
    /// # Errors
    /// The views do not fit; the error names the keys, their sums and the expectation of `method`.
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

    /// Checks that a forward pass has several images, for methods whose negatives are the other images.
    ///
    /// # Errors
    /// The batch does not fit; the error names the keys, their result and the expectation of `method`.
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

    /// Checks that there is a global view and no local one, for methods that hide parts of each view by themselves.
    ///
    /// # Errors
    /// The views do not fit; the error names the keys, their sums and the expectation of `method`.
    pub fn require_global_only(&self, method: &str) -> Result<(), String> {
        let Self { global_views, local_views, .. } = *self;
        if global_views >= 1 && local_views == 0 {
            return Ok(());
        }
        Err(format!(
            "views.count adds up to {global_views} global and {local_views} local views; {method} hides parts of \
             full-size views: expected at least 1 global view (views.count = 1 is enough) and none with \
             views.local = true"
        ))
    }

    /// Checks that there are at least two views, where global and local views count alike.
    ///
    /// # Errors
    /// The views do not fit; the error names the key, its sum and the expectation of `method`.
    pub fn require_two_views(&self, method: &str) -> Result<(), String> {
        let views = self.global_views + self.local_views;
        if views >= 2 {
            return Ok(());
        }
        Err(format!(
            "views.count adds up to {views}; {method} contrasts views of one image: expected at least 2 (global and \
             local ones count alike)"
        ))
    }

    /// Checks that there are at least two global views; any number of local views is allowed.
    ///
    /// # Errors
    /// The views do not fit; the error names the keys, their sums and the expectation of `method`.
    pub fn require_two_global(&self, method: &str) -> Result<(), String> {
        if self.global_views >= 2 {
            return Ok(());
        }
        Err(format!(
            "views.count adds up to {} (those without views.local = true); {method} predicts one global view from another: \
             expected at least 2",
            counted(self.global_views, "global view")
        ))
    }
}

/// A self-supervised method; the value itself is its configuration.
///
/// The associated modules must keep every tensor that lasts in a `Param`: Burn does not record bare tensors
/// and numbers.
pub trait Method: Send + Sync {
    /// The networks that have gradients and are trained by the optimiser. One field is the backbone, named
    /// `backbone`.
    type Student: Module;
    /// The state beside the student, without gradients; [`Nothing`] for a method without a memory.
    type Memory: Module;
    /// The value that [`Method::loss`] passes to [`Method::remember`].
    type Carry;

    /// Checks that the settings fit these sizes.
    ///
    /// # Errors
    /// Settings do not fit; the error names their keys and values, and what was expected.
    fn check(&self, _sizes: &Sizes) -> Result<(), String> {
        Ok(())
    }

    /// Checks that the method can work with the patches into which the backbone cuts a full-size view;
    /// they are `None` for a backbone that is no vision transformer. A method that needs patches or their number
    /// refuses here, before anything is made; all others take any backbone.
    ///
    /// # Errors
    /// The method cannot work with the backbone; the error says what was expected.
    fn check_patches(&self, _patches: Option<Patches>) -> Result<(), String> {
        Ok(())
    }

    /// Returns the share of an image's patches that the student's backbone sees at least, by which the memory of a step is
    /// judged before a run.
    fn visible_share(&self) -> f64 {
        1.0
    }

    /// Returns whether the loss uses the labels of the training images. The program tells it at the start of a run.
    fn sees_labels(&self) -> bool {
        false
    }

    /// Returns whether the loss, or all of it but a term of the whole batch, is a mean over images, so that [`Method::loss`] can tell the loss of each image: a head
    /// of the table `[uncertainty]` learns to predict it.
    fn has_image_losses(&self) -> bool {
        false
    }

    /// Makes the student around a new backbone with features of length `dim`.
    fn student(&self, backbone: Backbone, dim: usize, init: &Init) -> Self::Student;

    /// Makes the memory at the start of a run.
    fn memory(&self, student: &Self::Student, sizes: &Sizes, init: &Init) -> Self::Memory;

    /// Returns the paths of student parameters, or of whole modules, that this step does not change: neither
    /// gradient nor weight decay nor momentum has an effect on them.
    fn frozen(&self, _at: &Step) -> &'static [&'static str] {
        &[]
    }

    /// Computes the loss of one batch.
    fn loss(
        &self,
        student: &Self::Student,
        memory: &Self::Memory,
        views: &Views,
        at: &Step,
    ) -> Loss<Self::Carry>;

    /// Returns the encoder inside the student, which is evaluated and exported.
    fn backbone<'a>(&self, student: &'a Self::Student) -> &'a Backbone;

    /// Returns the encoder inside the momentum teacher, for a method that has a teacher.
    fn teacher<'a>(&self, _memory: &'a Self::Memory) -> Option<&'a Backbone> {
        None
    }

    /// Returns the function that prepares the networks for posteriors, for a method whose outputs are distributions.
    fn posterior(&self) -> Option<PreparePosterior<Self>>
    where
        Self: Sized,
    {
        None
    }

    /// Returns the function that gives the method its frozen teacher, for a method that learns from an encoder which
    /// nobody trains. All other functions of the method are called after it.
    fn teach(&self) -> Option<Teach<Self>>
    where
        Self: Sized,
    {
        None
    }

    /// Updates the memory after the backward pass with the value that the loss passed on.
    fn remember(&self, memory: Self::Memory, _carry: Self::Carry, _at: &Step) -> Self::Memory {
        memory
    }

    /// Updates the memory after the optimiser's step: the momentum update.
    fn after_step(
        &self,
        memory: Self::Memory,
        _student: &Self::Student,
        _at: &Step,
    ) -> Self::Memory {
        memory
    }

    /// Returns a warning when the logged figures show a collapse that only this method can recognise.
    fn symptom(&self, _figures: &BTreeMap<String, f64>) -> Option<String> {
        None
    }

    /// Updates the memory before the first step of an epoch.
    fn before_epoch(
        &self,
        memory: Self::Memory,
        _student: &Self::Student,
        _at: &Step,
    ) -> Self::Memory {
        memory
    }
}

/// Returns the rows and columns of the patches that `method` cannot do without.
///
/// # Errors
/// There are none; the error names the keys and what was expected.
pub fn require_patches(method: &str, patches: Option<Patches>) -> Result<[usize; 2], String> {
    patches.map(|patches| patches.grid).ok_or_else(|| {
        format!(
            "{method} hides patches of the images, and the backbone is no vision transformer: expected \
             backbone.architecture = \"vit-tiny\" or another ViT, with its patch and image size under [backbone.vit]"
        )
    })
}

/// The memory of a method without a memory.
#[derive(Module, Debug)]
pub struct Nothing;

/// Returns a frozen copy that shares nothing with `student`, not even batch-norm statistics.
///
/// A plain `clone()` shares the running statistics, and `no_grad()` on a fresh clone freezes the original too
/// (lazy initialisation is shared). Only `valid()` makes new statistics.
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
        assert_eq!(Sizes { local_views: 1, ..single }.require_two_views("simclr"), Ok(()));
        let message = Sizes { local_views: 0, ..single }.require_two_views("simclr").unwrap_err();
        assert!(message.contains("views.count") && message.contains("simclr"), "{message}");
        let message = sizes.require_one_pair("byol").unwrap_err();
        assert!(message.contains("6 local views") && message.contains("byol"), "{message}");
        assert_eq!(Sizes { local_views: 0, ..sizes }.require_one_pair("byol"), Ok(()));
        assert!(Sizes { batch: 1, ..sizes }.require_other_images("simclr").is_err());
    }
}
