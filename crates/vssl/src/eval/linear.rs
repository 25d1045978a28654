//! Linear probe on frozen features: multinomial logistic regression, fitted to its minimum.
//!
//! `mean CE(x·Wᵀ + b, y) + ½·λ·|W|²` over features standardised by the training set's mean and
//! standard deviation. The function is convex, so neither rate nor schedule nor seed is involved;
//! λ is chosen on a held-out tenth of the training rows. Called by the offline evaluation.

use rayon::prelude::*;

use super::{
    Accuracy, EvalError, Labelled,
    confusion::Confusion,
    curvature::Gram,
    lbfgs::{Limits, Minimum, minimise},
    logistic::Objective,
    same_width,
    standardised::{Problem, Scaling},
};
use crate::{
    features::{FeatureError, Features},
    run::task::Task,
};

pub use super::{lbfgs::Stop, logistic::Evaluation};

/// Settings of the probe.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearConfig {
    /// Strengths λ to choose from; 1, 1e-1, 1e-2, 1e-3, 1e-4 and 1e-5.
    pub l2: Vec<f64>,
    /// A fit ends when no entry of the gradient is larger than this share of the largest at weights of zero
    /// (or than this itself, where that one is above 1); 1e-4. A share, because entries are the smaller, the
    /// more classes there are: with 1000 classes, 1e-4 itself is where a fit begins.
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
    /// The classes that the test rows were given.
    pub confusion: Confusion,
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

/// Fits on the training features and measures on the test features. Deterministic.
///
/// # Errors
/// Features or labels that do not fit or are not finite; strengths or limits out of range.
pub fn linear_probe(
    train: &Features,
    test: &Features,
    config: &LinearConfig,
) -> Result<LinearResult, EvalError> {
    linear_probe_watched(train, test, config, &Task::default())
}

/// Does the same, and counts in `task` the images that went by, again in each evaluation of the function. Where nobody
/// waits for `task` any more, it ends soon, and its result means nothing.
///
/// # Errors
/// As [`linear_probe`].
pub fn linear_probe_watched(
    train: &Features,
    test: &Features,
    config: &LinearConfig,
    task: &Task,
) -> Result<LinearResult, EvalError> {
    same_width(train, test)?;
    let labels = Labelled::of(train, test)?;
    let probe = LinearProbe::of_classes(train, &labels.train, labels.classes, config, task)?;
    let check = Problem::new(&probe.scaling, test, &all(test), &labels.test, labels.classes);
    let accuracy = check.accuracy(&probe.weights);
    let targets = labels.test.iter().map(|&class| class as u32);
    let confusion = Confusion::of(targets, &check.predicted(&probe.weights));
    let LinearProbe { l2, tried, iterations, stop, .. } = probe;
    Ok(LinearResult { accuracy, confusion, l2, tried, iterations, stop })
}

/// A probe that was fitted; it gives the probabilities of the classes.
pub struct LinearProbe {
    /// Number of classes.
    pub classes: usize,
    /// The strength that was chosen, as in [`LinearResult`].
    pub l2: f64,
    /// The strengths that were tried, as in [`LinearResult`].
    pub tried: Vec<(f64, f64)>,
    /// Iterations of the last fit, as in [`LinearResult`].
    pub iterations: usize,
    /// Why the last fit ended, as in [`LinearResult`].
    pub stop: Stop,
    /// The evaluations of the function in the last fit.
    pub trace: Vec<Evaluation>,
    scaling: Scaling,
    weights: Vec<f64>,
}

impl LinearProbe {
    /// Fits on the training features. Deterministic.
    ///
    /// # Errors
    /// As [`linear_probe`].
    pub fn fit(train: &Features, config: &LinearConfig) -> Result<Self, EvalError> {
        let labels = Labelled::of(train, train)?;
        Self::of_classes(train, &labels.train, labels.classes, config, &Task::default())
    }

    fn of_classes(
        train: &Features,
        labels: &[usize],
        classes: usize,
        config: &LinearConfig,
        task: &Task,
    ) -> Result<Self, EvalError> {
        task.begin(0);
        let strengths = strengths(config)?;
        let scaling = Scaling::of(train);
        let mut start = vec![0.0; Problem::width_of(train.dim) * classes];
        let mut tried = Vec::new();
        let (held, kept) = split(labels, classes);
        let mut l2 = strengths[strengths.len() / 2];
        let problem = |rows: &[usize]| Problem::new(&scaling, train, rows, labels, classes);
        let mut gram = None;
        if strengths.len() > 1 && !held.is_empty() {
            let fit = Fitting::new(problem(&kept), config, None, task);
            let check = problem(&held);
            let mut best = f64::NEG_INFINITY;
            let mut point = start.clone();
            // From strong to weak: each minimum is a good start for the next one.
            for &strength in &strengths {
                point = fit.minimum(point, strength).0.point;
                let top1 = check.accuracy(&point).top1;
                tried.push((strength, top1));
                if top1 > best {
                    (best, l2, start) = (top1, strength, point.clone());
                }
            }
            gram = fit.gram;
        }
        let fit = Fitting::new(problem(&all(train)), config, gram, task);
        let (minimum, trace) = fit.minimum(start, l2);
        let Minimum { point: weights, iterations, stop } = minimum;
        Ok(Self { classes, l2, tried, iterations, stop, trace, scaling, weights })
    }

    /// The probability of each class for each row, `rows × classes`, row after row.
    ///
    /// # Errors
    /// Features of another width, or not finite.
    pub fn probabilities(&self, features: &Features) -> Result<Vec<f64>, EvalError> {
        features.check("features to classify")?;
        let (got, expected) = (features.dim, self.scaling.mean.len());
        if got != expected {
            let (set, what) = ("features to classify", "width");
            return Err(FeatureError::Length { set, what, got, expected }.into());
        }
        let unused = vec![0; features.rows];
        let rows = Problem::new(&self.scaling, features, &all(features), &unused, self.classes);
        let softmax = |logits: &[f32]| {
            let scores = logits.iter().map(|&x| f64::from(x));
            let largest = scores.clone().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.clone().map(|x| (x - largest).exp()).sum();
            scores.map(|x| (x - largest).exp() / total).collect::<Vec<_>>()
        };
        let mut probabilities = Vec::with_capacity(features.rows * self.classes);
        rows.scores(&self.weights, |_, scores| {
            let rows = scores.par_chunks(self.classes);
            probabilities.par_extend(rows.flat_map_iter(softmax));
        });
        Ok(probabilities)
    }
}

/// What the fits over the same rows share.
struct Fitting<'a> {
    problem: Problem,
    gram: Option<Gram>,
    limits: Limits,
    task: &'a Task,
}

impl<'a> Fitting<'a> {
    /// `gram` is that of other rows of the same features, which serves as well.
    fn new(problem: Problem, config: &LinearConfig, gram: Option<Gram>, task: &'a Task) -> Self {
        let gradient = config.tolerance * problem.gradient_at_zero().min(1.0);
        let limits = Limits { gradient, iterations: config.iterations };
        let gram = gram.or_else(|| problem.gram());
        Self { problem, gram, limits, task }
    }

    fn minimum(&self, start: Vec<f64>, l2: f64) -> (Minimum, Vec<Evaluation>) {
        let mut objective = Objective::new(&self.problem, self.gram.as_ref(), l2, self.task);
        let minimum = minimise(&mut objective, start, self.limits);
        (minimum, objective.trace)
    }
}

fn all(features: &Features) -> Vec<usize> {
    (0..features.rows).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::logistic::tests::{clusters, evaluated, problem};

    #[test]
    fn separable_clusters_are_told_apart() {
        let (train, test) = (clusters(400, 4, 0.3, 1), clusters(100, 4, 0.3, 2));
        let got = linear_probe(&train, &test, &LinearConfig::default()).unwrap();
        assert_eq!(got.accuracy, Accuracy { top1: 100.0, top5: 100.0 });
        assert_eq!(got.tried.len(), 6);
    }

    #[test]
    fn probabilities_add_up_to_one_and_the_largest_is_the_class_that_accuracy_counts() {
        let (train, test) = (clusters(400, 4, 2.0, 1), clusters(100, 4, 2.0, 2));
        let probe = LinearProbe::fit(&train, &LinearConfig::default()).unwrap();
        let all = probe.probabilities(&test).unwrap();
        let mut right = 0;
        for (row, (shares, &label)) in all.chunks(4).zip(test.labels.as_ref().unwrap()).enumerate()
        {
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12, "row {row}: {shares:?}");
            let largest = (0..4).max_by(|&a, &b| shares[a].total_cmp(&shares[b])).unwrap();
            right += usize::from(largest as i64 == label);
        }
        let expected = linear_probe(&train, &test, &LinearConfig::default()).unwrap();
        assert_eq!(right as f64, expected.accuracy.top1);
        let narrow = Features { rows: 1, dim: 2, values: vec![0.0; 2], labels: None };
        assert!(probe.probabilities(&narrow).unwrap_err().to_string().contains("expected 7"));
    }

    #[test]
    fn the_gradient_at_the_optimum_is_small_and_few_evaluations_find_it() {
        // Columns that are much alike, as the features of a network are: mixtures of a few hidden ones.
        let hidden = clusters(2000, 8, 1.5, 11);
        let (dim, mixed) = (40, hidden.dim);
        let mix = |column: usize, from: usize| ((column * mixed + from) as f32 * 1.7).sin();
        let value = |row: usize, column: usize| {
            let terms = (0..mixed).map(|from| mix(column, from) * hidden.row(row)[from]);
            terms.sum::<f32>().max(0.0)
        };
        let values = (0..hidden.rows * dim).map(|at| value(at / dim, at % dim)).collect();
        let train = Features { dim, values, ..hidden };
        let problem = || problem(&train, 8);
        let (task, zero) = (Task::default(), vec![0.0; Problem::width_of(dim) * 8]);
        let config = LinearConfig { tolerance: 1e-5, iterations: 1000, ..LinearConfig::default() };
        for l2 in [1e-1, 1e-3, 1e-5] {
            let fit = Fitting::new(problem(), &config, None, &task);
            let (minimum, trace) = fit.minimum(zero.clone(), l2);
            let (value, gradient) = evaluated(&fit.problem, &minimum.point, l2);
            let largest = gradient.iter().fold(0.0_f32, |largest, g| largest.max(g.abs()));
            let limit = if minimum.stop == Stop::Gradient { fit.limits.gradient } else { 1e-4 };
            assert!(f64::from(largest) <= limit, "{l2}: {largest}, {:?}", minimum.stop);
            assert!(trace.iter().any(|evaluation| evaluation.1 == value), "{l2}");
            // Without the matrix: the same value, after many more evaluations.
            let plain = Fitting { gram: None, ..fit };
            let (minimum, longer) = plain.minimum(zero.clone(), l2);
            let (other, _) = evaluated(&plain.problem, &minimum.point, l2);
            assert!((value - other).abs() < 1e-4 * other, "{l2}: {value} and {other}");
            assert!(trace.len() < longer.len(), "{l2}: {} and {}", trace.len(), longer.len());
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
    fn a_search_that_nobody_waits_for_ends_soon() {
        let (train, task) = (clusters(3000, 5, 3.0, 4), Task::default());
        let stop = crate::run::stop::Stop::default();
        let (asked, own) = (stop.clone(), train.clone());
        let config = LinearConfig { l2: vec![1e-9; 500], tolerance: 0.0, iterations: 100_000 };
        let (sender, done) = std::sync::mpsc::channel();
        let left = Task::run("fitting", &stop, &mut |_| {}, move |task| {
            asked.request();
            let began = std::time::Instant::now();
            let _ = linear_probe_watched(&own, &own, &config, task);
            sender.send(began.elapsed()).unwrap();
        });
        assert!(left.is_none());
        let took = done.recv_timeout(std::time::Duration::from_secs(30)).unwrap();
        assert!(took < std::time::Duration::from_secs(10), "{took:?}");
        // The same fit, if somebody waits for it, does its work.
        let config = LinearConfig { l2: vec![1e-2], ..LinearConfig::default() };
        assert!(linear_probe_watched(&train, &train, &config, &task).unwrap().iterations > 3);
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
        let expected = "training features: row 1, column 2 is inf";
        assert!(error.to_string().starts_with(expected), "{error}");
        let config = LinearConfig { l2: vec![], ..LinearConfig::default() };
        assert!(linear_probe(&good, &good, &config).is_err());
        let config = LinearConfig { l2: vec![f64::NAN], ..LinearConfig::default() };
        assert!(linear_probe(&good, &good, &config).is_err());
    }
}
