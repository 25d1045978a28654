//! Which folders are taken for the splits, and that it is said.

use std::path::Path;

use tempfile::{TempDir, tempdir};
use vssl_data::dataset::{self, Evaluated, has_own_test};
use vssl_data::{DataConfig, DataError, Splits};

use super::{assert_says, png, refusal, write};

/// Two classes with a picture each in every one of the folders.
fn tree(folders: &[&str]) -> TempDir {
    let root = tempdir().unwrap();
    for folder in folders {
        for class in ["a", "b"] {
            write(root.path().join(folder).join(class).join("1.png"), &png(1, 1, [0; 3]));
        }
    }
    root
}

fn named(root: &TempDir, names: [Option<&str>; 3]) -> DataConfig {
    let [train, validation, test] = names.map(|name| name.map(Into::into));
    DataConfig { path: root.path().into(), train, validation, test, ..DataConfig::default() }
}

fn open(folders: &[&str]) -> Result<(TempDir, Splits), DataError> {
    let root = tree(folders);
    let splits = dataset::open(&named(&root, [None; 3]), None)?;
    Ok((root, splits))
}

/// The folder of the first image of a split.
fn folder(root: &TempDir, splits: &Splits, validation: bool) -> String {
    let set = if validation { splits.validation.as_ref().unwrap() } else { &splits.train };
    let name = set.name(0);
    let below = Path::new(&name).strip_prefix(root.path()).unwrap();
    below.parent().unwrap().parent().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn validation_images_come_before_test_images_and_both_are_said() {
    for [train, validation, test] in [
        ["train", "valid", "test"],
        ["Train", "Val", "Test"],
        ["training", "dev", "testing"],
        ["TRAINING", "Validation", "Testing"],
    ] {
        let root = tree(&[train, validation, test]);
        let config = named(&root, [None; 3]);
        let splits = dataset::open(&config, None).unwrap();
        assert_eq!(folder(&root, &splits, false), train);
        assert_eq!(folder(&root, &splits, true), validation);
        let said = format!(
            "training images: {train}/; validation images: {validation}/; not used: {test}/ (evaluations such as `vssl linear --split test`"
        );
        assert_says(&splits.found.to_string(), &[&said]);

        let splits = dataset::open_for(&config, None, Evaluated::Test).unwrap();
        assert_eq!(folder(&root, &splits, true), test);
        let said = format!("test images: {test}/; not used: {validation}/");
        assert_says(&splits.found.to_string(), &[&said]);
    }
}

#[test]
fn test_images_are_never_trained_on() {
    for folders in [["Train", "Val"], ["Training", "Testing"], ["train", "TEST"]] {
        let (root, splits) = open(&folders).unwrap();
        assert_eq!(splits.train.len(), 2, "{folders:?}");
        assert_eq!(folder(&root, &splits, true), folders[1]);
    }
    for folders in [["images", "Val"], ["trn", "test"], ["a", "dev"]] {
        let message = refusal(open(&folders).map(|(_, splits)| splits));
        assert_says(
            &message,
            &[&format!("{}/", folders[1]), "no folder is called train", "data.train"],
        );
    }
}

#[test]
fn a_folder_around_the_splits_is_not_trained_on() {
    let root = tree(&["plants/Train", "plants/Test"]);
    let config = named(&root, [None; 3]);
    let message = refusal(dataset::open(&config, None));
    assert_says(&message, &["plants has splits of its own", "data.path", "data.train = \".\""]);
    let all = DataConfig { train: Some(".".into()), ..config };
    assert_eq!(dataset::open(&all, None).unwrap().train.len(), 4);
}

#[test]
fn folders_can_be_named() {
    let root = tree(&["images", "held", "final"]);
    let config = named(&root, [Some("images"), Some("held"), Some("final")]);
    let splits = dataset::open(&config, None).unwrap();
    assert_eq!(folder(&root, &splits, false), "images");
    assert_eq!(folder(&root, &splits, true), "held");
    let splits = dataset::open_for(&config, None, Evaluated::Test).unwrap();
    assert_eq!(folder(&root, &splits, true), "final");

    // All images, although a class has the usual name of a split.
    let root = tree(&["x"]);
    let images = root.path().join("x");
    write(images.join("test/1.png"), &png(1, 1, [0; 3]));
    let config = DataConfig { path: images, train: Some(".".into()), ..DataConfig::default() };
    let splits = dataset::open(&config, None).unwrap();
    assert_eq!(splits.train.classes(), ["a", "b", "test"]);
    assert!(splits.validation.is_none());

    let absolute = tree(&["elsewhere"]);
    let path = absolute.path().join("elsewhere");
    let root = tree(&["train"]);
    let config = named(&root, [None, path.to_str(), None]);
    let splits = dataset::open(&config, None).unwrap();
    assert_eq!(splits.validation.unwrap().len(), 2);
}

#[test]
fn what_cannot_be_told_apart_is_refused() {
    let message = refusal(open(&["train", "val", "valid"]).map(|(_, splits)| splits));
    assert_says(&message, &["val/, valid/", "validation", "data.validation"]);
    let root = tree(&["train", "val"]);
    let missing = refusal(dataset::open(&named(&root, [None, Some("dev"), None]), None));
    assert_says(&missing, &["dev", "does not exist", "data.validation", "train/, val/"]);
    let within = refusal(dataset::open(&named(&root, [None, Some("train/a"), None]), None));
    assert_says(&within, &["train/", "train/a/", "within each other"]);
    let none = refusal(dataset::open_for(&named(&root, [None; 3]), None, Evaluated::Test));
    assert_says(&none, &["test", "does not exist", "data.test", "train/, val/"]);
}

#[test]
fn folders_beside_the_splits_are_said() {
    let (_root, splits) = open(&["train", "extra"]).unwrap();
    let expected = "training images: train/; no validation images: there is neither val/ nor test/; \
                    not used: extra/";
    assert_eq!(splits.found.to_string(), expected);
    let (_root, splits) = open(&["train", "test"]).unwrap();
    let expected = "training images: train/; validation images: test/ (there is no val/)";
    assert_eq!(splits.found.to_string(), expected);
    let root = tree(&[""]);
    let splits = dataset::open(&named(&root, [None; 3]), None).unwrap();
    assert_says(&splits.found.to_string(), &["training images: all in ", "has no train/"]);
}

/// Pictures directly in each of the folders.
fn flat(folders: &[&str]) -> TempDir {
    let root = tempdir().unwrap();
    for folder in folders {
        write(root.path().join(folder).join("1.png"), &png(1, 1, [0; 3]));
    }
    root
}

#[test]
fn a_class_called_train_is_not_taken_for_the_split() {
    let root = flat(&["Bus", "Car", "Train"]);
    let message = refusal(dataset::open(&named(&root, [None; 3]), None));
    let hints = ["data.train = \".\"", "data.train = \"Train\""];
    assert_says(&message, &["Train/ may hold the training images", "Bus/", hints[0], hints[1]]);
    let all = dataset::open(&named(&root, [Some("."), None, None]), None).unwrap();
    assert_eq!(all.train.classes(), ["Bus", "Car", "Train"]);
    let one = dataset::open(&named(&root, [Some("Train"), None, None]), None).unwrap();
    assert_eq!((one.train.len(), one.train.labels()), (1, None));
    // Beside images to evaluate on, it is the split.
    let root = flat(&["train", "test", "extra"]);
    assert_eq!(dataset::open(&named(&root, [None; 3]), None).unwrap().train.len(), 1);
}

#[test]
fn more_may_stand_behind_a_usual_name_where_both_splits_have_one() {
    for [train, validation] in
        [["train2017", "val2017"], ["train_images", "Test-Images"], ["train", "validation_1"]]
    {
        let root = tree(&[train, validation]);
        let splits = dataset::open(&named(&root, [None; 3]), None).unwrap();
        assert_eq!(folder(&root, &splits, false), train);
        assert_eq!(folder(&root, &splits, true), validation);
    }
    // The plain name comes first.
    let root = tree(&["train", "train_old", "val"]);
    let splits = dataset::open(&named(&root, [None; 3]), None).unwrap();
    assert_eq!(folder(&root, &splits, false), "train");
    // Alone they may be classes, and other words are no names.
    for folders in [["bus", "train-station"], ["bus", "test_tube"], ["tests", "trainers"]] {
        let root = flat(&folders);
        let splits = dataset::open(&named(&root, [None; 3]), None).unwrap();
        assert_eq!(splits.train.classes(), folders);
    }
}

#[test]
fn splits_deep_in_the_set_are_found_and_refused() {
    for around in ["ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "one"] {
        let root = tree(&[&format!("{around}/train"), &format!("{around}/val")]);
        let message = refusal(dataset::open(&named(&root, [None; 3]), None));
        assert_says(&message, &[&format!("{around} has splits of its own")]);
    }
    // Of several, the one with images is named.
    let root = tree(&["Data/CLS-LOC/train", "Data/CLS-LOC/val"]);
    for split in ["train", "val"] {
        write(root.path().join(format!("Annotations/CLS-LOC/{split}/a/1.xml")), b"<a/>");
    }
    let message = refusal(dataset::open(&named(&root, [None; 3]), None));
    assert_says(&message, &["Data/CLS-LOC has splits of its own"]);
}

#[test]
fn images_to_evaluate_on_are_not_among_all_images() {
    let root = tree(&["one", "held"]);
    let all = named(&root, [Some("."), Some("held"), None]);
    let message = refusal(dataset::open(&all, None));
    assert_says(&message, &["data.train = \".\" takes all images", "held/, are among them"]);
    let all = named(&root, [root.path().to_str(), None, Some("held")]);
    assert_says(&refusal(dataset::open(&all, None)), &["held/, are among them"]);
    let elsewhere = tree(&["held"]);
    let path = elsewhere.path().join("held");
    let apart = named(&root, [Some("."), path.to_str(), None]);
    assert_eq!(dataset::open(&apart, None).unwrap().validation.unwrap().len(), 2);
}

#[test]
fn a_set_that_is_missing_is_not_a_missing_split() {
    let root = tree(&["test"]);
    let path = root.path().join("nowhere");
    for train in [None, Some("train".into())] {
        let config = DataConfig { path: path.clone(), train, ..DataConfig::default() };
        for evaluated in [Evaluated::Validation, Evaluated::Test] {
            let message = refusal(dataset::open_for(&config, None, evaluated));
            assert_says(&message, &["nowhere: does not exist; expected a folder of images"]);
        }
    }
    let whole = named(&root, [Some("."), None, None]);
    let message = refusal(dataset::open_for(&whole, None, Evaluated::Test));
    assert_says(&message, &["takes all images for training", "data.test"]);
    assert!(!message.contains("does not exist"), "{message}");
}

#[test]
fn test_images_are_called_test_images() {
    let root = tree(&["train", "val"]);
    write(root.path().join("test/1.png"), &png(1, 1, [0; 3]));
    let config = named(&root, [None; 3]);
    let splits = dataset::open_for(&config, None, Evaluated::Test).unwrap();
    assert_says(&splits.found.to_string(), &["test images: test/", "no test labels: "]);
    assert!(has_own_test(&config).unwrap());
    let root = tree(&["train", "test"]);
    assert!(!has_own_test(&named(&root, [None; 3])).unwrap());
}
