//! All scores, asked about the same images: unusual ones, spoiled ones, and those that a probe gets
//! wrong.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use serde::Serialize;
use vssl_data::{
    Dataset, Image, counted,
    dataset::Subset,
    shift::{Corruption, Generated, STRENGTHS},
};

use super::{
    Progress, Settings, UncertaintyError,
    auroc::{Auroc, auroc, auroc_of_pairs},
    judge::{Judge, Verdict},
    retrieval::{RetrievalAuroc, retrieval_auroc},
    risk::{Risk, risk},
    score::Score,
    subject::Subject,
};

/// The images.
pub struct Material {
    /// The images that neighbours and the probe are taken from.
    pub train: Arc<dyn Dataset>,
    /// Usual images that training did not see.
    pub test: Arc<dyn Dataset>,
    /// Unusual ones, each set with its name.
    pub others: Vec<(String, Arc<dyn Dataset>)>,
}

/// How a set differs from the usual images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Other images: the standard error of the area is that of two independent sets.
    Other,
    /// The same images, spoiled: the standard error of the area is that of pairs.
    Corrupted,
}

/// One score, asked to tell one set from the usual images.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Name of the set: a data set, a generated one, or a corruption.
    pub set: String,
    /// Which sort of set.
    pub change: Change,
    /// 1 to 5 for a corruption.
    pub strength: Option<usize>,
    /// The corruption's parameter at this strength.
    pub parameter: Option<f64>,
    /// Images in the set.
    pub images: usize,
    /// How well.
    #[serde(flatten)]
    pub area: Auroc,
}

/// How often the nearest other image of a set is of the same class: R@1.
#[derive(Clone, Debug, Serialize)]
pub struct Recall {
    /// Name of the set: `test`, or an unusual one with classes.
    pub set: String,
    /// Images in the set.
    pub images: usize,
    /// Classes among them.
    pub classes: usize,
    /// The share of images whose nearest other image is of their class.
    pub recall_at_1: f64,
}

/// One score, asked to tell the images of a set whose nearest other image is of another class.
#[derive(Clone, Debug, Serialize)]
pub struct Retrieval {
    /// Name of the set, as in [`Recall`].
    pub set: String,
    /// How well.
    #[serde(flatten)]
    pub area: RetrievalAuroc,
}

/// All answers of one score.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Which score.
    pub score: Score,
    /// Whether it needs a method with distributions.
    pub of_posterior: bool,
    /// Whether every encoder has it, with nothing that was trained to be an uncertainty.
    pub baseline: bool,
    /// Mean area over the unusual sets, given and generated.
    pub other_mean: f64,
    /// Mean area over the corruptions and strengths.
    pub corrupted_mean: f64,
    /// A comparison for each set.
    pub sets: Vec<Comparison>,
    /// Telling wrongly classified usual images from rightly classified ones; `None` without labels, or
    /// where there are not two of both.
    pub errors: Option<Auroc>,
    /// The errors that remain among the images it is sure of; `None` without labels.
    pub risk: Option<Risk>,
    /// Telling images with a wrong nearest neighbour from those with a right one, for each set with classes.
    pub retrieval: Vec<Retrieval>,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Assessment {
    /// The run folder or the file.
    #[serde(serialize_with = "crate::run::path_text::one")]
    pub run: PathBuf,
    /// Method that trained it, where known.
    pub method: Option<String>,
    /// Steps of training, where known.
    pub step: Option<u64>,
    /// Whether variances are vectors of which the loss only sees the direction; `None` without a
    /// posterior.
    pub free_variance: Option<bool>,
    /// The settings that were asked for.
    pub settings: Settings,
    /// Images that neighbours and probe are taken from.
    pub train_images: usize,
    /// Usual images that were judged.
    pub test_images: usize,
    /// Share of them that the probe gets wrong.
    pub probe_error: Option<f64>,
    /// R@1 of each set with classes.
    pub recall: Vec<Recall>,
    /// A report for each score.
    pub scores: Vec<Report>,
    /// What was left out and why.
    pub notes: Vec<String>,
}

/// A set of pictures that the usual ones are compared with.
struct Set {
    name: String,
    corruption: Option<(Corruption, usize)>,
    pictures: Vec<Image>,
    /// The classes of the pictures, for a set of other images that has them.
    labels: Option<Vec<u32>>,
}

/// The name of the usual images among the sets of retrieval.
pub const TEST: &str = "test";

impl Assessment {
    /// Measures everything, in the same way every time.
    ///
    /// # Errors
    /// Images that cannot be read, sets of fewer than two, outputs that are not numbers.
    pub fn of(
        subject: &Subject,
        material: &Material,
        settings: &Settings,
        progress: &mut Progress<'_>,
    ) -> Result<Self, UncertaintyError> {
        let test: Arc<dyn Dataset> =
            Arc::new(Subset::balanced(Arc::clone(&material.test), settings.images));
        let asked = test.len();
        progress(&format!("reading {asked} test images"), 0, 0);
        let (test, pictures) = subject.prepare(&test)?;
        let pictures = enough("the test images", pictures)?;
        let judge = Judge::new(subject, &material.train, settings.neighbour, progress)?;
        let what = format!("{} test images", pictures.len());
        let outputs = subject.outputs(&pictures, &what, progress)?;
        let free_variance = outputs.free_variance;
        let usual = judge.complete(outputs, test.labels())?;
        let usual = finite(subject, "the test images", usual)?;
        let wrong = wrong(&usual, test.labels());
        let mut reports = reports(&usual, wrong.as_deref());
        let mut recall = Vec::new();
        retrieval(TEST, &usual, test.labels(), &mut recall, &mut reports);
        let mut ask = |set: Set| -> Result<(), UncertaintyError> {
            let outputs = subject.outputs(&set.pictures, &set.title(), progress)?;
            let unusual = judge.complete(outputs, set.labels.as_deref())?;
            let unusual = finite(subject, &set.title(), unusual)?;
            retrieval(&set.name, &unusual, set.labels.as_deref(), &mut recall, &mut reports);
            for (at, report) in reports.iter_mut().enumerate() {
                report.sets.push(set.compare(&usual.scores[at].1, &unusual.scores[at].1));
            }
            Ok(())
        };
        let others_left_out = others(subject, material, settings, &mut ask)?;
        let left_out = asked - pictures.len() + judge.left_out + others_left_out;
        corrupted(&pictures, settings, &mut ask)?;
        reports.iter_mut().for_each(Report::summarise);
        let encoder = &subject.encoder;
        let rate = |wrong: &Vec<bool>| share(wrong.iter().filter(|&&wrong| wrong).count(), wrong);
        Ok(Self {
            run: encoder.path.clone(),
            method: encoder.recipe.as_ref().map(|recipe| recipe.method.name().to_owned()),
            step: encoder.step,
            free_variance,
            settings: settings.clone(),
            train_images: judge.train.rows,
            test_images: pictures.len(),
            probe_error: wrong.as_ref().map(rate),
            recall,
            notes: notes(subject, settings, free_variance, wrong.is_some(), left_out),
            scores: reports,
        })
    }
}

impl Set {
    fn title(&self) -> String {
        match self.corruption {
            None => format!("{} of {}", counted(self.pictures.len(), "image"), self.name),
            Some((_, strength)) => format!("{} of strength {strength}", self.name),
        }
    }

    fn compare(&self, usual: &[f64], unusual: &[f64]) -> Comparison {
        let side = self.pictures.first().map_or(0, |picture| picture.width.min(picture.height));
        let (change, area) = match self.corruption {
            None => (Change::Other, auroc(usual, unusual)),
            Some(_) => (Change::Corrupted, auroc_of_pairs(usual, unusual)),
        };
        Comparison {
            set: self.name.clone(),
            change,
            strength: self.corruption.map(|(_, strength)| strength),
            parameter: self.corruption.map(|(what, strength)| what.parameter(side, strength)),
            images: self.pictures.len(),
            area: area.expect("sets of fewer than two were refused"),
        }
    }
}

impl Report {
    fn summarise(&mut self) {
        let mean = |change| {
            let areas = self.sets.iter().filter(|set| set.change == change);
            let areas: Vec<f64> = areas.map(|set| set.area.auroc).collect();
            areas.iter().sum::<f64>() / areas.len() as f64
        };
        (self.other_mean, self.corrupted_mean) = (mean(Change::Other), mean(Change::Corrupted));
    }
}

/// Asks about the unusual sets; returns how many of their images could not be read.
fn others(
    subject: &Subject,
    material: &Material,
    settings: &Settings,
    ask: &mut dyn FnMut(Set) -> Result<(), UncertaintyError>,
) -> Result<usize, UncertaintyError> {
    let mut left_out = 0;
    for (name, images) in &material.others {
        let some: Arc<dyn Dataset> =
            Arc::new(Subset::balanced(Arc::clone(images), settings.images));
        let asked = some.len();
        let (some, pictures) = subject.prepare(&some)?;
        let pictures = enough(name, pictures)?;
        left_out += asked - pictures.len();
        let labels = some.labels().map(<[u32]>::to_vec);
        ask(Set { name: name.clone(), corruption: None, pictures, labels })?;
    }
    let input = subject.encoder.input;
    for kind in Generated::ALL {
        let size = (input.size, input.channels());
        let picture = |index| kind.image(size, settings.seed, index);
        let pictures = (0..settings.images.max(2)).map(picture).collect();
        ask(Set { name: kind.name().to_owned(), corruption: None, pictures, labels: None })?;
    }
    Ok(left_out)
}

fn corrupted(
    clean: &[Image],
    settings: &Settings,
    ask: &mut dyn FnMut(Set) -> Result<(), UncertaintyError>,
) -> Result<(), UncertaintyError> {
    for corruption in Corruption::ALL {
        for strength in 1..=STRENGTHS {
            let spoiled =
                |(index, picture)| corruption.apply(picture, strength, settings.seed, index);
            let pictures = clean.iter().enumerate().map(spoiled).collect();
            let name = corruption.name().to_owned();
            ask(Set { name, corruption: Some((corruption, strength)), pictures, labels: None })?;
        }
    }
    Ok(())
}

fn enough(set: &str, pictures: Vec<Image>) -> Result<Vec<Image>, UncertaintyError> {
    match pictures.len() {
        got @ 0..2 => Err(UncertaintyError::TooFew { set: set.to_owned(), got }),
        _ => Ok(pictures),
    }
}

fn finite(subject: &Subject, set: &str, verdict: Verdict) -> Result<Verdict, UncertaintyError> {
    for (score, values) in &verdict.scores {
        if let Some(image) = values.iter().position(|value| !value.is_finite()) {
            let (run, value) = (subject.encoder.path.clone(), values[image]);
            let (score, set) = (score.name(), set.to_owned());
            return Err(UncertaintyError::NotFinite { run, score, set, image, value });
        }
    }
    Ok(verdict)
}

/// Which images the probe gets wrong.
fn wrong(verdict: &Verdict, labels: Option<&[u32]>) -> Option<Vec<bool>> {
    let pairs = verdict.classes.as_ref()?.iter().zip(labels?);
    Some(pairs.map(|(&class, &label)| class != label as usize).collect())
}

fn reports(usual: &Verdict, wrong: Option<&[bool]>) -> Vec<Report> {
    let report = |(score, values): &(Score, Vec<f64>)| {
        let of = |wanted: bool| {
            let pairs = values.iter().zip(wrong.unwrap_or_default());
            pairs.filter(|(_, wrong)| **wrong == wanted).map(|(&x, _)| x).collect::<Vec<_>>()
        };
        Report {
            score: *score,
            of_posterior: score.of_posterior(),
            baseline: score.is_baseline(),
            other_mean: 0.5,
            corrupted_mean: 0.5,
            sets: Vec::new(),
            errors: auroc(&of(false), &of(true)),
            risk: wrong.and_then(|wrong| risk(values, wrong)),
            retrieval: Vec::new(),
        }
    };
    usual.scores.iter().map(report).collect()
}

/// Adds R@1 of a set, and what each score says of its retrievals; nothing for a set without classes.
fn retrieval(
    set: &str,
    verdict: &Verdict,
    labels: Option<&[u32]>,
    recall: &mut Vec<Recall>,
    reports: &mut [Report],
) {
    let (Some(correct), Some(labels)) = (&verdict.retrieved, labels) else { return };
    let classes = labels.iter().collect::<BTreeSet<_>>().len();
    let right = correct.iter().filter(|&&correct| correct).count();
    let (set, images) = (set.to_owned(), correct.len());
    recall.push(Recall { set: set.clone(), images, classes, recall_at_1: share(right, correct) });
    for (report, (_, scores)) in reports.iter_mut().zip(&verdict.scores) {
        report
            .retrieval
            .push(Retrieval { set: set.clone(), area: retrieval_auroc(scores, correct) });
    }
}

fn share(count: usize, of: &[bool]) -> f64 {
    count as f64 / of.len() as f64
}

fn notes(
    subject: &Subject,
    settings: &Settings,
    free_variance: Option<bool>,
    judged: bool,
    left_out: usize,
) -> Vec<String> {
    let mut notes = Vec::new();
    if left_out > 0 {
        let were = if left_out == 1 { "was" } else { "were" };
        let images = counted(left_out, "image");
        notes.push(format!("{images} could not be read and {were} left out"));
    }
    match free_variance {
        Some(true) => notes.push(
            "the variances of this run are vectors of any sign; its loss sees their direction \
             only, so variance-norm and noise-ratio are lengths that nothing trained"
                .to_owned(),
        ),
        Some(false) => {}
        None => notes.push("no posterior: scores are those that features alone have".to_owned()),
    }
    if subject.encoder.recipe.is_none() {
        notes.push("no spreads: a file knows no augmentation; give the run folder".to_owned());
    } else if settings.views == 0 {
        notes.push("no spreads: --views is 0".to_owned());
    }
    if !judged {
        notes.push("no probe and no errors: the images have no labels".to_owned());
    }
    notes
}
