//! What methods remember beside their networks, as modules whose lasting tensors are parameters
//! without gradient: a checkpoint holds them like any weight.

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
