//! Exact nearest neighbours among more rows than memory holds.
//!
//! The training rows are read twice, in order, a block at a time. In the first pass (`first_pass`), products
//! in single precision choose `k + 64` candidates for each test row. In the second (`exact_pass`), each
//! candidate is compared in double precision as its block comes by, and that alone decides the order. The
//! Euclidean distance needs a pass before both, for the mean. Called by `knn`, the page of a run and
//! `vssl search`.

mod candidates;
mod exact_pass;
mod first_pass;

use exact_pass::ExactPass;
use first_pass::{FirstPass, SPARE, TEST_BLOCK, largest_of};

use super::EvalError;
use crate::features::{FeatureError, Features, Source, check_finite, check_size};

/// The distance that makes two images neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distance {
    /// The angle between features.
    Cosine,
    /// The distance between features.
    Euclidean,
}

/// The nearest training images of each test image, nearest first.
#[derive(Clone, Debug)]
pub struct Neighbours {
    pub(super) distance: Distance,
    pub(super) k: usize,
    /// `k` for each test row.
    pub(super) entries: Vec<Neighbour>,
}

/// One training image as seen from a test image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// Row among the training features.
    pub index: u32,
    /// Cosine, or minus the Euclidean distance.
    pub closeness: f64,
}

/// Training rows that are read at once; the scores of a block then take 8 MB.
const TRAIN_BLOCK: usize = 512;

impl Neighbours {
    /// The neighbours of one test row, nearest first.
    pub fn of(&self, row: usize) -> &[Neighbour] {
        &self.entries[row * self.k..(row + 1) * self.k]
    }
}

/// The `min(k, training rows)` nearest training rows of each test row; equally near ones in the
/// order of their index.
///
/// # Errors
/// As [`neighbours_of_each`].
pub fn neighbours(
    train: &dyn Source,
    test: &Features,
    distance: Distance,
    k: usize,
) -> Result<Neighbours, EvalError> {
    let mut found = neighbours_of_each(train, test, &[distance], k)?;
    Ok(found.pop().expect("one result for one distance"))
}

/// The neighbours for several distances, from the same passes over the training rows.
///
/// Memory beyond the test features, whatever the number of training rows: as `bytes_of_row` and
/// `bytes_of_blocks` count it.
///
/// # Errors
/// Features that do not fit, cannot be read or are not finite; a `k` of 0.
pub fn neighbours_of_each(
    train: &dyn Source,
    test: &Features,
    distances: &[Distance],
    k: usize,
) -> Result<Vec<Neighbours>, EvalError> {
    check(train, test, k)?;
    let k = k.min(train.rows());
    let (mean, largest) = match distances.contains(&Distance::Euclidean) {
        true => mean_and_largest(train)?,
        false => (Vec::new(), 0.0),
    };
    let new = |&distance: &Distance| FirstPass::new(distance, &mean, largest, train, test, k);
    let mut first_passes: Vec<FirstPass> = distances.iter().map(new).collect();
    each_block(train, |first, values| {
        first_passes.iter_mut().for_each(|pass| pass.offer(first, values));
    })?;
    let exact = |pass: FirstPass| ExactPass::new(pass.distance, test, pass.finish());
    let mut exact_passes: Vec<ExactPass> = first_passes.into_iter().map(exact).collect();
    each_block(train, |first, values| {
        exact_passes.iter_mut().for_each(|pass| pass.compare(first, values));
    })?;
    Ok(exact_passes.into_iter().map(|pass| pass.nearest(k)).collect())
}

/// Bytes that a search takes for each test row, at most: for each distance a copy of its numbers and
/// the candidates, which for a moment are there as the first pass and as the exact pass keep them.
pub(super) fn bytes_of_row(dim: usize, distances: usize, k: usize) -> u64 {
    (distances * (4 * dim + 32 * (k + SPARE) + 96)) as u64
}

/// Bytes that a search takes whatever the number of rows: the block that was read; for each distance
/// the block made ready for the product, and its scores; the copy of the block that the product packs.
pub(super) fn bytes_of_blocks(dim: usize, distances: usize) -> u64 {
    let block = 4 * TRAIN_BLOCK * dim;
    (2 * block + distances * (block + 4 * TRAIN_BLOCK * TEST_BLOCK)) as u64
}

fn check(train: &dyn Source, test: &Features, k: usize) -> Result<(), EvalError> {
    check_size(train, "training features")?;
    test.check("features to classify")?;
    if test.dim != train.dim() {
        let (set, what, expected) = ("features to classify", "width", train.dim());
        return Err(FeatureError::Length { set, what, got: test.dim, expected }.into());
    }
    if train.rows() > u32::MAX as usize {
        let (field, got) = ("number of training rows", train.rows() as f64);
        return Err(EvalError::Setting { field, got, expected: "at most 4294967295" });
    }
    check_k(k)
}

pub(super) fn check_k(k: usize) -> Result<(), EvalError> {
    let (field, got, expected) = ("knn k", k as f64, "at least one neighbour");
    if k == 0 { Err(EvalError::Setting { field, got, expected }) } else { Ok(()) }
}

/// Hands out all rows in order, at most [`TRAIN_BLOCK`] at a time, checked to be finite.
fn each_block(train: &dyn Source, mut each: impl FnMut(usize, &[f32])) -> Result<(), FeatureError> {
    let (rows, dim) = (train.rows(), train.dim());
    let mut values = vec![0.0; TRAIN_BLOCK.min(rows) * dim];
    for first in (0..rows).step_by(TRAIN_BLOCK) {
        let values = &mut values[..(rows - first).min(TRAIN_BLOCK) * dim];
        train.read(first, values)?;
        check_finite("training features", first, dim, values)?;
        each(first, values);
    }
    Ok(())
}

/// The mean of the training rows, and the largest of their numbers without its sign.
fn mean_and_largest(train: &dyn Source) -> Result<(Vec<f64>, f32), FeatureError> {
    let (mut mean, mut largest) = (vec![0.0; train.dim()], 0.0_f32);
    each_block(train, |_, values| {
        largest = largest.max(largest_of(values));
        for row in values.chunks_exact(train.dim()) {
            mean.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
    })?;
    mean.iter_mut().for_each(|sum| *sum /= train.rows() as f64);
    Ok((mean, largest))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use safetensors::Dtype;

    use super::*;
    use crate::{
        features,
        formats::{bytes, npy},
    };

    fn rows(count: usize, dim: usize, salt: u64) -> Features {
        let mut state = salt;
        let mut number = || {
            state =
                state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
            (state >> 40) as f32 / 8_388_608.0 - 1.0
        };
        let values = (0..count * dim).map(|_| number()).collect();
        Features { rows: count, dim, values, labels: None }
    }

    #[test]
    fn rows_from_a_file_give_the_same_neighbours_to_the_bit() {
        let (train, test) = (rows(2 * TRAIN_BLOCK + 77, 19, 1), rows(50, 19, 2));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("features.npy");
        let write = |values: &[f32]| {
            let header = npy::header(Dtype::F32, &[train.rows, train.dim]);
            fs::write(&path, [header, bytes(values, f32::to_le_bytes)].concat()).unwrap();
        };
        write(&train.values);
        let stored = features::open(&path, None).unwrap();
        let both = [Distance::Euclidean, Distance::Cosine];
        let expected = neighbours_of_each(&train, &test, &both, 9).unwrap();
        let got = neighbours_of_each(&stored, &test, &both, 9).unwrap();
        for (got, expected) in got.iter().zip(&expected) {
            let bits = |n: &Neighbour| (n.index, n.closeness.to_bits());
            assert!(got.entries.iter().map(bits).eq(expected.entries.iter().map(bits)));
        }
        // The file loses its last row while it is open.
        write(&train.values[19..]);
        let error = neighbours(&stored, &test, Distance::Cosine, 9).unwrap_err().to_string();
        assert!(error.contains("features.npy: reading rows 1024 to 1101"), "{error}");
    }

    #[test]
    fn features_far_from_one_have_the_neighbours_of_features_near_it() {
        let (train, test) = (rows(200, 8, 5), rows(20, 8, 6));
        let scaled = |features: &Features, factor: f32| Features {
            values: features.values.iter().map(|x| x * factor).collect(),
            ..features.clone()
        };
        let found = |factor: f32| {
            let (train, test) = (scaled(&train, factor), scaled(&test, factor));
            let found = neighbours(&train, &test, Distance::Euclidean, 3).unwrap();
            found.entries.iter().map(|n| n.index).collect::<Vec<_>>()
        };
        // Squares would be 0 or infinite in single precision.
        for exponent in [-100, 100] {
            assert_eq!(found(2.0_f32.powi(exponent)), found(1.0), "2^{exponent}");
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let (train, test) = (rows(TRAIN_BLOCK + 5, 33, 3), rows(40, 33, 4));
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let found = pool.install(|| neighbours(&train, &test, Distance::Cosine, 30)).unwrap();
            found.entries.iter().map(|n| (n.index, n.closeness.to_bits())).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(3));
    }
}
