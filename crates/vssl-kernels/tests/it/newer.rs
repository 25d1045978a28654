//! The operations of ConvNeXt, SwiGLU and ResNet-D.

use burn::tensor::Tensor;
use proptest::prelude::*;
use vssl_kernels::{depthwise_conv2d, halved, reference, response_norm, swiglu};

use crate::{
    assert_close, floats, for_each_isa, gradients_of_both, random, same_for_any_threads, scattered,
};

/// Sums in another order.
const TOLERANCE: f32 = 2e-5;

fn compare_all<const D: usize>(fast: Vec<Tensor<D>>, slow: Vec<Tensor<D>>, what: &str) {
    for (index, (fast, slow)) in fast.into_iter().zip(slow).enumerate() {
        assert_close(fast, slow, TOLERANCE, &format!("{what}: gradient {index}"));
    }
}

/// The shape `[n, c, h, w]` through both paths.
fn compare_depthwise(shape: [usize; 4], what: &str) {
    let channels = shape[1];
    let x = random(shape, 1).require_grad();
    let weight = random([channels, 1, 7, 7], 2).require_grad();
    let bias = random([channels], 3).require_grad();
    for x_as in [x.clone(), scattered(x.clone())] {
        let fast = depthwise_conv2d(x_as, weight.clone(), bias.clone());
        let slow = reference::depthwise_conv2d(x.clone(), weight.clone(), bias.clone());
        assert_close(fast.clone(), slow.clone(), TOLERANCE, what);
        let (fast, fast_bias) = gradients_of_both(fast, &[&x, &weight], &[&bias]);
        let (slow, slow_bias) = gradients_of_both(slow, &[&x, &weight], &[&bias]);
        compare_all(fast, slow, what);
        compare_all(fast_bias, slow_bias, what);
    }
}

/// `[images, positions, channels]` through both paths.
fn compare_response([images, positions, channels]: [usize; 3], what: &str) {
    let x = random([images * positions, channels], 1).require_grad();
    let [gamma, beta] = [2, 3].map(|seed| random([channels], seed).require_grad());
    let fast = response_norm(x.clone(), images, gamma.clone(), beta.clone(), 1e-6);
    let slow = reference::response_norm(x.clone(), images, gamma.clone(), beta.clone(), 1e-6);
    assert_close(fast.clone(), slow.clone(), TOLERANCE, what);
    let (fast, fast_factors) = gradients_of_both(fast, &[&x], &[&gamma, &beta]);
    let (slow, slow_factors) = gradients_of_both(slow, &[&x], &[&gamma, &beta]);
    compare_all(fast, slow, what);
    compare_all(fast_factors, slow_factors, what);
}

fn compare_gate(rows: usize, columns: usize, what: &str) {
    let x = (random([rows, 2 * columns], 1) * 6.0).require_grad();
    let (fast, slow) = (swiglu(x.clone()), reference::swiglu(x.clone()));
    assert_close(fast.clone(), slow.clone(), TOLERANCE, what);
    let (fast, _) = gradients_of_both::<2, 2, 1>(fast, &[&x], &[]);
    let (slow, _) = gradients_of_both::<2, 2, 1>(slow, &[&x], &[]);
    compare_all(fast, slow, what);
}

fn compare_halved(shape: [usize; 4], what: &str) {
    let x = random(shape, 1).require_grad();
    let (fast, slow) = (halved(scattered(x.clone())), reference::halved(x.clone()));
    assert_close(fast.clone(), slow.clone(), TOLERANCE, what);
    let (fast, _) = gradients_of_both::<4, 4, 1>(fast, &[&x], &[]);
    let (slow, _) = gradients_of_both::<4, 4, 1>(slow, &[&x], &[]);
    compare_all(fast, slow, what);
}

#[test]
fn newer_operations_match_the_reference() {
    for_each_isa(|isa| {
        for shape in [[1, 1, 1, 1], [2, 5, 3, 7], [1, 40, 17, 14], [3, 33, 7, 7], [1, 96, 35, 5]] {
            let what = format!("{isa:?} {shape:?}");
            compare_depthwise(shape, &what);
            compare_halved(shape, &what);
        }
        for shape in [[1, 1, 1], [2, 9, 7], [3, 49, 160], [2, 200, 37]] {
            compare_response(shape, &format!("{isa:?} {shape:?}"));
        }
        for (rows, columns) in [(1, 1), (3, 7), (65, 64), (9, 1031)] {
            compare_gate(rows, columns, &format!("{isa:?} {rows}x{columns}"));
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn depthwise_convolutions_match_the_reference_for_any_shape(
        shape in [1usize..4, 1usize..40, 1usize..24, 1usize..24]
    ) {
        for_each_isa(|isa| compare_depthwise(shape, &format!("{isa:?} {shape:?}")));
    }

    #[test]
    fn other_newer_operations_match_the_reference_for_any_shape(
        shape in [1usize..4, 1usize..40, 1usize..12, 1usize..12]
    ) {
        let [n, c, h, w] = shape;
        for_each_isa(|isa| {
            let what = format!("{isa:?} {shape:?}");
            compare_halved(shape, &what);
            compare_response([n, h * w, c], &what);
            compare_gate(n * h, c, &what);
        });
    }
}

/// A channel without an activation has the norm 0, which has no direction.
#[test]
fn a_channel_of_zeros_has_a_finite_gradient() {
    for_each_isa(|isa| {
        let x = (random([12, 5], 1) * random([1, 5], 2).greater_elem(0.0).float()).require_grad();
        let [gamma, beta] = [3, 4].map(|seed| random([5], seed));
        let y = response_norm(x.clone(), 3, gamma, beta, 1e-6);
        let (gradients, _) = gradients_of_both::<2, 2, 1>(y, &[&x], &[]);
        assert!(floats(gradients[0].clone()).iter().all(|x| x.is_finite()), "{isa:?}");
    });
}

#[test]
fn the_bits_of_newer_operations_do_not_depend_on_threads() {
    same_for_any_threads(|| {
        let x = random([5, 24, 19, 14], 1).require_grad();
        let weight = random([24, 1, 7, 7], 2).require_grad();
        let [bias, gamma, beta] = [3, 4, 5].map(|seed| random([24], seed).require_grad());
        let y = depthwise_conv2d(halved(x.clone()), weight.clone(), bias.clone());
        let rows = y.permute([0, 2, 3, 1]).reshape([5 * 10 * 7, 24]);
        let rows = response_norm(rows, 5, gamma.clone(), beta.clone(), 1e-6);
        let y = swiglu(rows);
        let mut results = vec![floats(y.clone())];
        let (images, vectors) = gradients_of_both(y, &[&x, &weight], &[&bias, &gamma, &beta]);
        results.extend(images.into_iter().map(floats));
        results.extend(vectors.into_iter().map(floats));
        results
    });
}
