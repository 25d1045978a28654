//! The first pass of a search: products in single precision choose a few more candidates than are
//! wanted for each test row.
//!
//! By cosine the nearest row has the largest product of rows of length 1; by the Euclidean distance,
//! the largest product less half its square.

use rayon::prelude::*;

use super::{Distance, candidates::Candidates};
use crate::features::{Features, Source};

/// Candidates beyond the `k` that are wanted. The products are rounded, so their order may be wrong
/// near the end of the list; the exact pass puts the candidates in order.
pub(super) const SPARE: usize = 64;

/// Test rows in a block of a product.
/// PERF: the training rows are packed for each block of test rows, so these blocks are the longer ones.
pub(super) const TEST_BLOCK: usize = 4096;

/// Below this norm a row is not stretched to length 1.
pub(super) const NORM_FLOOR: f64 = 1e-12;

/// The first pass for one distance.
pub(super) struct FirstPass {
    pub(super) distance: Distance,
    dim: usize,
    /// This is subtracted from every row.
    centre: Vec<f64>,
    /// Every row is then multiplied by this.
    scale: f64,
    test: Vec<f32>,
    candidates: Vec<Candidates>,
    // The memory of one block: the prepared training rows, what `prepare` subtracts for each of them, and
    // their products with the test rows.
    block: Vec<f32>,
    bias: Vec<f32>,
    scores: Vec<f32>,
}

impl FirstPass {
    /// `mean` is that of the training rows, `largest` the largest of their numbers without its sign.
    /// Subtracting the mean changes no Euclidean distance, and `|a − b|²` from products then loses no digits
    /// to a common offset.
    pub(super) fn new(
        distance: Distance,
        mean: &[f64],
        largest: f32,
        train: &dyn Source,
        test: &Features,
        k: usize,
    ) -> Self {
        let (centre, scale) = match distance {
            Distance::Cosine => (vec![0.0; test.dim], 1.0),
            Distance::Euclidean => (mean.to_vec(), scale(largest_of(&test.values).max(largest))),
        };
        let (mut prepared, mut bias) = (Vec::new(), Vec::new());
        prepare(&test.values, distance, (&centre, scale), &mut prepared, &mut bias);
        let candidates = vec![Candidates::new((k + SPARE).min(train.rows())); test.rows];
        let (block, scores) = (Vec::new(), Vec::new());
        let (dim, test) = (test.dim, prepared);
        Self { distance, dim, centre, scale, test, candidates, block, bias, scores }
    }

    /// Looks at the training rows from `first` on.
    pub(super) fn offer(&mut self, first: usize, train: &[f32]) {
        let (block, bias) = (&mut self.block, &mut self.bias);
        prepare(train, self.distance, (&self.centre, self.scale), block, bias);
        let (block, bias, distance) = (&self.block, &self.bias, self.distance);
        let columns = bias.len();
        let blocks = self.test.chunks(TEST_BLOCK * self.dim);
        for (test, candidates) in blocks.zip(self.candidates.chunks_mut(TEST_BLOCK)) {
            let size = self.scores.len().max(candidates.len() * columns);
            self.scores.resize(size, 0.0);
            let scores = &mut self.scores[..candidates.len() * columns];
            vssl_kernels::products_of_rows(test, block, self.dim, scores);
            let rows = scores.par_chunks_mut(columns).zip(candidates.par_iter_mut());
            rows.for_each(|(scores, candidates)| {
                if distance == Distance::Euclidean {
                    scores.iter_mut().zip(bias).for_each(|(score, bias)| *score -= bias);
                }
                candidates.offer(scores, first);
            });
        }
    }

    /// The candidates of each test row, by the index of the training row.
    pub(super) fn finish(self) -> Vec<Vec<u32>> {
        self.candidates.into_par_iter().map(Candidates::into_rows).collect()
    }
}

/// The largest number without its sign; 0 if there are none.
pub(super) fn largest_of(values: &[f32]) -> f32 {
    values.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()))
}

/// The power of two that brings `largest` near to 1. Multiplied by it, numbers keep their digits, and their
/// squares stay within single precision.
fn scale(largest: f32) -> f64 {
    match largest {
        0.0 => 1.0,
        largest => 2.0_f64.powi(-(largest.log2() as i32)),
    }
}

/// Makes rows ready for a product, and says in `bias` what has to be subtracted from the products of
/// each: the nearest row `b` has the largest `a·b − bias(b)`, which is the cosine itself with bias 0, or
/// `a·b − |b|²/2 = (|a|² − |a − b|²)/2`.
fn prepare(
    values: &[f32],
    distance: Distance,
    (centre, scale): (&[f64], f64),
    out: &mut Vec<f32>,
    bias: &mut Vec<f32>,
) {
    let dim = centre.len();
    out.resize(values.len(), 0.0);
    bias.clear();
    bias.resize(values.len() / dim, 0.0);
    let rows = values.par_chunks(dim).zip(out.par_chunks_mut(dim)).zip(bias.par_iter_mut());
    rows.for_each(|((row, out), bias)| {
        let shifted = row.iter().zip(centre).map(|(&x, c)| f64::from(x) - c);
        let square: f64 = shifted.clone().map(|x| x * x).sum();
        let scale = match distance {
            Distance::Cosine => square.sqrt().max(NORM_FLOOR).recip(),
            Distance::Euclidean => {
                *bias = (0.5 * square * scale * scale) as f32;
                scale
            }
        };
        out.iter_mut().zip(shifted).for_each(|(out, x)| *out = (x * scale) as f32);
    });
}
