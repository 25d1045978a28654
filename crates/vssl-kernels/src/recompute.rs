//! Activations that are not stored but computed again in the backward pass.
//!
//! The output of a normalisation, with its residual sum and rectifier, is one pass over an image whose input
//! the backward pass of the normalisation keeps in any case. The convolution that follows would keep the
//! output too, for the gradient of its weight. Instead it keeps a way to compute the output again, with the
//! same bits (Chen et al. 2016, arXiv:1604.06174, section 4, for the cheapest operations of a network only).
//! So the graph of a residual network holds one image for each convolution instead of two: its output.
//!
//! The output of a normalisation with a residual is stored: to compute it again takes three passes over memory, and
//! the normalisation of the next block adds it again. With it the graph of a residual network is a fifth larger.
//!
//! An operation has only the tensors of its inputs. A short list of the last outputs and the numbers of
//! their nodes tells it which of them it need not keep.

use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use burn::backend::autodiff::{Autodiff, NodeId, checkpoint::strategy::CheckpointStrategy};
use burn::backend::tensor::FloatTensor;

use crate::extension::{KernelGradients, NormSaved};

/// The number of outputs that are remembered. Between an output and its last use, as the input of a shortcut, there
/// are at most three normalisations.
const REMEMBERED: usize = 16;

type Entry = (u64, Weak<dyn Any + Send + Sync>);

thread_local! {
    /// The last outputs with the numbers of their nodes, newest first. Burn never uses a number twice.
    static OUTPUTS: RefCell<VecDeque<Entry>> = const { RefCell::new(VecDeque::new()) };
}

/// The output of a normalisation without a residual, as what it is computed from.
#[derive(Debug)]
pub struct Recomputed<B: KernelGradients>(pub NormSaved<FloatTensor<B>>);

/// An input of an operation that its backward pass needs.
#[derive(Clone, Debug)]
pub enum Kept<B: KernelGradients> {
    /// The tensor itself.
    Stored(FloatTensor<B>),
    /// The output of a normalisation.
    Recomputed(Arc<Recomputed<B>>),
}

impl<B: KernelGradients> Kept<B> {
    /// Returns what stands for `tensor` until the backward pass.
    pub fn new<C: CheckpointStrategy>(tensor: &FloatTensor<Autodiff<B, C>>) -> Self {
        let number = tensor.id().value;
        let known = OUTPUTS
            .with_borrow(|outputs| outputs.iter().find(|(known, _)| *known == number)?.1.upgrade());
        match known.and_then(|output| output.downcast::<Recomputed<B>>().ok()) {
            Some(output) => Self::Recomputed(output),
            None => Self::Stored(tensor.primitive().clone()),
        }
    }

    /// Returns the tensor.
    pub fn tensor(&self) -> FloatTensor<B> {
        match self {
            Self::Stored(tensor) => tensor.clone(),
            Self::Recomputed(output) => B::batch_norm_again(&output.0),
        }
    }
}

/// Notes that the tensor of this node is `output`, which the caller keeps as long as a gradient may need it.
pub fn remember<B: KernelGradients>(node: NodeId, output: &Arc<Recomputed<B>>) {
    let output: Arc<dyn Any + Send + Sync> = output.clone();
    OUTPUTS.with_borrow_mut(|outputs| {
        outputs.truncate(REMEMBERED - 1);
        outputs.push_front((node.value, Arc::downgrade(&output)));
    });
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution, Tensor};

    use super::*;
    use crate::{batch_norm_train, conv2d};

    /// Returns whether the newest output that was remembered is still held by an operation.
    fn is_held() -> bool {
        OUTPUTS.with_borrow(|outputs| outputs[0].1.strong_count() > 0)
    }

    #[test]
    fn a_convolution_holds_its_input_as_what_it_is_computed_from_until_the_backward_pass() {
        if crate::isa() == crate::Isa::Reference {
            return; // there, Burn's own operations keep what they need
        }
        let device = Device::flex().autodiff();
        let random = |shape: [usize; 4]| Tensor::random(shape, Distribution::Default, &device);
        let ones = Tensor::<1>::ones([8], &device);
        let x = random([2, 8, 6, 6]).require_grad();
        let weight = random([4, 8, 3, 3]).require_grad();
        let y = batch_norm_train(x.clone(), ones.clone(), ones.clone(), None, true, 1e-5).output;
        let y = conv2d(y, weight.clone(), 1, 1);
        assert!(is_held());
        let gradients = y.sum().backward();
        assert!(x.grad(&gradients).is_some() && weight.grad(&gradients).is_some());
        assert!(!is_held());
        // Without gradients nothing is noted, and nothing held.
        let before = OUTPUTS.with_borrow(|outputs| outputs[0].0);
        batch_norm_train(random([2, 8, 6, 6]), ones.clone(), ones, None, true, 1e-5);
        assert_eq!(OUTPUTS.with_borrow(|outputs| outputs[0].0), before);
    }
}
