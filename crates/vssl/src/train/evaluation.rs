//! The result of the evaluators at the end of a run.

use std::collections::BTreeMap;

use vssl_data::counted;

use crate::{eval::confusion::Confusion, run::events::Summary};

/// The beginning of the note that names figures of an earlier evaluation.
const KEPT: &str = "kept from an earlier evaluation of the same weights: ";

/// The figures that are measured at the end of a run.
#[derive(Clone, Debug, Default)]
pub struct Evaluation {
    /// The figures by their names in the summary; `None` for a figure that was not measured.
    pub figures: BTreeMap<String, Option<f64>>,
    /// The number of images of both splits that could not be read and were left out.
    pub left_out: usize,
    /// The notes on what was measured: features that say nothing, classes without images, figures of an earlier
    /// evaluation.
    pub notes: Vec<String>,
    /// The evaluators that classify, in words, and the classes that they gave to the validation images by the
    /// trained encoder.
    pub classes: Vec<(String, Confusion)>,
}

impl Evaluation {
    /// Adds the figures of `earlier`, the result of an earlier evaluation of the same weights, that were not
    /// measured anew, with the notes of that result and one that names the figures.
    pub(super) fn keep(&mut self, earlier: &Summary) {
        let mut kept = Vec::new();
        for (name, value) in earlier.figures.iter().filter(|(_, value)| value.is_some()) {
            let own = self.figures.entry(name.clone()).or_default();
            if own.is_none() {
                *own = *value;
                kept.push(name.as_str());
            }
        }
        if !kept.is_empty() {
            let notes = earlier.notes.iter().filter(|note| !note.starts_with(KEPT));
            let kept = format!("{KEPT}{}", kept.join(", "));
            let earlier: Vec<String> = notes.cloned().chain([kept]).collect();
            add_new(&mut self.notes, earlier);
        }
    }
}

/// Returns the notes of a result, each once: those that came with the checkpoint, those of this start, and one
/// on the images that the result leaves out.
pub(crate) fn result_notes(lasting: &[String], start: &[String], left_out: usize) -> Vec<String> {
    let mut notes = lasting.to_vec();
    add_new(&mut notes, start.iter().cloned().chain(left_out_note(left_out)));
    notes
}

/// Adds those of `more` that are not among `notes`.
pub(super) fn add_new(notes: &mut Vec<String>, more: impl IntoIterator<Item = String>) {
    for note in more {
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
}

/// Returns a sentence on how many images a result leaves out; `None` where every image was read.
fn left_out_note(images: usize) -> Option<String> {
    (images > 0).then(|| {
        let images = counted(images, "image");
        format!("{images} could not be read: accuracies are of the others (data.on_bad_image)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn earlier() -> Summary {
        let text = r#"{"method":"byol","seed":0,"steps":9,"interrupted":false,"seconds":1.5,
            "images_per_s":6.0,"peak_rss_mib":null,"commit":null,"version":"0.1.0",
            "replaced_images":0,"online_top1":30.5,"knn_top1":40,"linear_top1":50,
            "pixels_knn_top1":null,"notes":["of the images"],"run":"runs/a"}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_is_measured_anew_replaces_what_was_and_the_rest_is_kept_and_named() {
        let measured =
            [("knn_top1", Some(41.0)), ("linear_top1", None), ("spectrum_rank", Some(7.0))];
        let figures = measured.map(|(name, value)| (name.to_owned(), value)).into();
        let mut evaluation = Evaluation { figures, ..Evaluation::default() };
        evaluation.keep(&earlier());
        assert_eq!(evaluation.figures["knn_top1"], Some(41.0));
        assert_eq!(evaluation.figures["linear_top1"], Some(50.0));
        assert_eq!(evaluation.figures["spectrum_rank"], Some(7.0));
        let named = "kept from an earlier evaluation of the same weights: linear_top1";
        assert_eq!(evaluation.notes, ["of the images", named]);

        // Of the third evaluation, the note of the second names nothing any more.
        let second = Summary { figures: evaluation.figures, notes: evaluation.notes, ..earlier() };
        let mut third = Evaluation::default();
        third.keep(&second);
        let named = "kept from an earlier evaluation of the same weights: knn_top1, linear_top1, spectrum_rank";
        assert_eq!(third.notes, ["of the images", named]);
    }

    #[test]
    fn an_evaluation_that_measures_everything_keeps_nothing_and_says_nothing() {
        let figures = ["knn_top1", "linear_top1"].map(|name| (name.to_owned(), Some(1.0))).into();
        let mut evaluation = Evaluation { figures, ..Evaluation::default() };
        evaluation.keep(&earlier());
        assert_eq!(evaluation.figures.values().flatten().sum::<f64>(), 2.0);
        assert!(evaluation.notes.is_empty(), "{:?}", evaluation.notes);
    }
}
