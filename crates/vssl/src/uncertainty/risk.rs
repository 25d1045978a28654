//! Errors among the images that a score is sure of: selective risk (El-Yaniv and Wiener 2010;
//! Geifman and El-Yaniv 2017, arXiv:1705.08500).
//!
//! Images are sorted from sure to unsure; `risk(k)` is the share of errors among the first k. The
//! area under that curve is `AURC = 1/n·Σ_k risk(k)`; what it is above that of an oracle, which puts
//! all errors last, is E-AURC (Geifman, Uziel and El-Yaniv 2019, arXiv:1805.08206). Equal scores count
//! as their mean over all orders. Called by `assessment`.

use serde::Serialize;

/// What a score knows of the errors of a classifier.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Risk {
    /// Area under the curve. An order by chance has the share of all errors.
    pub aurc: f64,
    /// `aurc` minus the oracle's.
    pub excess_aurc: f64,
    /// Share of errors among the surest 5 %, 10 %, …, 100 % of the images.
    pub curve: Vec<f64>,
}

/// Points of the curve that are kept.
pub const POINTS: usize = 20;

/// The risk for `scores`, which are higher where the network is less sure, and for `wrong`, which says
/// whether the classifier errs; `None` without images.
///
/// # Panics
/// When the lengths differ.
pub fn risk(scores: &[f64], wrong: &[bool]) -> Option<Risk> {
    assert_eq!(scores.len(), wrong.len(), "one score an image");
    if scores.is_empty() {
        return None;
    }
    let curve = curve(scores, wrong);
    let aurc = mean(&curve);
    let oracle: Vec<f64> = wrong.iter().map(|&wrong| f64::from(u8::from(wrong))).collect();
    // Ties of the oracle are all right or all wrong, so their order does not matter.
    let best = mean(&self::curve(&oracle, wrong));
    let n = curve.len();
    let kept = (1..=POINTS).map(|point| curve[(n * point).div_ceil(POINTS) - 1]).collect();
    Some(Risk { aurc, excess_aurc: aurc - best, curve: kept })
}

/// `risk(1), …, risk(n)`.
fn curve(scores: &[f64], wrong: &[bool]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let (mut curve, mut errors) = (Vec::with_capacity(order.len()), 0);
    for tied in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let here = tied.iter().filter(|&&image| wrong[image]).count();
        for place in 1..=tied.len() {
            let expected = errors as f64 + here as f64 * place as f64 / tied.len() as f64;
            curve.push(expected / (curve.len() + 1) as f64);
        }
        errors += here;
    }
    curve
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRONG: [bool; 4] = [true, false, false, true];

    #[test]
    fn the_area_is_that_of_a_count_by_hand() {
        // In order: right, wrong, right, wrong; risks 0, 1/2, 1/3, 1/2. Oracle: 0, 0, 1/3, 1/2.
        let got = risk(&[0.2, 0.1, 0.3, 0.4], &WRONG).unwrap();
        assert!((got.aurc - (0.5 + 1.0 / 3.0 + 0.5) / 4.0).abs() < 1e-15, "{got:?}");
        assert!((got.excess_aurc - 0.125).abs() < 1e-15, "{got:?}");
        assert_eq!((got.curve[0], got.curve[POINTS - 1]), (0.0, 0.5));
    }

    #[test]
    fn the_oracle_has_no_excess_and_a_score_without_differences_has_the_rate_of_errors() {
        assert_eq!(risk(&[1.0, 0.0, 0.0, 1.0], &WRONG).unwrap().excess_aurc, 0.0);
        let none = risk(&[7.0; 4], &WRONG).unwrap();
        assert_eq!((none.aurc, none.curve.clone()), (0.5, vec![0.5; POINTS]));
    }

    #[test]
    fn tied_scores_count_as_the_mean_over_their_orders() {
        let both = [[0.1, 0.2, 0.3, 0.4], [0.2, 0.1, 0.3, 0.4]];
        let orders = both.map(|scores| risk(&scores, &WRONG).unwrap().aurc);
        let tied = risk(&[0.1, 0.1, 0.3, 0.4], &WRONG).unwrap().aurc;
        assert!((tied - (orders[0] + orders[1]) / 2.0).abs() < 1e-15);
    }

    #[test]
    fn no_images_have_no_risk() {
        assert!(risk(&[], &[]).is_none());
    }
}
