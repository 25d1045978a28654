//! Parameter updates.

use burn::tensor::Tensor;
use vssl_kernels::{AdamStep, MomentumStep, adam_step, ema, momentum_step, reference};

use crate::{assert_close, for_each_isa, random};

/// A few roundings an element, three steps long.
const TOLERANCE: f32 = 3e-6;
const SHAPES: [[usize; 2]; 3] = [[1, 1], [37, 5], [300, 257]];

#[test]
fn the_moving_average_matches_the_reference_and_leaves_other_holders_alone() {
    for_each_isa(|isa| {
        for shape in SHAPES {
            let (average, value) = (random(shape, 1), random(shape, 2));
            let turned = || value.clone().transpose().mul_scalar(1.0).transpose();
            let expected = reference::ema(average.clone(), value.clone(), 0.99);
            let got = ema(average.clone(), turned(), 0.99);
            assert_close(got, expected, TOLERANCE, &format!("{isa:?} {shape:?}"));
            assert_close(average, random(shape, 1), 0.0, "the average that was shared");
        }
    });
}

#[test]
fn momentum_and_lars_match_the_reference() {
    for_each_isa(|isa| {
        for shape in SHAPES {
            for (trust, weight_decay) in [(None, 0.0), (None, 0.1), (Some(0.02), 0.01)] {
                let step = MomentumStep { rate: 0.3, momentum: 0.9, weight_decay, trust };
                let start = || random(shape, 1);
                let (mut fast, mut fast_buffer) = (start(), None);
                let (mut slow, mut slow_buffer) = (start(), start() * 0.0);
                for seed in 2..5 {
                    let gradient = random(shape, seed);
                    let (parameter, buffer) =
                        momentum_step(fast, gradient.clone(), fast_buffer, &step);
                    (fast, fast_buffer) = (parameter, Some(buffer));
                    (slow, slow_buffer) =
                        reference::momentum_step(slow, gradient, slow_buffer, &step);
                }
                assert_close(fast, slow, TOLERANCE, &format!("{isa:?} {shape:?} {step:?}"));
                let buffer: Tensor<2> = fast_buffer.expect("after a step");
                assert_close(buffer, slow_buffer, TOLERANCE, "momentum buffer");
            }
        }
    });
}

#[test]
fn lars_leaves_a_parameter_of_zeros_its_plain_gradient() {
    let step = MomentumStep { rate: 1.0, momentum: 0.0, weight_decay: 0.1, trust: Some(0.001) };
    let (zeros, gradient) = (random([3, 3], 1) * 0.0, random([3, 3], 2));
    let (parameter, _) = momentum_step(zeros, gradient.clone(), None, &step);
    assert_close(parameter, -gradient, 0.0, "a step of the whole gradient");
}

#[test]
fn adam_and_adamw_match_the_reference() {
    for_each_isa(|isa| {
        for shape in SHAPES {
            for decoupled in [false, true] {
                let (mut fast, mut fast_moments) = (random(shape, 1), None);
                let mut slow = random(shape, 1);
                let mut slow_moments = [slow.clone() * 0.0, slow.clone() * 0.0];
                for number in 1..4 {
                    let step = AdamStep {
                        rate: 0.01,
                        betas: (0.9, 0.999),
                        eps: 1e-8,
                        weight_decay: 0.05,
                        decoupled,
                        number,
                    };
                    let gradient = random(shape, number + 1);
                    let (parameter, moments) =
                        adam_step(fast, gradient.clone(), fast_moments, &step);
                    (fast, fast_moments) = (parameter, Some(moments));
                    (slow, slow_moments) =
                        reference::adam_step(slow, gradient, slow_moments, &step);
                }
                let what = format!("{isa:?} {shape:?} decoupled {decoupled}");
                assert_close(fast, slow, TOLERANCE, &what);
                for (fast, slow) in
                    fast_moments.expect("after a step").into_iter().zip(slow_moments)
                {
                    assert_close(fast, slow, TOLERANCE, &format!("{what}: moment"));
                }
            }
        }
    });
}
