//! The linear layer.

use vssl_kernels::{linear, reference};

use crate::{
    assert_close, floats, for_each_isa, gradients, gradients_of_both, random, same_for_any_threads,
};

/// Sums in another order.
const TOLERANCE: f32 = 1e-5;

#[test]
fn values_and_gradients_match_the_reference() {
    let sizes = [(1, 1, 1), (2, 3, 5), (7, 37, 11), (64, 300, 130), (65, 17, 1024), (130, 513, 7)];
    for_each_isa(|isa| {
        for (n, inputs, outputs) in sizes {
            let what = format!("{isa:?} {n}x{inputs}x{outputs}");
            let x = random([n, inputs], 1).require_grad();
            let weight = random([outputs, inputs], 2).require_grad();
            let bias = random([outputs], 3).require_grad();
            for with_bias in [false, true] {
                let added = with_bias.then(|| bias.clone());
                let turned = x.clone().transpose().mul_scalar(1.0).transpose();
                let fast = linear(turned, weight.clone(), added.clone());
                let slow = reference::linear(x.clone(), weight.clone(), added);
                assert_close(fast.clone(), slow.clone(), TOLERANCE, &what);
                let factors: &[_] = if with_bias { &[&bias] } else { &[] };
                let (fast, fast_bias) = gradients_of_both(fast, &[&x, &weight], factors);
                let (slow, slow_bias) = gradients_of_both(slow, &[&x, &weight], factors);
                for (fast, slow) in fast.into_iter().zip(slow) {
                    assert_close(fast, slow, TOLERANCE, &what);
                }
                for (fast, slow) in fast_bias.into_iter().zip(slow_bias) {
                    assert_close(fast, slow, TOLERANCE, &what);
                }
            }
        }
    });
}

#[test]
fn the_bits_do_not_depend_on_threads() {
    same_for_any_threads(|| {
        let x = random([64, 300], 1).require_grad();
        let weight = random([513, 300], 2).require_grad();
        let y = linear(x.clone(), weight.clone(), None);
        let mut results = vec![floats(y.clone())];
        results.extend(gradients(y, &[&x, &weight]).into_iter().map(floats));
        results
    });
}
