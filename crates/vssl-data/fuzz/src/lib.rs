//! The targets of cargo-fuzz, as functions of bytes.

pub mod targets;
