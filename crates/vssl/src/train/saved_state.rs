//! The state of a run as named tensors: taken out of the networks, the optimiser and the heads beside them for a
//! checkpoint, and brought back where a run goes on.

use std::collections::BTreeMap;

use super::{Plan, TrainError, loss_head::LossHeadTraining, probe::Probe, remembered};
use crate::{
    method::learner::Learner,
    optim::Optimizer,
    run::checkpoint::{Checkpoint, CheckpointError, Store},
    tensors::state::{StateError, Tensors},
};

/// Returns the tensors of a checkpoint, by the part of the run that they belong to.
pub(super) fn collect(
    learner: &dyn Learner,
    optimizer: &Optimizer,
    probe: Option<&Probe>,
    loss_head: Option<&LossHeadTraining>,
) -> BTreeMap<String, Tensors> {
    let mut tensors = BTreeMap::from([
        ("student".to_owned(), learner.student()),
        ("memory".to_owned(), learner.memory()),
        ("optimizer".to_owned(), optimizer.state()),
    ]);
    if let Some(probe) = probe {
        tensors.insert("probe".to_owned(), probe.state());
    }
    if let Some(head) = loss_head {
        let [weights, state] = head.state();
        tensors.insert("uncertainty".to_owned(), weights);
        tensors.insert("uncertainty_optimizer".to_owned(), state);
    }
    tensors
}

/// Replaces the state of a run that was just made by that of `checkpoint`.
///
/// # Errors
/// The checkpoint lacks a part, or is of another network, probe or set of images.
pub(super) fn restore(
    checkpoint: &Checkpoint,
    plan: &Plan,
    learner: &mut dyn Learner,
    optimizer: &mut Optimizer,
    probe: Option<&mut Probe>,
    loss_head: Option<&mut LossHeadTraining>,
) -> Result<(), TrainError> {
    let tensors = |kind: &'static str| {
        checkpoint.tensors.get(kind).cloned().ok_or(TrainError::Incomplete { kind })
    };
    learner
        .load(tensors("student")?, tensors("memory")?)
        .map_err(|source| of_another_run(checkpoint, plan, Box::new(source)))?;
    remembered::check(checkpoint, plan, learner)?;
    let parameters = learner.parameters();
    let device = &plan.device;
    optimizer.load_state(tensors("optimizer")?, &parameters, device)?;
    if let Some(head) = loss_head {
        head.load(tensors("uncertainty")?, tensors("uncertainty_optimizer")?)?;
    }
    match probe {
        Some(probe) => probe
            .load(tensors("probe")?)
            .map_err(|source| of_another_probe(checkpoint, plan, source)),
        None => Ok(()),
    }
}

/// Returns the error for weights of the online probe that do not fit. A changed number of classes is named as
/// the reason.
fn of_another_probe(checkpoint: &Checkpoint, plan: &Plan, source: StateError) -> TrainError {
    if let StateError::Shape { got, expected, .. } = &source
        && let (&[was, dim], &[now, wanted]) = (got.as_slice(), expected.as_slice())
        && dim == wanted
    {
        let folder = Store::of(&plan.run).folder_of(checkpoint.position.step);
        return TrainError::OtherClasses { folder, was, now };
    }
    TrainError::Probe(Box::new(source))
}

/// Returns the error for tensors of a checkpoint that do not fit. The recipes agree, so a changed number of
/// images is named as the reason.
fn of_another_run(checkpoint: &Checkpoint, plan: &Plan, source: Box<StateError>) -> TrainError {
    let folder = Store::of(&plan.run).folder_of(checkpoint.position.step);
    let now = plan.train.len();
    match checkpoint.images.as_ref().map(|images| images.training.count) {
        Some(was) if was != now => {
            let method = checkpoint.method.clone();
            TrainError::RemembersImages { folder, source, method, was, now }
        }
        _ => CheckpointError::OtherNetwork { path: folder, source }.into(),
    }
}
