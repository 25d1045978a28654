//! The second reading of a search: candidates compared in double precision, which alone decides the
//! order, always in the same order of sums. Called by `search`.

use rayon::prelude::*;

use super::{
    Features,
    candidates::Candidates,
    screen::{NORM_FLOOR, Rows, Search},
    search::{Distance, Neighbour, Neighbours},
};

/// Sums that run beside each other, so that an addition need not wait for the one before.
const LANES: usize = 8;

/// The second reading, for one distance.
pub(super) struct Ranked {
    distance: Distance,
    /// Candidates of each test row in the order of their index, and how many were compared.
    rows: Vec<(Vec<Neighbour>, usize)>,
    /// Lengths of the test rows, for the cosine.
    norms: Vec<f64>,
    /// After coarse products: no row that is not a candidate is nearer than this.
    others: Option<Vec<f64>>,
}

impl Ranked {
    pub(super) fn of(mut search: Search, test: &Features) -> Self {
        let sorted = |candidates: Candidates| {
            let entry = |index| Neighbour { index, closeness: f64::NAN };
            let mut entries: Vec<_> = candidates.into_rows().map(entry).collect();
            entries.sort_unstable_by_key(|entry| entry.index);
            (entries, 0)
        };
        let others = match &search.test {
            Rows::Single(_) => None,
            Rows::Coarse(coarse) => {
                let bounds = coarse.bounds(search.error);
                let each = search.candidates.iter_mut().zip(bounds);
                Some(each.map(|(left, bound)| f64::from(left.best_of_others()) + bound).collect())
            }
        };
        let rows = search.candidates.into_par_iter().map(sorted).collect();
        let norms = match search.distance {
            Distance::Cosine => test.values.par_chunks(test.dim).map(norm).collect(),
            Distance::Euclidean => Vec::new(),
        };
        Self { distance: search.distance, rows, norms, others }
    }

    pub(super) fn compare(&mut self, first: usize, train: &[f32], test: &Features) {
        let (dim, distance) = (test.dim, self.distance);
        let norms: Vec<f64> = match distance {
            Distance::Cosine => train.par_chunks(dim).map(norm).collect(),
            Distance::Euclidean => Vec::new(),
        };
        let (own, end) = (&self.norms, first + train.len() / dim);
        self.rows.par_iter_mut().enumerate().for_each(|(row, (entries, done))| {
            let a = test.row(row);
            while let Some(entry) = entries.get_mut(*done).filter(|e| (e.index as usize) < end) {
                let at = entry.index as usize - first;
                let b = &train[at * dim..(at + 1) * dim];
                entry.closeness = match distance {
                    Distance::Cosine => product(a, b) / (own[row] * norms[at]),
                    Distance::Euclidean => -sum(a, b, |a, b| (a - b) * (a - b)).sqrt(),
                };
                *done += 1;
            }
        });
    }

    /// The nearest candidates, and the test rows to which another row may be as near.
    pub(super) fn nearest(self, k: usize) -> (Neighbours, Vec<usize>) {
        let nearest = |(mut entries, _): (Vec<Neighbour>, usize)| {
            entries.sort_unstable_by(|a, b| {
                b.closeness.total_cmp(&a.closeness).then(a.index.cmp(&b.index))
            });
            entries.truncate(k);
            entries
        };
        let entries: Vec<Neighbour> = self.rows.into_par_iter().flat_map_iter(nearest).collect();
        let doubtful = self.others.into_iter().flatten().enumerate().filter(|(row, other)| {
            let last = entries[row * k + k - 1].closeness;
            last <= *other
        });
        let doubtful = doubtful.map(|(row, _)| row).collect();
        (Neighbours { distance: self.distance, k, entries }, doubtful)
    }
}

/// Cosine, or minus the Euclidean distance, of two rows.
#[cfg(test)]
pub(super) fn closeness(a: &[f32], b: &[f32], distance: Distance) -> f64 {
    match distance {
        Distance::Cosine => product(a, b) / (norm(a) * norm(b)),
        Distance::Euclidean => -sum(a, b, |a, b| (a - b) * (a - b)).sqrt(),
    }
}

fn norm(a: &[f32]) -> f64 {
    product(a, a).sqrt().max(NORM_FLOOR)
}

fn product(a: &[f32], b: &[f32]) -> f64 {
    sum(a, b, |a, b| a * b)
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
