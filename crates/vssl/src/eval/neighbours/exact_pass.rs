//! The second pass of a search: the candidates are compared in double precision, which alone decides
//! their order. Sums are always taken in the same order.

use rayon::prelude::*;

use super::{Distance, Neighbour, Neighbours, first_pass::NORM_FLOOR};
use crate::features::Features;

/// Sums that run beside each other, so that an addition need not wait for the one before it.
const LANES: usize = 8;

/// The second pass for one distance.
pub(super) struct ExactPass<'a> {
    distance: Distance,
    test: &'a Features,
    rows: Vec<Row>,
}

/// The candidates of one test row.
struct Row {
    /// In the order of their index.
    entries: Vec<Neighbour>,
    /// Entries that were compared.
    done: usize,
    /// Length of the test row.
    norm: f64,
}

impl<'a> ExactPass<'a> {
    /// `candidates` of each test row.
    pub(super) fn new(distance: Distance, test: &'a Features, candidates: Vec<Vec<u32>>) -> Self {
        let rows = candidates.into_par_iter().zip(test.values.par_chunks(test.dim));
        let row = |(mut candidates, values): (Vec<u32>, &[f32])| {
            candidates.sort_unstable();
            let entry = |index| Neighbour { index, closeness: f64::NAN };
            let entries = candidates.into_iter().map(entry).collect();
            Row { entries, done: 0, norm: norm(values) }
        };
        Self { distance, test, rows: rows.map(row).collect() }
    }

    /// Compares the candidates among the training rows from `first` on.
    pub(super) fn compare(&mut self, first: usize, train: &[f32]) {
        let (test, distance, dim) = (self.test, self.distance, self.test.dim);
        let norms: Vec<f64> = train.par_chunks(dim).map(norm).collect();
        let end = first + norms.len();
        self.rows.par_iter_mut().enumerate().for_each(|(row, Row { entries, done, norm })| {
            let a = test.row(row);
            while let Some(entry) = entries.get_mut(*done).filter(|e| (e.index as usize) < end) {
                let at = entry.index as usize - first;
                let b = &train[at * dim..(at + 1) * dim];
                entry.closeness = closeness(a, b, *norm * norms[at], distance);
                *done += 1;
            }
        });
    }

    /// The nearest `k` candidates of each row.
    pub(super) fn nearest(self, k: usize) -> Neighbours {
        let nearest = |Row { mut entries, .. }: Row| {
            entries.sort_unstable_by(|a, b| {
                b.closeness.total_cmp(&a.closeness).then(a.index.cmp(&b.index))
            });
            entries.truncate(k);
            entries
        };
        let entries = self.rows.into_par_iter().flat_map_iter(nearest).collect();
        Neighbours { distance: self.distance, k, entries }
    }
}

/// Cosine, or minus the Euclidean distance, of two rows. `norms` is the product of their lengths.
fn closeness(a: &[f32], b: &[f32], norms: f64, distance: Distance) -> f64 {
    match distance {
        Distance::Cosine => sum(a, b, |a, b| a * b) / norms,
        Distance::Euclidean => -sum(a, b, |a, b| (a - b) * (a - b)).sqrt(),
    }
}

fn norm(a: &[f32]) -> f64 {
    sum(a, a, |a, b| a * b).sqrt().max(NORM_FLOOR)
}

/// A sum over pairs in double precision, always in the same order.
#[inline(always)]
fn sum(a: &[f32], b: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    let mut lanes = [0.0; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for (lane, (&a, &b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += term(f64::from(a), f64::from(b));
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(&a, &b)| term(f64::from(a), f64::from(b)));
    lanes.iter().sum::<f64>() + rest.sum::<f64>()
}
