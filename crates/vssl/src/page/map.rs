//! Features in the plane: principal components, and t-SNE (van der Maaten and Hinton 2008) from them.
//!
//! Both are a function of the features: the components by subspace iteration from a fixed start, and
//! t-SNE started from the components, on one thread, whose sums are always added in the same order.

use bhtsne::{Neighbor, tSNE};
use nalgebra::DMatrix;
use rand::Rng;
use serde::Serialize;
use vssl_data::rng::{Stream, rng};

use super::closeness::Closeness;
use crate::features::Features;

/// Components that are iterated for the two that are kept: the others make these converge.
const SUBSPACE: usize = 8;
const ITERATIONS: usize = 60;

/// Of t-SNE; 30 and 1000 are what its authors' program and scikit-learn use.
const PERPLEXITY: usize = 30;
const EPOCHS: usize = 1000;
const THETA: f32 = 0.5;

/// Standard deviation of the start, as in scikit-learn's `init="pca"`.
const START: f32 = 1e-4;

/// Fewer points have no neighbourhoods to preserve.
const FEWEST: usize = 10;

/// Features of images in the plane.
#[derive(Clone, Debug, Serialize)]
pub struct Map {
    /// `(x, y)` of each image along the two largest principal components.
    pub(super) pca: Vec<[f32; 2]>,
    /// Share of the variance that each of the two has.
    pub(super) explained: [f64; 2],
    /// `(x, y)` of each image; `None` for few images.
    pub(super) tsne: Option<Vec<[f32; 2]>>,
}

impl Map {
    /// Of features at length 1, whose neighbours are known.
    pub(super) fn of(features: &Features, closeness: &Closeness) -> Self {
        let (pca, explained) = principal(features);
        let tsne = tsne(&pca, closeness);
        Self { pca, explained, tsne }
    }

    /// How many neighbours of each image [`Map::of`] wants of `rows` images.
    pub(super) fn neighbours(rows: usize) -> usize {
        3 * perplexity(rows)
    }
}

fn perplexity(rows: usize) -> usize {
    PERPLEXITY.min(rows.saturating_sub(1) / 3).max(1)
}

/// Rows at length 1 around their mean, projected on the two largest components. The sign of a
/// component is chosen so that its largest entry is positive.
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

fn tsne(pca: &[[f32; 2]], closeness: &Closeness) -> Option<Vec<[f32; 2]>> {
    let rows = pca.len();
    if rows < FEWEST {
        return None;
    }
    let wanted = Map::neighbours(rows);
    let neighbours: Vec<Vec<Neighbor<f32>>> = (0..rows)
        .map(|row| {
            // The distance between rows at length 1.
            let near = closeness.even(row, wanted).iter();
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
        let closeness = Closeness::of(&features, Map::neighbours(90)).unwrap();
        let map = Map::of(&features, &closeness);
        assert!(apart(&map.pca) && apart(map.tsne.as_ref().unwrap()));
        assert!(map.explained[0] >= map.explained[1] && map.explained[1] > 0.3, "{map:?}");
        let again = Map::of(&features, &closeness);
        assert_eq!((map.pca, map.tsne), (again.pca, again.tsne));
    }

    #[test]
    fn few_and_equal_images_have_a_map() {
        for rows in [1, 2, 5, 12] {
            let features = Features { rows, dim: 3, values: vec![1.0; rows * 3], labels: None };
            let closeness = Closeness::of(&features, Map::neighbours(rows)).unwrap();
            let map = Map::of(&features, &closeness);
            assert!(map.pca.iter().flatten().all(|x| x.abs() < 1e-6), "{map:?}");
            assert_eq!(map.pca.len(), rows);
        }
    }
}
