//! Weighted nearest neighbours (Wu et al. 2018, arXiv:1805.01978): each test image is given the
//! class with the largest sum of its neighbours' weights.
//!
//! Cosine: rows normalised, weight `exp(s / T)`. Euclidean: rows as they are, weight
//! `1 / (distance + 1e-5)`. One pass finds the neighbours for the largest k; every smaller k and
//! every temperature is then a matter of summing weights.

use super::{
    Accuracy, EvalError, Labelled,
    confusion::Confusion,
    neighbours::{
        Distance, Neighbours, bytes_of_blocks, bytes_of_row, check_k, neighbours_of_each,
    },
    votes::Answer,
};
use crate::features::{Features, Source, check_finite};

/// Accuracy for one number of neighbours and one temperature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KnnAccuracy {
    /// The distance that made images neighbours.
    pub distance: Distance,
    /// Number of neighbours asked for.
    pub k: usize,
    /// Temperature of the weights (unused by the Euclidean distance).
    pub temperature: f64,
    /// Shares of right classes.
    pub accuracy: Accuracy,
    /// The mean over the classes of the share of right images in each, percent.
    pub balanced_top1: f64,
}

/// The accuracies of all cells of a grid, and the classes that each cell gave to the test rows.
pub struct Grid {
    /// The accuracy of each cell.
    pub cells: Vec<KnnAccuracy>,
    targets: Vec<usize>,
    /// The class of each test row, for each cell.
    predicted: Vec<Vec<u32>>,
}

impl Grid {
    /// Returns the classes that the cell number `cell` gave to the test rows of each class.
    pub fn confusion(&self, cell: usize) -> Confusion {
        confusion(&self.targets, &self.predicted[cell])
    }
}

fn confusion(targets: &[usize], predicted: &[u32]) -> Confusion {
    Confusion::of(targets.iter().map(|&class| class as u32), predicted)
}

/// Accuracy for every distance, every one of `ks` and, with the cosine, every temperature, from one
/// search. The Euclidean distance has no temperature: one entry for each k.
///
/// `k` is cut to the number of training rows. Top-5 counts the target among the `min(5, k, classes)`
/// highest votes; classes with equal votes are ordered by index.
///
/// # Errors
/// Features or labels that do not fit or cannot be read; no `k`, a `k` of 0, a temperature that is
/// not positive.
pub fn grid(
    train: &dyn Source,
    test: &Features,
    distances: &[Distance],
    ks: &[usize],
    temperatures: &[f64],
) -> Result<Vec<KnnAccuracy>, EvalError> {
    Ok(judged(train, test, distances, ks, temperatures)?.cells)
}

/// The cells of [`grid`], and the classes that each gave.
///
/// # Errors
/// As [`grid`].
pub fn judged(
    train: &dyn Source,
    test: &Features,
    distances: &[Distance],
    ks: &[usize],
    temperatures: &[f64],
) -> Result<Grid, EvalError> {
    test.check("features to classify")?;
    let mut tally = Tally::new(train, test, distances, ks, temperatures)?;
    let found = neighbours_of_each(train, test, distances, tally.largest_k())?;
    tally.count(0, &found);
    Ok(tally.grid())
}

/// Fewest test rows that are searched together: fewer would read the training rows too often.
const FEWEST_ROWS: u64 = 256;

/// The grid of [`judged`], to the bit, in about `memory` bytes besides what `train` and `test` hold. The
/// test rows are taken in as many portions as that needs, of at least 256 rows each. The training rows are
/// read twice for each portion, three times where distances are Euclidean.
///
/// # Errors
/// As [`grid`].
pub fn grid_within(
    train: &dyn Source,
    test: &dyn Source,
    distances: &[Distance],
    ks: &[usize],
    temperatures: &[f64],
    memory: u64,
) -> Result<Grid, EvalError> {
    let mut tally = Tally::new(train, test, distances, ks, temperatures)?;
    let left = memory.saturating_sub(tally.bytes());
    let portion = portion(train, test, distances.len(), tally.largest_k(), left);
    let dim = test.dim();
    for first in (0..test.rows()).step_by(portion) {
        let rows = portion.min(test.rows() - first);
        let mut values = vec![0.0; rows * dim];
        test.read(first, &mut values)?;
        check_finite("features to classify", first, dim, &values)?;
        let part = Features { rows, dim, values, labels: None };
        tally.count(first, &neighbours_of_each(train, &part, distances, tally.largest_k())?);
    }
    Ok(tally.grid())
}

/// Test rows that are searched together in `memory` bytes.
fn portion(
    train: &dyn Source,
    test: &dyn Source,
    distances: usize,
    k: usize,
    memory: u64,
) -> usize {
    let dim = train.dim();
    // The labels of both sets, as they come and as classes.
    let labels = 16 * (train.rows() + test.rows()) as u64;
    let left = memory.saturating_sub(bytes_of_blocks(dim, distances) + labels);
    let row = 4 * dim as u64 + bytes_of_row(dim, distances, k.min(train.rows()));
    let rows = (left / row).max(FEWEST_ROWS);
    usize::try_from(rows).map_or(test.rows(), |rows| rows.min(test.rows()))
}

/// Right classes in each cell of a grid.
struct Tally<'a> {
    labels: Labelled,
    ks: &'a [usize],
    cells: Vec<(Distance, usize, f64)>,
    /// First place, first five places.
    hits: Vec<[usize; 2]>,
    /// The class of each test row so far, for each cell.
    predicted: Vec<Vec<u32>>,
}

impl<'a> Tally<'a> {
    fn new(
        train: &dyn Source,
        test: &dyn Source,
        distances: &[Distance],
        ks: &'a [usize],
        temperatures: &[f64],
    ) -> Result<Self, EvalError> {
        let labels = Labelled::of(train, test)?;
        for &got in temperatures {
            if !(got.is_finite() && got > 0.0) {
                let (field, expected) = ("knn temperature", "a positive number");
                return Err(EvalError::Setting { field, got, expected });
            }
        }
        check_k(ks.iter().min().copied().unwrap_or(0))?;
        let mut cells = Vec::new();
        for &distance in distances {
            let temperatures = match distance {
                Distance::Cosine => temperatures,
                Distance::Euclidean => &temperatures[..temperatures.len().min(1)],
            };
            let pairs = ks.iter().flat_map(|&k| temperatures.iter().map(move |&t| (k, t)));
            cells.extend(pairs.map(|(k, temperature)| (distance, k, temperature)));
        }
        let hits = vec![[0, 0]; cells.len()];
        let predicted = vec![Vec::with_capacity(labels.test.len()); cells.len()];
        Ok(Self { labels, ks, cells, hits, predicted })
    }

    fn largest_k(&self) -> usize {
        self.ks.iter().max().copied().unwrap_or(0)
    }

    /// Bytes of the classes that all cells give to the test rows.
    fn bytes(&self) -> u64 {
        4 * (self.cells.len() * self.labels.test.len()) as u64
    }

    /// Counts the test rows from `first` on, whose neighbours these are.
    fn count(&mut self, first: usize, found: &[Neighbours]) {
        let labels = &self.labels;
        let sums = self.hits.iter_mut().zip(&mut self.predicted);
        for (&(distance, k, temperature), (hits, predicted)) in self.cells.iter().zip(sums) {
            let found = found.iter().find(|found| found.distance == distance);
            let found = found.expect("every distance of the grid was searched");
            let targets = &labels.test[first..][..found.entries.len() / found.k];
            let answers = found.answers(&labels.train, labels.classes, targets, k, temperature);
            for Answer { class, is_first, is_in_five } in answers {
                predicted.push(class);
                hits[0] += usize::from(is_first);
                hits[1] += usize::from(is_in_five);
            }
        }
    }

    fn grid(self) -> Grid {
        let Self { labels, cells, hits, predicted, .. } = self;
        let percent = |hits: usize| 100.0 * hits as f64 / labels.test.len() as f64;
        let sums = hits.iter().zip(&predicted);
        let cells = cells.into_iter().zip(sums);
        let cells = cells.map(|((distance, k, temperature), (&[first, five], predicted))| {
            let accuracy = Accuracy { top1: percent(first), top5: percent(five) };
            let balanced = confusion(&labels.test, predicted).balanced_top1();
            let balanced_top1 = balanced.expect("checked: there are test rows");
            KnnAccuracy { distance, k, temperature, accuracy, balanced_top1 }
        });
        Grid { cells: cells.collect(), targets: labels.test, predicted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::neighbours::neighbours;

    /// With each other, the rows fill more than one block of a search on either side.
    const MANY: [usize; 2] = [700, 4100];

    fn knn(
        train: &Features,
        test: &Features,
        distance: Distance,
        ks: &[usize],
        temperatures: &[f64],
    ) -> Result<Vec<KnnAccuracy>, EvalError> {
        grid(train, test, &[distance], ks, temperatures)
    }

    fn closeness(a: &[f32], b: &[f32], distance: Distance) -> f64 {
        let product = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
        };
        let gaps = a.iter().zip(b).map(|(&a, &b)| f64::from(a) - f64::from(b));
        match distance {
            Distance::Cosine => product(a, b) / (product(a, a).sqrt() * product(b, b).sqrt()),
            Distance::Euclidean => -gaps.map(|gap| gap * gap).sum::<f64>().sqrt(),
        }
    }

    fn features(rows: &[[f32; 2]], labels: &[i64]) -> Features {
        let values = rows.iter().flatten().copied().collect();
        Features { rows: rows.len(), dim: 2, values, labels: Some(labels.to_vec()) }
    }

    fn train() -> Features {
        features(&[[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.0, 0.0]], &[0, 0, 1, 1])
    }

    #[test]
    fn more_neighbours_than_rows_means_all_rows() {
        let test = features(&[[1.0, 0.2], [0.1, 3.0]], &[0, 1]);
        let got = knn(&train(), &test, Distance::Cosine, &[2, 1000], &[0.1]).unwrap();
        assert_eq!(got[0].accuracy.top1, 100.0);
        let all = neighbours(&train(), &test, Distance::Cosine, 1000).unwrap();
        assert_eq!(all.of(0).len(), 4);
    }

    #[test]
    fn a_zero_row_is_at_a_right_angle_to_everything() {
        let test = features(&[[0.0, 0.0]], &[0]);
        let got = neighbours(&train(), &test, Distance::Cosine, 4).unwrap();
        let order: Vec<_> = got.of(0).iter().map(|n| (n.index, n.closeness)).collect();
        assert_eq!(order, [(0, 0.0), (1, 0.0), (2, 0.0), (3, 0.0)]);
    }

    #[test]
    fn a_temperature_however_small_keeps_the_votes_finite() {
        let test = features(&[[1.0, 0.2]], &[0]);
        for temperature in [1e-300, 1e-4, 1e6] {
            let got = knn(&train(), &test, Distance::Cosine, &[4], &[temperature]).unwrap();
            assert_eq!(got[0].accuracy.top1, 100.0, "{temperature}");
        }
    }

    #[test]
    fn a_far_offset_does_not_change_euclidean_neighbours() {
        let shift = |[a, b]: [f32; 2]| [a + 4096.0, b - 8192.0];
        let rows: Vec<[f32; 2]> =
            (0..300).map(|i| [(i * 37 % 300) as f32 / 64.0, (i % 7) as f32]).collect();
        let far: Vec<_> = rows.iter().copied().map(shift).collect();
        let (near, far) = (features(&rows, &[0; 300]), features(&far, &[0; 300]));
        let index = |n: &Neighbours| n.entries.iter().map(|n| n.index).collect::<Vec<_>>();
        let a = neighbours(&near, &near, Distance::Euclidean, 9).unwrap();
        let b = neighbours(&far, &far, Distance::Euclidean, 9).unwrap();
        assert_eq!(index(&a), index(&b));
        assert!((0..300).all(|row| a.of(row)[0].index == row as u32));
    }

    #[test]
    fn blocks_give_the_neighbours_of_a_plain_search() {
        let rows = |n: usize, salt: usize| -> Vec<[f32; 2]> {
            let number = |i: usize| (i * 7919 + salt) % 10_007;
            (0..n)
                .map(|i| [number(i) as f32 - 5000.0, number(i * 31 + 1) as f32 - 5000.0])
                .collect()
        };
        let (train, test) = (rows(MANY[0], 1), rows(MANY[1], 5));
        let (train, test) =
            (features(&train, &vec![0; train.len()]), features(&test, &vec![0; test.len()]));
        for distance in [Distance::Cosine, Distance::Euclidean] {
            let got = neighbours(&train, &test, distance, 5).unwrap();
            for row in [0, 17, MANY[1] - 4, MANY[1] - 1] {
                let closeness = |i| closeness(test.row(row), train.row(i), distance);
                let mut all: Vec<_> = (0..train.rows).map(|i| (closeness(i), i)).collect();
                all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
                let expected: Vec<_> = all[..5].iter().map(|&(_, i)| i as u32).collect();
                let got: Vec<_> = got.of(row).iter().map(|n| n.index).collect();
                assert_eq!(got, expected, "{distance:?} row {row}");
            }
        }
    }

    #[test]
    fn portions_of_the_test_rows_change_no_digit() {
        let rows: Vec<[f32; 2]> = (0..1200)
            .map(|i| [((i * 7919) % 1009) as f32 - 500.0, ((i * 104_729) % 997) as f32 - 500.0])
            .collect();
        let labels: Vec<i64> = (0..1200).map(|i| (i * 31) % 7).collect();
        let (train, test) = (features(&rows[..500], &labels[..500]), features(&rows, &labels));
        let distances = [Distance::Cosine, Distance::Euclidean];
        let (ks, temperatures) = ([1, 5, 30], [0.07, 1.0]);
        let expected = judged(&train, &test, &distances, &ks, &temperatures).unwrap();
        assert_eq!(expected.cells.len(), 9);
        let blocks = bytes_of_blocks(2, 2) + 16 * 1700;
        let row = 8 + bytes_of_row(2, 2, 30);
        for (memory, portion_) in [(0, 256), (blocks + 300 * row, 300), (u64::MAX, 1200)] {
            assert_eq!(portion(&train, &test, 2, 30, memory), portion_);
            let got = grid_within(&train, &test, &distances, &ks, &temperatures, memory).unwrap();
            assert_eq!(got.cells, expected.cells, "{memory} bytes");
            for cell in 0..9 {
                let confusion = got.confusion(cell);
                assert_eq!(confusion, expected.confusion(cell), "{memory} bytes");
                assert_eq!(confusion.top1(), Some(got.cells[cell].accuracy.top1));
                assert_eq!(confusion.balanced_top1(), Some(got.cells[cell].balanced_top1));
            }
        }
        let mut bad = test.clone();
        bad.values[2 * 700 + 1] = f32::NAN;
        let error = grid_within(&train, &bad, &distances, &ks, &temperatures, 0).err().unwrap();
        assert!(
            error.to_string().contains("features to classify: row 700, column 1 is NaN"),
            "{error}"
        );
    }

    #[test]
    fn one_class_is_always_right() {
        let one = features(&[[1.0, 0.0], [0.0, 1.0]], &[0, 0]);
        let got = knn(&one, &one, Distance::Euclidean, &[1], &[1.0]).unwrap();
        assert_eq!(got[0].accuracy, Accuracy { top1: 100.0, top5: 100.0 });
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let good = train();
        let error = |train: &Features, test: &Features, ks: &[usize], t: f64| {
            knn(train, test, Distance::Cosine, ks, &[t]).unwrap_err().to_string()
        };
        let mut bad = train();
        bad.values[3] = f32::NAN;
        assert!(
            error(&good, &bad, &[1], 0.1).contains("features to classify: row 1, column 1 is NaN")
        );
        bad = train();
        bad.labels = Some(vec![0, -1, 0, 0]);
        assert!(error(&bad, &good, &[1], 0.1).contains("label of row 1 is -1"));
        bad.labels = None;
        assert!(error(&bad, &good, &[1], 0.1).contains("no labels"));
        bad.values.clear();
        bad.rows = 0;
        assert!(error(&good, &bad, &[1], 0.1).contains("no features"));
        assert!(error(&good, &good, &[0], 0.1).contains("knn k is 0"));
        assert!(error(&good, &good, &[], 0.1).contains("knn k is 0"));
        assert!(error(&good, &good, &[1], 0.0).contains("temperature"));
    }
}
