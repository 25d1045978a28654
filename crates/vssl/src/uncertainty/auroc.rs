//! The area under the receiver operating characteristic, and how sure it is.
//!
//! It is the probability that an unusual image has a higher score than a usual one, ties counted
//! half (Mann and Whitney 1947). The standard error is DeLong's (DeLong, DeLong and Clarke-Pearson
//! 1988), from the share of the other set that each image is above. Called by `assessment`.

use serde::Serialize;

/// The area and its standard error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Auroc {
    /// From 0 to 1; 0.5 tells nothing apart.
    pub auroc: f64,
    /// The standard deviation of the estimate over draws of the images. How much the seed of the training
    /// changes is not in it. 0 where the sets are told apart perfectly, which only says
    /// that these images do not show how far from perfect it is.
    pub standard_error: f64,
}

/// The area for two sets of images that have nothing to do with each other; `None` when one set has
/// fewer than two images. Scores must be finite.
pub fn auroc(usual: &[f64], unusual: &[f64]) -> Option<Auroc> {
    let (above, below) = placements(usual, unusual)?;
    let variance = variance(&above) / above.len() as f64 + variance(&below) / below.len() as f64;
    Some(Auroc { auroc: mean(&above), standard_error: variance.sqrt() })
}

/// The area alone; `None` when a set has no image. Scores must be finite.
pub(super) fn area(usual: &[f64], unusual: &[f64]) -> Option<f64> {
    let both = !usual.is_empty() && !unusual.is_empty();
    both.then(|| mean(&shares_below(unusual, usual)))
}

/// The area for the same images before and after a change, pair by pair: what both members of a pair have in
/// common is taken into account in the standard error. `None` for fewer than two pairs.
///
/// # Panics
/// When the lengths differ.
pub fn auroc_of_pairs(before: &[f64], after: &[f64]) -> Option<Auroc> {
    assert_eq!(before.len(), after.len(), "pairs have two members");
    let (above, below) = placements(before, after)?;
    let sums: Vec<f64> = above.iter().zip(&below).map(|(a, b)| a + b).collect();
    let variance = variance(&sums) / sums.len() as f64;
    Some(Auroc { auroc: mean(&above), standard_error: variance.sqrt() })
}

/// For each unusual image the share of usual ones that it is above; for each usual image the share
/// of unusual ones that it is below.
fn placements(usual: &[f64], unusual: &[f64]) -> Option<(Vec<f64>, Vec<f64>)> {
    if usual.len() < 2 || unusual.len() < 2 {
        return None;
    }
    let above = shares_below(unusual, usual);
    let below = shares_below(usual, unusual).into_iter().map(|share| 1.0 - share).collect();
    Some((above, below))
}

/// For each of `of` the share of `among` that is lower, ties counted half.
fn shares_below(of: &[f64], among: &[f64]) -> Vec<f64> {
    let mut sorted = among.to_vec();
    sorted.sort_by(f64::total_cmp);
    let share = |&score: &f64| {
        let lower = sorted.partition_point(|&other| other < score);
        let not_higher = sorted.partition_point(|&other| other <= score);
        (lower + not_higher) as f64 / 2.0 / sorted.len() as f64
    };
    of.iter().map(share).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Unbiased.
fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64
}

#[cfg(test)]
mod tests {
    use vssl_data::rng::{Stream, rng, uniform};

    use super::*;

    #[test]
    fn the_area_is_the_share_of_pairs_in_order_and_ties_count_half() {
        // Of 3 × 2 pairs: 2 above 1; 2 ties with 2; 2 below 3; 4 above all three.
        let got = auroc(&[1.0, 2.0, 3.0], &[2.0, 4.0]).unwrap();
        assert!((got.auroc - 4.5 / 6.0).abs() < 1e-15, "{got:?}");
        // Shares: 0.5 and 1 of the unusual; 1, 0.75 and 0.5 of the usual.
        let variance: f64 = 0.125 / 2.0 + 0.0625 / 3.0;
        assert!((got.standard_error - variance.sqrt()).abs() < 1e-15, "{got:?}");
    }

    #[test]
    fn equal_scores_tell_nothing_and_the_reverse_score_has_the_rest() {
        assert_eq!(auroc(&[0.0; 5], &[0.0; 4]).unwrap().auroc, 0.5);
        let (a, b) = ([0.3, 0.1, 0.9, 0.4], [0.4, 0.8, 0.2]);
        let minus = |x: &[f64]| x.iter().map(|x| -x).collect::<Vec<_>>();
        let sum = auroc(&a, &b).unwrap().auroc + auroc(&minus(&a), &minus(&b)).unwrap().auroc;
        assert!((sum - 1.0).abs() < 1e-15);
        assert_eq!(auroc(&[1.0, 2.0], &[3.0, 4.0]).unwrap().auroc, 1.0);
        assert!(auroc(&[1.0], &[3.0, 4.0]).is_none());
    }

    #[test]
    fn the_standard_error_is_the_deviation_over_many_draws() {
        let draw = |trial: u64, paired: bool| {
            let mut rng = rng(1, Stream::Evaluation, trial, 0);
            let usual: Vec<f64> = (0..60).map(|_| uniform(&mut rng, 0.0, 1.0)).collect();
            let shifted = |base: f64, rng: &mut _| base + uniform(rng, -0.1, 0.4);
            match paired {
                true => {
                    let after: Vec<f64> = usual.iter().map(|&x| shifted(x, &mut rng)).collect();
                    auroc_of_pairs(&usual, &after).unwrap()
                }
                false => {
                    let other: Vec<f64> = (0..40)
                        .map(|_| {
                            let base = uniform(&mut rng, 0.0, 1.0);
                            shifted(base, &mut rng)
                        })
                        .collect();
                    auroc(&usual, &other).unwrap()
                }
            }
        };
        for paired in [false, true] {
            let all: Vec<Auroc> = (0..2000).map(|trial| draw(trial, paired)).collect();
            let areas: Vec<f64> = all.iter().map(|x| x.auroc).collect();
            let claimed = mean(&all.iter().map(|x| x.standard_error).collect::<Vec<_>>());
            let seen = variance(&areas).sqrt();
            assert!((claimed / seen - 1.0).abs() < 0.08, "{paired}: {claimed} {seen}");
        }
    }
}
