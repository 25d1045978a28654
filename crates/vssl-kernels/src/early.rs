//! Gradients of weights, handed out while the backward pass still runs: a process of a
//! data-parallel job sends them while it computes the others.
//!
//! Burn tells nobody when a gradient is complete, and runs an identity operation on a weight last,
//! because a weight has no depth in the graph. So the operations of this crate count how often each
//! weight was used in the forward pass, and their backward passes count down. What only Burn's own
//! operations use is not told; a weight that both use would be told too early, which the caller has
//! to check.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    marker::PhantomData,
};

use burn::backend::autodiff::{NodeId, grads::Gradients};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, BackendTensor, DispatchTensorKind};
use burn::tensor::Tensor;
use burn_std::reader::read_sync;

type Tell = Box<dyn FnMut(u64, &[f32])>;

#[derive(Default)]
struct State {
    /// Uses of each weight whose gradients have not come yet.
    left: HashMap<u64, usize>,
    tell: Option<Tell>,
}

thread_local! {
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
}

/// Watches the weights that operations on this thread use, until it is dropped.
pub struct EarlyGradients(PhantomData<*const ()>);

impl EarlyGradients {
    /// Begins to count; before the forward pass.
    pub fn watch() -> Self {
        STATE.set(Some(State::default()));
        Self(PhantomData)
    }

    /// The numbers, see [`weight_number`], of the weights that were used so far.
    pub fn used(&self) -> HashSet<u64> {
        STATE.with_borrow(|state| {
            state.iter().flat_map(|state| state.left.keys().copied()).collect()
        })
    }

    /// Hands each gradient to `tell`, with the weight's number and in the order of its axes, as soon
    /// as it is complete; between the forward and the backward pass, which run on this thread.
    pub fn tell(&self, tell: impl FnMut(u64, &[f32]) + 'static) {
        STATE.with_borrow_mut(|state| {
            if let Some(state) = state {
                state.tell = Some(Box::new(tell));
            }
        });
    }
}

impl Drop for EarlyGradients {
    fn drop(&mut self) {
        STATE.set(None);
    }
}

/// What this weight is called here; `None` for what is not on the CPU or has no gradient.
pub fn weight_number<const D: usize>(weight: &Tensor<D>) -> Option<u64> {
    let DispatchTensorKind::Autodiff(inner) = weight.clone().into_dispatch().kind else {
        return None;
    };
    match *inner {
        DispatchTensorKind::Flex(BackendTensor::Autodiff(tensor)) if tensor.is_tracked() => {
            Some(tensor.id().value)
        }
        _ => None,
    }
}

/// Notes a use in the forward pass.
pub(crate) fn used(weight: NodeId) {
    STATE.with_borrow_mut(|state| {
        if let Some(state) = state {
            *state.left.entry(weight.value).or_default() += 1;
        }
    });
}

/// Notes that the gradient of one use was registered, and tells the sum if it was the last one.
/// `sum` reads it, which only works for the leaves of the graph.
pub(crate) fn registered<B: Backend>(
    gradients: &mut Gradients,
    (node, is_leaf): (NodeId, bool),
    sum: impl FnOnce(&mut Gradients) -> FloatTensor<B>,
) {
    let Some(mut tell) = STATE.with_borrow_mut(|state| {
        let state = state.as_mut()?;
        let left = state.left.get_mut(&node.value)?;
        *left = left.checked_sub(1)?;
        if *left == 0 && is_leaf { state.tell.take() } else { None }
    }) else {
        return;
    };
    let data = read_sync(B::float_into_data(sum(gradients))).expect("memory of the host is read");
    tell(node.value, data.as_slice().expect("the operations of this crate are in f32"));
    STATE.with_borrow_mut(|state| {
        if let Some(state) = state {
            state.tell = Some(tell);
        }
    });
}
