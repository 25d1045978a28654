//! The operations of a network that is only used, against the operations of the training step in evaluation
//! mode.

use burn::tensor::Tensor;
use proptest::prelude::*;
use vssl_kernels::{
    FoldedConv, Isa, Rectifier, affine, batch_norm_eval, choose, conv2d, in_recycled_memory,
    reference,
};

use crate::conv::Case;
use crate::{assert_close, floats, for_each_isa, random, same_for_any_threads, scattered};

/// As of convolutions: Winograd's transforms amplify rounding.
const TOLERANCE: f32 = 1e-4;
const EPS: f64 = 1e-5;

const CASES: &[Case] = &[
    ([1, 1, 1, 1], 1, [1, 1], 1, 0),
    ([2, 3, 17, 13], 7, [7, 7], 2, 3),
    ([2, 1, 18, 15], 16, [7, 7], 2, 3),
    ([2, 2, 12, 13], 64, [3, 3], 1, 1),
    ([2, 4, 18, 15], 64, [7, 7], 2, 3),
    ([2, 5, 17, 16], 48, [7, 7], 2, 3),
    ([1, 5, 11, 6], 13, [3, 3], 2, 1),
    ([3, 4, 8, 7], 6, [1, 1], 2, 0),
    ([2, 20, 7, 7], 290, [1, 1], 1, 0),
    ([2, 16, 9, 11], 24, [3, 3], 1, 1),
    ([70, 16, 8, 8], 16, [3, 3], 1, 1),
    ([2, 300, 4, 4], 264, [3, 3], 1, 1),
];

/// Gamma, beta, mean and variance of a normalisation.
fn statistics(channels: usize) -> [Tensor<1>; 4] {
    let [gamma, beta, mean, spread] = [11, 12, 13, 14].map(|seed| random([channels], seed));
    [gamma, beta, mean, spread.square() + 0.1]
}

/// The scale and the shift of the same normalisation.
fn factors([gamma, beta, mean, variance]: [Tensor<1>; 4]) -> [Tensor<1>; 2] {
    let scale = gamma / (variance + EPS).sqrt();
    [scale.clone(), beta - mean * scale]
}

/// A folded convolution, of images in two orders, and the convolution with what follows it.
fn compare(case: &Case, activation: Rectifier, what: &str) {
    let (shape, out, [r, s], stride, padding) = *case;
    let (x, weight) = (random(shape, 1), random([out, shape[1], r, s], 2));
    let plain = conv2d(x.clone(), weight.clone(), stride, padding);
    let images = random(plain.dims(), 3);
    let [gamma, beta, mean, variance] = statistics(out);
    let folded = |keep| {
        let factors = factors(statistics(out));
        FoldedConv::new(weight.clone(), factors, stride, padding, activation, keep)
    };
    let kept = folded(true);
    for residual in [None, Some(images)] {
        let expected = batch_norm_eval(
            plain.clone(),
            gamma.clone(),
            beta.clone(),
            mean.clone(),
            variance.clone(),
            residual.clone(),
            activation == Rectifier::Relu,
            EPS,
        );
        let expected = match activation {
            Rectifier::Leaky(slope) => burn::tensor::activation::leaky_relu(expected, slope.into()),
            _ => expected,
        };
        let got = kept.forward(x.clone(), residual.clone());
        assert_close(got.clone(), expected, TOLERANCE, what);
        let own = factors(statistics(out));
        let slow = reference::folded_conv2d(
            x.clone(),
            weight.clone(),
            own,
            residual.clone(),
            activation,
            stride,
            padding,
        );
        assert_close(got.clone(), slow, TOLERANCE, &format!("{what}, reference"));
        let anew = folded(false).forward(scattered(x.clone()), residual.map(scattered));
        assert_eq!(floats(got), floats(anew), "{what}: packed anew, images in another order");
    }
}

const ACTIVATIONS: [Rectifier; 3] = [Rectifier::None, Rectifier::Relu, Rectifier::Leaky(0.1)];

#[test]
fn a_folded_normalisation_is_the_one_of_the_evaluation_mode() {
    for_each_isa(|isa| {
        for (case, activation) in CASES.iter().zip(ACTIVATIONS.into_iter().cycle()) {
            compare(case, activation, &format!("{isa:?} {case:?} {activation:?}"));
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn a_folded_normalisation_is_the_one_of_the_evaluation_mode_for_any_shape(
        batch in 1_usize..6, channels in 1_usize..40, out in 1_usize..40,
        height in 1_usize..14, width in 1_usize..14,
        kernel in prop::sample::select(vec![1_usize, 3, 5]), stride in 1_usize..3,
        activation in prop::sample::select(ACTIVATIONS.to_vec()),
    ) {
        let case = ([batch, channels, height, width], out, [kernel; 2], stride, kernel / 2);
        for_each_isa(|isa| compare(&case, activation, &format!("{isa:?} {case:?} {activation:?}")));
    }
}

#[test]
fn a_packed_weight_serves_other_images_and_another_instruction_set() {
    let weight = random([24, 16, 3, 3], 2);
    let conv = FoldedConv::new(weight, factors(statistics(24)), 1, 1, Rectifier::Relu, true);
    // Images of 2 pixels are too small for Winograd's tiles, with which the weight is packed first.
    for size in [12, 2, 12, 7] {
        let x = random([3, 16, size, size], 1);
        let mut all = Vec::new();
        for_each_isa(|_| all.push(conv.forward(x.clone(), None)));
        let first = all.remove(0);
        all.into_iter().for_each(|y| assert_close(y, first.clone(), TOLERANCE, "other set"));
    }
    for_each_isa(|_| {
        assert!(choose(Isa::Reference));
        let (x, fast) = (random([3, 16, 12, 12], 1), Isa::all_available()[0]);
        let slow = conv.forward(x.clone(), None);
        assert!(choose(fast));
        assert_close(conv.forward(x, None), slow, TOLERANCE, "reference");
    });
}

#[test]
fn an_affine_map_is_the_normalisation_of_the_evaluation_mode() {
    for_each_isa(|isa| {
        for (shape, activation) in
            [[1, 1, 1, 1], [2, 7, 3, 5], [3, 33, 8, 8]].into_iter().zip(ACTIVATIONS)
        {
            let x = random(shape, 1);
            let expected = reference::affine(x.clone(), factors(statistics(shape[1])), activation);
            let got = affine(scattered(x.clone()), factors(statistics(shape[1])), activation);
            assert_close(got, expected, 1e-5, &format!("{isa:?} {shape:?}"));
            let [gamma, beta, mean, variance] = statistics(shape[1]);
            let plain = batch_norm_eval(x.clone(), gamma, beta, mean, variance, None, false, EPS);
            let map = affine(x, factors(statistics(shape[1])), Rectifier::None);
            assert_close(map, plain, 1e-5, &format!("{isa:?} {shape:?}, without activation"));
        }
    });
}

#[test]
fn nothing_is_tracked_and_the_bits_do_not_depend_on_threads() {
    for index in [1, 4, 6, 7] {
        let (shape, out, [r, s], stride, padding) = CASES[index];
        same_for_any_threads(|| {
            let weight = random([out, shape[1], r, s], 2).require_grad();
            let factors = factors(statistics(out));
            let conv = FoldedConv::new(weight, factors, stride, padding, Rectifier::Relu, true);
            let y = conv.forward(random(shape, 1).require_grad(), None);
            assert!(!y.is_tracked());
            vec![floats(y)]
        });
    }
}

#[test]
fn copied_values_are_the_values() {
    for length in [0, 3, 100_000] {
        let values: Vec<f32> = (0..length).map(|index| index as f32).collect();
        let copy = in_recycled_memory(&values, [length]);
        assert_eq!(copy.try_to_vec::<f32>().unwrap(), values);
    }
}
