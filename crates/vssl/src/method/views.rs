//! The augmented views of a batch, and how a method gathers what its networks make of them.

use burn::tensor::{Tensor, TensorData};
use rand::Rng;
use rand_distr::StandardNormal;
use vssl_data::rng::{Stream, rng};

use crate::{collective::Group, layers::Mode, objective::gaussian::Gaussian, schedule::Step};

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
    /// The ranks that have the other shares of the joint batch.
    pub group: Group,
}

impl Views {
    /// Global views, then local ones: the order of the student's forward passes.
    pub fn all(&self) -> impl Iterator<Item = &Tensor<4>> {
        self.global.iter().chain(&self.local)
    }

    /// The first two global views, for a method that compares one pair
    /// ([`Sizes::require_one_pair`](super::Sizes::require_one_pair)).
    ///
    /// # Panics
    /// With fewer than two global views.
    pub fn pair(&self) -> [&Tensor<4>; 2] {
        [&self.global[0], &self.global[1]]
    }

    /// How batch normalisation runs, the student's and the teacher's.
    pub fn mode(&self) -> Mode<'_> {
        if self.group.is_alone() { Mode::Train } else { Mode::Joint(&self.group) }
    }

    /// Rows of the joint batch, in the order of ranks; gradients flow to the own rows only. All tensors
    /// that are given together travel in one message.
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

    /// What figures and memory read: [`Views::gather`] of the global views, without gradient.
    ///
    /// # Shapes — `each`: one `[n, dim]` for each view, in the order of [`Views::all`].
    pub fn gather_detached(&self, each: Vec<Tensor<2>>) -> Vec<Tensor<2>> {
        let global = each.into_iter().take(self.global.len());
        self.gather(global.map(Tensor::detach).collect::<Vec<_>>())
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

/// Matrices with a row for each image, alone or in arrays, vectors, tuples and [`Gaussian`]s.
pub trait Rows: Sized {
    /// Puts what `f` makes of each matrix in its place, always in the same order.
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
