//! Folders of images: splits, labels, order, links.

use std::fs;
use std::path::Path;

use tempfile::{TempDir, tempdir};
use vssl_data::dataset::{Format, Labels};
use vssl_data::{DataError, Dataset, Splits};

use super::{assert_says, png, refusal, write};

fn tree(files: &[&str]) -> TempDir {
    let folder = tempdir().unwrap();
    for file in files {
        write(folder.path().join(file), &png(2, 3, [1, 2, 3]));
    }
    folder
}

fn open(path: &Path) -> Result<Splits, DataError> {
    super::open(Format::Folder, path, Labels::Auto)
}

/// Paths of the images below the folder.
fn listed(set: &dyn Dataset, root: &Path) -> Vec<String> {
    let prefix = format!("{}/", root.display());
    (0..set.len()).map(|index| set.name(index).replacen(&prefix, "", 1)).collect()
}

/// A newline or an escape sequence in a name changes no line of a message or a table.
#[cfg(unix)]
#[test]
fn control_characters_in_names_are_written_by_their_digits() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("se\nt");
    for class in ["a\n", "b"] {
        super::write(
            root.join(format!("train/{class}/x\x1b[31m\n.png")),
            &super::png(1, 1, [1; 3]),
        );
    }
    super::write(root.join("train/b/bad\r.png"), b"no picture");
    super::write(root.join("train/b/le\tft.heic"), b"");
    let splits = super::open(Format::Folder, &root, Labels::Fine).unwrap();
    let train = &splits.train;
    assert_eq!(train.classes(), ["a\\x0A", "b"]);
    let (file, _) = train.stored_as(0).unwrap();
    assert_eq!(file, "a\\x0A/x\\x1B[31m\\x0A.png");
    let bad = (0..train.len()).find_map(|at| train.image(at).err()).unwrap().to_string();
    let missing = super::refusal(super::open(Format::Folder, &root.join("no\nne"), Labels::Auto));
    for text in [bad, missing, train.name(0), splits.found.to_string()] {
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
}

#[test]
fn splits_and_classes_come_from_the_folders() {
    let folder = tree(&["train/dog/1.png", "train/cat/2.png", "train/cat/1.PNG", "val/dog/9.png"]);
    let splits = open(folder.path()).unwrap();
    let files = listed(&*splits.train, folder.path());
    assert_eq!(files, ["train/cat/1.PNG", "train/cat/2.png", "train/dog/1.png"]);
    assert_eq!(splits.train.labels().unwrap(), [0, 0, 1]);
    assert_eq!(splits.train.classes(), ["cat", "dog"]);
    let validation = splits.validation.unwrap();
    assert_eq!(validation.labels().unwrap(), [1]);
    assert_eq!(validation.classes(), ["cat", "dog"]);
    let image = validation.image(0).unwrap();
    assert_eq!((image.width, image.height), (2, 3));
}

#[test]
fn every_usual_name_of_the_validation_split_is_known() {
    for name in ["val", "valid", "Validation", "DEV", "test", "Testing"] {
        let folder = tree(&["Training/a/1.png", "Training/b/1.png", &format!("{name}/a/1.png")]);
        assert_eq!(open(folder.path()).unwrap().validation.unwrap().len(), 1, "{name}");
    }
}

#[test]
fn class_folders_need_no_split_folder() {
    let folder = tree(&["dog/1.png", "cat/2.png"]);
    let splits = open(folder.path()).unwrap();
    assert_eq!(splits.train.labels().unwrap(), [0, 1]);
    assert!(splits.validation.is_none());
}

#[test]
fn flat_nested_and_single_folders_have_no_labels() {
    for files in [
        ["1.png", "2.png"],
        ["a/1.png", "2.png"],
        ["a/b/1.png", "a/c/2.png"],
        ["a/b/1.png", "c/2.png"],
        ["a/1.png", "a/2.png"],
    ] {
        let folder = tree(&files);
        let splits = open(folder.path()).unwrap();
        assert_eq!(splits.train.len(), 2);
        assert!(splits.train.labels().is_none(), "{files:?}");
        assert!(splits.train.classes().is_empty());
        assert!(splits.found.to_string().contains("no training labels: "), "{}", splits.found);
    }
}

#[test]
fn a_stray_picture_beside_the_class_folders_costs_no_labels() {
    let files = ["train/a/1.png", "train/b/1.png", "train/b/2.png", "train/cover.png"];
    let splits = open(tree(&files).path()).unwrap();
    assert_eq!(splits.train.labels().unwrap(), [0, 1, 1]);
    let said = "1 beside the class folders (train/cover.png)";
    assert!(splits.found.to_string().contains(said), "{}", splits.found);
    // As many pictures as folders are not strays.
    let splits = open(tree(&["a/1.png", "b/1.png", "1.png", "2.png"]).path()).unwrap();
    assert_eq!((splits.train.len(), splits.train.labels()), (4, None));
    assert_says(
        &splits.found.to_string(),
        &["no training labels: 2 of 4 images lie beside", "1.png"],
    );
    // Nor are a few in each of many folders, and as many beside them.
    let mut files: Vec<String> = (0..30).map(|at| format!("{:02}/{at}.png", at / 3)).collect();
    files.extend((0..9).map(|at| format!("loose{at}.png")));
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let splits = open(tree(&files).path()).unwrap();
    assert_eq!((splits.train.len(), splits.train.labels()), (39, None));
    let said = ["9 of 39 images lie beside the folders 00/", "too many"];
    assert_says(&splits.found.to_string(), &said);
}

#[test]
fn labels_can_be_left_out_or_asked_for() {
    let folder = tree(&["a/1.png", "b/x/2.png"]);
    let fine = super::open(Format::Folder, folder.path(), Labels::Fine).unwrap();
    assert_eq!(fine.train.labels().unwrap(), [0, 1]);
    let folder = tree(&["a/1.png", "b/2.png"]);
    let none = super::open(Format::Folder, folder.path(), Labels::None).unwrap();
    assert!(none.train.labels().is_none());
    let folder = tree(&["a/1.png", "2.png"]);
    let message = refusal(super::open(Format::Folder, folder.path(), Labels::Fine));
    assert_says(&message, &["2.png", "in no class folder"]);
    let message = refusal(super::open(Format::Folder, folder.path(), Labels::Coarse));
    assert_says(&message, &["data.labels", "one kind of label"]);
}

#[test]
fn validation_classes_must_be_training_classes() {
    let files = ["train/a/1.png", "train/b/1.png", "val/a/1.png", "val/c/1.png"];
    let message = refusal(open(tree(&files).path()));
    assert_says(&message, &["val/c", "no class of the training split"]);
}

#[test]
fn a_validation_split_of_other_folders_has_no_labels() {
    let folder = tree(&["train/a/1.png", "train/b/1.png", "test/images/1.png"]);
    let splits = open(folder.path()).unwrap();
    assert!(splits.train.labels().is_some());
    assert!(splits.validation.unwrap().labels().is_none());
    assert_says(&splits.found.to_string(), &["no validation labels", "images/", "a/, b/"]);
}

#[test]
fn tiny_imagenet_has_its_labels() {
    let folder = tree(&[
        "train/n2/images/1.png",
        "train/n1/images/1.png",
        "val/images/v0.png",
        "val/images/v1.png",
        "test/images/t0.png",
    ]);
    let file = folder.path().join("val/val_annotations.txt");
    write(&file, b"v1.png\tn1\t0\t0\t62\t62\nv0.png\tn2\t1\t1\t8\t8\n");
    let splits = open(folder.path()).unwrap();
    assert_eq!(splits.train.classes(), ["n1", "n2"]);
    assert_eq!(splits.validation.unwrap().labels().unwrap(), [1, 0]);
    let found = splits.found.to_string();
    assert_says(&found, &["validation labels: val/val_annotations.txt", "not used: test/"]);
    assert!(!found.contains(".txt ("), "{found}");

    write(&file, b"v1.png\tn1\n");
    assert_says(&refusal(open(folder.path())), &["val_annotations.txt", "no line", "v0.png"]);
    write(&file, b"v1.png\tn1\nv0.png\tn3\n");
    assert_says(&refusal(open(folder.path())), &["n3", "v0.png", "no class of the training"]);
    write(&file, b"v1.png n1\n");
    assert_says(&refusal(open(folder.path())), &["v1.png n1", "one field", "tabulator"]);
}

#[test]
fn order_is_by_the_bytes_of_the_path() {
    let folder = tree(&["b.png", "B.png", "ä.png", "a-b/1.png", "a/1.png", "10.png", "9.png"]);
    let splits = open(folder.path()).unwrap();
    let files = listed(&*splits.train, folder.path());
    assert_eq!(files, ["10.png", "9.png", "B.png", "a-b/1.png", "a/1.png", "b.png", "ä.png"]);
}

#[test]
fn other_files_and_hidden_ones_are_ignored() {
    let folder = tree(&["1.png", ".2.png", ".hidden/3.png", "4.txt", "jpg", "5.png.bak"]);
    let splits = open(folder.path()).unwrap();
    assert_eq!(listed(&*splits.train, folder.path()), ["1.png"]);
}

#[test]
fn a_folder_named_like_an_image_is_a_folder() {
    let folder = tree(&["x.jpg/1.png", "y.jpg/1.png"]);
    assert_eq!(open(folder.path()).unwrap().train.classes(), ["x.jpg", "y.jpg"]);
}

#[test]
fn an_empty_or_missing_folder_is_an_error() {
    let folder = tree(&["notes.txt", ".hidden.png"]);
    assert_says(&refusal(open(folder.path())), &["no images", ".jpg"]);
    let missing = refusal(open(&folder.path().join("nowhere")));
    assert_says(&missing, &["nowhere", "does not exist"]);
    let file = refusal(open(&folder.path().join("notes.txt")));
    assert_says(&file, &["notes.txt", "is a file", "expected a folder"]);
    let folder = tree(&["train/1.png", "val/notes.txt"]);
    assert_says(&refusal(open(folder.path())), &["val", "no images"]);
}

#[test]
fn a_file_that_vanishes_is_a_bad_image() {
    let folder = tree(&["1.png", "2.png"]);
    let splits = open(folder.path()).unwrap();
    fs::remove_file(folder.path().join("2.png")).unwrap();
    match splits.train.image(1) {
        Err(error @ DataError::BadImage { index: 1, .. }) => {
            assert_says(&error.to_string(), &["2.png", "No such file"]);
        }
        other => panic!("{other:?}"),
    }
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn names_that_are_no_text_stay_apart() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
        let folder = tree(&[]);
        let at = |bytes: &[u8]| folder.path().join(OsStr::from_bytes(bytes));
        for file in [&b"a\xe9/1\xe9.png"[..], b"a\xe9/1\xea.png", b"a\xea/1.png", b"b/1.png"] {
            write(at(file), &png(1, 1, [0; 3]));
        }
        let splits = open(folder.path()).unwrap();
        assert_eq!(splits.train.classes(), ["a\\xE9", "a\\xEA", "b"]);
        assert_eq!(splits.train.labels().unwrap(), [0, 0, 1, 2]);
        let files = listed(&*splits.train, folder.path());
        assert_eq!(files[..2], ["a\\xE9/1\\xE9.png", "a\\xE9/1\\xEA.png"]);
        assert!((0..4).all(|index| splits.train.image(index).is_ok()));
        // What a training remembers of them stays apart too.
        let stored = |index| splits.train.stored_as(index).unwrap().0;
        assert_eq!([stored(0), stored(1)], ["a\\xE9/1\\xE9.png", "a\\xE9/1\\xEA.png"]);
    }

    #[test]
    fn links_are_followed_and_loops_do_not_hang() {
        let folder = tree(&["data/1.png", "elsewhere/2.png"]);
        let data = folder.path().join("data");
        symlink(&data, data.join("self")).unwrap();
        symlink(folder.path(), data.join("above")).unwrap();
        symlink(folder.path().join("elsewhere"), data.join("link")).unwrap();
        symlink(folder.path().join("nothing.png"), data.join("dangling.png")).unwrap();
        let splits = open(&data).unwrap();
        let files = listed(&*splits.train, &data);
        assert_eq!(files, ["1.png", "above/elsewhere/2.png", "dangling.png", "link/2.png"]);
        assert!(matches!(splits.train.image(2), Err(DataError::BadImage { index: 2, .. })));
    }

    #[test]
    fn what_may_not_be_read_is_an_error_with_its_path() {
        let folder = tree(&["a/1.png", "b/2.png"]);
        let forbid = |path: &str, mode| {
            let path = folder.path().join(path);
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        forbid("a/1.png", 0o000);
        let splits = open(folder.path()).unwrap();
        // The superuser may read everything.
        if fs::read(folder.path().join("a/1.png")).is_ok() {
            assert!(splits.train.image(0).is_ok());
            return;
        }
        let message = splits.train.image(0).unwrap_err().to_string();
        assert_says(&message, &["a/1.png", "Permission denied"]);
        forbid("b", 0o000);
        let message = refusal(open(folder.path()));
        forbid("b", 0o700);
        assert_says(&message, &["/b", "Permission denied"]);
    }
}
