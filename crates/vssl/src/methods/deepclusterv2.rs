//! DeepCluster V2 (Caron et al. 2018, arXiv:1807.05520, in the second version of Caron et al. 2020,
//! arXiv:2006.09882, appendix C).
//!
//! The unit-length embeddings of an epoch are remembered; before the next one they are clustered by
//! spherical k-means, once for each head, and every view has to predict the cluster of its image:
//!
//! `L = mean_heads CE(z·Cᵀ / T, cluster of the image)`
//!
//! with the centroids C fixed until the next clustering. The formula is
//! [`crate::objective::clustering::numbered`]; the state is in [`crate::memory`].

use burn::{
    module::Module,
    tensor::{Tensor, activation},
};
use serde::{Deserialize, Serialize};
use vssl_data::rng::{Stream, rng};

use super::embedding::Student;
use crate::{
    backbone::Backbone,
    layers::{Init, Mlp},
    memory::{Clusters, Embeddings, random_rows},
    method::{Loss, Method, Sizes, Views},
    objective::{clustering, figures, unit_rows},
    recipe::{Checker, Settings},
    schedule::Step,
};

/// Settings, the table `[deepclusterv2]` of a recipe. Defaults are those of solo-learn's CIFAR recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeepClusterV2 {
    /// Hidden width of the projector.
    pub projector_hidden: usize,
    /// Length of embeddings and centroids.
    pub dim: usize,
    /// Clusters of each head: as many numbers as clusterings.
    pub prototypes: Vec<usize>,
    /// What scores are divided by.
    pub temperature: f64,
    /// Iterations of k-means before each epoch.
    pub kmeans_iterations: usize,
}

impl Settings for DeepClusterV2 {
    fn check(&self, checker: &mut Checker) {
        checker.at_least("projector_hidden", self.projector_hidden as u64, 1);
        checker.at_least("dim", self.dim as u64, 1);
        let heads = self.prototypes.len();
        checker.require("prototypes", heads > 0, "empty", "a number of clusters for each head");
        let least = self.prototypes.iter().copied().min().unwrap_or(2);
        checker.at_least("prototypes", least as u64, 2);
        checker.positive("temperature", self.temperature);
        checker.at_least("kmeans_iterations", self.kmeans_iterations as u64, 1);
    }
}

impl Default for DeepClusterV2 {
    fn default() -> Self {
        Self {
            projector_hidden: 2048,
            dim: 128,
            prototypes: vec![3000; 3],
            temperature: 0.1,
            kmeans_iterations: 10,
        }
    }
}

/// Latest embeddings, and what the last clustering made of those before it.
#[derive(Module, Debug)]
pub struct Memory {
    embeddings: Embeddings,
    clusters: Clusters,
}

impl Method for DeepClusterV2 {
    type Student = Student;
    type Memory = Memory;
    /// Numbers of the images, and embeddings of each global view, `[n, dim]`.
    type Carry = (Vec<usize>, Vec<Tensor<2>>);

    fn check(&self, sizes: &Sizes) -> Result<(), String> {
        sizes.require_two_global("deepclusterv2")?;
        let most = self.prototypes.iter().copied().max().unwrap_or(0);
        if most <= sizes.images {
            return Ok(());
        }
        Err(format!(
            "deepclusterv2.prototypes has {most}, and an epoch holds {} images in whole batches: expected \
             at most as many clusters as images",
            sizes.images
        ))
    }

    fn student(&self, backbone: Backbone, dim: usize, init: &Init) -> Student {
        Student { backbone, projector: Mlp::new(dim, self.projector_hidden, self.dim, init) }
    }

    fn memory(&self, _: &Student, sizes: &Sizes, init: &Init) -> Memory {
        let Sizes { images, global_views, .. } = *sizes;
        Memory {
            embeddings: Embeddings::empty(global_views, images, self.dim, init.device()),
            clusters: Clusters::unassigned(&self.prototypes, images, self.dim, init),
        }
    }

    fn loss(
        &self,
        student: &Student,
        memory: &Memory,
        views: &Views,
        at: &Step,
    ) -> Loss<Self::Carry> {
        let (features, z): (Vec<_>, Vec<_>) =
            views.all().map(|x| student.embed(x, views.mode())).collect();
        let z = views.gather(z.into_iter().map(unit_rows).collect::<Vec<_>>());
        let (images, clusters) = (views.joint_images(), &memory.clusters);
        let all = Tensor::cat(z.clone(), 0); // [views·n, dim]
        let z: Vec<_> = z.into_iter().take(views.global.len()).map(Tensor::detach).collect();
        let heads = 0..clusters.heads();
        let scores: Vec<_> = heads.clone().map(|head| clusters.scores(head, all.clone())).collect();
        let targets: Vec<_> = heads.map(|head| clusters.of(head, &images)).collect();
        let total = clustering::numbered(&scores, &targets, self.temperature);
        let assigned = targets[0].clone().greater_equal_elem(0).float().mean();
        let mut parts = vec![("assigned", assigned)];
        if at.watch {
            let predicted = scores[0].clone().detach() / self.temperature;
            parts.push(("prototype_usage", figures::usage(activation::softmax(predicted, 1))));
            parts.push(("embedding_std", figures::unit_std(&z)));
        }
        Loss { total, parts, features, image_losses: None, carry: (images, z) }
    }

    fn backbone<'a>(&self, student: &'a Student) -> &'a Backbone {
        &student.backbone
    }

    fn remember(&self, memory: Memory, (images, z): Self::Carry, _: &Step) -> Memory {
        Memory { embeddings: memory.embeddings.write(&images, z), ..memory }
    }

    fn before_epoch(&self, memory: Memory, _: &Student, at: &Step) -> Memory {
        if at.epoch == 0 {
            return memory;
        }
        let start = |head: usize, rows: &Tensor<2>, centroids| {
            random_rows(
                rows,
                centroids,
                &mut rng(at.seed, Stream::Centroids, at.epoch, head as u64),
            )
        };
        let clusters = memory.clusters.renew(&memory.embeddings, self.kmeans_iterations, start);
        Memory { clusters, ..memory }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_clusters_than_images_are_refused_by_name() {
        let sizes = Sizes { images: 100, batch: 10, global_views: 2, local_views: 0 };
        let method = |prototypes| DeepClusterV2 { prototypes, ..DeepClusterV2::default() };
        assert_eq!(Method::check(&method(vec![100, 7]), &sizes), Ok(()));
        let message = Method::check(&method(vec![7, 101]), &sizes).unwrap_err();
        assert!(message.contains("deepclusterv2.prototypes has 101, and an epoch holds 100"));
        let single = Sizes { global_views: 1, ..sizes };
        assert!(Method::check(&method(vec![7]), &single).unwrap_err().contains("views.count"));
    }
}
