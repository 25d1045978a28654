//! Multinomial logistic regression on standardised features: the function that the linear probe
//! minimises, `mean CE(x·W + b, y) + ½·λ·|W|²`, with its gradient. Called by `linear`.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::{
    Accuracy, matrix, numbers,
    topk::{first, rank},
};
use crate::features::Features;

/// Rows of one piece of a parallel sum; fixed, so that sums do not depend on the threads.
const PIECE: usize = 512;

/// Mean and inverse standard deviation of each column of the training features.
pub(super) struct Scaling {
    pub(super) mean: Vec<f64>,
    inverse: Vec<f64>,
}

impl Scaling {
    pub(super) fn of(train: &Features) -> Self {
        let rows = train.rows as f64;
        let mut mean = vec![0.0; train.dim];
        for row in train.values.chunks_exact(train.dim) {
            mean.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        mean.iter_mut().for_each(|sum| *sum /= rows);
        let mut variance = vec![0.0; train.dim];
        for row in train.values.chunks_exact(train.dim) {
            for ((sum, &x), mean) in variance.iter_mut().zip(row).zip(&mean) {
                *sum += (f64::from(x) - mean).powi(2);
            }
        }
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

/// Standardised rows with their classes. Weights are flat: `[dim, classes]`, then `classes` biases.
pub(super) struct Problem {
    x: Tensor<2>,
    labels: Vec<usize>,
    classes: usize,
    dim: usize,
}

impl Problem {
    pub(super) fn new(
        scaling: &Scaling,
        features: &Features,
        rows: &[usize],
        labels: &[usize],
        classes: usize,
    ) -> Self {
        let dim = features.dim;
        let mut values = vec![0.0; rows.len() * dim];
        let pairs = values.par_chunks_mut(dim).zip(rows.par_iter());
        pairs.for_each(|(into, &row)| scaling.apply(features.row(row), into));
        let labels = rows.iter().map(|&row| labels[row]).collect();
        Self { x: matrix(values, rows.len(), dim), labels, classes, dim }
    }

    /// `x·W`, row after row, without the biases.
    pub(super) fn products(&self, weights: &[f64]) -> Vec<f32> {
        let weights = weights[..self.dim * self.classes].iter().map(|&w| w as f32).collect();
        numbers(self.x.clone().matmul(matrix(weights, self.dim, self.classes)))
    }

    /// The regularised mean cross entropy and its gradient.
    pub(super) fn value(&self, weights: &[f64], l2: f64) -> (f64, Vec<f64>) {
        let (classes, rows) = (self.classes, self.labels.len());
        let split = self.dim * classes;
        let bias = &weights[split..];
        let mut residuals = self.products(weights);
        let pieces: Vec<(f64, Vec<f64>)> = residuals
            .par_chunks_mut(PIECE * classes)
            .zip(self.labels.par_chunks(PIECE))
            .map(|(logits, labels)| {
                let mut sum = (0.0, vec![0.0; classes]);
                for (logits, &label) in logits.chunks_exact_mut(classes).zip(labels) {
                    sum.0 += softmax_residual(logits, bias, label, &mut sum.1);
                }
                sum
            })
            .collect();
        let scale = 1.0 / rows as f64;
        let product = self.x.clone().transpose().matmul(matrix(residuals, rows, classes));
        let decayed = |(g, w): (f32, &f64)| f64::from(g) * scale + l2 * w;
        let mut gradient: Vec<f64> =
            numbers(product).into_iter().zip(weights).map(decayed).collect();
        gradient.resize(weights.len(), 0.0);
        let mut loss = 0.0;
        for (value, biases) in pieces {
            loss += value * scale;
            gradient[split..].iter_mut().zip(biases).for_each(|(sum, b)| *sum += b * scale);
        }
        let square: f64 = weights[..split].iter().map(|w| w * w).sum();
        (loss + 0.5 * l2 * square, gradient)
    }

    /// The class with the largest score of each row.
    pub(super) fn predicted(&self, weights: &[f64]) -> Vec<u32> {
        let products = self.products(weights);
        let bias = &weights[self.dim * self.classes..];
        let class = |logits: &[f32]| {
            let scores = logits.iter().zip(bias).map(|(&x, b)| f64::from(x) + b);
            first(&scores.collect::<Vec<f64>>()) as u32
        };
        products.par_chunks(self.classes).map(class).collect()
    }

    pub(super) fn accuracy(&self, weights: &[f64]) -> Accuracy {
        let products = self.products(weights);
        let bias = &weights[self.dim * self.classes..];
        let hits = |(logits, &label): (&[f32], &usize)| {
            let scores: Vec<f64> =
                logits.iter().zip(bias).map(|(&x, b)| f64::from(x) + b).collect();
            let rank = rank(&scores, label);
            [usize::from(rank < 1), usize::from(rank < 5)]
        };
        let add = |a: [usize; 2], b: [usize; 2]| [a[0] + b[0], a[1] + b[1]];
        let rows = products.par_chunks(self.classes).zip(self.labels.par_iter());
        let [first, five] = rows.map(hits).reduce(|| [0, 0], add);
        let percent = |hits: usize| 100.0 * hits as f64 / self.labels.len() as f64;
        Accuracy { top1: percent(first), top5: percent(five) }
    }
}

/// Turns one row of logits (without bias) into `softmax − one-hot`, adds that to `biases`, and
/// returns the row's cross entropy.
fn softmax_residual(logits: &mut [f32], bias: &[f64], label: usize, biases: &mut [f64]) -> f64 {
    let score = |(x, b): (&f32, &f64)| f64::from(*x) + b;
    let largest = logits.iter().zip(bias).map(score).fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = logits.iter().zip(bias).map(|pair| (score(pair) - largest).exp()).sum();
    let own = score((&logits[label], &bias[label])) - largest;
    for (class, logit) in logits.iter_mut().enumerate() {
        let share = (score((logit, &bias[class])) - largest).exp() / total;
        let residual = share - f64::from(u8::from(class == label));
        biases[class] += residual;
        *logit = residual as f32;
    }
    total.ln() - own
}
