//! Files that are no images: they are counted by their ending, and a class that has no others is refused.

use tempfile::{TempDir, tempdir};
use vssl_data::dataset::{self, Format, Labels, MissingClasses};
use vssl_data::{DataConfig, DataError, Splits};

use super::{assert_says, png, refusal, write};

/// Pictures, whose names end in `.png`, and other files.
fn tree(files: &[&str]) -> TempDir {
    let folder = tempdir().unwrap();
    for file in files {
        let bytes = if file.ends_with(".png") { png(1, 1, [0; 3]) } else { b"text".to_vec() };
        write(folder.path().join(file), &bytes);
    }
    folder
}

fn open(folder: &TempDir, labels: Labels, missing: MissingClasses) -> Result<Splits, DataError> {
    let config = DataConfig {
        format: Format::Folder,
        path: folder.path().into(),
        labels,
        missing_classes: missing,
        ..DataConfig::default()
    };
    dataset::open(&config, None)
}

#[test]
fn files_are_counted_by_their_ending_with_the_first_as_an_example() {
    let folder = tree(&[
        "train/a/1.png",
        "train/b/1.png",
        "train/b/y.HEIC",
        "train/b/x.heic",
        "val/a/1.png",
        "val/a/notes.txt",
        "val/a/README",
        "train/a/._1.png",
        "train/b/.DS_Store",
        "train/b/v.0001",
    ]);
    let found = open(&folder, Labels::Auto, MissingClasses::Error).unwrap().found;
    let kinds: Vec<_> = found
        .left_out
        .iter()
        .map(|(kind, files)| (kind.as_str(), files.count, files.example.to_str().unwrap()))
        .collect();
    assert_eq!(
        kinds,
        [
            (".heic", 2, "train/b/x.heic"),
            (".txt", 1, "val/a/notes.txt"),
            ("hidden", 1, "train/a/._1.png"),
            ("with an ending that is no format", 1, "train/b/v.0001"),
            ("without an ending", 1, "val/a/README"),
        ]
    );
    assert_says(
        &found.to_string(),
        &[
            "training images: train/; validation images: val/; ",
            "left out: 2 .heic (train/b/x.heic), 1 ",
        ],
    );
}

#[test]
fn a_class_that_loses_all_its_images_is_refused_unless_that_is_allowed() {
    let files =
        ["train/a/1.png", "train/b/1.png", "train/c/1.heic", "train/c/2.heic", "val/a/1.png"];
    let folder = tree(&files);
    for labels in [Labels::Auto, Labels::Fine] {
        let message = refusal(open(&folder, labels, MissingClasses::Error));
        let said = ["missing_classes = \"allow\"", "data.labels = \"none\""];
        assert_says(&message, &["train/c", "2 .heic (c/1.heic)", said[0], said[1]]);
    }
    let splits = open(&folder, Labels::Auto, MissingClasses::Allow).unwrap();
    assert_eq!(splits.train.classes(), ["a", "b"]);
    assert_eq!(splits.found.lost_classes, ["train/c/"]);
    let none = open(&folder, Labels::None, MissingClasses::Error).unwrap();
    assert_says(&none.found.to_string(), &["2 .heic (train/c/1.heic)"]);

    // Also where only one class is left that was asked for, and in the validation split.
    let message =
        refusal(open(&tree(&["a/1.png", "b/1.heic"]), Labels::Fine, MissingClasses::Error));
    assert_says(&message, &["/b", "1 .heic (b/1.heic)"]);
    let folder = tree(&["train/a/1.png", "train/b/1.png", "val/a/1.png", "val/b/1.heic"]);
    let message = refusal(open(&folder, Labels::Auto, MissingClasses::Error));
    assert_says(&message, &["val/b", "1 .heic"]);
}

#[test]
fn images_without_an_ending_are_known_by_their_first_bytes() {
    let folder = tree(&["a/1.png", "b/1.png"]);
    write(folder.path().join("c/image"), &png(1, 1, [0; 3]));
    let message = refusal(open(&folder, Labels::Auto, MissingClasses::Error));
    assert_says(&message, &["/c", "1 without an ending (c/image)"]);
}

#[test]
fn a_folder_of_other_files_is_no_lost_class() {
    let folder = tree(&["a/1.png", "b/1.png", "annotations/a.xml", "annotations/README"]);
    let splits = open(&folder, Labels::Auto, MissingClasses::Error).unwrap();
    assert_eq!(splits.train.classes(), ["a", "b"]);
    // Photographs in folders have no labels, and so lose none.
    let splits =
        open(&tree(&["1.png", "2.png", "raw/1.heic"]), Labels::Auto, MissingClasses::Error);
    assert_says(&splits.unwrap().found.to_string(), &["left out: 1 .heic"]);
}

#[test]
fn a_folder_of_other_formats_makes_no_labels() {
    // A photographer's folder: pictures, and what the camera gave.
    let folder = tree(&["jpg/1.png", "jpg/2.png", "raw/1.cr2", "raw/2.cr2"]);
    let splits = open(&folder, Labels::Auto, MissingClasses::Error).unwrap();
    assert_eq!((splits.train.len(), splits.train.labels()), (2, None));
    let said =
        ["only one folder has images, jpg/", "raw/ are of formats that are not read", "2 .cr2"];
    assert_says(&splits.found.to_string(), &said);
    // Drawings and a picture among other files are beside the classes, not lost.
    for beside in [&["figures/logo.svg"][..], &["notes/1.heic", "notes/1.txt", "notes/2.txt"]] {
        let folder = tree(&[&["cats/1.png", "dogs/1.png"], beside].concat());
        let splits = open(&folder, Labels::Auto, MissingClasses::Error).unwrap();
        assert_eq!(splits.train.classes(), ["cats", "dogs"]);
    }
}

#[test]
fn a_folder_without_an_image_says_what_it_has() {
    let folder = tree(&["a/1.heic", "b/2.heic"]);
    let message = refusal(open(&folder, Labels::Auto, MissingClasses::Error));
    assert_says(&message, &["no images, but 2 .heic (a/1.heic)", "expected files that end in"]);
}
