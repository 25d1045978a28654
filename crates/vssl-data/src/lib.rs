//! Images in, float views out: datasets, augmentations, sampling and the loader.
//!
//! The crate uses no tensor library: pixels are `u8` until the last step, and the views are plain
//! `f32` in channels-last order. Every random draw is addressed by (seed, stream, epoch, image), so
//! that no result depends on the number of workers or on what ran before.

#![deny(missing_docs)]

pub mod augment;
pub mod bench;
pub mod check;
mod collage;
mod counted;
pub mod dataset;
pub mod error;
pub mod fetch;
pub mod loader;
mod name_text;
pub mod pack;
pub mod panics;
pub mod pickle;
mod picture;
pub mod rng;
pub mod sampler;
pub mod share;
pub mod shift;
pub mod statistics;
mod view_sheet;

pub use augment::{EvaluationTransform, Normalisation, PerChannel, Pipeline, ViewGroup};
pub use collage::Collage;
pub use counted::counted;
pub use dataset::{DataConfig, Dataset, Splits};
pub use error::{DataError, explained};
pub use loader::{Batch, EvaluationLoader, EvaluationPlan, Loader, LoaderPlan, OnBadImage, Pixels};
pub use picture::{Image, MOST_CHANNELS};
pub use share::Share;
pub use view_sheet::{Draw, view_sheet};
