//! The first reading of a search: products say which training rows may be among the nearest.
//!
//! By cosine the nearest row has the largest product of rows of length 1; by the Euclidean distance,
//! the largest product less half its square. Called by `search`.

use rayon::prelude::*;

use super::{
    Features, Source,
    candidates::Candidates,
    coarse::Coarse,
    search::{Distance, TEST_BLOCK},
};

/// Candidates kept beyond k. Rounded products decide who is a candidate; the order among candidates
/// is decided in double precision, so that rounding does not choose neighbours.
pub(super) const SPARE: usize = 64;

/// Below this norm a row is not stretched to length 1.
pub(super) const NORM_FLOOR: f64 = 1e-12;

/// Rows made ready for products.
pub(super) enum Rows {
    Single(Vec<f32>),
    Coarse(Coarse),
}

/// The first reading, for one distance.
pub(super) struct Search {
    pub(super) distance: Distance,
    dim: usize,
    centre: Vec<f64>,
    pub(super) test: Rows,
    /// The training rows of the block that is on, made ready, and what [`prepare`] says of each.
    block: Vec<f32>,
    bias: Vec<f32>,
    /// The same as whole numbers, where the test rows are.
    train: Coarse,
    /// Largest error of such a row so far.
    pub(super) error: f64,
    pub(super) candidates: Vec<Candidates>,
    scores: Vec<f32>,
}

impl Search {
    pub(super) fn new(
        distance: Distance,
        mean: &Option<Vec<f64>>,
        train: &dyn Source,
        test: &Features,
        k: usize,
        coarse: bool,
    ) -> Self {
        let centre = match (distance, mean) {
            (Distance::Euclidean, Some(mean)) => mean.clone(),
            _ => vec![0.0; test.dim],
        };
        let (mut prepared, mut bias) = (Vec::new(), Vec::new());
        prepare(&test.values, test.dim, distance, &centre, &mut prepared, &mut bias);
        let candidates = vec![Candidates::new((k + SPARE).min(train.rows())); test.rows];
        let dim = test.dim;
        let test = match coarse && distance == Distance::Cosine {
            true => Rows::Coarse(Coarse::of(&prepared, dim)),
            false => Rows::Single(prepared),
        };
        Self {
            distance,
            dim,
            centre,
            test,
            block: Vec::new(),
            bias,
            train: Coarse::default(),
            error: 0.0,
            candidates,
            scores: Vec::new(),
        }
    }

    /// Looks at the training rows from `first` on.
    pub(super) fn offer(&mut self, first: usize, train: &[f32]) {
        prepare(train, self.dim, self.distance, &self.centre, &mut self.block, &mut self.bias);
        let (block, bias) = (&self.block, &self.bias);
        let columns = bias.len();
        if let Rows::Coarse(_) = self.test {
            self.train.fill(block, self.dim);
            self.error = self.train.largest_error().max(self.error);
        }
        for (index, candidates) in self.candidates.chunks_mut(TEST_BLOCK).enumerate() {
            let own = index * TEST_BLOCK..index * TEST_BLOCK + candidates.len();
            let size = self.scores.len().max(candidates.len() * columns);
            self.scores.resize(size, 0.0);
            let scores = &mut self.scores[..candidates.len() * columns];
            match &self.test {
                Rows::Coarse(test) => test.products(own, &self.train, scores),
                Rows::Single(test) => {
                    let test = &test[own.start * self.dim..own.end * self.dim];
                    vssl_kernels::products_of_rows(test, block, self.dim, scores);
                }
            }
            let rows = scores.par_chunks_mut(columns).zip(candidates.par_iter_mut());
            rows.for_each(|(scores, candidates)| {
                if self.distance == Distance::Euclidean {
                    scores.iter_mut().zip(bias).for_each(|(score, bias)| *score -= bias);
                }
                candidates.offer(scores, first);
            });
        }
    }
}

/// Rows made ready for a product, and what is to be subtracted from each one's products: the
/// nearest row has the largest `a·b − bias(b)`: the cosine itself with bias 0, or
/// `a·b − |b|²/2 = (|a|² − |a − b|²)/2`.
fn prepare(
    values: &[f32],
    dim: usize,
    distance: Distance,
    centre: &[f64],
    out: &mut Vec<f32>,
    bias: &mut Vec<f32>,
) {
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
                *bias = (0.5 * square) as f32;
                1.0
            }
        };
        out.iter_mut().zip(shifted).for_each(|(out, x)| *out = (x * scale) as f32);
    });
}
