//! Maps features to the plane, by principal components and by t-SNE (van der Maaten and Hinton 2008).
//!
//! Both maps are a function of the features alone: the components come from a subspace iteration with
//! a fixed start, and t-SNE starts from the components and runs on one thread, which adds its sums
//! always in the same order.

use bhtsne::{Neighbor, tSNE};
use nalgebra::DMatrix;
use rand::Rng;
use serde::Serialize;
use vssl_data::rng::{Stream, rng};

use super::neighbour_graph::NeighbourGraph;
use crate::features::Features;

/// Number of components that are iterated. Two are kept; the others make these two converge.
const SUBSPACE: usize = 8;
const ITERATIONS: usize = 60;

/// Parameters of t-SNE; its authors' program and scikit-learn use 30 and 1000 as well.
const PERPLEXITY: usize = 30;
const EPOCHS: usize = 1000;
const THETA: f32 = 0.5;

/// Standard deviation of the start, as in scikit-learn's `init="pca"`.
const START: f32 = 1e-4;

/// Smallest number of points for t-SNE.
const FEWEST: usize = 10;

/// Features of images in the plane.
#[derive(Clone, Debug, Serialize)]
pub struct Map {
    /// `(x, y)` of each image along the two largest principal components.
    pub(super) pca: Vec<[f32; 2]>,
    /// Share of the variance along each of the two.
    pub(super) explained: [f64; 2],
    /// `(x, y)` of each image by t-SNE; `None` for few images.
    pub(super) tsne: Option<Vec<[f32; 2]>>,
}

impl Map {
    /// Maps features, which are scaled to length 1, with the help of their neighbours.
    pub(super) fn of(features: &Features, graph: &NeighbourGraph) -> Self {
        let (pca, explained) = principal(features);
        let tsne = tsne(&pca, graph);
        Self { pca, explained, tsne }
    }

    /// Number of neighbours of each image that [`Map::of`] uses for `rows` images.
    pub(super) fn neighbours(rows: usize) -> usize {
        3 * perplexity(rows)
    }
}

fn perplexity(rows: usize) -> usize {
    PERPLEXITY.min(rows.saturating_sub(1) / 3).max(1)
}

/// Scales the rows to length 1, subtracts their mean and projects them on the two largest principal
/// components. The sign of a component is chosen so that its largest entry is positive. Returns the
/// coordinates and each component's share of the variance.
fn principal(features: &Features) -> (Vec<[f32; 2]>, [f64; 2]) {
    let Features { rows, dim, ref values, .. } = *features;
    let mut x = DMatrix::from_fn(rows, dim, |row, column| f64::from(values[row * dim + column]));
    for mut row in x.row_iter_mut() {
        let norm = row.norm().max(f64::MIN_POSITIVE);
        row /= norm;
    }
    let mean = x.row_mean();
    x.row_iter_mut().for_each(|mut row| row -= &mean);
    let total = x.norm_squared();
    let width = SUBSPACE.min(dim).min(rows);
    let mut random = rng(0, Stream::Evaluation, 0, 0);
    let mut basis = DMatrix::from_fn(dim, width, |_, _| random.random_range(-1.0..1.0));
    for _ in 0..ITERATIONS {
        basis = (x.transpose() * (&x * basis)).qr().q(); // [dim, width]
    }
    let projected = &x * &basis; // [rows, width]
    let turned = (projected.transpose() * &projected).symmetric_eigen();
    let mut order: Vec<usize> = (0..width).collect();
    order.sort_by(|&a, &b| turned.eigenvalues[b].total_cmp(&turned.eigenvalues[a]));
    let mut found = (vec![[0.0; 2]; rows], [0.0; 2]);
    for (axis, &column) in order.iter().take(2).enumerate() {
        let direction = turned.eigenvectors.column(column);
        let component = &basis * direction;
        let sign = component[component.icamax()].signum();
        let coordinates = &projected * direction * sign;
        found.0.iter_mut().zip(&coordinates).for_each(|(point, &x)| point[axis] = x as f32);
        if total > 0.0 {
            found.1[axis] = turned.eigenvalues[column].max(0.0) / total;
        }
    }
    found
}

fn tsne(pca: &[[f32; 2]], graph: &NeighbourGraph) -> Option<Vec<[f32; 2]>> {
    let rows = pca.len();
    if rows < FEWEST {
        return None;
    }
    let wanted = Map::neighbours(rows);
    let neighbours: Vec<Vec<Neighbor<f32>>> = (0..rows)
        .map(|row| {
            // The Euclidean distance between rows of length 1.
            let near = graph.nearest(row, wanted).iter();
            near.map(|&(index, cosine)| Neighbor {
                index: index as usize,
                distance: (2.0 - 2.0 * cosine).max(0.0).sqrt() as f32,
            })
            .collect()
        })
        .collect();
    let spread = (pca.iter().map(|[x, _]| x * x).sum::<f32>() / rows as f32).sqrt();
    let scale = START / spread.max(f32::MIN_POSITIVE);
    let start: Vec<f32> = pca.iter().flatten().map(|x| x * scale).collect();
    let units = vec![(); rows];
    let fit = || {
        tSNE::<f32, (), 2>::new(&units)
            .perplexity(perplexity(rows) as f32)
            .epochs(EPOCHS)
            .initial_embedding(start)
            .barnes_hut_with_neighbors(THETA, &neighbours)
            .embedding()
    };
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().ok()?;
    let found = alone.install(fit);
    let points: Vec<[f32; 2]> = found.as_chunks().0.to_vec();
    points.iter().flatten().all(|x| x.is_finite()).then_some(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three bundles of directions.
    fn bundles(rows: usize) -> Features {
        let value = |row: usize, column: usize| {
            let noise = ((row * 31 + column * 17) as f32).sin() * 0.2;
            if column == row % 3 { 3.0 + noise } else { noise }
        };
        let values = (0..rows).flat_map(|row| (0..6).map(move |c| value(row, c))).collect();
        Features { rows, dim: 6, values, labels: None }
    }

    fn apart(points: &[[f32; 2]]) -> bool {
        let distance =
            |a: usize, b: usize| (0..2).map(|i| (points[a][i] - points[b][i]).powi(2)).sum::<f32>();
        (3..points.len()).all(|row| {
            let own = (0..3).min_by(|&a, &b| distance(row, a).total_cmp(&distance(row, b)));
            own == Some(row % 3)
        })
    }

    #[test]
    fn bundles_lie_apart_and_the_same_features_give_the_same_map() {
        let features = bundles(90);
        let graph = NeighbourGraph::of(&features, Map::neighbours(90)).unwrap();
        let map = Map::of(&features, &graph);
        assert!(apart(&map.pca) && apart(map.tsne.as_ref().unwrap()));
        assert!(map.explained[0] >= map.explained[1] && map.explained[1] > 0.3, "{map:?}");
        let again = Map::of(&features, &graph);
        assert_eq!((map.pca, map.tsne), (again.pca, again.tsne));
    }

    #[test]
    fn few_and_equal_images_have_a_map() {
        for rows in [1, 2, 5, 12] {
            let features = Features { rows, dim: 3, values: vec![1.0; rows * 3], labels: None };
            let graph = NeighbourGraph::of(&features, Map::neighbours(rows)).unwrap();
            let map = Map::of(&features, &graph);
            assert!(map.pca.iter().flatten().all(|x| x.abs() < 1e-6), "{map:?}");
            assert_eq!(map.pca.len(), rows);
        }
    }
}
