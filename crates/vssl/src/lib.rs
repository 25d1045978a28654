//! Self-supervised learning of image encoders: methods, training, evaluation.

pub mod objective;
pub mod optim;
pub mod schedule;
