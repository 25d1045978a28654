//! Data-parallel training: N ranks compute what one process computes on the joint batch.
//!
//! Each rank runs its share of the joint batch through the networks. The outputs of the networks are gathered
//! ([`Group::gather_all`]), so that every rank computes the identical loss of the joint batch: all negatives,
//! Sinkhorn over all rows, cross-correlations of all rows. The backward pass takes the own rows' part; summed
//! over the ranks, the gradients of the parameters are then exactly those of the joint batch. Batch
//! normalisation exchanges its sums, forward and backward. The computations after the gathering must not have
//! parameters, because their gradient would be counted once for each rank.
//!
//! A method sees all of this through [`crate::method::Views`]; a [`Collective`] carries the numbers:
//! [`SingleProcess`], threads of one process ([`Threads`]), or MPI.

mod error;
mod group;
mod message;
#[cfg(feature = "mpi")]
pub mod mpi;
mod single_process;
mod threads;

pub use error::CollectiveError;
pub use group::{Group, Traffic};
pub use single_process::SingleProcess;
pub use threads::Threads;

/// The only operation without a time limit, in which the other ranks wait while rank 0 evaluates and writes.
pub const WAITING_FOR_LEADER: &str = "waiting for rank 0";

/// A way in which ranks exchange numbers. All ranks make the same calls in the same order.
///
/// A word is 32 bits that are not interpreted: those of an `f32`, or half of those of an `f64`.
pub trait Collective: Send + Sync {
    /// Returns the number of this process, from 0.
    fn rank(&self) -> usize;

    /// Returns the number of processes.
    fn world(&self) -> usize;

    /// Returns the words of all ranks, in the order of ranks; all ranks bring as many as `own`.
    ///
    /// # Errors
    /// A rank is missing or has given up. The message names `operation`.
    fn gather(&self, operation: &'static str, own: &[u32]) -> Result<Vec<u32>, CollectiveError>;

    /// Replaces `values` by their sums over all ranks, added in the order of ranks, so that every rank gets
    /// the same bits every time.
    ///
    /// # Errors
    /// The errors of [`Collective::gather`].
    fn sum(&self, operation: &'static str, values: &mut [f32]) -> Result<(), CollectiveError>;

    /// Tells the other ranks that this rank has given up, so that they do not wait. All processes of an
    /// MPI job end here.
    fn abort(&self);
}
