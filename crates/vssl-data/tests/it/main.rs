//! Integration tests of `vssl-data`; the modules mirror `src/`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod augment;
mod check;
mod corpora;
mod dataset;
mod fetch;
mod golden;
mod libjpeg;
mod loader;
mod pack;
