//! The accuracy by class as the page shows it: of the evaluation at the end of a run, and of the trainings on
//! labels in its folder. With many classes, the page shows the worst and the most confused ones; the files
//! beside the run have all of them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::Value;

use crate::{
    eval::confusion::{ClassReport, ClassReports, ClassResult, Confused},
    run::{
        events::Summary,
        folder::{self, CLASSES, CONFUSION},
    },
};

/// The number of the worst classes, and of the most confused pairs, that are shown.
const LISTED: usize = 12;

/// The largest number of classes whose confusion matrix is drawn.
const DRAWN: usize = 30;

/// The accuracy by class of one classifier.
#[derive(Clone, Debug, Serialize)]
pub struct ClassView {
    classifier: String,
    images: u64,
    top1: Option<f64>,
    balanced_top1: Option<f64>,
    classes: usize,
    classes_without_images: usize,
    /// The classes with the lowest accuracies.
    worst: Vec<ClassResult>,
    most_confused: Vec<Confused>,
    /// The names of the classes and the number of images by class (row) and given class (column), where there
    /// are few enough classes to draw them.
    matrix: Option<(Vec<String>, Vec<Vec<u64>>)>,
    /// The file that has the whole confusion.
    #[serde(serialize_with = "crate::run::path_text::one")]
    file: PathBuf,
}

/// Returns the accuracies by class of the run in `run` with this result, and a note on what cannot be read.
/// Evaluations of the encoder at an earlier step are left out.
pub(super) fn classes(run: &Path, summary: Option<&Summary>) -> (Vec<ClassView>, Option<String>) {
    let Some(summary) = summary else { return (Vec::new(), None) };
    let mut folders = Vec::new();
    for entry in fs::read_dir(run).into_iter().flatten().flatten() {
        let path = entry.path();
        if folder::is_on_labels(&path) && encoder_step(&path) == Some(summary.steps) {
            folders.push(path);
        }
    }
    folders.sort();
    let (mut views, mut notes) = (Vec::new(), Vec::new());
    for (folder, step) in [(run.to_owned(), Some(summary.steps))]
        .into_iter()
        .chain(folders.into_iter().map(|folder| (folder, None)))
    {
        match read(&folder) {
            Ok(Some(found)) if step.is_none_or(|step| step == found.step) => {
                views.extend(found.reports.into_iter().map(|report| view(report, &folder)));
            }
            Ok(_) => {}
            Err(what) => notes.push(format!("{}: {what}", folder.join(CLASSES).display())),
        }
    }
    (views, (!notes.is_empty()).then(|| notes.join("; ")))
}

fn read(folder: &Path) -> Result<Option<ClassReports>, String> {
    match fs::read(folder.join(CLASSES)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| error.to_string()),
    }
}

/// Returns the step of the encoder that the training on labels in `folder` was of.
fn encoder_step(folder: &Path) -> Option<u64> {
    folder::summary_of::<Value>(folder).ok()??.get("encoder_step")?.as_u64()
}

fn view(report: ClassReport, folder: &Path) -> ClassView {
    let worst = report.worst(LISTED).into_iter().cloned().collect();
    let names = report.per_class.iter().map(|class| class.class.clone());
    let matrix =
        report.matrix.filter(|rows| rows.len() <= DRAWN).map(|rows| (names.collect(), rows));
    ClassView {
        classifier: report.classifier,
        images: report.images,
        top1: report.top1,
        balanced_top1: report.balanced_top1,
        classes: report.classes,
        classes_without_images: report.classes_without_images,
        worst,
        most_confused: report.most_confused.into_iter().take(LISTED).collect(),
        matrix,
        file: folder.join(CONFUSION),
    }
}
