//! Losses that bring a student to a frozen teacher: features by squared error or cosine, and similarities to remembered
//! features as SEED (Fang et al. 2021, arXiv:2101.04731, eq. 3 to 6), CompRess (Koohpayegani et al. 2020,
//! arXiv:2010.14713, eq. 1 and 2) and lightly-train's distillation (its behaviour, versions 1 and 3) have them.
//!
//! A row of similarities to the queue, divided by a temperature T, is a distribution over the rows of the queue. The
//! student's is to be the teacher's: `KL(p ‖ q) = CE(p, q) − H(p)`. Called by `methods::distill`.

use burn::tensor::Tensor;
use vssl_kernels::{cross_entropy, linear, softmax};

use super::{cosine::cosine_similarity, normalise::unit_rows};
use crate::tagged::TaggedTable;

const PROJECTED: &str = "teacher_size projector_hidden";

/// The keys of the table `[distill]` by objective.
pub(crate) const TABLE: TaggedTable = TaggedTable {
    tag: "objective",
    default: "queue-kl",
    choices: &[
        ("mse", PROJECTED),
        ("cosine", PROJECTED),
        ("seed", "teacher_size projector_hidden queue student_temperature teacher_temperature"),
        ("compress-1q", "teacher_size projector_hidden queue temperature"),
        ("compress-2q", "teacher_size queue temperature"),
        ("queue-kl", "teacher_size projector_hidden queue temperature"),
        (
            "queue-kl-local",
            "teacher_size projector_hidden queue temperature local_temperature local_weight",
        ),
    ],
};

/// Returns the mean of `(student − teacher)²` over all elements.
///
/// # Shapes — both alike; returns `[1]`. No gradient flows to `teacher`.
pub fn squared_error<const D: usize>(student: Tensor<D>, teacher: Tensor<D>) -> Tensor<1> {
    (student - teacher.detach()).square().mean()
}

/// Returns the mean of `(student − teacher)²` of each row: the mean over the rows is [`squared_error`].
///
/// # Shapes — both `[n, d]`; returns `[n]`. No gradient flows to `teacher`.
pub fn squared_errors(student: Tensor<2>, teacher: Tensor<2>) -> Tensor<1> {
    let n = student.dims()[0];
    (student - teacher.detach()).square().mean_dim(1).reshape([n]) // [n, d] -> [n, 1] -> [n]
}

/// Returns `1 − cos(student, teacher)` of each row: the mean over the rows is [`cosine_distance`].
///
/// # Shapes — both `[n, d]`; returns `[n]`. No gradient flows to `teacher`.
pub fn cosine_distances(student: Tensor<2>, teacher: Tensor<2>) -> Tensor<1> {
    1.0 - cosine_similarity(student, teacher.detach())
}

/// Returns the mean of `1 − cos(student, teacher)` over the rows.
///
/// # Shapes — both `[n, d]`; returns `[1]`. No gradient flows to `teacher`.
pub fn cosine_distance(student: Tensor<2>, teacher: Tensor<2>) -> Tensor<1> {
    1.0 - cosine_similarity(student, teacher.detach()).mean()
}

/// Returns the teacher's distributions of SEED over its own feature, whose similarity is 1, and the rows of the queue.
///
/// # Shapes — `teacher`: `[n, d]`; `queue`: `[length, d]`, both of unit rows; returns `[n, 1 + length]`, the own feature
/// first, without gradient.
pub fn seed_targets(teacher: Tensor<2>, queue: Tensor<2>, temperature: f64) -> Tensor<2> {
    let others = linear(teacher.detach(), queue.detach(), None); // [n, length]
    let own = others.clone().narrow(1, 0, 1).ones_like(); // [n, 1]
    softmax(Tensor::cat(vec![own, others], 1), 1.0 / temperature)
}

/// SEED: the mean over rows of [`seed_rows`], `[1]`.
pub fn seed(
    student: Tensor<2>,
    teacher: Tensor<2>,
    queue: Tensor<2>,
    student_temperature: f64,
    teacher_temperature: f64,
) -> Tensor<1> {
    seed_rows(student, teacher, queue, student_temperature, teacher_temperature).mean()
}

/// Returns the cross entropy of [`seed_targets`] and the student's distribution over the same features, of each row.
///
/// # Shapes — `student`, `teacher`: `[n, d]`; `queue`: `[length, d]`, all of unit rows; returns `[n]`. No gradient flows to
/// `teacher` and `queue`.
pub fn seed_rows(
    student: Tensor<2>,
    teacher: Tensor<2>,
    queue: Tensor<2>,
    student_temperature: f64,
    teacher_temperature: f64,
) -> Tensor<1> {
    let (teacher, queue) = (teacher.detach(), queue.detach());
    let target = seed_targets(teacher.clone(), queue.clone(), teacher_temperature);
    let own = (student.clone() * teacher).sum_dim(1); // [n, d] -> [n, 1]
    let logits = Tensor::cat(vec![own, linear(student, queue, None)], 1);
    cross_entropy(logits, target, 1.0 / student_temperature)
}

/// Returns the mean over rows of [`queue_divergences`], `[1]`.
pub fn queue_divergence(
    student: Tensor<2>,
    teacher: Tensor<2>,
    student_queue: Tensor<2>,
    teacher_queue: Tensor<2>,
    temperature: f64,
) -> Tensor<1> {
    queue_divergences(student, teacher, student_queue, teacher_queue, temperature).mean()
}

/// Returns `KL( softmax(teacher·teacher_queueᵀ/T) ‖ softmax(student·student_queueᵀ/T) )` of each row.
///
/// With one queue of the teacher for both it is CompRess 1q and lightly-train's version 1, with a queue of the
/// student's own features CompRess 2q.
///
/// # Shapes — `student`: `[n, d]`; `teacher`: `[n, e]`; `student_queue`: `[length, d]`; `teacher_queue`: `[length, e]`, all
/// of unit rows; returns `[n]`. A gradient flows to `student` only.
pub fn queue_divergences(
    student: Tensor<2>,
    teacher: Tensor<2>,
    student_queue: Tensor<2>,
    teacher_queue: Tensor<2>,
    temperature: f64,
) -> Tensor<1> {
    let known = linear(teacher.detach(), teacher_queue.detach(), None); // [n, length]
    divergence(linear(student, student_queue.detach(), None), known, temperature)
}

/// Returns for each image the mean over its tokens i of `KL( softmax_j(tᵢ·tⱼ/T) ‖ softmax_j(sᵢ·sⱼ/T) )`, with j over all
/// tokens of the image, i among them: lightly-train's local term. The tokens become unit rows here.
///
/// # Shapes — `student`: `[n, tokens, d]`; `teacher`: `[n, tokens, e]`; returns `[n]`. No gradient flows to `teacher`.
pub fn token_divergence(student: Tensor<3>, teacher: Tensor<3>, temperature: f64) -> Tensor<1> {
    let [n, tokens, _] = student.dims();
    let rows = divergence(alike(student), alike(teacher.detach()), temperature); // [n · tokens]
    rows.reshape([n, tokens]).mean_dim(1).reshape([n]) // [n, tokens] -> [n, 1] -> [n]
}

/// Returns the cosines of all tokens with all tokens of the same image.
///
/// # Shapes — `[n, tokens, d]` to `[n · tokens, tokens]`.
fn alike(x: Tensor<3>) -> Tensor<2> {
    let [n, tokens, d] = x.dims();
    let unit: Tensor<3> = unit_rows(x.reshape([n * tokens, d])).reshape([n, tokens, d]);
    unit.clone().matmul(unit.swap_dims(1, 2)).reshape([n * tokens, tokens])
}

/// Returns the divergence of each row; the logits of the target are without gradient.
///
/// # Shapes — both `[n, c]`; returns `[n]`.
fn divergence(logits: Tensor<2>, known: Tensor<2>, temperature: f64) -> Tensor<1> {
    let sharpness = 1.0 / temperature;
    let target = softmax(known.clone(), sharpness);
    let entropy = cross_entropy(known, target.clone(), sharpness);
    cross_entropy(logits, target, sharpness) - entropy
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn rows<const N: usize>(values: [[f32; 2]; N]) -> Tensor<2> {
        Tensor::from_floats(values, &Device::flex().autodiff()).require_grad()
    }

    #[test]
    fn a_student_that_is_the_teacher_has_no_loss_and_the_teacher_has_no_gradient() {
        let teacher = rows([[0.6, 0.8], [1.0, 0.0], [0.0, -1.0]]);
        let queue = rows([[0.8, 0.6], [-1.0, 0.0]]);
        let tokens = |x: &Tensor<2>| x.clone().reshape([1, 3, 2]);
        let same = teacher.clone().detach().require_grad();
        let losses = [
            squared_error(same.clone(), teacher.clone()),
            cosine_distance(same.clone(), teacher.clone()),
            queue_divergence(same.clone(), teacher.clone(), queue.clone(), queue.clone(), 0.1),
            token_divergence(tokens(&same), tokens(&teacher), 0.1),
        ];
        for loss in losses {
            assert!(loss.clone().into_scalar::<f32>().abs() < 1e-6, "{loss}");
            let gradients = loss.backward();
            assert!(teacher.grad(&gradients).is_none() && queue.grad(&gradients).is_none());
            assert!(same.grad(&gradients).is_some());
        }
        let loss = seed(same.clone(), teacher.clone(), queue.clone(), 0.2, 0.01);
        let gradients = loss.backward();
        assert!(teacher.grad(&gradients).is_none() && queue.grad(&gradients).is_none());
    }

    #[test]
    fn the_own_feature_of_seed_is_the_first_class_and_the_likeliest() {
        let teacher = rows([[0.6, 0.8], [0.0, 1.0]]);
        let targets = seed_targets(teacher, rows([[1.0, 0.0], [0.0, -1.0], [-0.6, 0.8]]), 0.1);
        assert_eq!(targets.dims(), [2, 4]);
        let values: Vec<f32> = targets.into_data().try_to_vec().unwrap();
        for row in values.chunks(4) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            assert!(row[1..].iter().all(|share| *share < row[0]), "{row:?}");
        }
    }
}
