//! The few layers that all networks here are made of, with torch's names and initial values.
//!
//! Parameters hold the names and shapes of PyTorch (`weight` of a linear layer is `[out, in]`), so
//! that a state dict is a plain list of what `tensors::state` collects.

mod activation;
mod conv;
mod init;
mod layer_norm;
mod linear;
mod mlp;
mod norm;
mod prototype_head;

pub use activation::gelu;
pub use conv::Conv2d;
pub use init::Init;
pub use layer_norm::LayerNorm;
pub use linear::{Linear, WeightNormLinear};
pub use mlp::{Mlp, MlpStyle, OutputNorm};
pub use norm::BatchNorm;
pub use prototype_head::PrototypeHead;

use crate::collective::Group;

/// Which statistics batch normalisation uses. Said at each call, so that no network carries a
/// hidden switch: a momentum teacher runs in a mode of training and takes no gradient. A method takes
/// it from [`crate::method::Views::mode`].
#[derive(Clone, Copy, Debug)]
pub enum Mode<'a> {
    /// Statistics of the batch that is here; running statistics are updated.
    Train,
    /// Statistics of the batch that is spread over these ranks; running statistics are updated.
    Joint(&'a Group),
    /// Running statistics, which stay as they are.
    Eval,
}
