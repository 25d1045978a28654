//! The memories that methods keep beside their networks. They are modules whose lasting tensors are
//! parameters without gradient, so a checkpoint holds them like any weight.

mod clusters;
mod embeddings;
mod kmeans;
mod queue;
mod recent;

pub use clusters::Clusters;
pub use embeddings::Embeddings;
pub use kmeans::{Clustering, random_rows, spherical_kmeans};
pub use queue::Queue;
pub use recent::Recent;
