//! Spherical k-means (Dhillon and Modha 2001, doi:10.1023/A:1007612920971): clusters of directions.
//!
//! Every row goes to the centroid with the largest dot product; every centroid becomes the mean of
//! its rows, divided by its norm. Rows are compared block by block, so that memory does not grow with
//! rows times centroids, on all threads; the result does not depend on their number. Rows on another device than
//! the CPU are compared there. Called by [`super::Clusters`].

use burn::tensor::{Int, Tensor, TensorData};
use rand::RngCore;
use rayon::prelude::*;
use vssl_data::rng::below;
use vssl_kernels::{linear, products_of_rows};

use crate::device::is_cpu;

/// The number of rows that are compared with all centroids at a time: 12 MB of dot products for 3000
/// centroids.
const BLOCK: usize = 1024;
/// The dot products in which the largest is looked for at a time.
const PART: usize = 64;
/// The lower bound of a norm in a denominator.
const NORM_FLOOR: f64 = 1e-12;

/// The result of [`spherical_kmeans`].
pub struct Clustering {
    /// The centroids, `[clusters, dim]`, of unit length, outside the autodiff graph.
    pub centroids: Tensor<2>,
    /// The number of each row's centroid.
    pub labels: Vec<usize>,
}

/// Runs `iterations` rounds of assigning and averaging from the centroids `start`, then a last assignment to
/// the centroids that are returned. A centroid without rows stays where it is. The same input gives the same
/// output.
///
/// # Shapes — `rows`: `[n, dim]`, n at least 1; `start`: `[clusters, dim]`.
pub fn spherical_kmeans(rows: Tensor<2>, start: Tensor<2>, iterations: usize) -> Clustering {
    let ([clusters, dim], rows, start) = (start.dims(), rows.inner(), start.inner());
    let device = start.device();
    let values = host(&rows); // device read
    let mut centroids = host(&start); // device read
    let tensor = |centroids: &[f32]| {
        Tensor::from_data(TensorData::new(centroids.to_vec(), [clusters, dim]), &device)
    };
    let assign = |centroids: &[f32]| match is_cpu(&device) {
        true => nearest(&values, centroids, dim),
        false => nearest_on_device(&rows, &tensor(centroids)),
    };
    for _ in 0..iterations {
        let labels = assign(&centroids);
        renew(&mut centroids, &values, &labels, dim);
    }
    let labels = assign(&centroids);
    Clustering { centroids: tensor(&centroids), labels }
}

/// Chooses the first centroids: as many different rows as there are centroids, drawn at random. Where there
/// are fewer rows, the remaining centroids stay.
///
/// # Shapes — `rows`: `[n, dim]`; `centroids` and the result: `[clusters, dim]`.
pub fn random_rows(rows: &Tensor<2>, centroids: Tensor<2>, rng: &mut impl RngCore) -> Tensor<2> {
    let (n, clusters) = (rows.dims()[0], centroids.dims()[0]);
    let count = clusters.min(n);
    // The beginning of a shuffle (Fisher and Yates).
    let mut order: Vec<i64> = (0..n as i64).collect();
    for first in 0..count {
        order.swap(first, first + below(rng, (n - first) as u64) as usize);
    }
    order.truncate(count);
    let chosen = Tensor::<1, Int>::from_data(TensorData::new(order, [count]), &rows.device());
    let chosen = rows.clone().select(0, chosen);
    match clusters - count {
        0 => chosen,
        left => Tensor::cat(vec![chosen, centroids.narrow(0, count, left)], 0),
    }
}

/// Returns for each row the centroid with the largest dot product, the first of equals.
fn nearest(rows: &[f32], centroids: &[f32], dim: usize) -> Vec<usize> {
    let clusters = centroids.len() / dim;
    let mut labels = Vec::with_capacity(rows.len() / dim);
    let mut products = vec![0.0; BLOCK.min(rows.len() / dim) * clusters];
    for block in rows.chunks(BLOCK * dim) {
        let products = &mut products[..block.len() / dim * clusters];
        products_of_rows(block, centroids, dim, products); // [block, clusters]
        labels.par_extend(products.par_chunks(clusters).map(largest));
    }
    labels
}

/// Does the same on the device of the rows.
fn nearest_on_device(rows: &Tensor<2>, centroids: &Tensor<2>) -> Vec<usize> {
    let n = rows.dims()[0];
    let mut labels = Vec::with_capacity(n);
    for first in (0..n).step_by(BLOCK) {
        let block = rows.clone().narrow(0, first, BLOCK.min(n - first));
        let products = linear(block, centroids.clone(), None); // [block, clusters]
        let numbers = products.argmax(1).into_data(); // device read
        labels.extend(numbers.iter::<i64>().map(|number| number as usize));
    }
    labels
}

/// The place of the largest number, the first of equals. Parts that have nothing larger are passed by with a
/// few vector comparisons.
fn largest(products: &[f32]) -> usize {
    let (mut best, mut place) = (f32::NEG_INFINITY, 0);
    for (part, products) in products.chunks(PART).enumerate() {
        if products.iter().fold(false, |any, &product| any | (product > best)) {
            for (offset, &product) in products.iter().enumerate() {
                if product > best {
                    (best, place) = (product, part * PART + offset);
                }
            }
        }
    }
    place
}

/// Replaces each centroid by the mean of its rows, divided by its norm; a centroid without rows is divided by
/// its own norm. The sums are in double precision and in the order of the rows.
fn renew(centroids: &mut [f32], rows: &[f32], labels: &[usize], dim: usize) {
    let mut members = vec![Vec::new(); centroids.len() / dim];
    for (row, &label) in labels.iter().enumerate() {
        members[label].push(row);
    }
    let centroids = centroids.par_chunks_exact_mut(dim).zip(&members);
    centroids.for_each(|(centroid, members)| {
        let mut sum = vec![0.0_f64; dim];
        for &row in members {
            let row = &rows[row * dim..][..dim];
            sum.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        if members.is_empty() {
            sum.iter_mut().zip(&*centroid).for_each(|(sum, &old)| *sum = f64::from(old));
        }
        // The floor is for the norm of the mean, not of the sum.
        let count = members.len().max(1) as f64;
        let norm = sum.iter().map(|x| x * x).sum::<f64>().sqrt() / count;
        let divisor = norm.max(NORM_FLOOR) * count;
        centroid.iter_mut().zip(sum).for_each(|(to, sum)| *to = (sum / divisor) as f32);
    });
}

fn host(x: &Tensor<2>) -> Vec<f32> {
    x.to_data().iter::<f32>().collect()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use vssl_data::rng::{Stream, rng};

    use super::*;

    fn rows(values: &[[f32; 2]]) -> Tensor<2> {
        let flat: Vec<f32> = values.iter().flatten().copied().collect();
        Tensor::from_data(TensorData::new(flat, [values.len(), 2]), &Device::flex().autodiff())
    }

    #[test]
    fn starting_centroids_are_distinct_rows_and_a_function_of_their_address() {
        let device = Device::flex();
        let rows = Tensor::<1, Int>::arange(0..40, &device).float().reshape([40, 1]);
        let start = |epoch, head| {
            let mut rng = rng(5, Stream::Centroids, epoch, head);
            host(&random_rows(&rows, Tensor::zeros([15, 1], &device), &mut rng))
        };
        let mut chosen = start(1, 0);
        assert_eq!(chosen, start(1, 0));
        assert_ne!(chosen, start(2, 0));
        assert_ne!(chosen, start(1, 1));
        chosen.sort_by(f32::total_cmp);
        chosen.dedup();
        assert_eq!(chosen.len(), 15, "{chosen:?}");
    }

    #[test]
    fn centroids_beyond_the_number_of_rows_stay() {
        let device = Device::flex();
        let (rows, old) = (Tensor::ones([2, 1], &device), Tensor::zeros([3, 1], &device));
        let mut rng = rng(0, Stream::Centroids, 0, 0);
        assert_eq!(host(&random_rows(&rows, old, &mut rng)), [1.0, 1.0, 0.0]);
    }

    #[test]
    fn directions_that_lie_together_end_in_one_cluster() {
        let points = rows(&[[1.0, 0.1], [0.1, 1.0], [1.0, -0.1], [-0.1, 1.0]]);
        let found = spherical_kmeans(points, rows(&[[0.8, 0.6], [0.6, 0.8]]), 5);
        assert_eq!(found.labels, [0, 1, 0, 1]);
        let centroids = host(&found.centroids);
        for (got, expected) in centroids.iter().zip([1.0, 0.0, 0.0, 1.0]) {
            assert!((got - expected).abs() < 1e-6, "{centroids:?}");
        }
    }

    #[test]
    fn a_centroid_without_rows_stays_and_ties_go_to_the_first() {
        let points = rows(&[[0.0, 1.0], [0.0, 1.0]]);
        // The second and the third are alike, the first has no row.
        let start = rows(&[[-1.0, 0.0], [0.6, 0.8], [0.6, 0.8]]);
        let found = spherical_kmeans(points.clone(), start.clone(), 0);
        assert_eq!(found.labels, [1, 1]);
        let found = spherical_kmeans(points, start, 3);
        assert_eq!(host(&found.centroids), [-1.0, 0.0, 0.0, 1.0, 0.6, 0.8]);
    }

    #[test]
    fn the_largest_of_many_is_found_wherever_it_is_and_the_first_of_equals() {
        for count in [1, 63, 64, 65, 300] {
            for place in (0..count).step_by(7) {
                let mut products: Vec<f32> = (0..count).map(|i| (i % 5) as f32 - 9.0).collect();
                products[place] = 3.0;
                products[count - 1] = 3.0;
                assert_eq!(largest(&products), place, "{count}");
            }
        }
        assert_eq!(largest(&[f32::NEG_INFINITY; 70]), 0);
    }

    #[test]
    fn the_device_s_own_comparison_gives_the_same_labels() {
        let number = |i: usize| ((i * 7919 + 31) % 2003) as f32 / 1001.0 - 1.0;
        let points: Vec<f32> = (0..(BLOCK + 9) * 7).map(number).collect();
        let centroids: Vec<f32> = (0..70 * 7).map(|i| number(i * 3 + 1)).collect();
        let tensor = |values: &[f32]| {
            let shape = [values.len() / 7, 7];
            Tensor::<2>::from_data(TensorData::new(values.to_vec(), shape), &Device::flex())
        };
        let expected = nearest_on_device(&tensor(&points), &tensor(&centroids));
        assert_eq!(nearest(&points, &centroids, 7), expected);
    }

    #[test]
    fn threads_change_no_bit() {
        let number = |i: usize| ((i * 7919 + 31) % 2003) as f32 / 1001.0 - 1.0;
        let matrix = |rows: usize, salt: usize| {
            let values = (0..rows * 19).map(|i| number(i + salt)).collect::<Vec<_>>();
            Tensor::<2>::from_data(TensorData::new(values, [rows, 19]), &Device::flex())
        };
        let (points, start) = (matrix(BLOCK + 77, 0), matrix(130, 5));
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let found = pool.install(|| spherical_kmeans(points.clone(), start.clone(), 4));
            (found.labels, host(&found.centroids).into_iter().map(f32::to_bits).collect::<Vec<_>>())
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn rows_beyond_one_block_are_labelled_in_their_order() {
        let points: Vec<[f32; 2]> =
            (0..2 * BLOCK + 3).map(|i| if i % 3 == 0 { [1.0, 0.0] } else { [0.0, 1.0] }).collect();
        let found = spherical_kmeans(rows(&points), rows(&[[1.0, 0.0], [0.0, 1.0]]), 1);
        assert_eq!(found.labels.len(), points.len());
        assert!(
            found.labels.iter().enumerate().all(|(i, &label)| label == usize::from(i % 3 != 0))
        );
    }
}
