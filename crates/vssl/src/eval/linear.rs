//! Linear probe on frozen features: multinomial logistic regression, fitted to its minimum.
//!
//! `mean CE(x·W + b, y) + ½·λ·|W|²` over features standardised by the training set's mean and
//! standard deviation. The function is convex, so neither rate nor schedule nor seed is involved;
//! λ is chosen on a held-out tenth of the training rows. Called by the offline evaluation.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::lbfgs::{Limits, minimise};
use super::{Accuracy, EvalError, Features, Labelled, matrix, numbers, same_width, topk::rank};

pub use super::lbfgs::Stop;

/// Settings of the probe.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearConfig {
    /// Strengths λ to choose from; 1, 1e-1, 1e-2, 1e-3, 1e-4 and 1e-5.
    pub l2: Vec<f64>,
    /// A fit ends when no entry of the gradient is larger; 1e-4, as in scikit-learn.
    pub tolerance: f64,
    /// Iterations of one fit; 300.
    pub iterations: usize,
}

impl Default for LinearConfig {
    fn default() -> Self {
        Self { l2: vec![1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5], tolerance: 1e-4, iterations: 300 }
    }
}

/// What the probe found.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearResult {
    /// On the test features.
    pub accuracy: Accuracy,
    /// The strength that was chosen.
    pub l2: f64,
    /// Every strength that was tried, strongest first, with its top-1 accuracy on the held-out
    /// rows; empty when there was nothing to choose or too few rows to hold any out.
    pub tried: Vec<(f64, f64)>,
    /// Iterations of the last fit, over all training rows.
    pub iterations: usize,
    /// Why it ended.
    pub stop: Stop,
}

/// Every tenth row of each class is held out for the choice of λ.
const HELD_OUT: usize = 10;

/// Rows of one piece of a parallel sum; fixed, so that sums do not depend on the threads.
const PIECE: usize = 512;

/// Fits on the training features and measures on the test features. Deterministic.
///
/// # Errors
/// Features or labels that do not fit or are not finite; strengths or limits out of range.
pub fn linear_probe(
    train: &Features,
    test: &Features,
    config: &LinearConfig,
) -> Result<LinearResult, EvalError> {
    same_width(train, test)?;
    let labels = Labelled::of(train, test)?;
    let strengths = strengths(config)?;
    let limits = Limits { gradient: config.tolerance, iterations: config.iterations };
    let scaling = Scaling::of(train);
    let length = (train.dim + 1) * labels.classes;
    let mut start = vec![0.0; length];
    let mut tried = Vec::new();
    let (held, kept) = split(&labels.train, labels.classes);
    let mut l2 = strengths[strengths.len() / 2];
    if strengths.len() > 1 && !held.is_empty() {
        let problem =
            |rows: &[usize]| Problem::new(&scaling, train, rows, &labels.train, labels.classes);
        let (fit, check) = (problem(&kept), problem(&held));
        let mut best = f64::NEG_INFINITY;
        let mut point = start.clone();
        // From strong to weak: each minimum is a good start for the next one.
        for &strength in &strengths {
            point = minimise(|w| fit.value(w, strength), point, limits).point;
            let top1 = check.accuracy(&point).top1;
            tried.push((strength, top1));
            if top1 > best {
                (best, l2, start) = (top1, strength, point.clone());
            }
        }
    }
    let all = |features: &Features| (0..features.rows).collect::<Vec<_>>();
    let fit = Problem::new(&scaling, train, &all(train), &labels.train, labels.classes);
    let minimum = minimise(|w| fit.value(w, l2), start, limits);
    drop(fit);
    let check = Problem::new(&scaling, test, &all(test), &labels.test, labels.classes);
    let accuracy = check.accuracy(&minimum.point);
    Ok(LinearResult { accuracy, l2, tried, iterations: minimum.iterations, stop: minimum.stop })
}

/// The strengths, strongest first, checked.
fn strengths(config: &LinearConfig) -> Result<Vec<f64>, EvalError> {
    let numbers = config.l2.iter().map(|&l2| ("linear probe l2", l2));
    for (field, got) in numbers.chain([("linear probe tolerance", config.tolerance)]) {
        if !(got.is_finite() && got >= 0.0) {
            let expected = "a finite number, not negative";
            return Err(EvalError::Setting { field, got, expected });
        }
    }
    let mut strengths = config.l2.clone();
    strengths.sort_by(|a, b| b.total_cmp(a));
    let (field, expected) = ("number of linear probe l2 strengths", "at least one");
    if strengths.is_empty() {
        return Err(EvalError::Setting { field, got: 0.0, expected });
    }
    Ok(strengths)
}

/// Rows held out and rows kept. By occurrence within the class, so that neither sorted nor
/// alternating labels leave a class out.
fn split(labels: &[usize], classes: usize) -> (Vec<usize>, Vec<usize>) {
    let mut seen = vec![0_usize; classes];
    (0..labels.len()).partition(|&row| {
        seen[labels[row]] += 1;
        seen[labels[row]].is_multiple_of(HELD_OUT)
    })
}

/// Mean and inverse standard deviation of each column of the training features.
struct Scaling {
    mean: Vec<f64>,
    inverse: Vec<f64>,
}

impl Scaling {
    fn of(train: &Features) -> Self {
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
struct Problem {
    x: Tensor<2>,
    labels: Vec<usize>,
    classes: usize,
    dim: usize,
}

impl Problem {
    fn new(
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
    fn products(&self, weights: &[f64]) -> Vec<f32> {
        let weights = weights[..self.dim * self.classes].iter().map(|&w| w as f32).collect();
        numbers(self.x.clone().matmul(matrix(weights, self.dim, self.classes)))
    }

    /// The regularised mean cross entropy and its gradient.
    fn value(&self, weights: &[f64], l2: f64) -> (f64, Vec<f64>) {
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

    fn accuracy(&self, weights: &[f64]) -> Accuracy {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Clusters around the corners of a simplex, with noise from a fixed sequence.
    fn clusters(rows: usize, classes: usize, noise: f32, salt: usize) -> Features {
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

    #[test]
    fn separable_clusters_are_told_apart() {
        let (train, test) = (clusters(400, 4, 0.3, 1), clusters(100, 4, 0.3, 2));
        let got = linear_probe(&train, &test, &LinearConfig::default()).unwrap();
        assert_eq!(got.accuracy, Accuracy { top1: 100.0, top5: 100.0 });
        assert_eq!(got.tried.len(), 6);
    }

    #[test]
    fn the_gradient_is_that_of_the_value() {
        let features = clusters(60, 3, 0.5, 3);
        let labels = crate::eval::classes(&features, "training features").unwrap();
        let rows: Vec<_> = (0..60).collect();
        let problem = Problem::new(&Scaling::of(&features), &features, &rows, &labels, 3);
        let at: Vec<f64> = (0..7 * 3).map(|i| (i as f64 * 0.7).sin()).collect();
        let (_, gradient) = problem.value(&at, 0.01);
        for i in 0..at.len() {
            let shifted = |by: f64| {
                let mut at = at.clone();
                at[i] += by;
                problem.value(&at, 0.01).0
            };
            let slope = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
            assert!((slope - gradient[i]).abs() < 1e-4, "{i}: {slope} {}", gradient[i]);
        }
    }

    #[test]
    fn at_the_end_the_gradient_is_within_the_tolerance() {
        let train = clusters(300, 3, 2.0, 4);
        let config = LinearConfig { l2: vec![1e-2], tolerance: 1e-5, iterations: 500 };
        let got = linear_probe(&train, &train, &config).unwrap();
        assert_eq!(got.stop, Stop::Gradient);
        assert!(got.tried.is_empty() && got.iterations > 3 && got.iterations < 100, "{got:?}");
    }

    #[test]
    fn the_strength_that_is_best_on_held_out_rows_is_chosen() {
        let (train, test) = (clusters(2000, 4, 3.0, 5), clusters(500, 4, 3.0, 6));
        let got = linear_probe(&train, &test, &LinearConfig::default()).unwrap();
        let best = got.tried.iter().map(|t| t.1).fold(0.0, f64::max);
        let chosen = got.tried.iter().find(|t| t.0 == got.l2).unwrap();
        assert_eq!(chosen.1, best);
        assert!(got.accuracy.top1 > 25.0 && got.accuracy.top1 < 100.0, "{got:?}");
    }

    #[test]
    fn one_class_and_constant_features_are_no_trouble() {
        let mut one = clusters(30, 3, 0.1, 7);
        one.labels = Some(vec![0; 30]);
        let got = linear_probe(&one, &one, &LinearConfig::default()).unwrap();
        assert_eq!(got.accuracy.top1, 100.0);
        let values = vec![3.5; 40];
        let labels = Some((0..10).map(|i| i % 2).collect());
        let constant = Features { rows: 10, dim: 4, values, labels };
        let got = linear_probe(&constant, &constant, &LinearConfig::default()).unwrap();
        assert_eq!(got.accuracy.top1, 50.0);
    }

    #[test]
    fn a_class_that_training_never_saw_is_only_wrong() {
        let (train, mut test) = (clusters(100, 3, 0.1, 8), clusters(30, 3, 0.1, 9));
        test.labels = Some(vec![5; 30]);
        let got = linear_probe(&train, &test, &LinearConfig::default()).unwrap();
        assert_eq!(got.accuracy.top1, 0.0);
    }

    #[test]
    fn every_tenth_row_of_each_class_is_held_out() {
        let labels: Vec<_> = (0..100).map(|i| i % 10).collect();
        let (held, kept) = split(&labels, 10);
        assert_eq!((held.len(), kept.len()), (10, 90));
        let mut classes: Vec<_> = held.iter().map(|&row| labels[row]).collect();
        classes.sort_unstable();
        assert_eq!(classes, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let good = clusters(20, 2, 0.1, 1);
        let mut bad = good.clone();
        bad.values[7] = f32::INFINITY;
        let error = linear_probe(&bad, &good, &LinearConfig::default()).unwrap_err();
        assert!(matches!(error, EvalError::NotFinite { row: 1, column: 2, .. }), "{error}");
        let config = LinearConfig { l2: vec![], ..LinearConfig::default() };
        assert!(linear_probe(&good, &good, &config).is_err());
        let config = LinearConfig { l2: vec![f64::NAN], ..LinearConfig::default() };
        assert!(linear_probe(&good, &good, &config).is_err());
    }
}
