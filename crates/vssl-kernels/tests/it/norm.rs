//! Batch normalisation.

use burn::tensor::Tensor;
use vssl_kernels::{
    Normalised, Rectifier, add_bias, batch_norm_eval, batch_norm_train, conv2d, max_pool2d,
    reference,
};

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
    rectifier: impl Into<Rectifier>,
    arrange: impl Fn(Tensor<D>) -> Tensor<D>,
    what: &str,
) {
    let x = (random(shape, 1) * 3.0 + 0.5).detach().require_grad();
    let residual = random(shape, 2).require_grad();
    let gamma = (random([shape[1]], 3) + 1.5).detach().require_grad();
    let beta = random([shape[1]], 4).require_grad();
    let rectifier = rectifier.into();
    let added = add.then(|| arrange(residual.clone()));
    let (g, b) = (gamma.clone(), beta.clone());
    let fast = batch_norm_train(arrange(x.clone()), g, b, added, rectifier, EPS);
    let added = add.then(|| residual.clone());
    let (g, b) = (gamma.clone(), beta.clone());
    let slow = reference::batch_norm_train(x.clone(), g, b, added, rectifier, EPS);
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
            for add in [false, true] {
                let what = format!("{isa:?} {shape:?} add {add} leaky");
                compare(shape, add, Rectifier::Leaky(0.1), |x| x, &what);
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

#[test]
fn a_bias_and_its_gradients_match_the_reference() {
    for_each_isa(|isa| {
        for shape in SHAPES {
            let (x, residual) = (random(shape, 1).require_grad(), random(shape, 2).require_grad());
            let bias = random([shape[1]], 3).require_grad();
            for added in [None, Some(residual.clone())] {
                let what = format!("{isa:?} {shape:?} residual {}", added.is_some());
                let leaves: &[&Tensor<4>] = if added.is_some() { &[&x, &residual] } else { &[&x] };
                let [fast, slow] = [add_bias, reference::add_bias]
                    .map(|call| call(x.clone(), bias.clone(), added.clone()));
                assert_close(fast.clone(), slow.clone(), TOLERANCE, &what);
                let [fast, slow] = [fast, slow].map(|y| gradients_of_both(y, leaves, &[&bias]));
                for (fast, slow) in fast.0.into_iter().zip(slow.0) {
                    assert_close(fast, slow, TOLERANCE, &format!("{what}: gradient"));
                }
                for (fast, slow) in fast.1.into_iter().zip(slow.1) {
                    assert_close(fast, slow, TOLERANCE, &format!("{what}: gradient of the bias"));
                }
            }
        }
    });
}

/// A stem with pooling, a block whose shortcut is a convolution, and two blocks whose residual is the output
/// before them: every way in which an output is used that the backward pass computes again. `pass` is called
/// with the output of each normalisation.
fn small_network(
    x: &Tensor<4>,
    weights: &[Tensor<4>],
    pass: impl Fn(Tensor<4>) -> Tensor<4>,
) -> Tensor<4> {
    let conv = |x: Tensor<4>, weight: &Tensor<4>| conv2d(x, weight.clone(), 1, 1);
    let norm = |x: Tensor<4>, residual: Option<Tensor<4>>, rectifier: Rectifier| {
        let c = x.dims()[1];
        let (gamma, beta) = (random([c], 77) * 0.3 + 1.0, random([c], 78) * 0.3);
        pass(batch_norm_train(x, gamma, beta, residual, rectifier, EPS).output)
    };
    let x = max_pool2d(norm(conv(x.clone(), &weights[0]), None, Rectifier::Relu), 3, 2, 1);
    let shortcut = norm(conv(x.clone(), &weights[1]), None, Rectifier::None);
    let y = norm(conv(x, &weights[2]), None, Rectifier::Leaky(0.2));
    let first = norm(conv(y, &weights[3]), Some(shortcut), Rectifier::Relu);
    weights[4..].chunks_exact(2).fold(first, |x, block| {
        let y = norm(conv(x.clone(), &block[0]), None, Rectifier::Relu);
        norm(conv(y, &block[1]), Some(x), Rectifier::Relu)
    })
}

#[test]
fn outputs_that_are_computed_again_give_the_gradients_of_stored_ones() {
    let gradients = |pass: fn(Tensor<4>) -> Tensor<4>| {
        let x = random([3, 4, 12, 10], 1).require_grad();
        let channels = [(4, 9), (9, 17), (9, 17), (17, 17), (17, 17), (17, 17), (17, 17), (17, 17)];
        let weights: Vec<Tensor<4>> = (2..)
            .zip(channels)
            .map(|(seed, (c, k))| (random([k, c, 3, 3], seed) * 0.3).detach().require_grad())
            .collect();
        let leaves: Vec<&Tensor<4>> = weights.iter().chain([&x]).collect();
        crate::gradients(small_network(&x, &weights, pass), &leaves)
    };
    for_each_isa(|isa| {
        // A further operation has a node of its own, of which nothing is known.
        let stored = gradients(|output| output * 1.0);
        for (index, (got, expected)) in gradients(|x| x).into_iter().zip(stored).enumerate() {
            assert_close(got, expected, 1e-5, &format!("{isa:?}: gradient {index}"));
        }
    });
    same_for_any_threads(|| gradients(|x| x).into_iter().map(floats).collect());
}
