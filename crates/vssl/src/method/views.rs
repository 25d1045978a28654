//! The augmented views of a batch, and the gathering of network outputs over all ranks.

use burn::tensor::{Tensor, TensorData};
use rand::Rng;
use rand_distr::StandardNormal;
use vssl_data::rng::{Stream, rng};

use crate::{collective::Group, layers::Mode, objective::gaussian::Gaussian, schedule::Step};

/// The augmented views of one batch, or of a rank's share of it. They hold no labels, but for a method that
/// [declares](super::Method::sees_labels) that it sees them.
///
/// A method works on any number of ranks if it runs its networks in [`Views::mode`], and computes its loss,
/// its figures and the value for its memory only from the results of [`Views::gather`]. All its parameters
/// must be used before the gathering.
pub struct Views {
    /// The number of the training image of each row, `[n]`.
    pub images: Vec<usize>,
    /// The class of each row, `[n]`, for a method that sees labels; `None` for all others.
    pub labels: Option<Vec<u32>>,
    /// The full-size views, each `[n, channels, h, w]`, in the order of the recipe.
    pub global: Vec<Tensor<4>>,
    /// The small crops, which only the student sees.
    pub local: Vec<Tensor<4>>,
    /// The ranks that hold the other shares of the joint batch.
    pub group: Group,
    /// Whether the backbone of student and teacher is frozen in this step, so that the heads train alone.
    pub frozen_backbone: bool,
}

impl Views {
    /// Returns the global views, then the local views: the order of the student's forward passes.
    pub fn all(&self) -> impl Iterator<Item = &Tensor<4>> {
        self.global.iter().chain(&self.local)
    }

    /// Returns the first two global views, for a method that compares one pair
    /// ([`Sizes::require_one_pair`](super::Sizes::require_one_pair)).
    ///
    /// # Panics
    /// There are fewer than two global views.
    pub fn pair(&self) -> [&Tensor<4>; 2] {
        [&self.global[0], &self.global[1]]
    }

    /// Returns the mode of the networks of the student and the teacher.
    pub fn mode(&self) -> Mode<'_> {
        match (self.frozen_backbone, self.group.is_alone()) {
            (true, alone) => Mode::Heads((!alone).then_some(&self.group)),
            (false, true) => Mode::Train,
            (false, false) => Mode::Joint(&self.group),
        }
    }

    /// Returns the same views for a step that does not train the backbone.
    pub(super) fn with_frozen_backbone(&self) -> Self {
        let Self { images, labels, global, local, group, .. } = self;
        let (images, labels) = (images.clone(), labels.clone());
        let (global, local, group) = (global.clone(), local.clone(), group.clone());
        Self { images, labels, global, local, group, frozen_backbone: true }
    }

    /// Returns the rows of the joint batch, in the order of ranks; gradients flow to the own rows only. All
    /// tensors that are given together travel in one message.
    ///
    /// # Shapes — each `[n, dim]` to `[world · n, dim]`.
    pub fn gather<R: Rows>(&self, own: R) -> R {
        let mut tensors = Vec::new();
        let own = own.map_rows(&mut |x| {
            tensors.push(x.clone());
            x
        });
        let mut joint = self.group.gather_all(tensors).into_iter();
        own.map_rows(&mut |_| joint.next().expect("one tensor comes back for each"))
    }

    /// Gathers the global views, as [`Views::gather`] does, without gradient; figures and memories use the
    /// result.
    ///
    /// # Shapes — `each`: one `[n, dim]` for each view, in the order of [`Views::all`].
    pub fn gather_detached(&self, each: Vec<Tensor<2>>) -> Vec<Tensor<2>> {
        let global = each.into_iter().take(self.global.len());
        self.gather(global.map(Tensor::detach).collect::<Vec<_>>())
    }

    /// Returns the number of the training image of each row of the joint batch.
    pub fn joint_images(&self) -> Vec<usize> {
        let own: Vec<u64> = self.images.iter().map(|&image| image as u64).collect();
        self.group.gather_numbers(&own).into_iter().map(|image| image as usize).collect()
    }

    /// Returns the class of each row of the joint batch, for a method that sees labels.
    ///
    /// # Panics
    /// The views have no labels.
    pub fn joint_labels(&self) -> Vec<usize> {
        let own = self.labels.as_ref().expect("a method that sees labels is given labels");
        self.group.gather_labels(own).into_iter().map(|label| label as usize).collect()
    }

    /// Draws ε ~ N(0, I) for this step and view, in the shape of `like`: the own rows of the numbers that a
    /// single process would draw for the joint batch.
    pub fn standard_normal(&self, like: &Tensor<2>, view: usize, at: &Step) -> Tensor<2> {
        let rng = rng(at.seed, Stream::Posterior, at.index, at.micro << 16 | view as u64);
        let shape = like.shape();
        let count = shape.num_elements();
        // A normal number takes a varying number of random bits, so those of the ranks before are drawn as
        // well.
        let own = rng.sample_iter(StandardNormal).skip(self.group.rank() * count).take(count);
        let values: Vec<f32> = own.collect();
        Tensor::from_data(TensorData::new(values, shape), &like.device())
    }
}

/// Matrices with a row for each image, single or in arrays, vectors, tuples and [`Gaussian`]s.
pub trait Rows: Sized {
    /// Replaces each matrix by the result of `f`, always in the same order.
    fn map_rows(self, f: &mut dyn FnMut(Tensor<2>) -> Tensor<2>) -> Self;
}

impl Rows for Tensor<2> {
    fn map_rows(self, f: &mut dyn FnMut(Tensor<2>) -> Tensor<2>) -> Self {
        f(self)
    }
}

impl Rows for Gaussian {
    fn map_rows(self, f: &mut dyn FnMut(Tensor<2>) -> Tensor<2>) -> Self {
        Self { mean: f(self.mean), variance: f(self.variance) }
    }
}

impl<R: Rows, const N: usize> Rows for [R; N] {
    fn map_rows(self, f: &mut dyn FnMut(Tensor<2>) -> Tensor<2>) -> Self {
        self.map(|rows| rows.map_rows(f))
    }
}

impl<R: Rows> Rows for Vec<R> {
    fn map_rows(self, f: &mut dyn FnMut(Tensor<2>) -> Tensor<2>) -> Self {
        self.into_iter().map(|rows| rows.map_rows(f)).collect()
    }
}

impl<A: Rows, B: Rows> Rows for (A, B) {
    fn map_rows(self, f: &mut dyn FnMut(Tensor<2>) -> Tensor<2>) -> Self {
        (self.0.map_rows(f), self.1.map_rows(f))
    }
}
