//! The layers that all networks here are built from, with PyTorch's names and initial values.
//!
//! Parameters hold the names and shapes of PyTorch (`weight` of a linear layer is `[out, in]`), so
//! that a state dict is a plain list of what `tensors::state` collects.

pub mod budget;
mod chosen;
mod conv;
mod init;
mod iter_norm;
mod layer_norm;
mod layer_scale;
mod linear;
pub mod loss_head;
mod mlp;
mod norm;
mod post_norm;
mod pre_norm;
mod prototype_head;
mod resize;

pub use chosen::Chosen;
pub use conv::Conv2d;
pub use init::Init;
pub use iter_norm::IterNorm;
pub use layer_norm::LayerNorm;
pub use layer_scale::LayerScale;
pub use linear::{Linear, WeightNormLinear};
pub use loss_head::LossHead;
pub use mlp::{Mlp, MlpStyle, OutputNorm};
pub use norm::BatchNorm;
pub use post_norm::PostNormEncoder;
pub(crate) use pre_norm::xavier;
pub use pre_norm::{BlockShape, BlockWeights, PreNormBlock};
pub use prototype_head::PrototypeHead;
pub use resize::resized;

use crate::collective::Group;

/// The statistics that batch normalisation uses. Each call says it, so that no network has a hidden switch: a
/// momentum teacher runs in a training mode although it takes no gradient. A method takes the mode from
/// [`crate::method::Views::mode`].
#[derive(Clone, Copy, Debug)]
pub enum Mode<'a> {
    /// Statistics of this process's batch; running statistics are updated.
    Train,
    /// Statistics of the joint batch of these ranks; running statistics are updated.
    Joint(&'a Group),
    /// Running statistics, which are not updated.
    Eval,
    /// The backbone is frozen: it runs as in [`Mode::Eval`] and without gradient. The heads behind it run as in
    /// [`Mode::Joint`] where there are other ranks, and as in [`Mode::Train`] where there are none.
    Heads(Option<&'a Group>),
}
