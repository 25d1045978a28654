//! Exact nearest neighbours among more rows than memory holds.
//!
//! The training rows are read twice, in order, a block at a time. First, products in single
//! precision, or of 16-bit numbers where these are faster, choose `k + 64` candidates for each test row.
//! Then, each candidate is compared in double precision as its block comes by, and that alone
//! decides the order. Where the error of the 16-bit products leaves it open whether a row that is
//! no candidate is nearer, the test row is searched again in single precision. The Euclidean
//! distance needs a reading more, for the mean. Called by `knn`, the page of a run and `vssl search`.

use super::{
    EvalError, Features, Source, check_finite,
    ranked::Ranked,
    screen::{SPARE, Search},
};

/// What makes two images near.
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

/// Rows of a block of a product; a block of scores then takes 8 MB.
/// PERF: the training rows are packed for each block of test rows, so these are the longer ones.
pub(super) const TEST_BLOCK: usize = 4096;
pub(super) const TRAIN_BLOCK: usize = 512;

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

/// The same for several distances, from the same readings of the training rows.
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
    let (mut found, open) = search(train, test, distances, k, vssl_kernels::has_coarse_products())?;
    if !open.is_empty() {
        let values = open.iter().flat_map(|&row| test.row(row)).copied().collect();
        let again = Features { rows: open.len(), dim: test.dim, values, labels: None };
        let (sure, _) = search(train, &again, &[Distance::Cosine], k, false)?;
        for cosine in found.iter_mut().filter(|found| found.distance == Distance::Cosine) {
            for (&row, entries) in open.iter().zip(sure[0].entries.chunks(k)) {
                cosine.entries[row * k..(row + 1) * k].copy_from_slice(entries);
            }
        }
    }
    Ok(found)
}

/// The neighbours for each distance, and the test rows of which a coarse search by cosine cannot say
/// that these are the nearest.
fn search(
    train: &dyn Source,
    test: &Features,
    distances: &[Distance],
    k: usize,
    coarse: bool,
) -> Result<(Vec<Neighbours>, Vec<usize>), EvalError> {
    let mean = match distances.contains(&Distance::Euclidean) {
        true => Some(mean(train)?),
        false => None,
    };
    let new = |&distance: &Distance| Search::new(distance, &mean, train, test, k, coarse);
    let mut searches: Vec<Search> = distances.iter().map(new).collect();
    each_block(train, |first, values| {
        for search in &mut searches {
            search.offer(first, values);
        }
        Ok(())
    })?;
    let mut ranked: Vec<Ranked> = searches.into_iter().map(|one| Ranked::of(one, test)).collect();
    each_block(train, |first, values| {
        for ranked in &mut ranked {
            ranked.compare(first, values, test);
        }
        Ok(())
    })?;
    let mut open: Vec<usize> = Vec::new();
    let nearest = |ranked: Ranked| {
        let (found, doubtful) = ranked.nearest(k);
        open.extend(doubtful);
        found
    };
    let found = ranked.into_iter().map(nearest).collect();
    open.sort_unstable();
    open.dedup();
    Ok((found, open))
}

/// Bytes that a search takes for each test row, at most: for each distance a copy of its numbers and
/// the candidates, which for a moment are there as the first reading and as the second keeps them;
/// or, when all rows are searched again, the results so far, the rows, and the same for one distance.
pub(super) fn bytes_of_row(dim: usize, distances: usize, k: usize) -> u64 {
    let each = 4 * dim + 32 * (k + SPARE) + 96;
    let again = 16 * k * distances + 4 * dim + each;
    (distances * each).max(again) as u64
}

/// Bytes that a search takes whatever the number of rows: the block that was read; for each distance
/// the same made ready, and its scores; the product's copy of it; both once more as whole numbers.
pub(super) fn bytes_of_blocks(dim: usize, distances: usize) -> u64 {
    let block = 4 * TRAIN_BLOCK * dim;
    (3 * block + distances * (block + 4 * TRAIN_BLOCK * TEST_BLOCK)) as u64
}

fn check(train: &dyn Source, test: &Features, k: usize) -> Result<(), EvalError> {
    let (rows, dim) = (train.rows(), train.dim());
    if rows == 0 || dim == 0 {
        return Err(EvalError::Empty { set: "training features", rows, dim });
    }
    test.check("test features")?;
    if test.dim != dim {
        let (set, what) = ("test features", "width");
        return Err(EvalError::Length { set, what, got: test.dim, expected: dim });
    }
    if rows > u32::MAX as usize {
        let (field, expected) = ("number of training rows", "at most 4294967295");
        return Err(EvalError::Setting { field, got: rows as f64, expected });
    }
    check_k(k)
}

pub(super) fn check_k(k: usize) -> Result<(), EvalError> {
    let (field, got, expected) = ("knn k", k as f64, "at least one neighbour");
    if k == 0 { Err(EvalError::Setting { field, got, expected }) } else { Ok(()) }
}

/// Hands out all rows in order, at most [`TRAIN_BLOCK`] at a time, checked to be finite.
fn each_block(
    train: &dyn Source,
    mut each: impl FnMut(usize, &[f32]) -> Result<(), EvalError>,
) -> Result<(), EvalError> {
    let (rows, dim) = (train.rows(), train.dim());
    let mut values = vec![0.0; TRAIN_BLOCK.min(rows) * dim];
    for first in (0..rows).step_by(TRAIN_BLOCK) {
        let values = &mut values[..(rows - first).min(TRAIN_BLOCK) * dim];
        train.read(first, values)?;
        check_finite("training features", first, dim, values)?;
        each(first, values)?;
    }
    Ok(())
}

/// Mean of the training rows: subtracted for the Euclidean distance, which does not see it, so
/// that `|a − b|²` from products loses no digits to a common offset.
fn mean(train: &dyn Source) -> Result<Vec<f64>, EvalError> {
    let mut mean = vec![0.0; train.dim()];
    each_block(train, |_, values| {
        for row in values.chunks_exact(train.dim()) {
            mean.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        Ok(())
    })?;
    mean.iter_mut().for_each(|sum| *sum /= train.rows() as f64);
    Ok(mean)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::eval::source::{FileRows, Number};

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
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 13]).unwrap();
        for value in &train.values {
            file.write_all(&value.to_le_bytes()).unwrap();
        }
        let (name, number) = ("features".to_owned(), Number::F32);
        let (rows, dim, labels) = (train.rows, train.dim, None);
        let mut stored = FileRows { file, name, offset: 13, number, rows, dim, labels };
        let both = [Distance::Euclidean, Distance::Cosine];
        let expected = neighbours_of_each(&train, &test, &both, 9).unwrap();
        let got = neighbours_of_each(&stored, &test, &both, 9).unwrap();
        for (got, expected) in got.iter().zip(&expected) {
            let bits = |n: &Neighbour| (n.index, n.closeness.to_bits());
            assert!(got.entries.iter().map(bits).eq(expected.entries.iter().map(bits)));
        }
        stored.rows += 1;
        let error = neighbours(&stored, &test, Distance::Cosine, 9).unwrap_err().to_string();
        assert!(error.contains("features: reading rows 1024 to 1102"), "{error}");
    }

    #[test]
    fn coarse_products_change_no_bit_and_say_where_they_cannot_tell() {
        let train = rows(3 * TRAIN_BLOCK + 9, 33, 5);
        let mut test = rows(40, 33, 6);
        // The last training rows are nearly the same: more of them than there are candidates.
        let mut train = train;
        for row in TRAIN_BLOCK..2 * TRAIN_BLOCK {
            for column in 0..33 {
                train.values[row * 33 + column] = column as f32 + 1e-6 * (row * column % 89) as f32;
            }
        }
        for column in 0..33 {
            test.values[7 * 33 + column] = column as f32 + 0.5;
        }
        let bits = |found: &Neighbours| -> Vec<(u32, u64)> {
            found.entries.iter().map(|n| (n.index, n.closeness.to_bits())).collect()
        };
        let (exact, none) = search(&train, &test, &[Distance::Cosine], 20, false).unwrap();
        assert!(none.is_empty());
        let (coarse, open) = search(&train, &test, &[Distance::Cosine], 20, true).unwrap();
        assert!(open.contains(&7) && open.len() < 10, "{open:?}");
        for row in (0..40).filter(|row| !open.contains(row)) {
            assert_eq!(coarse[0].of(row), exact[0].of(row), "row {row}");
        }
        let whole = neighbours(&train, &test, Distance::Cosine, 20).unwrap();
        assert_eq!(bits(&whole), bits(&exact[0]));
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
