//! Weighted nearest neighbours (Wu et al. 2018, arXiv:1805.01978): each test image is given the
//! class with the largest sum of its neighbours' weights.
//!
//! Cosine: rows normalised, weight `exp(s / T)`. Euclidean: rows as they are, weight
//! `1 / (distance + 1e-5)`. One pass finds the neighbours for the largest k; every smaller k and
//! every temperature is then a matter of summing weights.

use rayon::prelude::*;

use super::{Accuracy, EvalError, Features, Labelled, Source, search::check_k, topk::rank};

pub use super::search::{Distance, Neighbour, Neighbours, neighbours, neighbours_of_each};

/// Accuracy for one number of neighbours and one temperature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KnnAccuracy {
    /// What made images near.
    pub distance: Distance,
    /// Number of neighbours asked for.
    pub k: usize,
    /// Temperature of the weights (unused by the Euclidean distance).
    pub temperature: f64,
    /// Shares of right classes.
    pub accuracy: Accuracy,
}

/// Added to a Euclidean distance before it is inverted.
const DISTANCE_FLOOR: f64 = 1e-5;

/// Accuracy for every pair of `ks` and `temperatures`, from one search.
///
/// # Errors
/// As [`grid`].
pub fn knn(
    train: &dyn Source,
    test: &Features,
    distance: Distance,
    ks: &[usize],
    temperatures: &[f64],
) -> Result<Vec<KnnAccuracy>, EvalError> {
    grid(train, test, &[distance], ks, temperatures)
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
    let labels = Labelled::of(train, test)?;
    for &got in temperatures {
        if !(got.is_finite() && got > 0.0) {
            let (field, expected) = ("knn temperature", "a positive number");
            return Err(EvalError::Setting { field, got, expected });
        }
    }
    check_k(ks.iter().min().copied().unwrap_or(0))?;
    let largest = ks.iter().max().copied().unwrap_or(0);
    let mut result = Vec::new();
    for neighbours in neighbours_of_each(train, test, distances, largest)? {
        let distance = neighbours.distance;
        let temperatures = match distance {
            Distance::Cosine => temperatures,
            Distance::Euclidean => &temperatures[..temperatures.len().min(1)],
        };
        for (&k, &temperature) in ks.iter().flat_map(|k| temperatures.iter().map(move |t| (k, t))) {
            let accuracy = neighbours.accuracy(&labels, k, temperature);
            result.push(KnnAccuracy { distance, k, temperature, accuracy });
        }
    }
    Ok(result)
}

impl Neighbours {
    /// Sum of the weights of the `k` nearest neighbours of one test row for each class. With the
    /// cosine the weights are relative to the nearest neighbour's, so that no temperature overflows.
    pub fn votes(
        &self,
        row: usize,
        labels: &[usize],
        classes: usize,
        k: usize,
        temperature: f64,
    ) -> Vec<f64> {
        let nearest = &self.of(row)[..k.min(self.k)];
        let mut votes = vec![0.0; classes];
        for neighbour in nearest {
            votes[labels[neighbour.index as usize]] += match self.distance {
                Distance::Cosine => {
                    ((neighbour.closeness - nearest[0].closeness) / temperature).exp()
                }
                Distance::Euclidean => 1.0 / (DISTANCE_FLOOR - neighbour.closeness),
            };
        }
        votes
    }

    fn accuracy(&self, labels: &Labelled, k: usize, temperature: f64) -> Accuracy {
        let five = 5.min(k).min(self.k).min(labels.classes);
        let hits = |(row, &target): (usize, &usize)| {
            let votes = self.votes(row, &labels.train, labels.classes, k, temperature);
            let rank = rank(&votes, target);
            [usize::from(rank < 1), usize::from(rank < five)]
        };
        let add = |a: [usize; 2], b: [usize; 2]| [a[0] + b[0], a[1] + b[1]];
        let [first, five] = labels.test.par_iter().enumerate().map(hits).reduce(|| [0, 0], add);
        let percent = |hits: usize| 100.0 * hits as f64 / labels.test.len() as f64;
        Accuracy { top1: percent(first), top5: percent(five) }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::search::{TEST_BLOCK, TRAIN_BLOCK, closeness},
        *,
    };

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
        let (train, test) = (rows(TRAIN_BLOCK + 100, 1), rows(TEST_BLOCK + 3, 5));
        let (train, test) =
            (features(&train, &vec![0; train.len()]), features(&test, &vec![0; test.len()]));
        for distance in [Distance::Cosine, Distance::Euclidean] {
            let got = neighbours(&train, &test, distance, 5).unwrap();
            for row in [0, 17, TEST_BLOCK, TEST_BLOCK + 2] {
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
        assert!(error(&good, &bad, &[1], 0.1).contains("test features: row 1, column 1 is NaN"));
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
