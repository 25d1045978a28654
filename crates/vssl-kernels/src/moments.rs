//! The statistics of a joint batch as an operation of every back end, in which
//! [`crate::reference::batch_norm_train_joint`] combines those of all processes.
//!
//! The numbers of a device go through the host, which sends them: there is one read and one message forward,
//! and one of each backward. With `n_r` of the `n` rows in this process, own mean `m_r` and own variance
//! `v_r` (Chan, Golub and LeVeque 1979):
//!
//! ```text
//! m = Σ_r n_r m_r / n          ∂/∂m_r = n_r/n · (g_m + 2 (m_r − m) g_v)
//! v = Σ_r n_r (v_r + (m_r − m)²) / n          ∂/∂v_r = n_r/n · g_v
//! ```
//!
//! where `g_m` and `g_v` are sums over all ranks, each of which has the loss of the joint batch as a function
//! of its own rows.
#![cfg_attr(
    feature = "libtorch",
    allow(deprecated, reason = "Burn announces an end of this back end, 0.22.1 has it")
)]

use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind, unary},
};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{DType, Shape, Tensor, TensorData};
use burn_std::reader::read_sync;

#[cfg(feature = "cube")]
use burn::backend::Cube;
#[cfg(feature = "libtorch")]
use burn::backend::LibTorch;

use crate::autodiff::constant;
use crate::joint::AcrossRanks;

/// Returns the means and biased variances of the joint batch from those of the `rows` rows of this process.
///
/// # Shapes — `own` and the result: `[2, c]`, means and variances.
pub(crate) fn over_ranks(own: Tensor<2>, rows: usize, ranks: &AcrossRanks) -> Tensor<2> {
    let own = own.into_dispatch();
    Tensor::from_dispatch(<Dispatch as JointMoments>::joint_moments(own, rows, ranks.clone()))
}

/// The operation [`over_ranks`], which all back ends compute in the same way; [`Autodiff`] adds the
/// gradients.
#[backend_extension(Flex, Autodiff, Cube: cfg(feature = "cube"), LibTorch: cfg(feature = "libtorch"))]
pub trait JointMoments: Backend {
    /// Combines the moments of all ranks: see [`over_ranks`].
    fn joint_moments(own: FloatTensor<Self>, rows: usize, ranks: AcrossRanks) -> FloatTensor<Self> {
        combine::<Self>(own, rows, ranks).0
    }
}

impl JointMoments for Flex {}

#[cfg(feature = "cube")]
impl JointMoments for Cube {}

#[cfg(feature = "libtorch")]
impl JointMoments for LibTorch {}

/// The values of the forward pass that the backward pass needs.
#[derive(Clone, Debug)]
struct Share {
    /// The share of the joint batch that is in this process.
    part: f64,
    /// The own mean minus the joint mean of each channel.
    offset: Vec<f64>,
    ranks: AcrossRanks,
}

fn combine<B: Backend>(
    own: FloatTensor<B>,
    rows: usize,
    ranks: AcrossRanks,
) -> (FloatTensor<B>, Share) {
    let (values, like) = read::<B>(own);
    let (joint, total) = ranks.combine(&values, rows);
    let offset = values.iter().zip(&joint).take(values.len() / 2).map(|(own, all)| own - all);
    let share = Share { part: rows as f64 / total, offset: offset.collect(), ranks };
    (write::<B>(joint, like), share)
}

#[derive(Debug)]
struct JointMomentsStep;

impl<B: Backend> Backward<B, 1> for JointMomentsStep {
    type State = Share;

    fn backward(self, ops: Ops<Share, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let Share { part, offset, ranks } = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |dy| {
            let (mut gradient, like) = read::<B>(dy);
            ranks.sum("batch norm, backward", &mut gradient);
            let (means, variances) = gradient.split_at_mut(offset.len());
            for ((mean, variance), offset) in means.iter_mut().zip(variances).zip(&offset) {
                *mean = part * (*mean + 2.0 * offset * *variance);
                *variance *= part;
            }
            write::<B>(gradient, like)
        });
    }
}

impl<B: Backend, C: CheckpointStrategy> JointMoments for Autodiff<B, C> {
    fn joint_moments(own: FloatTensor<Self>, rows: usize, ranks: AcrossRanks) -> FloatTensor<Self> {
        let tracked = own.is_tracked();
        let (own, guard) = own.into_parts();
        let (joint, share) = combine::<B>(own, rows, ranks);
        if !tracked {
            return constant::<B, C>(joint);
        }
        match JointMomentsStep.prepare::<C>([guard]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(share, joint),
            OpsKind::UnTracked(prep) => prep.finish(joint),
        }
    }
}

/// The shape, type and device of a tensor that was read, for the tensor that replaces it.
struct Like<B: Backend> {
    shape: Shape,
    dtype: DType,
    device: B::Device,
}

/// Reads from the device.
fn read<B: Backend>(x: FloatTensor<B>) -> (Vec<f64>, Like<B>) {
    let like = Like { shape: x.shape(), dtype: x.dtype(), device: x.device() };
    let data = read_sync(B::float_into_data(x)).expect("a device that computes can be read");
    (data.iter::<f64>().collect(), like)
}

fn write<B: Backend>(values: Vec<f64>, like: Like<B>) -> FloatTensor<B> {
    let data = TensorData::new(values, like.shape).convert_dtype(like.dtype);
    B::float_from_data(data, &like.device)
}
