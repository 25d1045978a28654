//! Convolution.

use burn::tensor::Tensor;
use vssl_kernels::{batch_norm_train, conv2d, reference};

use crate::{
    assert_close, floats, for_each_isa, gradients, random, same_for_any_threads, scattered,
};

/// Direct and Winograd together: the latter's transforms amplify rounding to about 2·10⁻⁵.
const TOLERANCE: f32 = 1e-4;

/// `[n, c, h, w]`, output channels, filter rows and columns, stride, padding.
pub type Case = ([usize; 4], usize, [usize; 2], usize, usize);

const CASES: &[Case] = &[
    ([1, 1, 1, 1], 1, [1, 1], 1, 0),
    ([1, 1, 5, 7], 1, [3, 3], 1, 1),
    ([2, 3, 9, 8], 5, [3, 3], 1, 1),
    ([2, 3, 17, 13], 7, [7, 7], 2, 3),
    ([1, 5, 11, 6], 13, [3, 3], 2, 1),
    ([3, 4, 8, 8], 6, [1, 1], 1, 0),
    ([3, 4, 8, 7], 6, [1, 1], 2, 0),
    ([2, 4, 5, 6], 3, [1, 1], 1, 2),
    ([2, 7, 6, 6], 11, [3, 3], 1, 0),
    ([2, 7, 6, 5], 11, [3, 3], 1, 2),
    ([2, 7, 4, 6], 11, [3, 3], 1, 3),
    ([2, 2, 10, 9], 3, [1, 3], 1, 1),
    ([2, 2, 10, 9], 3, [3, 1], 2, 1),
    ([1, 3, 7, 7], 4, [7, 7], 1, 0),
    // Stems for grey, grey and infrared, four, five and thirteen channels: 7×7 with a stride, and 3×3.
    ([2, 1, 18, 15], 16, [7, 7], 2, 3),
    ([2, 2, 18, 15], 32, [7, 7], 2, 3),
    ([2, 4, 18, 15], 64, [7, 7], 2, 3),
    ([2, 5, 17, 16], 48, [7, 7], 2, 3),
    ([2, 13, 17, 16], 16, [7, 7], 2, 3),
    ([2, 1, 12, 13], 16, [3, 3], 1, 1),
    ([2, 2, 12, 13], 64, [3, 3], 1, 1),
    ([3, 4, 11, 12], 32, [3, 3], 1, 2),
    ([3, 5, 11, 12], 16, [3, 3], 2, 1),
    ([2, 13, 12, 13], 64, [3, 3], 1, 1),
    // Filters that Winograd's method would suit, with too few tiles for it.
    ([1, 8, 8, 8], 8, [3, 3], 1, 1),
    ([2, 16, 9, 11], 24, [3, 3], 1, 1),
    ([2, 13, 12, 7], 17, [3, 3], 1, 0),
    ([3, 9, 6, 10], 31, [3, 3], 1, 2),
    ([1, 8, 6, 6], 8, [3, 3], 1, 3),
    ([2, 33, 4, 4], 40, [3, 3], 1, 1),
    ([70, 16, 8, 8], 16, [3, 3], 1, 1), // enough tiles for whole tasks
    ([2, 300, 4, 4], 264, [3, 3], 1, 1),
    ([1, 280, 6, 5], 20, [3, 3], 2, 1),
    ([2, 20, 7, 7], 290, [1, 1], 1, 0),
    ([5, 64, 16, 16], 128, [3, 3], 2, 1),
    ([7, 9, 21, 18], 13, [3, 3], 1, 1), // whole tasks of cut tiles
    // Weights of which a task takes a part.
    ([3, 64, 7, 6], 260, [3, 3], 2, 1),
    ([2, 144, 6, 5], 70, [5, 5], 1, 2),
    // Winograd: whole and cut tiles, odd channels, every padding.
    ([3, 16, 9, 11], 24, [3, 3], 1, 1),
    ([4, 13, 12, 7], 17, [3, 3], 1, 0),
    ([4, 9, 6, 10], 31, [3, 3], 1, 2),
    ([3, 8, 6, 6], 8, [3, 3], 1, 3),
    ([25, 33, 4, 4], 40, [3, 3], 1, 1),
    ([24, 300, 4, 4], 24, [3, 3], 1, 1), // more channels than one pass sums
];

/// Values and gradients of both paths, each through its own leaves.
pub fn compare(case: &Case, arrange: impl Fn(Tensor<4>) -> Tensor<4>, what: &str) {
    let (shape, out, [r, s], stride, padding) = *case;
    let x = random(shape, 1).require_grad();
    let weight = random([out, shape[1], r, s], 2).require_grad();
    let fast = conv2d(arrange(x.clone()), weight.clone(), stride, padding);
    let slow = reference::conv2d(x.clone(), weight.clone(), stride, padding);
    assert_close(fast.clone(), slow.clone(), TOLERANCE, what);
    let fast = gradients(fast, &[&x, &weight]);
    let slow = gradients(slow, &[&x, &weight]);
    for ((fast, slow), of) in fast.into_iter().zip(slow).zip(["input", "weight"]) {
        assert_close(fast, slow, TOLERANCE, &format!("{what}: gradient of the {of}"));
    }
}

#[test]
fn values_and_gradients_match_the_reference() {
    for_each_isa(|isa| {
        for case in CASES {
            compare(case, |x| x, &format!("{isa:?} {case:?}"));
        }
    });
}

#[test]
fn any_memory_order_is_accepted() {
    for_each_isa(|isa| {
        for case in CASES[14..18].iter().chain(&CASES[28..30]) {
            compare(case, scattered, &format!("{isa:?} {case:?}, scattered"));
            let flipped = |x: Tensor<4>| x.flip([2]).flip([2]);
            compare(case, flipped, &format!("{isa:?} {case:?}, flipped twice"));
        }
    });
}

#[test]
fn an_untracked_input_gets_no_gradient_and_an_untracked_weight_none_either() {
    let (x, weight) = (random([2, 8, 8, 8], 1), random([8, 8, 3, 3], 2));
    let tracked = weight.clone().require_grad();
    let gradients = conv2d(x.clone(), tracked.clone(), 1, 1).sum().backward();
    assert!(tracked.grad(&gradients).is_some() && x.grad(&gradients).is_none());
    let tracked = x.clone().require_grad();
    let gradients = conv2d(tracked.clone(), weight.clone(), 1, 1).sum().backward();
    assert!(tracked.grad(&gradients).is_some() && weight.grad(&gradients).is_none());
    assert!(!conv2d(x, weight, 1, 1).is_tracked());
}

#[test]
fn the_bits_do_not_depend_on_threads() {
    for case in [3, 15, 20, 21, 24, 25, 26, 28, 32].map(|index| CASES[index]) {
        let (shape, out, [r, s], stride, padding) = case;
        same_for_any_threads(|| {
            let x = random(shape, 1).require_grad();
            let weight = random([out, shape[1], r, s], 2).require_grad();
            let y = conv2d(x.clone(), weight.clone(), stride, padding);
            let mut results = vec![floats(y.clone())];
            results.extend(gradients(y, &[&x, &weight]).into_iter().map(floats));
            results
        });
    }
}

#[test]
fn an_image_that_is_used_three_times_gets_the_sum_of_all_gradients() {
    // A residual block and a shortcut beside it, on an image inside the graph.
    let inputs = || {
        let x = random([2, 5, 9, 7], 1).require_grad();
        let weights = [2, 3, 4].map(|seed| random([5, 5, 3, 3], seed));
        (x, weights, random([5], 5), random([5], 6))
    };
    let fast = || {
        let (x, [first, second, third], gamma, beta) = inputs();
        let h = conv2d(x.clone(), first, 1, 1);
        let inner = conv2d(h.clone(), second, 1, 1);
        let block = batch_norm_train(inner, gamma, beta, Some(h.clone()), true, 1e-5).output;
        gradients(block + conv2d(h, third, 1, 1), &[&x]).remove(0)
    };
    let slow = || {
        let (x, [first, second, third], gamma, beta) = inputs();
        let h = reference::conv2d(x.clone(), first, 1, 1);
        let inner = reference::conv2d(h.clone(), second, 1, 1);
        let residual = Some(h.clone());
        let block = reference::batch_norm_train(inner, gamma, beta, residual, true, 1e-5).output;
        gradients(block + reference::conv2d(h, third, 1, 1), &[&x]).remove(0)
    };
    let expected = slow();
    for_each_isa(|isa| assert_close(fast(), expected.clone(), TOLERANCE, &format!("{isa:?}")));
    same_for_any_threads(|| vec![floats(fast())]);
}
