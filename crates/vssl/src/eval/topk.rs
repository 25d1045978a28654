//! Top-k accuracy of scores. Ties go to the lower class index, so the value does not depend on how
//! a sort breaks them. Called by the probes; `knn` and `linear` rank with the same function.

use super::EvalError;
use crate::features::FeatureError;

/// Place of `target` among the scores, from 0: how many classes come before it.
pub(super) fn rank<T: PartialOrd + Copy>(scores: &[T], target: usize) -> usize {
    let own = scores[target];
    let before = |(class, &score): (usize, &T)| score > own || (score == own && class < target);
    scores.iter().enumerate().filter(|&entry| before(entry)).count()
}

/// The class with the largest score, the lowest of equals.
pub(super) fn first<T: PartialOrd + Copy>(scores: &[T]) -> usize {
    let mut best = 0;
    for (class, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = class;
        }
    }
    best
}

/// Percentage of rows whose target is among the `k` largest scores, over the rows that have a
/// target (not −1); `None` when no row has one. Infinite scores are ordinary extremes.
///
/// # Shapes — `scores`: `[rows, classes]`, row after row; `targets`: `[rows]`.
///
/// # Errors
/// Lengths that do not agree, a target that is no class, a score that is not a number.
pub fn top_k_percent(
    scores: &[f32],
    classes: usize,
    targets: &[i64],
    k: usize,
) -> Result<Option<f64>, EvalError> {
    let set = "scores";
    let (got, expected) = (scores.len(), targets.len() * classes);
    if got != expected {
        return Err(FeatureError::Length { set, what: "values", got, expected }.into());
    }
    let (mut labelled, mut hits) = (0_usize, 0_usize);
    for (row, &label) in targets.iter().enumerate() {
        if label == -1 {
            continue;
        }
        let target = usize::try_from(label).ok().filter(|&class| class < classes);
        let most = classes as i64 - 1;
        let target = target.ok_or(EvalError::BadLabel { set: "targets", row, label, most })?;
        let scores = &scores[row * classes..(row + 1) * classes];
        if let Some(column) = scores.iter().position(|score| score.is_nan()) {
            let value = scores[column];
            return Err(FeatureError::NotFinite { set, row, column, value }.into());
        }
        labelled += 1;
        hits += usize::from(rank(scores, target) < k);
    }
    Ok((labelled > 0).then(|| 100.0 * hits as f64 / labelled as f64))
}

/// The class with the largest score of each row, the lowest of equals; `None` for a row with a score that is
/// not a number.
///
/// # Shapes — `scores`: `[rows, classes]`, row after row.
pub(crate) fn predicted(scores: &[f32], classes: usize) -> Vec<Option<u32>> {
    let class = |scores: &[f32]| {
        let is_known = scores.iter().all(|score| !score.is_nan());
        is_known.then(|| first(scores) as u32)
    };
    scores.chunks_exact(classes).map(class).collect()
}

/// Rows whose target is the largest score, and rows whose target is among the five largest. A row
/// with a score that is not a number counts for neither.
///
/// # Shapes — `scores`: `[rows, classes]`, row after row; `targets`: `[rows]`, below `classes`.
pub(crate) fn top_hits(scores: &[f32], classes: usize, targets: &[u32]) -> [usize; 2] {
    let mut hits = [0; 2];
    for (scores, &target) in scores.chunks_exact(classes).zip(targets) {
        if scores.iter().any(|score| score.is_nan()) {
            continue;
        }
        let rank = rank(scores, target as usize);
        hits[0] += usize::from(rank < 1);
        hits[1] += usize::from(rank < 5);
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_lower_class() {
        assert_eq!(top_k_percent(&[1.0, 1.0, 1.0], 3, &[0], 1), Ok(Some(100.0)));
        assert_eq!(top_k_percent(&[1.0, 1.0, 1.0], 3, &[1], 1), Ok(Some(0.0)));
        assert_eq!(top_k_percent(&[1.0, 1.0, 1.0], 3, &[1], 2), Ok(Some(100.0)));
    }

    #[test]
    fn the_predicted_class_is_the_one_of_rank_zero() {
        let scores = [0.0, 2.0, 2.0, f32::NAN, 1.0, 0.0, -1.0, f32::NEG_INFINITY, -1.0];
        assert_eq!(predicted(&scores, 3), [Some(1), None, Some(0)]);
        for row in [&scores[..3], &scores[6..]] {
            assert_eq!(rank(row, first(row)), 0);
        }
    }

    #[test]
    fn rows_without_a_target_do_not_count() {
        assert_eq!(top_k_percent(&[0.0, 1.0, 0.0, 1.0], 2, &[1, -1], 1), Ok(Some(100.0)));
        assert_eq!(top_k_percent(&[0.0, 1.0], 2, &[-1], 1), Ok(None));
        assert_eq!(top_k_percent(&[], 2, &[], 1), Ok(None));
    }

    #[test]
    fn what_is_no_score_or_no_class_is_named_with_its_row() {
        let error = top_k_percent(&[0.0, 1.0, f32::NAN, 1.0], 2, &[0, 1], 1).unwrap_err();
        let expected = "scores: row 1, column 0 is NaN";
        assert!(error.to_string().starts_with(expected), "{error}");
        for label in [2, -2] {
            let error = top_k_percent(&[0.0, 1.0], 2, &[label], 1).unwrap_err();
            assert!(error.to_string().contains("from 0 to 1"), "{error}");
        }
        assert!(top_k_percent(&[0.0], 2, &[0], 1).is_err());
    }

    #[test]
    fn infinite_scores_are_extremes() {
        let scores = [f32::INFINITY, 0.0, f32::NEG_INFINITY];
        assert_eq!(top_k_percent(&scores, 3, &[2], 2), Ok(Some(0.0)));
        assert_eq!(top_k_percent(&scores, 3, &[0], 1), Ok(Some(100.0)));
    }
}
