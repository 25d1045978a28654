//! Accuracy by class: which class a classifier gave to the images of each class.
//!
//! The balanced accuracy is the mean of the recalls of all classes that have images (Brodersen et al. 2010,
//! *The balanced accuracy and its posterior distribution*; scikit-learn's `balanced_accuracy_score`). Called
//! by the evaluations that classify; a [`ClassReport`] is what they tell, and `classes.json` holds it.

use std::{cmp::Reverse, collections::BTreeMap};

use serde::{Deserialize, Serialize};

use crate::{
    formats::csv::{self, LineEnd},
    run::folder::{CLASSES, CONFUSION},
};

/// The largest number of classes of which a report holds the whole confusion matrix.
pub const MATRIX_CLASSES: usize = 100;

/// The number of pairs of classes that a report names.
const PAIRS: usize = 20;

/// The number of images of each class by the class that they were given. Only pairs that occurred take room,
/// so thousands of classes are fine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    counts: BTreeMap<(u32, Option<u32>), u64>,
}

impl Confusion {
    /// Counts an image of the class `target` that was given the class `predicted`. `None` is for an image
    /// without an answer, for instance because a score is not a number: it counts as wrong.
    pub fn add(&mut self, target: u32, predicted: Option<u32>) {
        *self.counts.entry((target, predicted)).or_default() += 1;
    }

    /// Counts images; `targets` and `predicted` belong together.
    pub fn of(targets: impl IntoIterator<Item = u32>, predicted: &[u32]) -> Self {
        let mut confusion = Self::default();
        let pairs = targets.into_iter().zip(predicted);
        pairs.for_each(|(target, &predicted)| confusion.add(target, Some(predicted)));
        confusion
    }

    /// Returns the number of images.
    pub fn images(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Returns the number of images of each class that has images, and how many of them are right.
    fn recalls(&self) -> BTreeMap<u32, [u64; 2]> {
        let mut recalls = BTreeMap::<u32, [u64; 2]>::new();
        for (&(target, predicted), &count) in &self.counts {
            let [images, right] = recalls.entry(target).or_default();
            *images += count;
            *right += if predicted == Some(target) { count } else { 0 };
        }
        recalls
    }

    /// Returns the share of images that were given their class, percent; `None` without images.
    pub fn top1(&self) -> Option<f64> {
        let right: u64 = self.recalls().values().map(|[_, right]| right).sum();
        percent(right, self.images())
    }

    /// Returns the mean over all classes that have images of the share of their images that were given their
    /// class, percent; `None` without images.
    pub fn balanced_top1(&self) -> Option<f64> {
        let recalls = self.recalls();
        let shares = recalls.values().filter_map(|&[images, right]| percent(right, images));
        (!recalls.is_empty()).then(|| shares.sum::<f64>() / recalls.len() as f64)
    }

    /// Returns the report of these counts. `classes` are the names of the classes; a class beyond them is
    /// called by its number. `classifier` says in words what gave the classes.
    pub fn report(&self, classifier: &str, classes: &[String]) -> ClassReport {
        let name = |class: u32| name(classes, class);
        let count = self.count(classes.len());
        let recalls = self.recalls();
        let per_class: Vec<ClassResult> = (0..count as u32)
            .map(|class| {
                let [images, right] = recalls.get(&class).copied().unwrap_or_default();
                ClassResult { class: name(class), images, right, top1: percent(right, images) }
            })
            .collect();
        let matrix = (count <= MATRIX_CLASSES).then(|| {
            let cell = |row: u32, column: u32| self.counts.get(&(row, Some(column))).copied();
            let row =
                |row| (0..count as u32).map(|column| cell(row, column).unwrap_or(0)).collect();
            (0..count as u32).map(row).collect()
        });
        ClassReport {
            classifier: classifier.to_owned(),
            images: self.images(),
            top1: self.top1(),
            balanced_top1: self.balanced_top1(),
            classes: count,
            classes_without_images: count - recalls.len(),
            unanswered: self.counts.iter().filter(|((_, p), _)| p.is_none()).map(|(_, n)| n).sum(),
            most_confused: self.most_confused(PAIRS, classes),
            per_class,
            matrix,
        }
    }

    /// Returns the number of classes, which is larger than `named` where a class has no name.
    fn count(&self, named: usize) -> usize {
        let all = self.counts.keys().flat_map(|&(target, predicted)| [Some(target), predicted]);
        let largest = all.flatten().max();
        largest.map_or(named, |largest| named.max(largest as usize + 1))
    }

    /// Returns the pairs of classes that were taken for each other most often, at most `most` of them.
    fn most_confused(&self, most: usize, classes: &[String]) -> Vec<Confused> {
        let wrong = self.counts.iter().filter_map(|(&(class, predicted), &images)| {
            predicted.filter(|&predicted| predicted != class).map(|taken| (class, taken, images))
        });
        let mut wrong: Vec<(u32, u32, u64)> = wrong.collect();
        wrong.sort_by_key(|&(_, _, images)| Reverse(images));
        let named = |(class, taken_for, images)| Confused {
            class: name(classes, class),
            taken_for: name(classes, taken_for),
            images,
        };
        wrong.into_iter().take(most).map(named).collect()
    }

    /// Returns the rows of `confusion.csv`: the classifier, the class, the class that was given (empty for
    /// an image without an answer) and the number of images, for all pairs that occurred.
    fn records(&self, classifier: &str, classes: &[String]) -> Vec<Vec<String>> {
        let record = |(&(class, predicted), images): (&(u32, Option<u32>), &u64)| {
            let predicted = predicted.map_or(String::new(), |class| name(classes, class));
            vec![classifier.to_owned(), name(classes, class), predicted, images.to_string()]
        };
        self.counts.iter().map(record).collect()
    }
}

/// Returns the text of `confusion.csv` for the counts of classifiers, each with the words for it.
pub fn csv(counts: &[(&str, &Confusion)], classes: &[String]) -> String {
    let header = ["classifier", "class", "predicted", "images"].map(str::to_owned).to_vec();
    let records = counts.iter().flat_map(|(name, counts)| counts.records(name, classes));
    csv::text(&[vec![header], records.collect()].concat(), LineEnd::Lf)
}

/// Returns the name of a class, or its number where it has no name.
fn name(classes: &[String], class: u32) -> String {
    match classes.get(class as usize) {
        Some(name) if !name.is_empty() => name.clone(),
        _ => class.to_string(),
    }
}

fn percent(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| 100.0 * part as f64 / of as f64)
}

/// The accuracy of a classifier by class. Accuracies are percent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassReport {
    /// The classifier, in words.
    pub classifier: String,
    /// The number of images that were classified.
    pub images: u64,
    /// The share of images that were given their class.
    pub top1: Option<f64>,
    /// The mean of `top1` over the classes that have images.
    pub balanced_top1: Option<f64>,
    /// The number of classes.
    pub classes: usize,
    /// The number of classes that have no image, and so no part in the balanced accuracy.
    pub classes_without_images: usize,
    /// The number of images that were given no class, for instance because a score is not a number.
    pub unanswered: u64,
    /// The result of each class, in the order of the classes.
    pub per_class: Vec<ClassResult>,
    /// The pairs of classes that were confused most often.
    pub most_confused: Vec<Confused>,
    /// The number of images of each class (row) that were given each class (column); `None` with more than
    /// [`MATRIX_CLASSES`] classes, where the file of the confusion has it.
    pub matrix: Option<Vec<Vec<u64>>>,
}

/// The result of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassResult {
    /// The name of the class.
    pub class: String,
    /// The number of its images.
    pub images: u64,
    /// The number of its images that were given this class.
    pub right: u64,
    /// The share of its images that were given this class, percent; `None` without images.
    pub top1: Option<f64>,
}

/// Images of one class that were given another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confused {
    /// The class of the images.
    pub class: String,
    /// The class that they were given.
    pub taken_for: String,
    /// The number of the images.
    pub images: u64,
}

/// The content of `classes.json`: the accuracy by class of one or more classifiers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassReports {
    /// The number of training steps after which the images were classified.
    pub step: u64,
    /// A report for each classifier.
    pub reports: Vec<ClassReport>,
}

/// Returns the names and texts of the files that a training leaves of the classes that its classifiers gave
/// after `step` steps: `classes.json` and `confusion.csv`.
pub fn files(
    step: u64,
    counts: &[(&str, &Confusion)],
    classes: &[String],
) -> [(&'static str, String); 2] {
    let reports = counts.iter().map(|(name, counts)| counts.report(name, classes)).collect();
    let text = serde_json::to_string(&ClassReports { step, reports }).expect("plain values");
    [(CLASSES, text + "\n"), (CONFUSION, csv(counts, classes))]
}

impl ClassReport {
    /// Returns the results of the `count` classes with the lowest accuracies, the lowest first.
    pub fn worst(&self, count: usize) -> Vec<&ClassResult> {
        let mut known: Vec<&ClassResult> =
            self.per_class.iter().filter(|class| class.top1.is_some()).collect();
        known.sort_by(|a, b| a.top1.unwrap_or(0.0).total_cmp(&b.top1.unwrap_or(0.0)));
        known.truncate(count);
        known
    }
}

/// Returns the first class that has different names in two lists, with both. An empty name is unknown, and so is
/// that of a class beyond a list.
pub fn other_name<'a>(a: &'a [String], b: &'a [String]) -> Option<(usize, &'a str, &'a str)> {
    let pairs = a.iter().zip(b).map(|(a, b)| (a.as_str(), b.as_str())).enumerate();
    let mut known = pairs.filter(|(_, (a, b))| !a.is_empty() && !b.is_empty());
    known.find(|(_, (a, b))| a != b).map(|(class, (a, b))| (class, a, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|class| format!("class {class}")).collect()
    }

    /// Ten cats, two of which are taken for dogs; one dog, taken for a cat; no newt.
    fn confusion() -> Confusion {
        let mut confusion = Confusion::default();
        (0..8).for_each(|_| confusion.add(0, Some(0)));
        (0..2).for_each(|_| confusion.add(0, Some(1)));
        confusion.add(1, Some(0));
        confusion
    }

    #[test]
    fn a_rare_class_weighs_as_much_as_a_frequent_one() {
        // scikit-learn: accuracy_score = 8/11, balanced_accuracy_score = 0.4
        let confusion = confusion();
        assert_eq!(confusion.top1(), Some(100.0 * 8.0 / 11.0));
        assert_eq!(confusion.balanced_top1(), Some(40.0));
        assert_eq!(
            (Confusion::default().top1(), Confusion::default().balanced_top1()),
            (None, None)
        );
    }

    #[test]
    fn the_report_has_every_class_by_name_and_the_matrix_of_few() {
        let classes = ["cat", "dog", "newt"].map(str::to_owned);
        let report = confusion().report("kNN", &classes);
        let found: Vec<_> = report
            .per_class
            .iter()
            .map(|c| (c.class.as_str(), c.images, c.right, c.top1))
            .collect();
        assert_eq!(
            found,
            [("cat", 10, 8, Some(80.0)), ("dog", 1, 0, Some(0.0)), ("newt", 0, 0, None)]
        );
        assert_eq!(report.matrix, Some(vec![vec![8, 2, 0], vec![1, 0, 0], vec![0, 0, 0]]));
        assert_eq!((report.classes, report.classes_without_images), (3, 1));
        let first = &report.most_confused[0];
        assert_eq!(
            (first.class.as_str(), first.taken_for.as_str(), first.images),
            ("cat", "dog", 2)
        );
        assert_eq!(report.worst(1)[0].class, "dog");
        let text = csv(&[("kNN", &confusion())], &classes);
        let expected =
            "classifier,class,predicted,images\nkNN,cat,cat,8\nkNN,cat,dog,2\nkNN,dog,cat,1\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn thousands_of_classes_have_no_matrix_and_the_twenty_worst_pairs() {
        let mut confusion = Confusion::default();
        for class in 0..5000 {
            confusion.add(class, Some(class));
            (0..class % 40).for_each(|_| confusion.add(class, Some(class / 2)));
        }
        let report = confusion.report("kNN", &names(5000));
        assert!(report.matrix.is_none() && report.classes == 5000);
        assert_eq!(report.most_confused.len(), PAIRS);
        assert!(report.most_confused.iter().all(|pair| pair.images == 39));
        assert_eq!(report.worst(3).len(), 3);
        assert_eq!(confusion.images(), report.images);
    }

    #[test]
    fn an_image_without_an_answer_is_wrong_and_counted() {
        let mut confusion = confusion();
        confusion.add(1, None);
        let report = confusion.report("linear", &[]);
        assert_eq!((report.unanswered, report.images), (1, 12));
        assert_eq!(report.per_class[1].class, "1");
        assert!(csv(&[("linear", &confusion)], &[]).contains("linear,1,,1\n"));
    }

    #[test]
    fn names_that_differ_are_found() {
        let (a, mut b) = (names(3), names(2));
        assert_eq!([other_name(&a, &a), other_name(&a, &[]), other_name(&a, &b)], [None; 3]);
        b[0].clear();
        assert_eq!(other_name(&a, &b), None);
        b[1] = "dog".to_owned();
        assert_eq!(other_name(&a, &b), Some((1, "class 1", "dog")));
    }
}
