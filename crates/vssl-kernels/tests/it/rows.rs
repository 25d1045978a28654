//! Products and softmax of slices, against their definitions in double precision.

use vssl_kernels::{add_gram, add_product, products_of_rows, softmax_residuals};

use crate::{for_each_isa, same_for_any_threads};

/// Values between −1 and 1, the same in every run.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + seed * 31) % 2003) as f32 / 1001.0 - 1.0).collect()
}

#[track_caller]
fn near(got: &[f32], expected: impl Fn(usize) -> f64, what: &str) {
    for (at, got) in got.iter().enumerate() {
        let expected = expected(at);
        let error = (f64::from(*got) - expected).abs();
        assert!(error <= 1e-5 * expected.abs().max(10.0), "{what}, {at}: {got} for {expected}");
    }
}

#[test]
fn products_of_slices_are_their_definitions() {
    for_each_isa(|isa| {
        for (m, depth, n) in [(1, 1, 1), (3, 7, 5), (13, 257, 33), (100, 528, 65), (17, 31, 300)] {
            let what = format!("{isa:?} {m}x{depth}x{n}");
            let (left, right) = (numbers(m * depth, 1), numbers(depth * n, 2));
            let sum = |i: usize, column: &dyn Fn(usize) -> usize| -> f64 {
                let terms = (0..depth)
                    .map(|p| f64::from(left[i * depth + p]) * f64::from(right[column(p)]));
                terms.sum()
            };
            let mut out = vec![f32::NAN; m * n];
            products_of_rows(&left, &right, depth, &mut out);
            near(&out, |at| sum(at / n, &|p| at % n * depth + p), &what);
            let mut out = vec![2.0; m * n];
            add_product(&left, &right, depth, &mut out);
            near(&out, |at| 2.0 + sum(at / n, &|p| p * n + at % n), &what);
            let mut gram = vec![1.0; depth * depth];
            add_gram(&left, depth, &mut gram);
            let expected = |at: usize| -> f64 {
                let row = |i: usize, p: usize| f64::from(left[i * depth + p]);
                1.0 + (0..m).map(|i| row(i, at / depth) * row(i, at % depth)).sum::<f64>()
            };
            near(&gram, expected, &what);
        }
    });
}

#[test]
fn the_bits_do_not_depend_on_threads() {
    same_for_any_threads(|| {
        let (left, right) = (numbers(130 * 300, 1), numbers(300 * 513, 2));
        let mut product = vec![0.5; 130 * 513];
        add_product(&left, &right, 300, &mut product);
        let mut gram = vec![0.0; 300 * 300];
        add_gram(&left, 300, &mut gram);
        let labels: Vec<u32> = (0..513).map(|row| row % 130).collect();
        let mut residuals = product.clone();
        let sums = softmax_residuals(&mut residuals, &labels);
        let halves = [sums.loss, sums.spread]
            .map(f64::to_bits)
            .into_iter()
            .flat_map(|bits| [(bits >> 32) as u32, bits as u32])
            .map(f32::from_bits);
        vec![product, gram, residuals, halves.collect()]
    });
}
