//! Parameter updates.

use vssl_kernels::{
    AdamStep, MomentumStep, TrustRatio, adam_step, ema, momentum_step, reference, sum_of_squares,
    write_rows,
};

use crate::{assert_close, floats, for_each_isa, random, same_for_any_threads};

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

/// Plain momentum, one field after the other changed.
fn momentum_steps() -> Vec<MomentumStep> {
    let plain = MomentumStep {
        rate: 0.3,
        momentum: 0.9,
        dampening: 0.0,
        nesterov: false,
        weight_decay: 0.0,
        trust: None,
    };
    let trust = Some(TrustRatio { eta: 0.02, eps: 1e-8, clip: false });
    let clipped = Some(TrustRatio { eta: 0.5, eps: 1e-8, clip: true });
    vec![
        plain,
        MomentumStep { weight_decay: 0.1, ..plain },
        MomentumStep { dampening: 0.4, ..plain },
        MomentumStep { nesterov: true, weight_decay: 0.1, ..plain },
        MomentumStep { momentum: 0.0, weight_decay: 0.1, ..plain },
        MomentumStep { weight_decay: 0.01, trust, ..plain },
        MomentumStep { weight_decay: 0.01, trust: clipped, ..plain },
        MomentumStep { momentum: 0.0, trust, ..plain },
        MomentumStep { rate: 0.0, trust: clipped, ..plain },
    ]
}

#[test]
fn momentum_and_lars_match_the_reference() {
    for_each_isa(|isa| {
        for shape in SHAPES {
            for step in momentum_steps() {
                let start = || random(shape, 1);
                let (mut fast, mut fast_buffer) = (start(), None);
                let (mut slow, mut slow_buffer) = (start(), None);
                for seed in 2..5 {
                    let gradient = random(shape, seed);
                    (fast, fast_buffer) = momentum_step(fast, gradient.clone(), fast_buffer, &step);
                    (slow, slow_buffer) =
                        reference::momentum_step(slow, gradient, slow_buffer, &step);
                }
                assert_close(fast, slow, TOLERANCE, &format!("{isa:?} {shape:?} {step:?}"));
                match (fast_buffer, slow_buffer) {
                    (Some(fast), Some(slow)) => assert_close(fast, slow, TOLERANCE, "buffer"),
                    (None, None) => assert_eq!(step.momentum, 0.0),
                    _ => panic!("only one of the two has a buffer"),
                }
            }
        }
    });
}

#[test]
fn lars_leaves_what_is_all_zero_its_plain_gradient() {
    let trust = Some(TrustRatio { eta: 0.001, eps: 1e-8, clip: false });
    for step in momentum_steps() {
        let step = MomentumStep { rate: 1.0, momentum: 0.0, weight_decay: 0.1, trust, ..step };
        let (some, zeros) = (random([3, 3], 2), random([3, 3], 1) * 0.0);
        let (parameter, _) = momentum_step(zeros.clone(), some.clone(), None, &step);
        assert_close(parameter, -some.clone(), 0.0, "a step of the whole gradient");
        let (parameter, _) = momentum_step(some.clone(), zeros, None, &step);
        assert_close(parameter, some, 0.0, "no decay without a gradient");
    }
}

#[test]
fn the_sum_of_squares_matches_the_reference() {
    for_each_isa(|isa| {
        for shape in SHAPES {
            let x = random(shape, 1);
            let expected = x.clone().square().sum();
            let got = sum_of_squares(x);
            let ratio: f32 = (got / expected).into_scalar();
            assert!((ratio - 1.0).abs() < TOLERANCE, "{isa:?} {shape:?}: {ratio}");
        }
    });
}

#[test]
fn updates_are_the_same_bits_for_any_number_of_threads() {
    let step = MomentumStep { nesterov: true, ..momentum_steps()[5] };
    let adam = AdamStep {
        rate: 0.01,
        betas: (0.9, 0.999),
        eps: 1e-8,
        weight_decay: 0.05,
        decoupled: true,
        number: 1,
    };
    let all = || {
        let (x, gradient) = (random([300, 257], 1), random([300, 257], 2));
        let (lars, buffer) = momentum_step(x.clone(), gradient.clone(), None, &step);
        let (adam, [first, second]) = adam_step(x.clone(), gradient.clone(), None, &adam);
        let average = ema(x.clone(), gradient, 0.99);
        let norm = sum_of_squares(x).reshape([1, 1]);
        let buffer = buffer.expect("there is momentum");
        [lars, buffer, adam, first, second, average, norm].map(floats).into()
    };
    same_for_any_threads(all);
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

#[test]
fn rows_are_written_where_they_belong_and_other_holders_keep_theirs() {
    for_each_isa(|_| {
        for (places, columns) in [(vec![0], 1), (vec![8, 2, 5], 7), (Vec::new(), 3)] {
            let (table, rows) = (random([9, columns], 1), random([places.len(), columns], 2));
            let got = write_rows(table.clone(), rows.clone(), &places);
            let mut expected = floats(table.clone());
            for (place, row) in places.iter().zip(floats(rows.clone()).chunks(columns)) {
                expected[place * columns..][..columns].copy_from_slice(row);
            }
            assert_eq!(floats(got), expected);
            assert_eq!(floats(table.clone()), floats(random([9, columns], 1)));
            if !places.is_empty() {
                assert_eq!(floats(reference::write_rows(table, rows, &places)), expected);
            }
        }
    });
}
