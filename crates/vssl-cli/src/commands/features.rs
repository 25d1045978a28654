//! What is checked and told of features before they are judged: classes that are not known, classes without an image,
//! and rows that say nothing. Called by `vssl knn` and `vssl evaluate`.

use vssl::{
    eval::common_classes,
    features::{Flat, Source},
};
use vssl_data::Dataset;

use crate::{
    failure::Failure,
    notes::{note, warn},
    output::counted,
};

/// Refuses images of which none could be read, and images without a single class of the known images. Tells of
/// images whose class is not known, and warns of features that tell no images apart. `classes` are the names
/// of the classes.
pub(super) fn check(
    known: &dyn Source,
    asked: &dyn Source,
    classes: &[String],
) -> Result<(), Failure> {
    common_classes::check_features(known, asked, classes)?.iter().for_each(|text| note(text));
    for (set, features) in [("training features", known), ("features to classify", asked)] {
        Flat::of(features)?.warning(set).iter().for_each(|text| warn(text));
    }
    Ok(())
}

/// Tells of the classes of the images `of`, which are called `split`, that have no image among the `read` features.
pub(super) fn tell_lost(split: &str, of: &dyn Dataset, read: &dyn Source) {
    common_classes::lost_in(split, of, read).iter().for_each(|text| note(text));
}

/// Tells that fewer images than the `k` neighbours asked for can vote, where only `known` have known classes.
pub(super) fn tell_few(k: usize, known: usize) {
    if k > known {
        let known = counted(known, "image");
        note(&format!(
            "--k {k}: only {known} with known classes; where k is larger, all of them vote"
        ));
    }
}
