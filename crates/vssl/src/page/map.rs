//! Maps features to the plane, by principal components and by t-SNE (van der Maaten and Hinton 2008).
//!
//! Both maps are a function of the features alone: the components come from a subspace iteration with
//! a fixed start, and t-SNE ([`super::tsne`]) starts from the components. Sums do not depend on the number of
//! threads.

use nalgebra::DMatrix;
use rand::Rng;
use rayon::prelude::*;
use serde::Serialize;
use vssl_data::rng::{Stream, rng};
use vssl_kernels::{add_product, products_of_rows};

use super::{neighbour_graph::NeighbourGraph, tsne};
use crate::features::Features;

/// Number of components that are iterated. Two are kept; the others make these two converge.
const SUBSPACE: usize = 8;
const ITERATIONS: usize = 60;

/// Perplexity of t-SNE; its authors' program and scikit-learn use 30 as well.
const PERPLEXITY: usize = 30;

/// Standard deviation of the start, as in scikit-learn's `init="pca"`.
const START: f64 = 1e-4;

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
        let tsne = by_neighbours(&pca, graph);
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
    let Features { rows, dim, .. } = *features;
    let (x, total) = centred(features);
    let width = SUBSPACE.min(dim).min(rows);
    let mut random = rng(0, Stream::Evaluation, 0, 0);
    let mut basis = DMatrix::from_fn(dim, width, |_, _| random.random_range(-1.0..1.0));
    let mut projected = vec![0.0; rows * width];
    let project = |basis: &DMatrix<f64>, projected: &mut [f32]| {
        // Column after column in memory: rows of the transposed matrix.
        let basis: Vec<f32> = basis.iter().map(|&x| x as f32).collect();
        products_of_rows(&x, &basis, dim, projected); // [rows, width]
    };
    for _ in 0..ITERATIONS {
        project(&basis, &mut projected);
        let turned: Vec<f32> =
            (0..width * rows).map(|at| projected[at % rows * width + at / rows]).collect();
        let mut next = vec![0.0; width * dim];
        add_product(&turned, &x, rows, &mut next); // [width, dim]
        let next = DMatrix::from_iterator(dim, width, next.into_iter().map(f64::from));
        basis = next.qr().q(); // [dim, width]
    }
    project(&basis, &mut projected);
    let projected = DMatrix::from_row_iterator(rows, width, projected.into_iter().map(f64::from));
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

/// The rows scaled to length 1, less their mean, and the sum of their squares.
fn centred(features: &Features) -> (Vec<f32>, f64) {
    let Features { rows, dim, ref values, .. } = *features;
    let mut inverse = vec![0.0; rows];
    let mut mean = vec![0.0; dim];
    for (row, inverse) in values.chunks_exact(dim).zip(&mut inverse) {
        let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        *inverse = 1.0 / norm.max(f64::MIN_POSITIVE);
        mean.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x) * *inverse);
    }
    mean.iter_mut().for_each(|sum| *sum /= rows as f64);
    let mut x = vec![0.0; rows * dim];
    let pairs = x.par_chunks_exact_mut(dim).zip(values.par_chunks_exact(dim)).zip(&inverse);
    let squares: Vec<f64> = pairs
        .map(|((x, row), inverse)| {
            let mut square = 0.0;
            for ((x, &value), mean) in x.iter_mut().zip(row).zip(&mean) {
                let centred = f64::from(value) * inverse - mean;
                square += centred * centred;
                *x = centred as f32;
            }
            square
        })
        .collect();
    (x, squares.iter().sum())
}

fn by_neighbours(pca: &[[f32; 2]], graph: &NeighbourGraph) -> Option<Vec<[f32; 2]>> {
    let rows = pca.len();
    if rows < FEWEST {
        return None;
    }
    let wanted = Map::neighbours(rows);
    let neighbours: Vec<Vec<(u32, f64)>> = (0..rows)
        .map(|row| {
            // The Euclidean distance between rows of length 1.
            let near = graph.nearest(row, wanted).iter();
            near.map(|&(index, cosine)| (index, (2.0 - 2.0 * cosine).max(0.0).sqrt())).collect()
        })
        .collect();
    let pca = || pca.iter().map(|&[x, y]| [f64::from(x), f64::from(y)]);
    let spread = (pca().map(|[x, _]| x * x).sum::<f64>() / rows as f64).sqrt();
    let scale = START / spread.max(f64::MIN_POSITIVE);
    let start = pca().map(|point| point.map(|x| x * scale)).collect();
    let points = tsne::descend(&neighbours, perplexity(rows) as f64, start);
    let points: Vec<[f32; 2]> = points.into_iter().map(|point| point.map(|x| x as f32)).collect();
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
