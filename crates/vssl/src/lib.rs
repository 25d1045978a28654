//! Self-supervised learning of image encoders: methods, training, evaluation.
//!
//! A recipe becomes a [`Plan`], [`pretrain`] runs it, and the run folder that it leaves, or a file that
//! `vssl export` or `vssl import` wrote, becomes an [`Encoder`]:
//!
//! ```no_run
//! use std::path::Path;
//! use vssl::{DeviceChoice, Encoder, Network};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let device = "cpu".parse::<DeviceChoice>()?.resolve()?;
//! let path = Path::new("encoder.safetensors");
//! let encoder = Encoder::open(path, "latest", Network::Student, &device)?;
//! // One normalised image, channels last.
//! let size = encoder.input.size;
//! let features = encoder.embed(vec![0.0; size * size * 3], 1);
//! assert_eq!(features.values.len(), encoder.config.dim());
//! # Ok(())
//! # }
//! ```
//!
//! Whole sets of images go through [`Encoder::features`]. `examples/embed.rs` reads a folder,
//! `examples/pretrain.rs` trains a recipe, and `examples/own_method.rs` trains a [`Method`] that is not among
//! those of [`methods`], `examples/own_backbone.rs` a backbone that is not among those of [`mod@backbone`]. Your own images come from a [`vssl_data::Dataset`].

#![deny(missing_docs)]

#[cfg(not(unix))]
compile_error!("vssl runs on Linux and macOS; on Windows, build it inside WSL 2");

pub mod backbone;
pub mod collective;
pub mod comparison;
pub mod device;
pub mod embed;
pub mod encoder;
pub mod eval;
pub mod features;
mod formats;
pub mod grid;
pub mod layers;
pub mod memory;
pub mod method;
pub mod methods;
pub mod objective;
pub mod optim;
pub mod page;
pub mod posterior;
pub mod precision;
pub mod ranking;
pub mod recipe;
pub mod run;
pub mod schedule;
pub mod stored;
pub mod supervised;
mod tagged;
pub mod tensors;
pub mod train;
pub mod uncertainty;

pub use backbone::{Backbone, BackboneConfig};
pub use device::DeviceChoice;
pub use encoder::Encoder;
pub use method::{Loss, Method, Nothing, Sizes, Views, learner::Network};
pub use recipe::Recipe;
pub use schedule::Step;
pub use train::{Environment, Plan, pretrain};
