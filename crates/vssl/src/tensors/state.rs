//! Converts modules to named tensors and back: the form in which a checkpoint holds the student and the
//! memory.
//!
//! The names are the paths of fields (`backbone.layer1.0.conv1.weight`), which for encoders are torchvision's
//! names. Running statistics are included: they are state, although they are not parameters.

use std::collections::BTreeMap;

use burn::{
    module::{Module, Param},
    tensor::{DType, Tensor, TensorData},
};

use super::{Map, PathStack, Visit, map, visit};

/// Named tensors on the host.
pub type Tensors = BTreeMap<String, TensorData>;

/// Why named tensors do not fit a module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// A tensor of the module is missing.
    #[error("tensor {0:?} is missing")]
    Missing(String),
    /// A tensor does not belong to the module.
    #[error("tensor {0:?} does not belong to this network")]
    Unexpected(String),
    /// A tensor does not consist of 32-bit floats.
    #[error("tensor {name:?} is of type {got:?}, expected F32")]
    Type {
        /// The path of the tensor.
        name: String,
        /// The type that was found.
        got: DType,
    },
    /// A tensor has another shape than in the module.
    #[error("tensor {name:?} has shape {got:?}, this network wants {expected:?}")]
    Shape {
        /// The path of the tensor.
        name: String,
        /// The shape that was found.
        got: Vec<usize>,
        /// The shape in the module.
        expected: Vec<usize>,
    },
}

/// Returns all float tensors of `module`, read from its device.
pub fn collect<M: Module>(module: &M) -> Tensors {
    struct Collect(Tensors);
    impl Visit for Collect {
        fn tensor<const D: usize>(&mut self, path: &PathStack, param: &Param<Tensor<D>>) {
            let data = param.val().into_data(); // device read
            // CubeCL copies the bytes only when they are first used, but an update changes the tensor in
            // place. So they are used now.
            let _ = data.as_bytes();
            self.0.insert(path.join(), data);
        }
    }
    let mut collect = Collect(Tensors::new());
    visit(module, &mut collect);
    collect.0
}

/// Returns `module` with every float tensor replaced by the tensor of the same name.
///
/// # Errors
/// The first tensor that is missing, misshapen or left over.
pub fn restore<M: Module>(module: M, tensors: Tensors) -> Result<M, StateError> {
    struct Restore {
        tensors: Tensors,
        error: Option<StateError>,
    }
    impl Restore {
        fn take(&mut self, name: String, shape: &[usize]) -> Result<TensorData, StateError> {
            match self.tensors.remove(&name) {
                Some(tensor) => of_shape(tensor, &name, shape),
                None => Err(StateError::Missing(name)),
            }
        }
    }
    impl Map for Restore {
        fn tensor<const D: usize>(
            &mut self,
            path: &PathStack,
            param: Param<Tensor<D>>,
        ) -> Param<Tensor<D>> {
            let (id, old, mapper) = param.consume();
            let new = match self.take(path.join(), &old.dims()) {
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
    let mut restore = Restore { tensors, error: None };
    let module = map(module, &mut restore);
    match (restore.error, restore.tensors.into_keys().next()) {
        (Some(error), _) => Err(error),
        (None, Some(name)) => Err(StateError::Unexpected(name)),
        (None, None) => Ok(module),
    }
}

/// Returns `tensor`, if it consists of 32-bit floats in the given shape.
///
/// # Errors
/// [`StateError::Shape`] or [`StateError::Type`] with `name`.
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
