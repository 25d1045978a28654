//! Images in, float views out: datasets, augmentations, sampling and the loader.
//!
//! No tensor library here: pixels are `u8` until the last step, and what comes out is plain
//! `f32` in channels-last order. Every random draw is addressed by (seed, stream, epoch, image),
//! so that nothing depends on the number of workers or on what ran before.

#![deny(missing_docs)]

pub mod augment;
pub mod bench;
pub mod check;
pub mod dataset;
pub mod error;
pub mod fetch;
pub mod loader;
pub mod panics;
pub mod rng;
pub mod sampler;
pub mod share;
pub mod shift;

pub use augment::{EvaluationTransform, Normalisation, Pipeline, ViewGroup};
pub use dataset::{DataConfig, Dataset, Image, Splits};
pub use error::DataError;
pub use loader::{Batch, EvaluationLoader, EvaluationPlan, Loader, LoaderPlan, OnBadImage};
pub use share::Share;
