//! The weights of learners: read, given to another learner, and moved by what a device rounds off.

use burn::tensor::TensorData;
use rand::RngCore;
use vssl_data::rng::{Stream, rng, uniform};

use super::{Rounding, SEED, trace::numbers};
use crate::{method::learner::Learner, tensors::state::Tensors, train::TrainError};

/// The tensors of student and memory, whose names begin with these words.
pub(super) fn tensors(learner: &dyn Learner) -> Tensors {
    let named = |(name, tensors): (&str, Tensors)| -> Vec<(String, TensorData)> {
        tensors.into_iter().map(|(path, tensor)| (format!("{name}.{path}"), tensor)).collect()
    };
    [("student", learner.student()), ("memory", learner.memory())]
        .into_iter()
        .flat_map(named)
        .collect()
}

/// Gives a learner the tensors of another one.
///
/// # Errors
/// The tensors are of another network.
pub(super) fn load(learner: &mut dyn Learner, tensors: Tensors) -> Result<(), TrainError> {
    let mut parts = [Tensors::new(), Tensors::new()];
    for (name, tensor) in tensors {
        let (part, path) = name.split_once('.').unwrap_or((&name, ""));
        parts[usize::from(part == "memory")].insert(path.to_owned(), tensor);
    }
    let [student, memory] = parts;
    let other = |error| TrainError::Setting(format!("the numbers are of another network: {error}"));
    learner.load(student, memory).map_err(other)
}

/// Networks whose weights are moved, a teacher's as the student's of which it is a copy. Queues and
/// clusters are not multiplied by layers; they stay.
pub(super) fn moved(tensors: &Tensors, rounding: Rounding) -> Tensors {
    let mut rng = rng(SEED, Stream::Evaluation, rounding as u64, 0);
    let (student, memory): (Tensors, Tensors) =
        tensors.clone().into_iter().partition(|(path, _)| path.starts_with("student."));
    let shake = |(path, tensor)| (path, shaken(&tensor, rounding, &mut rng));
    let mut all: Tensors = student.into_iter().map(shake).collect();
    for (path, tensor) in memory {
        let own = path.trim_start_matches("memory.").trim_start_matches("teacher.");
        let moved = all.get(&format!("student.{own}")).cloned().unwrap_or(tensor);
        all.insert(path, moved);
    }
    all
}

/// Each number moved by up to a unit in the last place.
pub(super) fn shaken(
    tensor: &TensorData,
    rounding: Rounding,
    rng: &mut impl RngCore,
) -> TensorData {
    let unit = rounding.unit();
    let shake = |value: &f32| (f64::from(*value) * (1.0 + uniform(rng, -unit, unit))) as f32;
    let values: Vec<f32> = numbers(tensor).iter().map(shake).collect();
    TensorData::new(values, tensor.shape().clone())
}
