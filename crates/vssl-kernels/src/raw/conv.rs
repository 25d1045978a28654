//! Convolution over channels-last images: checks the sizes and chooses the algorithm.

use super::shape::Conv;
use super::simd::Isa;
use super::{direct, stem, weight_gradient, winograd};

/// The number of tiles from which on Winograd's method pays forward and in the gradient of the input. Measured with
/// 512 channels in and out, where 16 tiles take as long as the direct convolution.
const TILES: usize = 16;
/// The same for the gradient of the weight, whose sums are as many as the transformed filters and are transformed
/// back: 16 tiles take 1.2 times as long there as the direct convolution.
const WEIGHT_TILES: usize = 24;

/// Writes the convolution of `x` with `weight` to `y`.
///
/// # Panics
///
/// If a slice does not have the size of its shape.
pub fn forward(isa: Isa, conv: &Conv, x: &[f32], weight: &[f32], y: &mut [f32]) {
    conv.check(x.len(), weight.len(), y.len());
    if conv.operations() == 0.0 {
        return y.fill(0.0); // sums over nothing
    }
    if winograd::pays(conv, TILES) {
        winograd::forward(isa, conv, x, weight, y);
    } else if stem::applies(conv) {
        stem::forward(isa, conv, x, weight, y);
    } else {
        direct::forward(isa, conv, x, weight, y);
    }
}

/// Writes the gradient with respect to the input to `dx`, given that of the output, or adds it if `add`.
///
/// # Panics
///
/// If a slice does not have the size of its shape.
pub fn input_gradient(
    isa: Isa,
    conv: &Conv,
    dy: &[f32],
    weight: &[f32],
    dx: &mut [f32],
    add: bool,
) {
    conv.check(dx.len(), weight.len(), dy.len());
    if conv.operations() == 0.0 {
        if !add {
            dx.fill(0.0); // sums over nothing
        }
        return;
    }
    if winograd::pays(conv, TILES) && conv.padding <= 2 {
        winograd::input_gradient(isa, conv, dy, weight, dx, add);
    } else {
        direct::input_gradient(isa, conv, dy, weight, dx, add);
    }
}

/// Writes the gradient with respect to the weight to `dweight`, given that of the output.
///
/// # Panics
///
/// If a slice does not have the size of its shape.
pub fn weight_gradient(isa: Isa, conv: &Conv, x: &[f32], dy: &[f32], dweight: &mut [f32]) {
    conv.check(x.len(), dweight.len(), dy.len());
    if conv.operations() == 0.0 {
        return dweight.fill(0.0); // sums over nothing
    }
    if winograd::pays(conv, WEIGHT_TILES) {
        winograd::weight_gradient(isa, conv, x, dy, dweight);
    } else if stem::applies_to_gradient(isa, conv) {
        stem::weight_gradient(isa, conv, x, dy, dweight);
    } else {
        weight_gradient::weight_gradient(isa, conv, x, dy, dweight);
    }
}
