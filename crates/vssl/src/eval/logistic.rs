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
    curvature::Gram,
    lbfgs::Function,
    standardised::{BLOCK_LOGITS, Problem},
    vectors::{dot, pairs},
};
use crate::run::task::Task;

/// Numbers of a piece that a thread clears or scales.
const PIECE: usize = 1 << 16;
/// Images whose gradients are summed in single precision, at most.
const GROUP: usize = 4096;
/// Images, and their logits, on which the length of a first step is tried; at most.
const TRIAL: usize = 2048;
const TRIAL_LOGITS: usize = 1 << 24;
/// Halvings of a first step.
const HALVINGS: i32 = 20;
/// The change of the mean share after which the preconditioner is computed anew.
const STALE: f64 = 2.0;

/// Numbers in single precision that a fit keeps for each weight, at most: the weights, their gradients, the pairs
/// that the minimisation remembers.
const PER_WEIGHT: u64 = 32;

/// Returns the bytes that a fit takes beside the features, from above: the standardised rows, the weights, the
/// logits of a block of images, and the matrix of second derivatives with its inverse.
pub fn memory_of_a_fit(rows: u64, dim: u64, classes: u64) -> u64 {
    let width = dim.saturating_add(1).checked_next_multiple_of(16).unwrap_or(u64::MAX);
    let rows_and_weights = rows.saturating_add(PER_WEIGHT.saturating_mul(classes));
    let block =
        rows.saturating_mul(classes).min(BLOCK_LOGITS as u64).max(classes.saturating_mul(16));
    let numbers = rows_and_weights.saturating_mul(width).saturating_add(block);
    let bytes = numbers.saturating_mul(size_of::<f32>() as u64);
    bytes.saturating_add(Gram::bytes(width))
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
            if in_group + block > GROUP {
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        eval::{
            lbfgs::{Limits, minimise},
            standardised::Scaling,
        },
        features::Features,
        run::stop::Stop,
    };

    /// Clusters around the corners of a simplex, with noise from a fixed sequence.
    pub(in crate::eval) fn clusters(
        rows: usize,
        classes: usize,
        noise: f32,
        salt: usize,
    ) -> Features {
        let dim = classes + 3;
        let mut state = salt as u64;
        let mut draw = || {
            state =
                state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        let mut values = Vec::new();
        for row in 0..rows {
            values.extend((0..dim).map(|column| {
                let corner = if column == row % classes { 1.0 } else { 0.0 };
                if column == dim - 1 { 7.0 } else { corner + noise * draw() }
            }));
        }
        let labels = (0..rows).map(|row| (row % classes) as i64).collect();
        Features { rows, dim, values, labels: Some(labels) }
    }

    /// The function of some clusters at a point, and its gradient.
    pub(in crate::eval) fn evaluated(problem: &Problem, at: &[f64], l2: f64) -> (f64, Vec<f32>) {
        let task = Task::default();
        let mut gradient = vec![f32::NAN; at.len()];
        let value = Objective::new(problem, None, l2, &task).value(at, &mut gradient);
        (value, gradient)
    }

    pub(in crate::eval) fn problem(features: &Features, classes: usize) -> Problem {
        let labels = crate::eval::classes(features, "training features").unwrap();
        let (scaling, rows) = (Scaling::of(features), (0..features.rows).collect::<Vec<_>>());
        Problem::new(&scaling, features, &rows, &labels, classes)
    }

    #[test]
    fn the_gradient_is_that_of_the_value() {
        let features = clusters(60, 3, 0.5, 3);
        let problem = problem(&features, 3);
        let width = Problem::width_of(features.dim);
        // Behind the features and the 1 of the bias, rows are zero.
        let weight = |i: usize| if i % width <= 6 { (i as f64 * 0.7).sin() } else { 0.0 };
        let at: Vec<f64> = (0..width * 3).map(weight).collect();
        let (_, gradient) = evaluated(&problem, &at, 0.01);
        for i in 0..at.len() {
            let shifted = |by: f64| {
                let mut at = at.clone();
                at[i] += if i % width <= 6 { by } else { 0.0 };
                evaluated(&problem, &at, 0.01).0
            };
            let slope = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
            let got = f64::from(gradient[i]);
            assert!((slope - got).abs() < 1e-4, "{i}: {slope} {got}");
        }
    }

    #[test]
    fn the_gradient_at_zero_weights_is_known_without_an_evaluation() {
        let features = clusters(90, 4, 0.5, 3);
        let problem = problem(&features, 5);
        let zero = vec![0.0; Problem::width_of(features.dim) * 5];
        let (_, gradient) = evaluated(&problem, &zero, 0.1);
        let largest = gradient.iter().fold(0.0_f32, |largest, g| largest.max(g.abs()));
        let got = problem.gradient_at_zero();
        assert!((got - f64::from(largest)).abs() < 1e-6, "{got} for {largest}");
    }

    #[test]
    fn blocks_of_images_give_the_sums_of_all() {
        // More images than a block and a group have; the mean over a set that is repeated is that of the set.
        let once = clusters(510, 3, 1.0, 3);
        let mut many = once.clone();
        for _ in 1..17 {
            many.values.extend_from_slice(&once.values);
            many.labels.as_mut().unwrap().extend_from_slice(once.labels.as_ref().unwrap());
        }
        many.rows *= 17;
        let at: Vec<f64> =
            (0..Problem::width_of(once.dim) * 3).map(|i| (i as f64 * 0.7).sin()).collect();
        let (value, gradient) = evaluated(&problem(&once, 3), &at, 0.01);
        let (got_value, got_gradient) = evaluated(&problem(&many, 3), &at, 0.01);
        assert!((value - got_value).abs() < 1e-6, "{got_value} for {value}");
        for (got, expected) in got_gradient.iter().zip(&gradient) {
            assert!((got - expected).abs() < 1e-6, "{got} for {expected}");
        }
    }

    #[test]
    fn a_fit_that_nobody_waits_for_ends_at_once() {
        let features = clusters(600, 3, 1.0, 3);
        let problem = problem(&features, 3);
        let stop = Stop::default();
        let asked = stop.clone();
        let (sender, receiver) = std::sync::mpsc::channel();
        let none = Task::run("fitting", &stop, &mut |_| {}, move |task| {
            asked.request();
            while !task.is_left() {
                std::thread::yield_now();
            }
            let zero = vec![0.0; Problem::width_of(6) * 3];
            let mut objective = Objective::new(&problem, None, 0.1, task);
            let limits = Limits { gradient: 0.0, iterations: 300 };
            minimise(&mut objective, zero, limits);
            sender.send(objective.trace).unwrap();
        });
        assert!(none.is_none());
        let trace = receiver.recv().unwrap();
        assert!(trace.len() < 100 && trace.iter().all(|(_, value)| value.is_nan()), "{trace:?}");
    }
}
