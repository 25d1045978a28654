//! Clusterings of a memory of embeddings, one for each head, with the cluster of each image (DeepCluster V2,
//! Caron et al. 2020, arXiv:2006.09882, appendix C).
//!
//! Head h clusters the embeddings of view h mod views. Called by `methods::deepclusterv2`.

use burn::{
    module::{Module, Param},
    tensor::{Int, Tensor, TensorData},
};
use vssl_kernels::linear;

use super::{Embeddings, embeddings::numbers, kmeans::spherical_kmeans};
use crate::{
    layers::Init,
    objective::{cross_entropy::UNLABELLED, unit_rows},
};

/// The centroids and assignments, without gradient.
#[derive(Module, Debug)]
pub struct Clusters {
    /// The centroids of each head as unit rows, `[clusters, dim]`.
    centroids: Vec<Param<Tensor<2>>>,
    /// The number of each image's cluster, −1 for an image without a cluster, `[heads, images]`. It is stored
    /// as floats, as all state is; they hold every whole number up to 2^24 exactly.
    assignments: Param<Tensor<2>>,
}

impl Clusters {
    /// Makes random centroids to which no image is assigned; `clusters` has one number for each head.
    pub fn unassigned(clusters: &[usize], images: usize, dim: usize, init: &Init) -> Self {
        let random = |&count: &usize| {
            Param::from_tensor(unit_rows(init.normal([count, dim], 1.0).val()).detach())
        };
        let centroids = clusters.iter().map(random).collect();
        let assignments = init.constant([clusters.len(), images], UNLABELLED as f32);
        Self { centroids, assignments }.no_grad()
    }

    /// Clusters the images that `embeddings` has seen, each head by `iterations` iterations of k-means.
    /// `start` makes a head's first centroids of the head's number, the rows that it clusters, `[n, dim]`,
    /// and its centroids so far. Images that have not been seen get no cluster. If no image has been seen,
    /// nothing changes.
    pub fn renew(
        self,
        embeddings: &Embeddings,
        iterations: usize,
        start: impl Fn(usize, &Tensor<2>, Tensor<2>) -> Tensor<2>,
    ) -> Self {
        let seen = embeddings.seen();
        if seen.is_empty() {
            return self;
        }
        let [heads, images] = self.assignments.dims();
        let mut assigned = vec![UNLABELLED as f32; heads * images];
        let heads_and_centroids = self.centroids.into_iter().enumerate();
        let centroids = heads_and_centroids.map(|(head, centroids)| {
            let rows = embeddings.rows(head % embeddings.views(), &seen).inner();
            centroids.map(|centroids| {
                let device = centroids.device();
                let start = start(head, &rows, centroids.inner());
                let found = spherical_kmeans(rows, start, iterations);
                for (&image, label) in seen.iter().zip(found.labels) {
                    assigned[head * images + image] = label as f32;
                }
                Tensor::from_data(found.centroids.into_data(), &device)
            })
        });
        let centroids = centroids.collect();
        let assignments = self.assignments.map(|old| {
            Tensor::from_data(TensorData::new(assigned, [heads, images]), &old.device())
        });
        Self { centroids, assignments }
    }

    /// Returns the number of clusterings.
    pub fn heads(&self) -> usize {
        self.centroids.len()
    }

    /// Returns the unit centroids of one head, `[clusters, dim]`.
    pub fn centroids(&self, head: usize) -> Tensor<2> {
        self.centroids[head].val().detach()
    }

    /// Returns the dot products with the centroids of one head.
    ///
    /// # Shapes — `z`: `[n, dim]`; returns `[n, clusters]`.
    pub fn scores(&self, head: usize, z: Tensor<2>) -> Tensor<2> {
        linear(z, self.centroids(head), None)
    }

    /// Returns the cluster of each of these images in one head's clustering, −1 for an image without a
    /// cluster.
    ///
    /// # Shapes — `images`: n; returns `[n]`.
    pub fn of(&self, head: usize, images: &[usize]) -> Tensor<1, Int> {
        let row = self.assignments.val().detach().narrow(0, head, 1); // [1, images]
        let places = numbers(images, &row.device());
        row.select(1, places).reshape([images.len()]).int()
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn only_images_that_were_seen_are_assigned() {
        let device = Device::flex().autodiff();
        let rows = |values: [[f32; 2]; 2]| Tensor::<2>::from_floats(values, &device);
        let axes = [[1.0, 0.0], [0.0, 1.0]];
        let clusters = Clusters::unassigned(&[2, 2], 4, 2, &Init::new(&device, 1));
        let of = |clusters: &Clusters, head| -> Vec<i64> {
            clusters.of(head, &[0, 1, 2, 3]).into_data().iter::<i64>().collect()
        };
        assert_eq!(of(&clusters, 1), [-1; 4]);

        let empty = Embeddings::empty(2, 4, 2, &device);
        let clusters = clusters.renew(&empty, 3, |_, _, _| panic!("there is nothing to cluster"));
        let embeddings = empty.write(&[3, 1], vec![rows(axes), rows([axes[1], axes[0]])]);
        let clusters = clusters.renew(&embeddings, 3, |_, rows, _| rows.clone());
        // The rows come in the order of the images: image 1 starts the first cluster of each head.
        assert_eq!(of(&clusters, 0), [-1, 0, -1, 1]);
        assert_eq!(of(&clusters, 1), [-1, 0, -1, 1]);
        let centroids = |head| clusters.centroids(head).into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(centroids(0), [0.0, 1.0, 1.0, 0.0]);
        assert_eq!(centroids(1), [1.0, 0.0, 0.0, 1.0]);
        assert!(!clusters.assignments.is_require_grad());
        assert!(!clusters.centroids[0].is_require_grad());
    }
}
