//! ImageNet-100 in an ImageNet tree.

use tempfile::{TempDir, tempdir};
use vssl_data::dataset::{self, Format, Labels, MissingClasses};
use vssl_data::{DataConfig, DataError, Splits};

use super::{assert_says, png, refusal, write};

fn classes() -> Vec<String> {
    let list = include_str!("../../../src/dataset/imagenet100_classes.txt");
    list.lines().map(String::from).collect()
}

/// One training image for each class but the given ones, and one of another class.
fn tree(without: &[usize]) -> TempDir {
    let folder = tempdir().unwrap();
    for (label, class) in classes().iter().enumerate() {
        if !without.contains(&label) {
            let file = format!("train/{class}/{class}_1.JPEG");
            write(folder.path().join(file), &png(1, 1, [0, 0, label as u8]));
        }
    }
    write(folder.path().join("train/n00000001/1.JPEG"), &png(1, 1, [0; 3]));
    folder
}

fn open(folder: &TempDir, missing_classes: MissingClasses) -> Result<Splits, DataError> {
    let path = folder.path().into();
    let format = Format::ImageNet100;
    dataset::open(&DataConfig { format, path, missing_classes, ..Default::default() }, None)
}

#[test]
fn only_the_hundred_classes_are_used() {
    let splits = open(&tree(&[]), MissingClasses::Error).unwrap();
    assert_eq!(splits.train.labels().unwrap(), (0..100).collect::<Vec<u32>>());
    assert_eq!(splits.train.classes(), classes());
    assert!(splits.validation.is_none());
}

#[test]
fn missing_classes_are_named_unless_allowed() {
    let folder = tree(&[3, 50]);
    let message = refusal(open(&folder, MissingClasses::Error));
    let names = classes();
    assert_says(&message, &["2 of the 100", &names[3], &names[50], "missing_classes"]);
    let splits = open(&folder, MissingClasses::Allow).unwrap();
    assert_eq!(splits.train.len(), 98);
    assert_eq!(splits.train.classes().len(), 100);
    let last = splits.train.len() - 1;
    assert_eq!(splits.train.labels().unwrap()[last], 99);
    assert_eq!(splits.train.image(last).unwrap().values, [0, 0, 99]);
}

#[test]
fn the_validation_split_has_the_same_labels() {
    let folder = tree(&[]);
    write(folder.path().join(format!("val/{}/1.JPEG", classes()[7])), &png(1, 1, [0; 3]));
    assert_says(&refusal(open(&folder, MissingClasses::Error)), &["val", "99 of the 100"]);
    let splits = open(&folder, MissingClasses::Allow).unwrap();
    assert_eq!(splits.validation.unwrap().labels().unwrap(), [7]);
}

#[test]
fn labels_can_be_left_out() {
    let folder = tree(&[]);
    let splits = super::open(Format::ImageNet100, folder.path(), Labels::None).unwrap();
    assert!(splits.train.labels().is_none() && splits.train.classes().is_empty());
}

#[test]
fn other_trees_are_refused() {
    let folder = tempdir().unwrap();
    let message = refusal(open(&folder, MissingClasses::Allow));
    assert_says(&message, &["train", "does not exist", "train/n01558993/", "no folder is there"]);
    write(folder.path().join("cat/1.JPEG"), &png(1, 1, [0; 3]));
    assert_says(&refusal(open(&folder, MissingClasses::Allow)), &["train/n01558993/", "cat/"]);
    write(folder.path().join("train/dog/1.JPEG"), &png(1, 1, [0; 3]));
    let message = refusal(open(&folder, MissingClasses::Allow));
    assert_says(&message, &["train", "no images of the 100", "dog/", "n01558993", "\"folder\""]);
}
