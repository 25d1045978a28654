//! The operations of transformers.

use burn::tensor::{DType, Tensor};
use proptest::prelude::*;
use vssl_kernels::{attention, gelu, layer_norm, linear_added, norm_linear, reference, rotate};

use crate::{assert_close, floats, for_each_isa, gradients_of_both, random, same_for_any_threads};

/// Sums in another order.
const TOLERANCE: f32 = 2e-5;

fn compare_all<const D: usize>(fast: Vec<Tensor<D>>, slow: Vec<Tensor<D>>, what: &str) {
    for (index, (fast, slow)) in fast.into_iter().zip(slow).enumerate() {
        assert_close(fast, slow, TOLERANCE, &format!("{what}: gradient {index}"));
    }
}

#[test]
fn layer_norm_and_gelu_match_the_reference() {
    for_each_isa(|isa| {
        for (n, c) in [(1, 7), (3, 16), (67, 37), (65, 192), (300, 384), (2, 4099)] {
            let what = format!("{isa:?} {n}x{c}");
            let x = random([n, c], 1).require_grad();
            let [gamma, beta] = [2, 3].map(|seed| random([c], seed).require_grad());
            let turned = x.clone().transpose().mul_scalar(1.0).transpose();
            let fast = layer_norm(turned, gamma.clone(), beta.clone(), 1e-6);
            let slow = reference::layer_norm(x.clone(), gamma.clone(), beta.clone(), 1e-6);
            assert_close(fast.clone(), slow.clone(), TOLERANCE, &what);
            let (fast, fast_factors) = gradients_of_both(fast, &[&x], &[&gamma, &beta]);
            let (slow, slow_factors) = gradients_of_both(slow, &[&x], &[&gamma, &beta]);
            compare_all(fast, slow, &what);
            compare_all(fast_factors, slow_factors, &what);
            let (fast, slow) = (gelu(x.clone() * 3.0), reference::gelu(x.clone() * 3.0));
            assert_close(fast.clone(), slow.clone(), TOLERANCE, &what);
            let (fast, _) = gradients_of_both::<2, 2, 1>(fast, &[&x], &[]);
            let (slow, _) = gradients_of_both::<2, 2, 1>(slow, &[&x], &[]);
            compare_all(fast, slow, &what);
        }
    });
}

/// The sizes `[images, tokens, heads, size]` through both paths.
fn compare_attention([images, tokens, heads, size]: [usize; 4], what: &str) {
    let qkv = (random([images * tokens, 3 * heads * size], 1) * 2.0).require_grad();
    let fast = attention(qkv.clone(), tokens, heads);
    let slow = reference::attention(qkv.clone(), tokens, heads);
    assert_close(fast.clone(), slow.clone(), TOLERANCE, what);
    let (fast, _) = gradients_of_both::<2, 2, 1>(fast, &[&qkv], &[]);
    let (slow, _) = gradients_of_both::<2, 2, 1>(slow, &[&qkv], &[]);
    compare_all(fast, slow, what);
}

#[test]
fn attention_matches_the_reference() {
    let shapes = [[1, 1, 1, 1], [2, 1, 3, 16], [3, 7, 1, 5], [2, 65, 3, 64], [1, 197, 2, 64]];
    for_each_isa(|isa| {
        for shape in shapes {
            compare_attention(shape, &format!("{isa:?} {shape:?}"));
        }
    });
}

/// The sizes `[images, prefix, patches, heads, half of a query]` of a rotation through both paths.
fn compare_rotation([images, prefix, patches, heads, half]: [usize; 5], what: &str) {
    let tokens = prefix + patches;
    let qkv = (random([images * tokens, 6 * heads * half], 1) * 2.0).require_grad();
    let turns = random([patches, half], 2) * 3.0;
    let angles = Tensor::cat(vec![turns.clone().cos(), turns.sin()], 1);
    // The rows go on beside the rotation, which must leave them as they are.
    let around = |y: Tensor<2>| y.clone() * y + qkv.clone().sum_dim(1);
    let fast = around(rotate(qkv.clone() * 1.5, angles.clone(), tokens, heads));
    let slow = around(reference::rotate(qkv.clone() * 1.5, angles.clone(), tokens, heads));
    assert_close(fast.clone(), slow.clone(), TOLERANCE, what);
    let (fast, _) = gradients_of_both::<2, 2, 1>(fast, &[&qkv], &[]);
    let (slow, _) = gradients_of_both::<2, 2, 1>(slow, &[&qkv], &[]);
    compare_all(fast, slow, what);
    // Rows that are held elsewhere are not overwritten.
    let held = qkv.clone().inner();
    let before = held.clone().mul_scalar(1.0);
    let _ = rotate(held.clone(), angles, tokens, heads);
    assert_close(held, before, 0.0, what);
}

#[test]
fn a_rotation_matches_the_reference() {
    let shapes = [[1, 0, 1, 1, 1], [2, 1, 3, 2, 2], [3, 5, 7, 1, 5], [2, 5, 64, 3, 32]];
    for_each_isa(|isa| {
        for shape in shapes {
            compare_rotation(shape, &format!("{isa:?} {shape:?}"));
        }
    });
}

/// A linear layer with what stands around it, `[n, inputs, outputs]`, through both paths.
fn compare_linear([n, inputs, outputs]: [usize; 3], with_bias: bool, what: &str) {
    let x = random([n, inputs], 1).require_grad();
    let weight = random([outputs, inputs], 2).require_grad();
    let residual = random([n, outputs], 3).require_grad();
    let bias = random([outputs], 4).require_grad();
    let [gamma, beta] = [5, 6].map(|seed| random([inputs], seed).require_grad());
    let added = || with_bias.then(|| bias.clone());
    let factors = || [gamma.clone(), beta.clone()];
    let mut vectors = vec![&gamma, &beta];
    vectors.extend(with_bias.then_some(&bias));
    // The rows also go around the layer, so that two gradients meet there.
    let around = |y: Tensor<2>| y + x.clone().sum_dim(1);
    let (w, p) = (|| weight.clone(), DType::F32);
    let fast = around(norm_linear(x.clone(), factors(), 1e-6, w(), added(), p));
    let slow = around(reference::norm_linear(x.clone(), factors(), 1e-6, w(), added(), p));
    assert_close(fast.clone(), slow.clone(), TOLERANCE, what);
    let (fast, fast_vectors) = gradients_of_both(fast, &[&x, &weight], &vectors);
    let (slow, slow_vectors) = gradients_of_both(slow, &[&x, &weight], &vectors);
    compare_all(fast, slow, what);
    compare_all(fast_vectors, slow_vectors, what);
    for with_gelu in [false, true] {
        let fast = linear_added(x.clone(), with_gelu, w(), added(), residual.clone());
        let slow = reference::linear_added(x.clone(), with_gelu, w(), added(), residual.clone());
        assert_close(fast.clone(), slow.clone(), TOLERANCE, what);
        let vectors: Vec<_> = with_bias.then_some(&bias).into_iter().collect();
        let matrices = [&x, &weight, &residual];
        let (fast, fast_vectors) = gradients_of_both(fast, &matrices, &vectors);
        let (slow, slow_vectors) = gradients_of_both(slow, &matrices, &vectors);
        compare_all(fast, slow, what);
        compare_all(fast_vectors, slow_vectors, what);
    }
}

#[test]
fn linear_layers_with_what_stands_around_them_match_the_reference() {
    let shapes = [[1, 5, 1], [2, 7, 5], [7, 37, 11], [65, 192, 130], [130, 300, 40], [1100, 17, 9]];
    for_each_isa(|isa| {
        for shape in shapes {
            for with_bias in [false, true] {
                compare_linear(shape, with_bias, &format!("{isa:?} {shape:?} {with_bias}"));
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn attention_matches_the_reference_for_any_shape(
        shape in [1usize..4, 1usize..80, 1usize..4, 1usize..40]
    ) {
        for_each_isa(|isa| compare_attention(shape, &format!("{isa:?} {shape:?}")));
    }

    #[test]
    fn a_rotation_matches_the_reference_for_any_shape(
        shape in [1usize..4, 0usize..6, 1usize..50, 1usize..4, 1usize..34]
    ) {
        for_each_isa(|isa| compare_rotation(shape, &format!("{isa:?} {shape:?}")));
    }

    #[test]
    fn linear_layers_match_the_reference_for_any_shape(
        shape in [1usize..200, 5usize..300, 1usize..120], with_bias: bool
    ) {
        for_each_isa(|isa| compare_linear(shape, with_bias, &format!("{isa:?} {shape:?}")));
    }
}

/// A block as a transformer has it, in which gradients meet at the residual stream.
fn block(x: &Tensor<2>, weights: &[Tensor<2>; 4], vectors: &[Tensor<1>; 2]) -> Tensor<2> {
    let factors = || vectors.clone();
    let qkv = norm_linear(x.clone(), factors(), 1e-6, weights[0].clone(), None, DType::F32);
    let mixed = attention(qkv, 13, 3);
    let rows = linear_added(mixed, false, weights[1].clone(), None, x.clone());
    let hidden = norm_linear(rows.clone(), factors(), 1e-6, weights[2].clone(), None, DType::F32);
    linear_added(hidden, true, weights[3].clone(), None, rows)
}

#[test]
fn the_bits_of_a_block_do_not_depend_on_threads() {
    same_for_any_threads(|| {
        let x = random([260, 48], 1).require_grad();
        let sizes = [[144, 48], [48, 48], [192, 48], [48, 192]];
        let mut seed = 1;
        let weights = sizes.map(|shape| {
            seed += 1;
            random(shape, seed).require_grad()
        });
        let vectors = [7, 8].map(|seed| random([48], seed).require_grad());
        let y = block(&x, &weights, &vectors);
        let mut results = vec![floats(y.clone())];
        let matrices: Vec<_> = [&x].into_iter().chain(&weights).collect();
        let (matrices, vectors) = gradients_of_both(y, &matrices, &[&vectors[0], &vectors[1]]);
        results.extend(matrices.into_iter().map(floats));
        results.extend(vectors.into_iter().map(floats));
        results
    });
}

#[test]
fn only_what_is_tracked_gets_a_gradient_and_nothing_is_recorded_without() {
    for_each_isa(|_| {
        let (x, weight) = (random([9, 12], 1), random([12, 12], 2));
        let [gamma, beta] = [3, 4].map(|seed| random([12], seed));
        let plain = || {
            let rows = norm_linear(
                x.clone(),
                [gamma.clone(), beta.clone()],
                1e-6,
                weight.clone(),
                None,
                DType::F32,
            );
            linear_added(rows, true, weight.clone(), None, x.clone())
        };
        assert!(!plain().is_tracked());
        let gamma = gamma.clone().require_grad();
        let y = norm_linear(
            x.clone(),
            [gamma.clone(), beta.clone()],
            1e-6,
            weight.clone(),
            None,
            DType::F32,
        );
        let gradients = y.sum().backward();
        assert!(gamma.grad(&gradients).is_some());
    });
}

/// Returns the tensors, of which the bits of `tracked` say which ones get gradients.
fn tracked<const D: usize, const N: usize>(
    tensors: [&Tensor<D>; N],
    tracked: usize,
) -> [Tensor<D>; N] {
    let mut index = 0;
    tensors.map(|tensor| {
        index += 1;
        let tensor = tensor.clone();
        if tracked >> (index - 1) & 1 == 1 { tensor.require_grad() } else { tensor }
    })
}

#[test]
fn what_is_not_tracked_changes_no_gradient_of_the_others() {
    let (x, weight, residual) = (random([9, 12], 1), random([7, 12], 2), random([9, 7], 3));
    let (gamma, beta, bias) = (random([12], 4), random([12], 5), random([7], 6));
    let factors = random([9, 7], 7);
    let added = |with_gelu: bool, which: usize| {
        let [x, residual, weight] = tracked([&x, &residual, &weight], which);
        let [bias] = tracked([&bias], which >> 3);
        let (left, right) = (x.clone(), weight.clone());
        let y = linear_added(left, with_gelu, right, Some(bias.clone()), residual.clone());
        let gradients = (y * factors.clone()).sum().backward();
        let rows = [x, residual, weight].map(|of| of.grad(&gradients).map(floats));
        rows.into_iter().chain([bias.grad(&gradients).map(floats)]).collect::<Vec<_>>()
    };
    let normed = |which: usize| {
        let [x, weight] = tracked([&x, &weight], which);
        let [gamma, beta, bias] = tracked([&gamma, &beta, &bias], which >> 2);
        let factors_of = [gamma.clone(), beta.clone()];
        let (left, right) = (x.clone(), weight.clone());
        let y = norm_linear(left, factors_of, 1e-6, right, Some(bias.clone()), DType::F32);
        let gradients = (y * factors.clone()).sum().backward();
        let rows = [x, weight].map(|of| of.grad(&gradients).map(floats));
        let vectors = [gamma, beta, bias].map(|of| of.grad(&gradients).map(floats));
        rows.into_iter().chain(vectors).collect::<Vec<_>>()
    };
    let check = |count: usize, gradients: &dyn Fn(usize) -> Vec<Option<Vec<f32>>>, what: &str| {
        let all = gradients((1 << count) - 1);
        for which in 1..1usize << count {
            for (at, (some, all)) in gradients(which).into_iter().zip(&all).enumerate() {
                let expected = all.clone().filter(|_| which >> at & 1 == 1);
                assert_eq!(some, expected, "{what}, tracked {which:b}: gradient {at}");
            }
        }
    };
    for_each_isa(|isa| {
        for with_gelu in [false, true] {
            check(4, &|which| added(with_gelu, which), &format!("{isa:?} added {with_gelu}"));
        }
        check(5, &normed, &format!("{isa:?} normed"));
    });
}
