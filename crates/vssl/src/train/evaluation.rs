//! The result of the evaluators at the end of a run.

use std::collections::BTreeMap;

/// The figures of the end of a run.
#[derive(Clone, Debug, Default)]
pub struct Evaluation {
    /// By their names in the summary; `None` for a figure that was not measured.
    pub figures: BTreeMap<String, Option<f64>>,
    /// Images of both splits that these are without: they could not be read.
    pub left_out: usize,
}

/// Says how many images a result is without; `None` where every image was read.
pub(crate) fn left_out_note(images: usize) -> Option<String> {
    (images > 0).then(|| {
        format!(
            "{images} images could not be read: accuracies are of the others (data.on_bad_image)"
        )
    })
}
