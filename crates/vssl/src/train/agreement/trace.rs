//! What a few steps of a method left, and how far two such traces lie apart. Called by the comparison
//! of devices and by its files.

use burn::tensor::TensorData;

use crate::tensors::state::Tensors;

/// What moved less than this part of an average weight is measured against that part: a bias in
/// front of a batch normalisation has no gradient but rounding errors.
const SMALLEST_MOVE: f64 = 0.01;

/// How the steps of a method went.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Student and memory before the first step, by path, `student.` or `memory.` in front.
    pub start: Tensors,
    /// The same tensors after the last step.
    pub end: Tensors,
    /// Of each step.
    pub losses: Vec<f32>,
    /// Of each step's gradients, all parameters together.
    pub norms: Vec<f32>,
}

/// How far a trace is from the one that was expected.
#[derive(Clone, Debug)]
pub struct Distance {
    /// Of the losses: the largest difference, relative to the loss or to 1.
    pub loss: f64,
    /// Of the norms of the gradients: the largest relative difference.
    pub gradient_norm: f64,
    /// Of what the steps added to the student's parameters, relative to that.
    pub weights: f64,
    /// Of what they added to one tensor of student or memory: the one that is furthest off.
    pub worst: f64,
    /// The path of that tensor.
    pub tensor: String,
}

impl Distance {
    /// All four.
    pub(super) fn numbers(&self) -> [f64; 4] {
        [self.loss, self.gradient_norm, self.weights, self.worst]
    }
}

impl Trace {
    /// How far `other` is from this one.
    pub(super) fn distance(&self, other: &Self) -> Distance {
        let pairs = |a: &[f32], b: &[f32]| -> Vec<(f64, f64)> {
            a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b))).collect()
        };
        let losses = pairs(&self.losses, &other.losses).into_iter();
        let loss = losses.map(|(a, b)| (a - b).abs() / a.abs().max(1.0)).fold(0.0, worse);
        let norms = pairs(&self.norms, &other.norms).into_iter();
        // A method that learns nothing in its first epoch has gradients of length 0.
        let norms = norms.map(|(a, b)| if a == b { 0.0 } else { (a - b).abs() / a });
        let gradient_norm = norms.fold(0.0, worse);
        let all = root_mean_square(self.parameters().flat_map(|path| self.moves(path)));
        let apart = |path: &String| {
            let (expected, got) = (self.moves(path), other.moves(path));
            expected.into_iter().zip(got).map(|(a, b)| a - b).collect::<Vec<_>>()
        };
        let weights = root_mean_square(self.parameters().flat_map(apart)) / all;
        let (mut furthest, mut tensor) = (0.0, String::new());
        for path in self.end.keys() {
            let own = root_mean_square(self.moves(path).into_iter());
            let distance = root_mean_square(apart(path).into_iter()) / own.max(SMALLEST_MOVE * all);
            if tensor.is_empty() || worse(furthest, distance) != furthest {
                (furthest, tensor) = (worse(furthest, distance), path.clone());
            }
        }
        Distance { loss, gradient_norm, weights: worse(0.0, weights), worst: furthest, tensor }
    }

    /// What the steps added to a tensor.
    fn moves(&self, path: &str) -> Vec<f64> {
        let pairs = numbers(&self.end[path]).iter().zip(numbers(&self.start[path]));
        pairs.map(|(end, start)| f64::from(*end) - f64::from(*start)).collect()
    }

    /// Paths of the student's parameters.
    fn parameters(&self) -> impl Iterator<Item = &String> {
        let paths = self.end.keys().filter(|path| path.starts_with("student."));
        paths.filter(|path| !path.contains("running_"))
    }
}

/// The larger one; what is not a number is larger than all numbers.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::INFINITY } else { a.max(b) }
}

fn root_mean_square(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, n), value| (sum + value * value, n + 1.0));
    (sum / f64::max(count, 1.0)).sqrt()
}

/// The values of a tensor, in the order in which they lie.
///
/// # Panics
/// Where they are not 32-bit floats.
pub(super) fn numbers(tensor: &TensorData) -> &[f32] {
    tensor.as_slice().expect("learners, views and files of this crate have f32 tensors only")
}
