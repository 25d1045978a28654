//! The sum of the gradients of an image, or of rows of tokens, that two operations used, such as the input of a
//! residual block.
//!
//! Burn adds channels-last images element by element on one thread, and the result is stored in the order of
//! the axes, so the next backward pass would have to reorder it. The sum here keeps the channels-last order,
//! reuses memory and runs on all threads. It needs to know whether a gradient is already registered, which
//! Burn does not tell; hence the short list of the last registrations.

use std::cell::RefCell;
use std::collections::VecDeque;

use burn::backend::Backend;
use burn::backend::autodiff::{NodeId, grads::Gradients};
use burn::backend::tensor::FloatTensor;

use crate::extension::KernelGradients;

/// The number of registrations that are remembered. A residual block has four operations between the two uses
/// of its input, each with two inputs, and the blocks of all views may come in turn.
const REMEMBERED: usize = 128;

thread_local! {
    /// The numbers of nodes, newest first. Burn never uses a number twice, so old numbers do no harm; Burn
    /// itself adds the gradients of a number that was forgotten.
    static REGISTERED: RefCell<VecDeque<u64>> = const { RefCell::new(VecDeque::new()) };
}

/// Registers a gradient of an image, adding it to an earlier gradient if one is registered. `earlier`
/// takes the earlier gradient out, which works for inner nodes of the graph only, not for leaves.
pub fn register<B: KernelGradients>(
    gradients: &mut Gradients,
    place: (NodeId, bool),
    value: FloatTensor<B>,
    earlier: impl FnOnce(&mut Gradients) -> FloatTensor<B>,
) {
    merge::<B>(gradients, place, earlier, |earlier| match earlier {
        Some(earlier) => B::sum_of_images(value, earlier),
        None => value,
    });
}

/// Registers the gradient that `value` makes of the earlier gradient, if one is registered: their sum. For the
/// rest see [`register`].
pub fn merge<B: Backend>(
    gradients: &mut Gradients,
    (node, is_leaf): (NodeId, bool),
    earlier: impl FnOnce(&mut Gradients) -> FloatTensor<B>,
    value: impl FnOnce(Option<FloatTensor<B>>) -> FloatTensor<B>,
) {
    let number = node.value;
    let is_there = !is_leaf && REGISTERED.with_borrow(|numbers| numbers.contains(&number));
    if is_there {
        let earlier = earlier(gradients);
        gradients.register::<B>(node, value(Some(earlier)));
        return;
    }
    gradients.register::<B>(node, value(None));
    REGISTERED.with_borrow_mut(|numbers| {
        numbers.truncate(REMEMBERED - 1);
        numbers.push_front(number);
    });
}
