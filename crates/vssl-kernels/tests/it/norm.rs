//! Batch normalisation.

use burn::tensor::Tensor;
use vssl_kernels::{Normalised, batch_norm_eval, batch_norm_train, reference};

use crate::{
    assert_close, floats, for_each_isa, gradients_of_both, random, same_for_any_threads, scattered,
};

/// Sums in another order; a gradient is a difference of such sums.
const TOLERANCE: f32 = 5e-5;
const EPS: f64 = 1e-5;

const SHAPES: [[usize; 4]; 8] = [
    [2, 1, 1, 1],
    [3, 5, 7, 2],
    [1, 8, 3, 3],
    [2, 16, 5, 4],
    [4, 37, 3, 5],
    [2, 64, 9, 9],
    [13, 3, 16, 16],
    [8, 40, 32, 32],
];

fn both<const D: usize>(
    fast: Normalised<D>,
    slow: Normalised<D>,
    leaves: &[&Tensor<D>],
    factors: &[&Tensor<1>],
    what: &str,
) {
    assert_close(fast.mean, slow.mean, TOLERANCE, &format!("{what}: mean"));
    assert_close(fast.variance, slow.variance, TOLERANCE, &format!("{what}: variance"));
    assert_close(fast.output.clone(), slow.output.clone(), TOLERANCE, what);
    let (fast, fast_factors) = gradients_of_both(fast.output, leaves, factors);
    let (slow, slow_factors) = gradients_of_both(slow.output, leaves, factors);
    for (index, (fast, slow)) in fast.into_iter().zip(slow).enumerate() {
        assert_close(fast, slow, 4.0 * TOLERANCE, &format!("{what}: gradient {index}"));
    }
    for (index, (fast, slow)) in fast_factors.into_iter().zip(slow_factors).enumerate() {
        assert_close(fast, slow, 4.0 * TOLERANCE, &format!("{what}: gradient of factor {index}"));
    }
}

fn compare<const D: usize>(
    shape: [usize; D],
    add: bool,
    relu: bool,
    arrange: impl Fn(Tensor<D>) -> Tensor<D>,
    what: &str,
) {
    let x = (random(shape, 1) * 3.0 + 0.5).detach().require_grad();
    let residual = random(shape, 2).require_grad();
    let gamma = (random([shape[1]], 3) + 1.5).detach().require_grad();
    let beta = random([shape[1]], 4).require_grad();
    let added = add.then(|| arrange(residual.clone()));
    let fast =
        batch_norm_train(arrange(x.clone()), gamma.clone(), beta.clone(), added.clone(), relu, EPS);
    let added = add.then(|| residual.clone());
    let slow =
        reference::batch_norm_train(x.clone(), gamma.clone(), beta.clone(), added, relu, EPS);
    let leaves: &[&Tensor<D>] = if add { &[&x, &residual] } else { &[&x] };
    both(fast, slow, leaves, &[&gamma, &beta], what);
}

#[test]
fn values_statistics_and_gradients_match_the_reference() {
    for_each_isa(|isa| {
        for shape in SHAPES {
            for (add, relu) in [(false, false), (false, true), (true, false), (true, true)] {
                let what = format!("{isa:?} {shape:?} add {add} relu {relu}");
                compare(shape, add, relu, |x| x, &what);
                compare(shape, add, relu, scattered, &format!("{what}, scattered"));
            }
            let shape = [shape[0] * shape[2], shape[1]];
            if shape[0] > 1 {
                compare(shape, false, true, |x| x, &format!("{isa:?} {shape:?}"));
            }
        }
    });
}

#[test]
fn the_variance_is_right_when_the_mean_is_far_above_it() {
    for_each_isa(|isa| {
        let x = random([16, 24, 20, 20], 1) + 3000.0;
        let ones = Tensor::<1>::ones([24], &x.device());
        let result =
            batch_norm_train(x.clone(), ones.clone(), ones.clone() * 0.0, None, false, EPS);
        // In f64, from the same floats.
        let values = floats(x.permute([1, 0, 2, 3]));
        for (channel, values) in values.chunks_exact(16 * 400).enumerate() {
            let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / 6400.0;
            let squares = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>();
            let (got, expected) =
                (floats(result.variance.clone())[channel], (squares / 6400.0) as f32);
            assert!((got / expected - 1.0).abs() < 1e-5, "{isa:?}: {got}, expected {expected}");
        }
    });
}

#[test]
fn evaluation_matches_the_reference_with_and_without_gradients() {
    for_each_isa(|isa| {
        for shape in SHAPES {
            let (x, residual) = (random(shape, 1), random(shape, 2));
            let [gamma, beta, mean] = [3, 4, 5].map(|seed| random([shape[1]], seed));
            let variance = random([shape[1]], 6) * 0.5 + 1.0;
            for tracked in [false, true] {
                let x = if tracked { x.clone().require_grad() } else { x.clone() };
                let [fast, slow] =
                    [batch_norm_eval::<4>, reference::batch_norm_eval::<4>].map(|call| {
                        let (gamma, beta) = (gamma.clone(), beta.clone());
                        let (mean, variance) = (mean.clone(), variance.clone());
                        let residual = Some(residual.clone());
                        call(x.clone(), gamma, beta, mean, variance, residual, true, EPS)
                    });
                assert_eq!(fast.is_tracked(), tracked);
                assert_close(fast, slow, TOLERANCE, &format!("{isa:?} {shape:?}"));
            }
        }
    });
}

#[test]
fn the_bits_do_not_depend_on_threads() {
    same_for_any_threads(|| {
        let x = random([8, 40, 32, 32], 1).require_grad();
        let gamma = random([40], 2).require_grad();
        let beta = random([40], 3).require_grad();
        let result = batch_norm_train(x.clone(), gamma.clone(), beta, None, true, EPS);
        let mut results =
            vec![floats(result.output.clone()), floats(result.mean), floats(result.variance)];
        let (x, gamma) = gradients_of_both(result.output, &[&x], &[&gamma]);
        results.extend(x.into_iter().map(floats));
        results.extend(gamma.into_iter().map(floats));
        results
    });
}
