//! W-MSE: whitening for self-supervised learning (Ermolov et al. 2021, arXiv:2007.06346).
//!
//! Embeddings are whitened over sub-batches, which keeps them spread, and the views of an image are drawn together:
//!
//! `L = mean over orders and pairs i < j of [ 2 − 2·mean cos(W(zᵢ), W(zⱼ)) ]`
//!
//! Each order is a new permutation of the batch, cut into groups of `whitening_size` images; the same groups serve all
//! views, each of which is whitened on its own. The formulas are in [`crate::objective::whitening`]. There is nothing
//! to remember.

use serde::{Deserialize, Serialize};
use vssl_data::rng::{Stream, permutation, rng};

use super::embedding::Student;
use crate::{
    backbone::Backbone,
    layers::{Init, Mlp},
    method::{Loss, Method, Nothing, Sizes, Views},
    objective::{
        figures,
        whitening::{Learns, Whitening, wmse},
    },
    recipe::{Checker, Settings},
    schedule::Step,
};

/// The least share of the identity that makes a covariance of few rows invertible in single precision.
const LEAST_EPS: f64 = 1e-6;

/// The most orders of a batch: each keeps the whitened embeddings of all views until the backward pass.
const MOST_ORDERS: usize = 1000;

/// Settings, the table `[wmse]` of a recipe. Defaults are those of solo-learn's CIFAR recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wmse {
    /// Hidden width of the projector.
    pub projector_hidden: usize,
    /// Length of the embeddings.
    pub dim: usize,
    /// Images that are whitened together; it divides the images of a forward pass.
    pub whitening_size: usize,
    /// Orders of the batch in each step.
    pub whitening_iters: usize,
    /// Share of the identity in the covariance.
    pub whitening_eps: f64,
    /// Which view of a pair gets a gradient: `"first"`, as in solo-learn, or `"both"`, as in the paper's code.
    pub learns: Learns,
}

impl Settings for Wmse {
    fn check(&self, checker: &mut Checker) {
        checker.at_least("projector_hidden", self.projector_hidden as u64, 1);
        // A whitened row of one column is ±1, whatever the network does.
        checker.at_least("dim", self.dim as u64, 2);
        checker.at_least("whitening_size", self.whitening_size as u64, 2);
        checker.at_least("whitening_iters", self.whitening_iters as u64, 1);
        checker.share("whitening_eps", self.whitening_eps);
        checker.require(
            "whitening_size",
            self.whitening_eps >= LEAST_EPS || self.whitening_size > self.dim,
            self.whitening_size,
            format_args!("more than dim = {}, or whitening_eps of 1e-6 or more", self.dim),
        );
        checker.require(
            "whitening_iters",
            self.whitening_iters <= MOST_ORDERS,
            self.whitening_iters,
            format_args!("at most {MOST_ORDERS}"),
        );
    }
}

impl Default for Wmse {
    fn default() -> Self {
        Self {
            projector_hidden: 1024,
            dim: 64,
            whitening_size: 128,
            whitening_iters: 1,
            whitening_eps: 0.0,
            learns: Learns::First,
        }
    }
}

impl Wmse {
    /// The orders of `images` images at this step, the same on all ranks.
    fn orders(&self, images: usize, at: &Step) -> Vec<Vec<usize>> {
        let order = |iteration: usize| {
            let address = at.micro << 16 | iteration as u64;
            let mut rng = rng(at.seed, Stream::Whitening, at.index, address);
            permutation(&mut rng, images as u32).into_iter().map(|row| row as usize).collect()
        };
        (0..self.whitening_iters).map(order).collect()
    }
}

impl Method for Wmse {
    type Student = Student;
    type Memory = Nothing;
    type Carry = ();

    fn check(&self, sizes: &Sizes) -> Result<(), String> {
        let Sizes { global_views, local_views, .. } = *sizes;
        if global_views < 2 || local_views > 0 {
            return Err(format!(
                "views.count adds up to {global_views} global and {local_views} local views; wmse compares full-size \
                 views: expected at least 2 global ones and none with views.local = true"
            ));
        }
        if sizes.batch.is_multiple_of(self.whitening_size) {
            return Ok(());
        }
        Err(format!(
            "wmse.whitening_size is {}, and a forward pass has {} images (train.batch / train.accumulate): \
             expected a size that divides them",
            self.whitening_size, sizes.batch
        ))
    }

    fn student(&self, backbone: Backbone, dim: usize, init: &Init) -> Student {
        Student { backbone, projector: Mlp::new(dim, self.projector_hidden, self.dim, init) }
    }

    fn memory(&self, _: &Student, _: &Sizes, _: &Init) -> Nothing {
        Nothing
    }

    fn loss(&self, student: &Student, _: &Nothing, views: &Views, at: &Step) -> Loss<()> {
        let (features, embeddings): (Vec<_>, Vec<_>) =
            views.global.iter().map(|x| student.embed(x, views.mode())).unzip();
        let embeddings = views.gather(embeddings);
        let orders = self.orders(embeddings[0].dims()[0], at);
        let Self { whitening_size: size, whitening_eps: eps, learns, .. } = *self;
        let found = wmse(&embeddings, &orders, Whitening { size, eps, learns });
        let mut parts = vec![("cosine", found.loss.clone().detach() / -2.0 + 1.0)];
        if at.watch {
            let embeddings: Vec<_> = embeddings.into_iter().map(|z| z.detach()).collect();
            let whitened = found.whitened[0].clone().detach();
            parts.push(("embedding_std", figures::unit_std(&embeddings)));
            parts.push(("embedding_norm", figures::mean_norm(embeddings[0].clone())));
            parts.push(("whitened_norm", figures::mean_norm(whitened)));
        }
        Loss { total: found.loss, parts, features, image_losses: None, carry: () }
    }

    fn backbone<'a>(&self, student: &'a Student) -> &'a Backbone {
        &student.backbone
    }
}
