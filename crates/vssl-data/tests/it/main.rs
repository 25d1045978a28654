//! The integration tests of this crate, as one binary.

#![allow(clippy::unwrap_used, reason = "what panics in a test fails it")]

mod check;
mod dataset;
mod fetch;
