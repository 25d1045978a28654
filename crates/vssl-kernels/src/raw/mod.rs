//! The arithmetic on plain slices: instruction sets, threads, buffers, products, convolutions, normalisation,
//! pooling and updates. This folder does not depend on tensors or other processes, and it holds all `unsafe`
//! of the project but that of `storage.rs`.
//!
//! The folder also compiles by itself, without Burn: `crates/vssl-kernels/sanitizer` builds it and its
//! tests under AddressSanitizer.
//!
//! Every function that takes slices checks their lengths once at its beginning and uses pointers after that.
//! Work is divided by shape alone, never by the number of threads, and sums are computed in a fixed order, so
//! that the results have the same bits for any number of threads.
#![allow(unsafe_code, reason = "the one place for it: each block names the bound it relies on")]

pub mod attention;
pub mod buffer;
pub mod conv;
pub mod cross_entropy;
pub mod depthwise;
pub mod direct;
pub mod gated;
pub mod gelu;
pub mod gemm;
pub mod halving;
pub mod inference;
pub mod layer_norm;
pub mod linear;
#[cfg(test)]
mod newer_tests;
pub mod norm;
pub mod norm_backward;
pub mod pack;
mod patches;
pub mod pool;
pub mod pooling;
pub mod response_norm;
pub mod rotary;
pub mod rows;
pub mod shape;
pub mod simd;
pub mod softmax;
mod stem;
pub mod tall;
#[cfg(test)]
mod tests;
mod transcendental;
#[cfg(test)]
mod transformer_tests;
mod transpose;
pub mod update;
mod weight_gradient;
pub mod winograd;
mod winograd_transform;
