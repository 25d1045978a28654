//! Gradients of a module's parameters, flattened and stored by path.
//!
//! Gradients have this form while they are accumulated over micro-batches, averaged over processes, clipped
//! and passed to the optimiser.

use std::collections::BTreeMap;

use burn::module::{Module, Param};
use burn::tensor::{Gradients as BurnGradients, Tensor};
use vssl_kernels::sum_of_squares;

use crate::tensors::paths::{self, PathStack, Visit};

/// The flattened gradients of the parameters that have a gradient, outside the autodiff graph.
#[derive(Clone, Debug, Default)]
pub struct Gradients(pub BTreeMap<String, Tensor<1>>);

impl Gradients {
    /// Takes the gradients of `module`'s parameters out of the result of a backward pass.
    ///
    /// Parameters on which the loss does not depend, and parameters without `requires_grad`, have no entry:
    /// the optimiser does not change them.
    pub fn collect<M: Module>(mut gradients: BurnGradients, module: &M) -> Self {
        let mut collect = Collect { from: &mut gradients, into: BTreeMap::new() };
        paths::visit(module, &mut collect);
        Self(collect.into)
    }

    /// Adds the gradients of another micro-batch; a parameter may be absent from either of the two.
    pub fn accumulate(mut self, other: Self) -> Self {
        for (path, gradient) in other.0 {
            let sum = match self.0.remove(&path) {
                Some(own) => own + gradient,
                None => gradient,
            };
            self.0.insert(path, sum);
        }
        self
    }

    /// Multiplies all gradients by a factor.
    pub fn scale(self, factor: f64) -> Self {
        Self(self.0.into_iter().map(|(path, gradient)| (path, gradient * factor)).collect())
    }

    /// Returns the Euclidean norm of all gradients together, on the device: `[1]`. `None` without gradients.
    pub fn global_norm(&self) -> Option<Tensor<1>> {
        let squares: Vec<_> = self.0.values().cloned().map(sum_of_squares).collect();
        (!squares.is_empty()).then(|| Tensor::cat(squares, 0).sum().sqrt())
    }
}

struct Collect<'a> {
    from: &'a mut BurnGradients,
    into: BTreeMap<String, Tensor<1>>,
}

impl Visit for Collect<'_> {
    fn tensor<const D: usize>(&mut self, path: &PathStack, param: &Param<Tensor<D>>) {
        let Some(path) = path.parameter() else { return };
        if let Some(gradient) = param.val().grad_remove(self.from) {
            let length = gradient.shape().num_elements();
            self.into.insert(path, gradient.reshape([length]));
        }
    }
}
