//! The operations of losses.

use vssl_kernels::{cross_entropy, log_sum_exp, off_diagonal_squares, reference, softmax};

use crate::{assert_close, floats, for_each_isa, gradients, random, same_for_any_threads};

/// Sums in another order.
const TOLERANCE: f32 = 1e-5;

const SIZES: [(usize, usize); 6] = [(1, 1), (2, 3), (7, 37), (64, 1000), (3, 8193), (65, 64)];

#[test]
fn values_and_gradients_match_the_reference() {
    for_each_isa(|isa| {
        for ((n, columns), scale) in SIZES.into_iter().zip([1.0, 14.3, 0.5, 10.0, 5.0, 2.0]) {
            let what = format!("{isa:?} {n}x{columns}");
            let (x, targets) = (random([n, columns], 1).require_grad(), random([n, columns], 2));
            let pairs = [
                (log_sum_exp(x.clone(), scale), reference::log_sum_exp(x.clone(), scale)),
                (
                    cross_entropy(x.clone(), targets.clone(), scale),
                    reference::cross_entropy(x.clone(), targets.clone(), scale),
                ),
            ];
            for (fast, slow) in pairs {
                assert_close(fast.clone(), slow.clone(), TOLERANCE, &what);
                let [fast, slow] = [fast, slow].map(|y| gradients(y, &[&x]).remove(0));
                assert_close(fast, slow, TOLERANCE, &what);
            }
            let plain = x.clone().detach();
            let fast = softmax(plain.clone(), scale);
            assert_close(fast, reference::softmax(plain, scale), TOLERANCE, &what);
            let y = random([n, columns], 3).require_grad();
            if columns > 2000 {
                continue; // the product would be larger than the test is worth
            }
            let fast = off_diagonal_squares(x.clone(), y.clone());
            let slow = reference::off_diagonal_squares(x.clone(), y.clone());
            assert_close(fast.clone(), slow.clone(), TOLERANCE, &what);
            let [fast, slow] = [fast, slow].map(|sum| gradients(sum, &[&x, &y]));
            for (fast, slow) in fast.into_iter().zip(slow) {
                assert_close(fast, slow, TOLERANCE, &what);
            }
        }
    });
}

#[test]
fn targets_get_no_gradient() {
    let (x, targets) = (random([3, 5], 1).require_grad(), random([3, 5], 2).require_grad());
    let gradients = cross_entropy(x.clone(), targets.clone(), 2.0).sum().backward();
    assert!(x.grad(&gradients).is_some() && targets.grad(&gradients).is_none());
}

#[test]
fn the_covariance_of_one_view_has_the_gradients_of_both_sides() {
    let gradient = |of: fn(_, _) -> _| {
        let x = random([9, 31], 4).require_grad();
        gradients(of(x.clone(), x.clone()), &[&x]).remove(0)
    };
    let (fast, slow) = (gradient(off_diagonal_squares), gradient(reference::off_diagonal_squares));
    assert_close(fast, slow, TOLERANCE, "one view");
}

#[test]
fn the_bits_do_not_depend_on_threads() {
    same_for_any_threads(|| {
        let (x, y) = (random([64, 700], 1).require_grad(), random([64, 700], 2).require_grad());
        let mut results = Vec::new();
        for loss in [
            log_sum_exp(x.clone(), 5.0).sum(),
            cross_entropy(x.clone(), y.clone(), 5.0).sum(),
            off_diagonal_squares(x.clone(), y.clone()),
        ] {
            results.push(floats(loss.clone()));
            results.extend(gradients(loss, &[&x]).into_iter().map(floats));
        }
        results
    });
}
