//! Multinomial logistic regression on standardised features: the function that the linear probe
//! minimises, `mean CE(x·Wᵀ + b, y) + ½·λ·|W|²`, with its gradient. Called by `linear`.
//!
//! The images go by in blocks: `logits = W·Xᵀ`, softmax, `gradient += (P − Y)·X`, so that the logits of all
//! images are nowhere at once. Products are in single precision; gradients are summed in double precision over
//! groups of [`GROUP`] images, losses over images.

use std::time::Instant;

use rayon::prelude::*;
use vssl_kernels::{add_product, products_of_rows, softmax_residuals};

use super::{
    Accuracy,
    curvature::Gram,
    lbfgs::Function,
    topk::{first, rank},
    vectors::{dot, pairs},
};
use crate::{features::Features, run::task::Task};

/// Rows of one piece of a parallel sum; fixed, so that sums do not depend on the threads.
const PIECE: usize = 512;
/// Images whose gradients are summed in single precision.
const GROUP: usize = 4096;
/// Logits of a block of images: 64 MiB.
const BLOCK_LOGITS: usize = 1 << 24;
/// Images of a block, at most.
const BLOCK: usize = 4080;
/// Images, and their logits, on which the length of a first step is tried; at most.
const TRIAL: usize = 2048;
const TRIAL_LOGITS: usize = 1 << 24;
/// Halvings of a first step.
const HALVINGS: i32 = 20;
/// The change of the mean share after which the preconditioner is computed anew.
const STALE: f64 = 2.0;

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
    x: Vec<f32>,
    labels: Vec<u32>,
    classes: usize,
    dim: usize,
    width: usize,
}

impl Problem {
    pub(super) fn new(
        scaling: &Scaling,
        features: &Features,
        rows: &[usize],
        labels: &[usize],
        classes: usize,
    ) -> Self {
        let (dim, width) = (features.dim, Self::width(features.dim));
        let mut x = vec![0.0; rows.len() * width];
        x.par_chunks_mut(width).zip(rows.par_iter()).for_each(|(into, &row)| {
            scaling.apply(features.row(row), into);
            into[dim] = 1.0;
        });
        let labels = rows.iter().map(|&row| labels[row] as u32).collect();
        Self { x, labels, classes, dim, width }
    }

    /// The numbers of a row for features of `dim` numbers.
    pub(super) fn width(dim: usize) -> usize {
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
    fn block(&self) -> usize {
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

/// An evaluation of the function: the seconds since its making, and the value.
pub type Evaluation = (f64, f64);

/// The function for one strength, with the memory of its evaluation.
pub(super) struct Objective<'a> {
    problem: &'a Problem,
    gram: Option<&'a Gram>,
    l2: f64,
    task: &'a Task,
    weights: Vec<f32>,
    group: Vec<f32>,
    totals: Vec<f64>,
    logits: Vec<f32>,
    /// The mean over rows and classes of `p·(1 − p)` where it was evaluated last.
    share: f64,
    /// The mean share that the preconditioner is made for.
    made_for: Option<f64>,
    /// The preconditioner; `None` for a multiple of the identity.
    inverse: Option<Vec<f32>>,
    began: Instant,
    /// All evaluations so far.
    pub(super) trace: Vec<Evaluation>,
}

impl<'a> Objective<'a> {
    pub(super) fn new(
        problem: &'a Problem,
        gram: Option<&'a Gram>,
        l2: f64,
        task: &'a Task,
    ) -> Self {
        let size = problem.classes * problem.width;
        Self {
            problem,
            gram,
            l2,
            task,
            weights: vec![0.0; size],
            group: vec![0.0; size],
            totals: vec![0.0; size],
            logits: vec![0.0; problem.block().min(problem.rows()) * problem.classes],
            share: 0.0,
            made_for: None,
            inverse: None,
            began: Instant::now(),
            trace: Vec::new(),
        }
    }

    /// Adds `group` to the totals, and begins a new one.
    fn close_group(&mut self) {
        pairs(&mut self.totals, &self.group, |total, x| *total += f64::from(x));
        self.group.par_chunks_mut(PIECE).for_each(|piece| piece.fill(0.0));
    }

    /// The mean cross entropy; the sums of the gradient over the images are then in `totals`.
    fn cross_entropy(&mut self, point: &[f64]) -> f64 {
        let problem = self.problem;
        let (block, width, rows) = (problem.block(), problem.width, problem.rows() as f64);
        pairs(&mut self.weights, point, |to, w| *to = w as f32);
        self.totals.par_chunks_mut(PIECE).for_each(|piece| piece.fill(0.0));
        self.group.par_chunks_mut(PIECE).for_each(|piece| piece.fill(0.0));
        let (mut loss, mut spread, mut in_group) = (0.0, 0.0, 0);
        let blocks = problem.x.chunks(block * width).zip(problem.labels.chunks(block));
        for (x, labels) in blocks {
            if self.task.is_left() {
                return f64::NAN;
            }
            let logits = &mut self.logits[..problem.classes * labels.len()];
            products_of_rows(&self.weights, x, width, logits); // [classes, block]
            let sums = softmax_residuals(logits, labels);
            add_product(logits, x, labels.len(), &mut self.group); // [classes, width]
            (loss, spread) = (loss + sums.loss, spread + sums.spread);
            in_group += labels.len();
            if in_group >= GROUP {
                self.close_group();
                in_group = 0;
            }
            self.task.advance(labels.len() as u64);
        }
        self.close_group();
        self.share = spread / (rows * problem.classes as f64);
        loss / rows
    }
}

impl Function for Objective<'_> {
    fn value(&mut self, point: &[f64], gradient: &mut [f32]) -> f64 {
        let loss = self.cross_entropy(point);
        let Problem { dim, width, .. } = *self.problem;
        let (l2, scale) = (self.l2, 1.0 / self.problem.rows() as f64);
        let classes = gradient.par_chunks_mut(width).zip(self.totals.par_chunks(width));
        let squares: Vec<f64> = classes
            .zip(point.par_chunks(width))
            .map(|((gradient, totals), point)| {
                for (gradient, total) in gradient.iter_mut().zip(totals) {
                    *gradient = (total * scale) as f32;
                }
                let mut square = 0.0;
                let weights = gradient.iter_mut().zip(totals).zip(&point[..dim]);
                for ((gradient, total), w) in weights {
                    *gradient = (total * scale + l2 * w) as f32;
                    square += w * w;
                }
                square
            })
            .collect();
        let value = loss + 0.5 * l2 * squares.iter().sum::<f64>();
        self.trace.push((self.began.elapsed().as_secs_f64(), value));
        value
    }

    fn accept(&mut self) {
        let share = self.share;
        let is_near = |made_for: f64| share < STALE * made_for && made_for < STALE * share;
        if self.made_for.is_some_and(is_near) || self.task.is_left() {
            return;
        }
        self.made_for = Some(share);
        self.inverse = self.gram.and_then(|gram| gram.inverse(share, self.l2));
    }

    fn precondition(&mut self, direction: &mut Vec<f32>) {
        match &self.inverse {
            Some(inverse) => {
                // The matrix is symmetric, so its rows are its columns, which are packed more quickly.
                self.group.par_chunks_mut(PIECE).for_each(|piece| piece.fill(0.0));
                add_product(direction, inverse, self.problem.width, &mut self.group);
                std::mem::swap(direction, &mut self.group);
            }
            None => {
                let share = self.made_for.unwrap_or(1.0) + self.l2;
                let factor = (1.0 / share.max(f64::from(f32::MIN_POSITIVE))) as f32;
                direction.par_chunks_mut(PIECE).flatten().for_each(|x| *x *= factor);
            }
        }
    }

    /// The best of 1, ½, ¼, … on some of the images: along one direction, logits are linear in the step. The
    /// first step from weights of zero is too long by far, because the matrix of second derivatives belongs to
    /// classes that are equally likely.
    fn first_length(&mut self, point: &[f64], direction: &[f32]) -> f64 {
        let Problem { dim, width, classes, .. } = *self.problem;
        let rows = self.problem.rows();
        let count = rows.min((TRIAL_LOGITS / classes).clamp(16, TRIAL));
        let mut x = Vec::with_capacity(count * width);
        let mut labels = Vec::with_capacity(count);
        for row in (0..count).map(|row| row * rows / count) {
            x.extend_from_slice(&self.problem.x[row * width..][..width]);
            labels.push(self.problem.labels[row]);
        }
        pairs(&mut self.weights, point, |to, w| *to = w as f32);
        let mut products = [vec![0.0; classes * count], vec![0.0; classes * count]];
        for (products, weights) in products.iter_mut().zip([&*self.weights, direction]) {
            products_of_rows(weights, &x, width, products); // [classes, count]
        }
        let [start, change] = products;
        let squares = |a: &[f32], b: &[f32]| -> f64 {
            a.chunks(width).zip(b.chunks(width)).map(|(a, b)| dot(&a[..dim], &b[..dim])).sum()
        };
        let [ww, wd, dd] = [
            squares(&self.weights, &self.weights),
            squares(&self.weights, direction),
            squares(direction, direction),
        ];
        let mut logits = vec![0.0; start.len()];
        let mut value = |length: f64| {
            logits.copy_from_slice(&start);
            pairs(&mut logits, &change, |logit, change| *logit += length as f32 * change);
            let loss = softmax_residuals(&mut logits, &labels).loss / count as f64;
            loss + 0.5 * self.l2 * (ww + length * (2.0 * wd + length * dd))
        };
        let mut best = (1.0, value(1.0));
        for halving in 1..=HALVINGS {
            let length = 0.5_f64.powi(halving);
            let next = value(length);
            if next >= best.1 {
                break;
            }
            best = (length, next);
        }
        best.0
    }
}
