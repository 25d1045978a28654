//! Whether the nearest other image is of the same class, and whether a score tells (Kirchhof et al. 2023,
//! arXiv:2307.03810, section 3: R@1 and R-AUROC).
//!
//! Every image of a set looks for the nearest of the others by the cosine of their features. Where both are of one class,
//! the retrieval is correct. R@1 is the share of correct ones, and R-AUROC the probability that an image with a wrong
//! neighbour has a higher score than one with a right neighbour, ties counted half. Neither needs a class that the
//! network was trained on. Called by `judge` and `assessment`.

use serde::Serialize;

use super::auroc::{area, auroc};
use crate::{
    eval::{
        EvalError,
        neighbours::{Distance, neighbours},
    },
    features::Features,
};

/// Returns the nearest other row of each row by cosine; of equally near ones the first.
///
/// # Errors
/// Features that do not fit or are not finite, or a single row.
pub fn nearest_others(features: &Features) -> Result<Vec<usize>, EvalError> {
    if features.rows < 2 {
        let (field, got, expected) = ("number of images", features.rows as f64, "at least 2");
        return Err(EvalError::Setting { field, got, expected });
    }
    let found = neighbours(features, features, Distance::Cosine, 2)?;
    // The row itself may come second, or not at all, where others point in the very same direction.
    let other = |row: usize| found.of(row).iter().map(|n| n.index as usize).find(|&n| n != row);
    Ok((0..features.rows).map(|row| other(row).expect("one of two is another row")).collect())
}

/// Returns whether the nearest other row has the same label, for each row.
///
/// # Errors
/// As [`nearest_others`].
pub fn correct_retrievals(features: &Features, labels: &[u32]) -> Result<Vec<bool>, EvalError> {
    let nearest = nearest_others(features)?;
    Ok(nearest.iter().zip(labels).map(|(&other, label)| labels[other] == *label).collect())
}

/// How well a score tells right neighbours from wrong ones.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RetrievalAuroc {
    /// The area, from exact comparisons; 0 where all retrievals are right or all are wrong, as in the reference.
    pub r_auroc: f64,
    /// DeLong's standard error over draws of the images; `None` where there are not two of both sorts.
    pub standard_error: Option<f64>,
    /// The area in the arithmetic of the reference's program, which published figures come from: see
    /// [`in_single_precision`].
    pub r_auroc_reference: f64,
}

/// Measures a score that is higher where the network is less sure.
///
/// # Panics
/// The lengths differ.
pub fn retrieval_auroc(scores: &[f64], correct: &[bool]) -> RetrievalAuroc {
    assert_eq!(scores.len(), correct.len(), "one score an image");
    let [right, wrong] = split(scores, correct);
    let standard_error = auroc(&right, &wrong).map(|area| area.standard_error);
    let [coarse_right, coarse_wrong] = split(&in_single_precision(scores), correct);
    RetrievalAuroc {
        r_auroc: area(&right, &wrong).unwrap_or(0.0),
        standard_error,
        r_auroc_reference: area(&coarse_right, &coarse_wrong).unwrap_or(0.0),
    }
}

/// Returns the scores as the reference's AUROC compares them: it takes minus the score as a probability, in single
/// precision, and applies a sigmoid to all of them where one is outside 0 to 1. Scores above about 88 become equal then,
/// so do scores below about −17, and scores that differ by less than about 1e-7 near 0.
pub fn in_single_precision(scores: &[f64]) -> Vec<f64> {
    let certainties: Vec<f32> = scores.iter().map(|&score| -(score as f32)).collect();
    let are_probabilities = certainties.iter().all(|c| (0.0..=1.0).contains(c));
    let seen = |&c: &f32| if are_probabilities { c } else { 1.0 / (1.0 + (-c).exp()) };
    certainties.iter().map(|c| -f64::from(seen(c))).collect()
}

/// The scores of right and of wrong retrievals.
fn split(scores: &[f64], correct: &[bool]) -> [Vec<f64>; 2] {
    let of = |wanted: bool| {
        let pairs = scores.iter().zip(correct).filter(|(_, correct)| **correct == wanted);
        pairs.map(|(&score, _)| score).collect()
    };
    [of(true), of(false)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_never_its_own_neighbour_even_among_copies() {
        let values = vec![1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 0.0, 1.0];
        let features = Features { rows: 4, dim: 2, values, labels: None };
        assert_eq!(nearest_others(&features).unwrap(), [1, 0, 0, 0]);
        let correct = correct_retrievals(&features, &[0, 1, 0, 7]).unwrap();
        assert_eq!(correct, [false, false, true, false]);
        assert!(
            nearest_others(&Features { rows: 1, dim: 1, values: vec![1.0], labels: None }).is_err()
        );
    }

    #[test]
    fn all_right_or_all_wrong_gives_zero_and_one_wrong_image_has_an_area_without_an_error() {
        let none = retrieval_auroc(&[1.0, 2.0], &[true, true]);
        assert_eq!((none.r_auroc, none.r_auroc_reference, none.standard_error), (0.0, 0.0, None));
        let one = retrieval_auroc(&[1.0, 2.0, 3.0], &[true, true, false]);
        assert_eq!((one.r_auroc, one.standard_error), (1.0, None));
    }
}
