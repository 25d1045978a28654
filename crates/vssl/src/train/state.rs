//! Modules to named tensors and back: what a checkpoint holds of student and memory.
//!
//! Names are the paths of fields (`backbone.layer1.0.conv1.weight`), which for encoders are
//! torchvision's. Running statistics are included: they are state, though not parameters.

use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{DType, Tensor, TensorData},
};

use crate::optim::PathStack;

/// Named tensors on the host.
pub type Tensors = BTreeMap<String, TensorData>;

/// Why named tensors do not fit a module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// A tensor that the module has is not there.
    #[error("tensor {0:?} is missing")]
    Missing(String),
    /// A tensor is there that the module has not.
    #[error("tensor {0:?} does not belong to this network")]
    Unexpected(String),
    /// Not 32-bit floats.
    #[error("tensor {name:?} is of type {got:?}, expected F32")]
    Type {
        /// Its path.
        name: String,
        /// As found.
        got: DType,
    },
    /// The sizes differ.
    #[error("tensor {name:?} has shape {got:?}, this network wants {expected:?}")]
    Shape {
        /// Its path.
        name: String,
        /// As found.
        got: Vec<usize>,
        /// As the module has it.
        expected: Vec<usize>,
    },
}

/// All float tensors of `module`, read from its device.
pub fn collect<M: Module>(module: &M) -> Tensors {
    struct Collect {
        path: PathStack,
        tensors: Tensors,
    }
    impl ModuleVisitor for Collect {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, container: &str) {
            self.path.exit(container);
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.tensors.insert(self.path.join(), param.val().into_data()); // device read
        }
    }
    let mut collect = Collect { path: PathStack::default(), tensors: Tensors::new() };
    module.visit(&mut collect);
    collect.tensors
}

/// `module` with every float tensor replaced by the one of its name.
///
/// # Errors
/// The first missing or misshapen tensor, or one that is left over.
pub fn restore<M: Module>(module: M, tensors: Tensors) -> Result<M, StateError> {
    struct Restore {
        path: PathStack,
        tensors: Tensors,
        error: Option<StateError>,
    }
    impl Restore {
        fn take(&mut self, shape: &[usize]) -> Result<TensorData, StateError> {
            let name = self.path.join();
            match self.tensors.remove(&name) {
                Some(tensor) => of_shape(tensor, &name, shape),
                None => Err(StateError::Missing(name)),
            }
        }
    }
    impl ModuleMapper for Restore {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, container: &str) {
            self.path.exit(container);
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (id, old, mapper) = param.consume();
            let new = match self.take(&old.dims()) {
                Ok(tensor) => {
                    let tracked = old.is_require_grad();
                    Tensor::from_data(tensor, &old.device()).set_require_grad(tracked)
                }
                Err(error) => {
                    self.error.get_or_insert(error);
                    old
                }
            };
            Param::from_mapped_value(id, new, mapper)
        }
    }
    let mut restore = Restore { path: PathStack::default(), tensors, error: None };
    let module = module.map(&mut restore);
    match (restore.error, restore.tensors.into_keys().next()) {
        (Some(error), _) => Err(error),
        (None, Some(name)) => Err(StateError::Unexpected(name)),
        (None, None) => Ok(module),
    }
}

/// `tensor`, if it is of 32-bit floats in this shape.
///
/// # Errors
/// [`StateError::Shape`] or [`StateError::Type`] with `name` otherwise.
pub fn of_shape(
    tensor: TensorData,
    name: &str,
    expected: &[usize],
) -> Result<TensorData, StateError> {
    let name = name.to_owned();
    if tensor.dtype() != DType::F32 {
        return Err(StateError::Type { name, got: tensor.dtype() });
    }
    if tensor.shape().as_slice() != expected {
        let (got, expected) = (tensor.shape().as_slice().to_vec(), expected.to_vec());
        return Err(StateError::Shape { name, got, expected });
    }
    Ok(tensor)
}
