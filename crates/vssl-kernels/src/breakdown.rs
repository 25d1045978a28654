//! Where the time of a training step goes: a clock that knows the parts of a step.
//!
//! The code of a step says which part it enters; while nobody measures, that costs a look at one flag. A network
//! marks what it puts out, so that the clock also hears of it when the backward pass comes through: the mark is
//! an operation that changes nothing. Where two networks of a step have the same depth, the backward pass goes
//! through both at the same time, so a part's time is that of all its networks together.
//!
//! The clock is the host's: it measures only devices that are done when an operation returns, which the CPU is.

use std::{cell::RefCell, collections::BTreeMap, time::Instant};

use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind, unary},
};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

/// The parts of a training step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Waiting for a batch, and its way into tensors.
    Loader,
    /// The student's backbone.
    Backbone,
    /// What follows the backbone in the student: projectors, predictors, prototypes.
    Heads,
    /// All networks whose outputs have no gradient.
    Teacher,
    /// The loss, the figures of a step and the probe.
    Loss,
    /// The norm of the gradients, clipping and the new weights.
    Optimizer,
    /// The teacher's moving average, queues and clusters.
    Memory,
}

/// The seconds of each part, in the forward pass (and outside of both passes) and in the backward pass.
pub type Breakdown = BTreeMap<Part, [f64; 2]>;

struct Clock {
    part: Part,
    backward: bool,
    since: Instant,
    spent: Breakdown,
}

impl Clock {
    /// Gives the time since the last change to `part`.
    fn close(&mut self, part: Part) {
        let now = Instant::now();
        let seconds = now.duration_since(self.since).as_secs_f64();
        self.spent.entry(part).or_default()[usize::from(self.backward)] += seconds;
        self.since = now;
    }
}

thread_local! {
    static CLOCK: RefCell<Option<Clock>> = const { RefCell::new(None) };
}

/// Runs `work` and returns its result and where its time went; at first that is `part`.
pub fn measure<T>(part: Part, work: impl FnOnce() -> T) -> (T, Breakdown) {
    let (since, spent) = (Instant::now(), Breakdown::new());
    let outer = CLOCK.replace(Some(Clock { part, backward: false, since, spent }));
    let result = work();
    let mut clock = CLOCK.replace(outer).expect("the clock was set above");
    clock.close(clock.part);
    (result, clock.spent)
}

/// Says that this thread goes on with `part` of a step.
pub fn enter(part: Part) {
    CLOCK.with_borrow_mut(|clock| {
        if let Some(clock) = clock {
            clock.close(clock.part);
            (clock.part, clock.backward) = (part, false);
        }
    });
}

/// Says that this thread begins the backward pass of `part`.
fn enter_backward(part: Part) {
    CLOCK.with_borrow_mut(|clock| {
        if let Some(clock) = clock {
            clock.close(clock.part);
            (clock.part, clock.backward) = (part, true);
        }
    });
}

/// Runs the backward pass of a loss.
pub fn backward(loss: Tensor<1>) -> burn::tensor::Gradients {
    enter_backward(Part::Loss);
    let gradients = loss.backward();
    enter(Part::Optimizer);
    gradients
}

/// Runs a network that is `part` of the student; a network without gradient is the teacher's.
pub fn network<const D: usize>(part: Part, run: impl FnOnce() -> Tensor<D>) -> Tensor<D> {
    let before = CLOCK.with_borrow(|clock| clock.as_ref().map(|clock| clock.part));
    let Some(before) = before else { return run() };
    enter(part);
    let y = run();
    let tracked = y.is_tracked();
    CLOCK.with_borrow_mut(|clock| {
        if let Some(clock) = clock {
            clock.close(if tracked { part } else { Part::Teacher });
            clock.part = before;
        }
    });
    if !tracked {
        return y;
    }
    Tensor::from_dispatch(<Dispatch as Marks>::mark(y.into_dispatch(), part))
}

/// The mark as an operation: it returns what it is given.
#[backend_extension(Flex, Autodiff)]
pub trait Marks: Backend {
    /// Returns `x`.
    fn mark(x: FloatTensor<Self>, part: Part) -> FloatTensor<Self>;
}

impl Marks for Flex {
    fn mark(x: FloatTensor<Self>, _: Part) -> FloatTensor<Self> {
        x
    }
}

#[derive(Debug)]
struct MarkStep;

impl<B: Backend> Backward<B, 1> for MarkStep {
    type State = Part;

    fn backward(self, ops: Ops<Part, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let part = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |dy| dy);
        enter_backward(part);
    }
}

impl<B: Marks, C: CheckpointStrategy> Marks for Autodiff<B, C> {
    fn mark(x: FloatTensor<Self>, part: Part) -> FloatTensor<Self> {
        let (x, guard) = x.into_parts();
        match MarkStep.prepare::<C>([guard]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(part, x),
            OpsKind::UnTracked(prep) => prep.finish(x),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{thread::sleep, time::Duration};

    use burn::tensor::Device;

    use super::*;

    #[test]
    fn time_goes_to_the_part_that_took_it_in_both_passes() {
        let device = Device::flex().autodiff();
        let x = Tensor::<2>::ones([2, 3], &device).require_grad();
        let pause = Duration::from_millis(20);
        let (gradient, spent) = measure(Part::Loader, || {
            sleep(pause);
            enter(Part::Loss);
            let y = network(Part::Backbone, || {
                sleep(pause);
                x.clone() * 2.0
            });
            let teacher = network(Part::Backbone, || {
                sleep(pause);
                Tensor::<2>::ones([2, 3], &device)
            });
            let mut gradients = backward((y * teacher).sum());
            sleep(pause);
            x.grad_remove(&mut gradients)
        });
        assert_eq!(gradient.unwrap().into_data().iter::<f32>().collect::<Vec<_>>(), [2.0; 6]);
        let forward = |part: Part| spent[&part][0];
        for part in [Part::Loader, Part::Backbone, Part::Teacher, Part::Optimizer] {
            assert!(forward(part) >= pause.as_secs_f64(), "{part:?}: {spent:?}");
        }
        assert!(spent[&Part::Backbone][1] > 0.0 && spent[&Part::Loss][1] > 0.0, "{spent:?}");
        assert!(!spent.contains_key(&Part::Heads), "{spent:?}");
    }
}
