//! Self-supervised learning of image encoders: methods, training, evaluation.

pub mod backbone;
pub mod collective;
pub mod comparison;
pub mod device;
pub mod encoder;
pub mod eval;
pub mod export;
pub mod grid;
pub mod import;
pub mod layers;
pub mod memory;
pub mod method;
pub mod methods;
pub mod metrics;
pub mod objective;
pub mod optim;
pub mod page;
pub mod recipe;
pub mod schedule;
pub mod tensorboard;
pub mod train;
