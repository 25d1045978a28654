//! The result of the evaluators at the end of a run.

use std::collections::BTreeMap;

/// The figures that are measured at the end of a run.
#[derive(Clone, Debug, Default)]
pub struct Evaluation {
    /// The figures by their names in the summary; `None` for a figure that was not measured.
    pub figures: BTreeMap<String, Option<f64>>,
    /// The number of images of both splits that could not be read and were left out.
    pub left_out: usize,
}

/// Returns the notes of a result: those that came with the checkpoint, those of this start that are not among
/// them, and one on the images that the result leaves out.
pub(crate) fn result_notes(lasting: &[String], start: &[String], left_out: usize) -> Vec<String> {
    let fresh = start.iter().filter(|note| !lasting.contains(note));
    lasting.iter().chain(fresh).cloned().chain(left_out_note(left_out)).collect()
}

/// Returns a sentence on how many images a result leaves out; `None` where every image was read.
fn left_out_note(images: usize) -> Option<String> {
    (images > 0).then(|| {
        format!(
            "{images} images could not be read: accuracies are of the others (data.on_bad_image)"
        )
    })
}
