//! Spearman's rank correlation: whether a figure without labels orders encoders as their accuracies do.

use super::{Accuracies, Criterion, Figures};

/// The least number of encoders for which a correlation is given.
pub const LEAST_PAIRS: usize = 3;

/// The rank correlation of a figure with an accuracy.
#[derive(Clone, Debug, PartialEq)]
pub struct Correlation {
    /// The figure without labels.
    pub criterion: Criterion,
    /// The name of the accuracy.
    pub accuracy: &'static str,
    /// From −1 to 1, where 1 is the same order; `None` for fewer than [`LEAST_PAIRS`] encoders, and where all have the
    /// same figure or the same accuracy.
    pub spearman: Option<f64>,
    /// The number of encoders that have both.
    pub count: usize,
}

/// Returns the correlation of every figure with every accuracy that an encoder has.
pub fn correlations(judged: &[(&Figures, &Accuracies)]) -> Vec<Correlation> {
    let mut all = Vec::new();
    for (accuracy, _) in super::ACCURACIES {
        if !judged.iter().any(|(_, known)| known.contains_key(accuracy)) {
            continue;
        }
        for criterion in Criterion::ALL {
            let pairs: Vec<[f64; 2]> = judged
                .iter()
                .filter_map(|(figures, known)| {
                    Some([criterion.score(figures.of(criterion)?), *known.get(accuracy)?])
                })
                .collect();
            let found = (pairs.len() >= LEAST_PAIRS).then(|| spearman(&pairs)).flatten();
            all.push(Correlation { criterion, accuracy, spearman: found, count: pairs.len() });
        }
    }
    all
}

/// Returns Spearman's rank correlation: Pearson's correlation of the ranks, where equal numbers share the mean of their
/// ranks. `None` without pairs, and where all numbers of one side are equal.
pub fn spearman(pairs: &[[f64; 2]]) -> Option<f64> {
    let [x, y] = [0, 1].map(|side| ranks(&pairs.iter().map(|pair| pair[side]).collect::<Vec<_>>()));
    let mean = (pairs.len() as f64 + 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum()
    };
    let spread = (product(&x, &x) * product(&y, &y)).sqrt();
    (spread > 0.0).then(|| product(&x, &y) / spread)
}

/// Returns the rank of each value, from 1.
fn ranks(values: &[f64]) -> Vec<f64> {
    let rank = |value: &f64| {
        let below = values.iter().filter(|other| *other < value).count();
        let equal = values.iter().filter(|other| *other == value).count();
        below as f64 + (equal as f64 + 1.0) / 2.0
    };
    values.iter().map(rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spearman_is_scipys() {
        // scipy.stats.spearmanr, version 1.17.1, with ties on both sides.
        let x = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0];
        let y = [2.0, 7.0, 1.0, 8.0, 2.0, 8.0, 1.0, 8.0];
        let pairs: Vec<[f64; 2]> = x.into_iter().zip(y).map(|(x, y)| [x, y]).collect();
        let found = spearman(&pairs).unwrap();
        assert!((found - 0.198_853_681_209_924_67).abs() < 1e-12, "{found}");
    }

    #[test]
    fn the_same_order_is_one_the_opposite_minus_one_and_equal_numbers_have_none() {
        let same = [[0.1, 10.0], [0.2, 40.0], [7.0, 41.0]];
        assert_eq!(spearman(&same), Some(1.0));
        assert_eq!(spearman(&same.map(|[x, y]| [-x, y])), Some(-1.0));
        assert_eq!(spearman(&same.map(|[_, y]| [1.0, y])), None);
        assert_eq!(spearman(&[]), None);
    }

    #[test]
    fn alpha_req_is_correlated_by_its_distance_from_one_and_a_missing_figure_counts_for_nothing() {
        let figures = |alpha| Figures { alpha_req: alpha, ..Figures::default() };
        let known = |top1| Accuracies::from([("knn_top1", top1)]);
        let (figures, known) = (
            [Some(0.2), Some(1.9), Some(1.1), None].map(figures),
            [20.0, 30.0, 40.0, 50.0].map(known),
        );
        let judged: Vec<_> = figures.iter().zip(&known).collect();
        let found = correlations(&judged);
        assert_eq!(found.len(), Criterion::ALL.len());
        let alpha = found.iter().find(|one| one.criterion == Criterion::AlphaReq).unwrap();
        assert_eq!((alpha.spearman, alpha.count, alpha.accuracy), (Some(0.5), 3, "knn_top1"));
        let lidar = found.iter().find(|one| one.criterion == Criterion::Lidar).unwrap();
        assert_eq!((lidar.spearman, lidar.count), (None, 0));
    }
}
