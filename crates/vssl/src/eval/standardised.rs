//! Standardised features with their classes: what a logistic regression is fitted to, and what it gives for
//! other images. Called by `linear` and `logistic`.

use rayon::prelude::*;
use vssl_kernels::products_of_rows;

use super::{
    Accuracy,
    curvature::Gram,
    topk::{first, rank},
    vectors::pairs,
};
use crate::features::Features;

/// Rows of one piece of a parallel sum; fixed, so that sums do not depend on the threads.
const PIECE: usize = 512;
/// Logits of a block of images: 64 MiB.
pub(super) const BLOCK_LOGITS: usize = 1 << 24;
/// Images of a block, at most. Rows of 4096 logits would all begin in the same set of a cache, so that they would
/// push each other out; 4080 is the next smaller multiple of 16.
const BLOCK: usize = 4080;

/// Mean and inverse standard deviation of each column of the training features.
pub(super) struct Scaling {
    pub(super) mean: Vec<f64>,
    inverse: Vec<f64>,
}

impl Scaling {
    pub(super) fn of(train: &Features) -> Self {
        let rows = train.rows as f64;
        let mut mean = column_sums(&train.values, train.dim, |x, _| x);
        mean.iter_mut().for_each(|sum| *sum /= rows);
        let square = |x: f64, column: usize| (x - mean[column]).powi(2);
        let variance = column_sums(&train.values, train.dim, square);
        // A column that only varies by rounding carries nothing and is left out.
        let inverse = |(sum, mean): (f64, &f64)| {
            let deviation = (sum / rows).sqrt();
            if deviation > 1e-6 * mean.abs() && deviation > 1e-30 { deviation.recip() } else { 0.0 }
        };
        let inverse = variance.into_iter().zip(&mean).map(inverse).collect();
        Self { mean, inverse }
    }

    fn apply(&self, row: &[f32], into: &mut [f32]) {
        for (i, (&x, into)) in row.iter().zip(into).enumerate() {
            *into = ((f64::from(x) - self.mean[i]) * self.inverse[i]) as f32;
        }
    }
}

/// Sums over the rows of `term` of each number and its column.
fn column_sums(values: &[f32], width: usize, term: impl Fn(f64, usize) -> f64 + Sync) -> Vec<f64> {
    let piece = |values: &[f32]| {
        let mut sums = vec![0.0; width];
        for row in values.chunks_exact(width) {
            for (column, (sum, &x)) in sums.iter_mut().zip(row).enumerate() {
                *sum += term(f64::from(x), column);
            }
        }
        sums
    };
    let pieces: Vec<Vec<f64>> = values.par_chunks(PIECE * width).map(piece).collect();
    let mut sums = vec![0.0; width];
    for piece in pieces {
        sums.iter_mut().zip(piece).for_each(|(sum, x)| *sum += x);
    }
    sums
}

/// Standardised rows with their classes. A row ends with a 1, whose weight is the bias, and zeros.
///
/// Weights are `[classes, width]`, class after class.
pub(super) struct Problem {
    pub(super) x: Vec<f32>,
    pub(super) labels: Vec<u32>,
    pub(super) classes: usize,
    pub(super) dim: usize,
    pub(super) width: usize,
}

impl Problem {
    pub(super) fn new(
        scaling: &Scaling,
        features: &Features,
        rows: &[usize],
        labels: &[usize],
        classes: usize,
    ) -> Self {
        let (dim, width) = (features.dim, Self::width_of(features.dim));
        let mut x = vec![0.0; rows.len() * width];
        x.par_chunks_mut(width).zip(rows.par_iter()).for_each(|(into, &row)| {
            scaling.apply(features.row(row), into);
            into[dim] = 1.0;
        });
        let labels = rows.iter().map(|&row| labels[row] as u32).collect();
        Self { x, labels, classes, dim, width }
    }

    /// The numbers of a row for features of `dim` numbers.
    pub(super) fn width_of(dim: usize) -> usize {
        (dim + 1).next_multiple_of(16)
    }

    /// The number of images that were given.
    pub(super) fn rows(&self) -> usize {
        self.labels.len()
    }

    /// The matrix that makes a minimisation quick.
    pub(super) fn gram(&self) -> Option<Gram> {
        Gram::of(&self.x, self.width)
    }

    /// The largest entry of the gradient at weights of zero, without its sign.
    pub(super) fn gradient_at_zero(&self) -> f64 {
        let (rows, width) = (self.rows() as f64, self.width);
        let sums = column_sums(&self.x, width, |x, _| x);
        let mut members = vec![Vec::new(); self.classes];
        for (row, &label) in self.labels.iter().enumerate() {
            members[label as usize].push(row);
        }
        let largest = |members: &Vec<usize>| {
            let mut own = vec![0.0; width];
            for &row in members {
                let row = &self.x[row * width..][..width];
                own.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
            }
            let entries = own.iter().zip(&sums).map(|(own, sum)| sum / self.classes as f64 - own);
            entries.fold(0.0, |largest: f64, entry| largest.max(entry.abs() / rows))
        };
        members.par_iter().map(largest).reduce(|| 0.0, f64::max)
    }

    /// Images of a block.
    pub(super) fn block(&self) -> usize {
        (BLOCK_LOGITS / self.classes).clamp(16, BLOCK) / 16 * 16
    }

    /// Calls `each` with the logits of some rows after the other, `[rows, classes]`.
    pub(super) fn scores(&self, weights: &[f64], mut each: impl FnMut(&[u32], &[f32])) {
        let mut single = vec![0.0; weights.len()];
        pairs(&mut single, weights, |to, w| *to = w as f32);
        let block = self.block();
        let mut scores = vec![0.0; block.min(self.rows()) * self.classes];
        let blocks = self.x.chunks(block * self.width).zip(self.labels.chunks(block));
        for (x, labels) in blocks {
            let scores = &mut scores[..labels.len() * self.classes];
            products_of_rows(x, &single, self.width, scores);
            each(labels, scores);
        }
    }

    /// The class with the largest score of each row.
    pub(super) fn predicted(&self, weights: &[f64]) -> Vec<u32> {
        let mut predicted = Vec::with_capacity(self.rows());
        self.scores(weights, |_, scores| {
            let class = |scores: &[f32]| first(scores) as u32;
            predicted.par_extend(scores.par_chunks(self.classes).map(class));
        });
        predicted
    }

    pub(super) fn accuracy(&self, weights: &[f64]) -> Accuracy {
        let hits = |(scores, &label): (&[f32], &u32)| {
            let rank = rank(scores, label as usize);
            [usize::from(rank < 1), usize::from(rank < 5)]
        };
        let add = |a: [usize; 2], b: [usize; 2]| [a[0] + b[0], a[1] + b[1]];
        let mut all = [0, 0];
        self.scores(weights, |labels, scores| {
            let rows = scores.par_chunks(self.classes).zip(labels.par_iter());
            all = add(all, rows.map(hits).reduce(|| [0, 0], add));
        });
        let percent = |hits: usize| 100.0 * hits as f64 / self.rows() as f64;
        Accuracy { top1: percent(all[0]), top5: percent(all[1]) }
    }
}
