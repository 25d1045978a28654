//! Whether the images that are judged have classes that are known, and whether a class has lost all its images.
//! Called by evaluations, which count an image of an unknown class as an error.

use std::collections::{BTreeMap, BTreeSet};

use vssl_data::Dataset;

use crate::features::Source;

/// Largest number of classes that a message lists.
const LISTED: usize = 5;

/// Why images cannot be judged by others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommonClassesError {
    /// A set of images is empty after those that cannot be read were left out.
    #[error(
        "none of the images {set} could be read; expected at least one. `vssl data check` names them with the \
         reasons"
    )]
    NoImage {
        /// The set: `with known classes` or `to classify`.
        set: &'static str,
    },
    /// Every answer would be wrong.
    #[error(
        "no class of the images to classify ({asked}) is one of the images with known classes ({known}); \
         expected sets of the same classes"
    )]
    NoneInCommon {
        /// The first classes of the images to classify.
        asked: String,
        /// The first classes of the images with known classes.
        known: String,
    },
}

/// Checks that the classes `asked` of images that are judged have one in common with the classes `known`. Returns
/// a note on images whose class is not known: no answer about them can be right. `names` are the names of
/// the classes; a class beyond them is called by its number.
///
/// # Errors
/// A set is empty, or there is no common class.
pub fn check(
    known: &[i64],
    asked: &[i64],
    names: &[String],
) -> Result<Option<String>, CommonClassesError> {
    let classes = |labels: &[i64]| -> BTreeSet<i64> { labels.iter().copied().collect() };
    let (learnt, wanted) = (classes(known), classes(asked));
    for (classes, set) in [(&learnt, "with known classes"), (&wanted, "to classify")] {
        if classes.is_empty() {
            return Err(CommonClassesError::NoImage { set });
        }
    }
    if learnt.is_disjoint(&wanted) {
        let [asked, known] = [listed(&wanted, names), listed(&learnt, names)];
        return Err(CommonClassesError::NoneInCommon { asked, known });
    }
    let unknown: BTreeSet<i64> = wanted.difference(&learnt).copied().collect();
    if unknown.is_empty() {
        return Ok(None);
    }
    let images = asked.iter().filter(|label| unknown.contains(label)).count();
    Ok(Some(format!(
        "{images} of {} images have classes without known images ({}): they count as errors",
        asked.len(),
        listed(&unknown, names)
    )))
}

/// Checks the classes of the features of two sets as [`check`] does; sets without labels have nothing to check.
///
/// # Errors
/// The errors of [`check`].
pub fn check_features(
    known: &dyn Source,
    asked: &dyn Source,
    names: &[String],
) -> Result<Option<String>, CommonClassesError> {
    match (known.labels(), asked.labels()) {
        (Some(known), Some(asked)) => check(known, asked, names),
        _ => Ok(None),
    }
}

/// Returns the note of [`lost`] on the images `of`, which are called `split`, of which the features `read` are those
/// that could be read; `None` without labels.
pub fn lost_in(split: &str, of: &dyn Dataset, read: &dyn Source) -> Option<String> {
    let (all, read) = (of.labels()?, read.labels()?);
    if all.len() == read.len() {
        return None;
    }
    lost(split, all, read, of.classes())
}

/// Returns a note on the classes that have images in `split`, with the labels `all`, and not a single one with the
/// labels `read`, those of the images that could be read; `None` where there is no such class.
pub fn lost(split: &str, all: &[u32], read: &[i64], names: &[String]) -> Option<String> {
    let read: BTreeSet<i64> = read.iter().copied().collect();
    let mut images = BTreeMap::<i64, usize>::new();
    for &label in all {
        *images.entry(label.into()).or_default() += 1;
    }
    let lost: BTreeSet<i64> =
        images.keys().filter(|class| !read.contains(class)).copied().collect();
    let count: usize = lost.iter().map(|class| images[class]).sum();
    let classes = match lost.len() {
        0 => return None,
        1 => "1 class has".to_owned(),
        classes => format!("{classes} classes have"),
    };
    Some(format!(
        "{classes} no {split} image that can be read ({}; {count} in all): `vssl data check` names them",
        listed(&lost, names)
    ))
}

fn listed(classes: &BTreeSet<i64>, names: &[String]) -> String {
    let name = |&class: &i64| {
        let name = usize::try_from(class).ok().and_then(|class| names.get(class));
        name.map_or_else(|| class.to_string(), Clone::clone)
    };
    let some: Vec<String> = classes.iter().take(LISTED).map(name).collect();
    let more = if classes.len() > LISTED { ", …" } else { "" };
    format!("{}{more}", some.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_unknown_classes_are_counted_and_sets_without_a_common_class_refused() {
        let names = ["cat", "dog"].map(str::to_owned);
        assert_eq!(check(&[0, 1], &[1, 1], &names), Ok(None));
        let note = check(&[0, 0], &[1, 0, 7], &names).unwrap().unwrap();
        assert!(note.starts_with("2 of 3 images") && note.contains("(dog, 7)"), "{note}");
        let error = check(&[0], &[1, 1], &names).unwrap_err().to_string();
        assert!(error.contains("classify (dog)") && error.contains("classes (cat)"), "{error}");
        let error = check(&[], &[1], &names).unwrap_err().to_string();
        assert!(error.contains("with known classes could be read"), "{error}");
        let many: Vec<i64> = (10..20).collect();
        let error = check(&many, &[1], &[]).unwrap_err().to_string();
        assert!(error.contains("10, 11, 12, 13, 14, …"), "{error}");
    }

    #[test]
    fn a_class_without_an_image_that_could_be_read_is_named() {
        let names = ["cat", "dog"].map(str::to_owned);
        assert_eq!(lost("training", &[0, 1, 1], &[1, 0], &names), None);
        let note = lost("training", &[0, 1, 1], &[0], &names).unwrap();
        assert!(
            note.starts_with("1 class has no training image that can be read (dog; 2"),
            "{note}"
        );
    }
}
