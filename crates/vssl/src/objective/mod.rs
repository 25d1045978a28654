//! Objectives: pure functions of tensors, with one formula for each function.
//!
//! They have no randomness, memory or configuration. Gradients flow to all tensor arguments except the
//! targets of a function, which are detached where they are used.

pub mod all4one;
pub mod centring;
pub mod clustering;
pub mod contrastive;
pub mod cosine;
pub mod cross_entropy;
pub mod distillation;
pub mod figures;
pub mod gaussian;
pub mod koleo;
pub mod latent_prediction;
pub mod loss_prediction;
pub mod normalise;
pub mod pair_sum;
pub mod prediction;
pub mod probabilistic;
pub mod reconstruction;
pub mod redundancy;
pub mod self_distillation;
pub mod sigreg;
pub mod sinkhorn;
pub mod von_mises_fisher;
pub mod whitening;

pub use cosine::cosine_similarity;
pub use cross_entropy::cross_entropy;
pub use koleo::koleo;
pub use normalise::unit_rows;
pub use sinkhorn::sinkhorn;
