//! Exact nearest neighbours among more rows than memory holds.
//!
//! The training rows are read twice, in order, a block at a time. First, products in single
//! precision choose `k + 32` candidates for each test row. Then, each candidate is compared in
//! double precision as its block comes by, and that alone decides the order. The Euclidean distance
//! needs a reading more, for the mean. Called by `knn`, the page of a run and `vssl search`.

use rayon::prelude::*;

use super::{EvalError, Features, Source, candidates::Candidates, check_finite};

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

/// Candidates kept beyond k. Products in single precision decide who is a candidate; the order
/// among candidates is decided in double precision, so that rounding does not choose neighbours.
const SPARE: usize = 32;

/// Below this norm a row is not stretched to length 1.
const NORM_FLOOR: f64 = 1e-12;

/// Sums that run beside each other, so that an addition need not wait for the one before.
const LANES: usize = 8;

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
    let mean = match distances.contains(&Distance::Euclidean) {
        true => Some(mean(train)?),
        false => None,
    };
    let mut searches: Vec<Search> =
        distances.iter().map(|&distance| Search::new(distance, &mean, train, test, k)).collect();
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
    Ok(ranked.into_iter().map(|ranked| ranked.nearest(k)).collect())
}

/// Bytes that a search takes for each test row, at most: for each distance a copy of its numbers and
/// the candidates, which for a moment are there as the first reading and as the second keeps them.
pub(super) fn bytes_of_row(dim: usize, distances: usize, k: usize) -> u64 {
    (distances * (4 * dim + 32 * (k + SPARE) + 96)) as u64
}

/// Bytes that a search takes whatever the number of rows: the block that was read; for each distance
/// the same made ready, and its scores; the product's copy of it.
pub(super) fn bytes_of_blocks(dim: usize, distances: usize) -> u64 {
    let block = 4 * TRAIN_BLOCK * dim;
    (2 * block + distances * (block + 4 * TRAIN_BLOCK * TEST_BLOCK)) as u64
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

/// The first reading, for one distance.
struct Search {
    distance: Distance,
    dim: usize,
    centre: Vec<f64>,
    test: Vec<f32>,
    candidates: Vec<Candidates>,
    scores: Vec<f32>,
}

impl Search {
    fn new(
        distance: Distance,
        mean: &Option<Vec<f64>>,
        train: &dyn Source,
        test: &Features,
        k: usize,
    ) -> Self {
        let centre = match (distance, mean) {
            (Distance::Euclidean, Some(mean)) => mean.clone(),
            _ => vec![0.0; test.dim],
        };
        let (prepared, _) = prepared(&test.values, test.dim, distance, &centre);
        let candidates = vec![Candidates::new((k + SPARE).min(train.rows())); test.rows];
        let dim = test.dim;
        Self { distance, dim, centre, test: prepared, candidates, scores: Vec::new() }
    }

    fn offer(&mut self, first: usize, train: &[f32]) {
        let (block, bias) = prepared(train, self.dim, self.distance, &self.centre);
        let columns = bias.len();
        let tests = self.test.chunks(TEST_BLOCK * self.dim);
        for (test, candidates) in tests.zip(self.candidates.chunks_mut(TEST_BLOCK)) {
            self.scores.resize(candidates.len() * columns, 0.0);
            let scores = &mut self.scores[..candidates.len() * columns];
            vssl_kernels::products_of_rows(test, &block, self.dim, scores);
            let rows = scores.par_chunks_mut(columns).zip(candidates.par_iter_mut());
            rows.for_each(|(scores, candidates)| {
                if self.distance == Distance::Euclidean {
                    scores.iter_mut().zip(&bias).for_each(|(score, bias)| *score -= bias);
                }
                candidates.offer(scores, first);
            });
        }
    }
}

/// Rows made ready for a product, and what is to be subtracted from each one's products: the
/// nearest row has the largest `a·b − bias(b)`: the cosine itself with bias 0, or
/// `a·b − |b|²/2 = (|a|² − |a − b|²)/2`.
fn prepared(
    values: &[f32],
    dim: usize,
    distance: Distance,
    centre: &[f64],
) -> (Vec<f32>, Vec<f32>) {
    let mut out = vec![0.0; values.len()];
    let mut bias = vec![0.0; values.len() / dim];
    let rows = values.par_chunks(dim).zip(out.par_chunks_mut(dim)).zip(bias.par_iter_mut());
    rows.for_each(|((row, out), bias)| {
        let shifted = row.iter().zip(centre).map(|(&x, c)| f64::from(x) - c);
        let square: f64 = shifted.clone().map(|x| x * x).sum();
        let scale = match distance {
            Distance::Cosine => square.sqrt().max(NORM_FLOOR).recip(),
            Distance::Euclidean => {
                *bias = (0.5 * square) as f32;
                1.0
            }
        };
        out.iter_mut().zip(shifted).for_each(|(out, x)| *out = (x * scale) as f32);
    });
    (out, bias)
}

/// The second reading, for one distance.
struct Ranked {
    distance: Distance,
    /// Candidates of each test row in the order of their index, and how many were compared.
    rows: Vec<(Vec<Neighbour>, usize)>,
    /// Lengths of the test rows, for the cosine.
    norms: Vec<f64>,
}

impl Ranked {
    fn of(search: Search, test: &Features) -> Self {
        let sorted = |candidates: Candidates| {
            let entry = |index| Neighbour { index, closeness: f64::NAN };
            let mut entries: Vec<_> = candidates.into_rows().map(entry).collect();
            entries.sort_unstable_by_key(|entry| entry.index);
            (entries, 0)
        };
        let rows = search.candidates.into_par_iter().map(sorted).collect();
        let norms = match search.distance {
            Distance::Cosine => test.values.par_chunks(test.dim).map(norm).collect(),
            Distance::Euclidean => Vec::new(),
        };
        Self { distance: search.distance, rows, norms }
    }

    fn compare(&mut self, first: usize, train: &[f32], test: &Features) {
        let (dim, distance) = (test.dim, self.distance);
        let norms: Vec<f64> = match distance {
            Distance::Cosine => train.par_chunks(dim).map(norm).collect(),
            Distance::Euclidean => Vec::new(),
        };
        let (own, end) = (&self.norms, first + train.len() / dim);
        self.rows.par_iter_mut().enumerate().for_each(|(row, (entries, done))| {
            let a = test.row(row);
            while let Some(entry) = entries.get_mut(*done).filter(|e| (e.index as usize) < end) {
                let at = entry.index as usize - first;
                let b = &train[at * dim..(at + 1) * dim];
                entry.closeness = match distance {
                    Distance::Cosine => product(a, b) / (own[row] * norms[at]),
                    Distance::Euclidean => -sum(a, b, |a, b| (a - b) * (a - b)).sqrt(),
                };
                *done += 1;
            }
        });
    }

    fn nearest(self, k: usize) -> Neighbours {
        let nearest = |(mut entries, _): (Vec<Neighbour>, usize)| {
            entries.sort_unstable_by(|a, b| {
                b.closeness.total_cmp(&a.closeness).then(a.index.cmp(&b.index))
            });
            entries.truncate(k);
            entries
        };
        let entries = self.rows.into_par_iter().flat_map_iter(nearest).collect();
        Neighbours { distance: self.distance, k, entries }
    }
}

/// Cosine, or minus the Euclidean distance, of two rows.
#[cfg(test)]
pub(super) fn closeness(a: &[f32], b: &[f32], distance: Distance) -> f64 {
    match distance {
        Distance::Cosine => product(a, b) / (norm(a) * norm(b)),
        Distance::Euclidean => -sum(a, b, |a, b| (a - b) * (a - b)).sqrt(),
    }
}

fn norm(a: &[f32]) -> f64 {
    product(a, a).sqrt().max(NORM_FLOOR)
}

fn product(a: &[f32], b: &[f32]) -> f64 {
    sum(a, b, |a, b| a * b)
}

/// A sum over pairs in double precision, always in the same order.
#[inline(always)]
fn sum(a: &[f32], b: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    let mut lanes = [0.0; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for (lane, (&a, &b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += term(f64::from(a), f64::from(b));
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(&a, &b)| term(f64::from(a), f64::from(b)));
    lanes.iter().sum::<f64>() + rest.sum::<f64>()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{
        super::source::{FileRows, Number},
        *,
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
