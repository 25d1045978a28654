//! The evaluations that a run can end with, under one contract: features of the training and of the
//! validation images go in, named figures come out.
//!
//! An evaluation is one file in this folder and one line in [`EVALUATORS`]; the recipe chooses by name
//! (`evaluation.evaluators`), and `vssl evaluate` by its option. Its figures then are in `summary.json`, in
//! the tables of `vssl pretrain`, `vssl evaluate` and `vssl table`, and on the page of a run: all of them go
//! by the names of the figures.

mod knn;
mod linear;
mod quality;
mod spectrum;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub use knn::Knn;
pub use linear::Linear;
pub use quality::Quality;
pub use spectrum::Spectrum;

use super::{EvalError, confusion::Confusion};
use crate::{
    features::Features,
    recipe::{EvaluationSection, KnnSection, Recipe},
    run::{events::Summary, task::Task},
};

/// The features of both splits of a data set that one encoder made.
pub struct Splits {
    /// The training images.
    pub train: Features,
    /// The validation images.
    pub validation: Features,
}

/// Judges features.
pub trait Evaluator: Send + Sync {
    /// What it measures.
    fn figures(&self) -> &'static [Figure];

    /// A value for each of the [figures](Evaluator::figures), by name.
    ///
    /// # Errors
    /// Features or labels that cannot be judged.
    fn run(&self, splits: &Splits) -> Result<Vec<(&'static str, f64)>, EvalError>;

    /// The same values and, of an evaluator that classifies, the classes that it gave to the validation
    /// images.
    ///
    /// # Errors
    /// As [`Evaluator::run`].
    fn judge(&self, splits: &Splits) -> Result<Judgement, EvalError> {
        Ok(Judgement { figures: self.run(splits)?, classes: None })
    }

    /// The same, and tells `task` how far it is.
    ///
    /// # Errors
    /// As [`Evaluator::run`].
    fn judge_watched(&self, splits: &Splits, task: &Task) -> Result<Judgement, EvalError> {
        let _ = task;
        self.judge(splits)
    }

    /// Whether it is also asked about the pixels themselves. These are long rows: only what is quick
    /// with thousands of numbers an image should say yes.
    fn judges_pixels(&self) -> bool {
        false
    }
}

/// What an evaluator says of the features of both splits.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// A value for each of the figures, by name.
    pub figures: Vec<(&'static str, f64)>,
    /// The classifier in words, and the classes that it gave to the validation images.
    pub classes: Option<(String, Confusion)>,
}

/// A number that an evaluator gives, and how it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Its key in `summary.json`.
    pub name: &'static str,
    /// The title of a narrow column.
    pub title: &'static str,
    /// A title where there is room.
    pub long_title: &'static str,
    /// What kind of number it is.
    pub unit: Unit,
}

/// What kind of number a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// An accuracy in percent: more is better, and rows of a table are ranked by it.
    Percent,
    /// Any number. It is shown and not ranked.
    Number,
}

/// An evaluator that recipes can name.
pub struct Entry {
    /// Its name in `evaluation.evaluators`.
    pub name: &'static str,
    /// The same as [`Evaluator::figures`].
    pub figures: &'static [Figure],
    /// Makes it with its settings.
    pub configure: fn(&Settings) -> Arc<dyn Evaluator>,
}

/// Which evaluators are run, and their settings. The default is that of a recipe that says nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The names of the evaluators.
    pub evaluators: Vec<String>,
    /// The settings of nearest neighbours.
    pub knn: KnnSection,
}

impl Settings {
    /// Returns the settings in `recipe`.
    pub fn of(recipe: &Recipe) -> Self {
        Self { evaluators: recipe.evaluation.evaluators.clone(), knn: recipe.knn.clone() }
    }
}

impl Default for Settings {
    fn default() -> Self {
        let evaluators = EvaluationSection::default().evaluators;
        Self { evaluators, knn: KnnSection::default() }
    }
}

/// All evaluators, in the order of their columns.
pub const EVALUATORS: &[Entry] = &[knn::ENTRY, linear::ENTRY, spectrum::ENTRY, quality::ENTRY];

/// Returns the evaluators that `settings` names.
///
/// # Errors
/// A name that no evaluator has, in words.
pub fn chosen(settings: &Settings) -> Result<Vec<Arc<dyn Evaluator>>, String> {
    let names = settings.evaluators.iter();
    let evaluator = |name: &String| {
        let entry = EVALUATORS.iter().find(|entry| entry.name == name);
        let known = || EVALUATORS.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ");
        let entry = entry.ok_or_else(|| {
            format!("there is no evaluator {name:?}; expected any of: {}", known())
        })?;
        Ok((entry.configure)(settings))
    };
    names.map(evaluator).collect()
}

/// Refuses figures that a summary could not tell apart: two of one name, and names that mean something
/// else there.
///
/// # Errors
/// The name, and what is wrong with it.
pub fn check_names(evaluators: &[Arc<dyn Evaluator>]) -> Result<(), String> {
    let mut known = BTreeSet::new();
    for Figure { name, .. } in evaluators.iter().flat_map(|evaluator| evaluator.figures()) {
        if !known.insert(name) {
            return Err(format!("two evaluators measure {name:?}: expected each figure once"));
        }
        if Summary::KEYS.contains(name) || Judged::split(name).0 != Judged::Trained {
            return Err(format!(
                "an evaluator measures {name:?}: a summary has another use for that name, and for all \
                 that begin with untrained_, before_ or pixels_"
            ));
        }
    }
    Ok(())
}

/// What a figure judges. Its name in a summary begins accordingly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Judged {
    /// The trained encoder.
    Trained,
    /// The same encoder before its first step, with random weights.
    Untrained,
    /// The same encoder before its first step, as an earlier training has left it.
    Before,
    /// The pixels themselves.
    Pixels,
}

impl Judged {
    /// In the order of a table.
    pub const ALL: [Self; 4] = [Self::Trained, Self::Untrained, Self::Before, Self::Pixels];

    /// What names of figures begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Trained => "",
            Self::Untrained => "untrained_",
            Self::Before => "before_",
            Self::Pixels => "pixels_",
        }
    }

    /// The name of the row in a table.
    pub fn title(self) -> &'static str {
        match self {
            Self::Trained => "trained encoder",
            Self::Untrained => "untrained encoder",
            Self::Before => "encoder before",
            Self::Pixels => "raw pixels",
        }
    }

    /// The name of `figure` in a summary.
    pub fn key(self, figure: &str) -> String {
        format!("{}{figure}", self.prefix())
    }

    /// What a name in a summary is about, and the name of the figure.
    fn split(key: &str) -> (Self, &str) {
        let strip = |judged: Self| Some((judged, key.strip_prefix(judged.prefix())?));
        let others = [Self::Untrained, Self::Before, Self::Pixels];
        others.into_iter().find_map(strip).unwrap_or((Self::Trained, key))
    }

    /// The values of a summary that are about this, by the name of the figure.
    pub fn of(self, summary: &Summary) -> BTreeMap<String, f64> {
        let own = |(key, value): (&String, &Option<f64>)| {
            let (judged, name) = Self::split(key);
            value.filter(|_| judged == self).map(|value| (name.to_owned(), value))
        };
        summary.figures.iter().filter_map(own).collect()
    }
}

/// A figure for whatever shows a summary, known here or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// As in a summary, without what is judged.
    pub name: String,
    /// The title of a narrow column.
    pub title: String,
    /// A title where there is room.
    pub long_title: String,
    /// What kind of number it is.
    pub unit: Unit,
}

/// The figures that summaries are shown with: those of the evaluators that a recipe names by default, and
/// those that one of `summaries` has a value of. First come the figures of [`EVALUATORS`] in their
/// order, then others by name: another version of the program, or another program, measured these.
pub fn shown<'a>(summaries: impl Iterator<Item = &'a Summary>) -> Vec<Shown> {
    let default = EvaluationSection::default().evaluators;
    let values = summaries.flat_map(|summary| &summary.figures);
    let measured: BTreeSet<&str> =
        values.filter(|(_, value)| value.is_some()).map(|(key, _)| Judged::split(key).1).collect();
    let mut shown = Vec::new();
    let mut known = BTreeSet::new();
    for entry in EVALUATORS {
        let usual = default.iter().any(|name| name == entry.name);
        for &Figure { name, title, long_title, unit } in entry.figures {
            known.insert(name);
            if usual || measured.contains(name) {
                let [name, title, long_title] = [name, title, long_title].map(str::to_owned);
                shown.push(Shown { name, title, long_title, unit });
            }
        }
    }
    let others = measured.difference(&known).map(|&name| {
        let (title, long_title) = (name.to_owned(), name.to_owned());
        Shown { name: name.to_owned(), title, long_title, unit: Unit::Number }
    });
    shown.extend(others);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: &str = include_str!("../../../../../recipes/quickstart.toml");

    fn splits() -> Splits {
        let features = |rows: usize, salt: usize| Features {
            rows,
            dim: 3,
            values: (0..rows * 3).map(|i| ((i * 31 + salt) % 17) as f32 - 8.0).collect(),
            labels: Some((0..rows).map(|row| (row % 2) as i64).collect()),
        };
        Splits { train: features(60, 1), validation: features(20, 5) }
    }

    #[test]
    fn every_evaluator_gives_the_figures_that_it_announces() {
        let settings = Settings::default();
        let mut names = Vec::new();
        for entry in EVALUATORS {
            let evaluator = (entry.configure)(&settings);
            assert_eq!(evaluator.figures(), entry.figures, "{}", entry.name);
            let values = evaluator.run(&splits()).unwrap();
            let judged = evaluator.judge(&splits()).unwrap();
            assert_eq!(judged.figures, values, "{}", entry.name);
            if let Some((_, classes)) = judged.classes {
                assert_eq!((classes.images(), classes.top1()), (20, Some(values[0].1)));
            }
            let got: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
            let announced: Vec<&str> = entry.figures.iter().map(|figure| figure.name).collect();
            assert_eq!(got, announced, "{}", entry.name);
            assert!(values.iter().all(|(_, value)| value.is_finite()), "{values:?}");
            names.extend(announced);
        }
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        assert!(names.iter().all(|name| Judged::split(name).0 == Judged::Trained), "{names:?}");
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        let recipe = crate::methods::recipe_from(RECIPE).unwrap();
        let mut settings = Settings::of(&recipe);
        assert_eq!(chosen(&settings).unwrap().len(), 2);
        settings.evaluators = vec!["knm".to_owned()];
        let error = chosen(&settings).err().unwrap();
        assert!(
            error.contains("\"knm\"") && error.contains("knn, linear, spectrum, quality"),
            "{error}"
        );
    }

    #[test]
    fn names_that_a_summary_could_not_tell_apart_are_refused() {
        struct Named(&'static [Figure]);
        impl Evaluator for Named {
            fn figures(&self) -> &'static [Figure] {
                self.0
            }

            fn run(&self, _: &Splits) -> Result<Vec<(&'static str, f64)>, EvalError> {
                Ok(Vec::new())
            }
        }
        const fn figure(name: &'static str) -> Figure {
            Figure { name, title: "", long_title: "", unit: Unit::Number }
        }
        const SECONDS: &[Figure] = &[figure("seconds")];
        const PIXELS: &[Figure] = &[figure("own"), figure("pixels_own")];
        const OWN: &[Figure] = &[figure("own")];
        let check = |sets: &[&'static [Figure]]| {
            let evaluators = sets.iter().map(|&set| Arc::new(Named(set)) as Arc<dyn Evaluator>);
            check_names(&evaluators.collect::<Vec<_>>())
        };
        assert_eq!(check(&[OWN, EVALUATORS[0].figures]), Ok(()));
        assert!(check(&[SECONDS]).unwrap_err().contains("\"seconds\""));
        assert!(check(&[PIXELS]).unwrap_err().contains("\"pixels_own\""));
        assert!(check(&[OWN, OWN]).unwrap_err().contains("\"own\""));
        let evaluators = ["knn", "linear", "knn"].map(str::to_owned).to_vec();
        let settings = Settings { evaluators, ..Settings::default() };
        assert!(check_names(&chosen(&settings).unwrap()).unwrap_err().contains("\"knn_top1\""));
    }

    #[test]
    fn figures_of_a_summary_are_told_apart_by_their_names() {
        let text = r#"{"method":"byol","seed":0,"steps":9,"interrupted":false,"seconds":1.5,
            "images_per_s":6.0,"peak_rss_mib":null,"commit":null,"version":"0.1.0",
            "replaced_images":0,"online_top1":null,"notes":[],"run":"runs/a","other":0,
            "linear_top1":1,"untrained_spectrum_rank":2,"pixels_knn_top1":3,"unmeasured":null}"#;
        let summary: Summary = serde_json::from_str(text).unwrap();
        let names: Vec<String> =
            shown([&summary].into_iter()).into_iter().map(|s| s.name).collect();
        assert_eq!(names, ["knn_top1", "linear_top1", "spectrum_rank", "other"]);
        let of = |judged: Judged| judged.of(&summary).into_iter().collect::<Vec<_>>();
        assert_eq!(of(Judged::Pixels), [("knn_top1".to_owned(), 3.0)]);
        assert_eq!(of(Judged::Untrained), [("spectrum_rank".to_owned(), 2.0)]);
        assert_eq!(
            of(Judged::Trained),
            [("linear_top1".to_owned(), 1.0), ("other".to_owned(), 0.0)]
        );
        assert_eq!(Judged::Untrained.key("knn_top1"), "untrained_knn_top1");
    }
}
