//! STL-10 in files of the layout that is published, made here.

use std::path::PathBuf;

use tempfile::tempdir;
use vssl_data::dataset::{self, Format, Labels};
use vssl_data::{DataConfig, DataError, Splits};

use super::{assert_says, refusal, write};

const SIDE: usize = 96;

/// The records of images, each a formula of its number and the place.
fn records(numbers: std::ops::Range<usize>) -> Vec<u8> {
    numbers
        .flat_map(|number| {
            (0..3).flat_map(move |plane| {
                // Column by column.
                (0..SIDE).flat_map(move |x| (0..SIDE).map(move |y| value(number, plane, x, y)))
            })
        })
        .collect()
}

fn value(number: usize, plane: usize, x: usize, y: usize) -> u8 {
    (number * 50 + plane * 80 + x * 2 + y / 3) as u8
}

fn open(path: PathBuf, train: Option<&str>, labels: Labels) -> Result<Splits, DataError> {
    let train = train.map(PathBuf::from);
    let config = DataConfig { format: Format::Stl10, path, train, labels, ..DataConfig::default() };
    dataset::open(&config, None)
}

#[test]
fn pixels_stand_column_by_column_and_labels_from_one() {
    let place = tempdir().unwrap();
    let at = |name: &str| place.path().join("stl10_binary").join(name);
    write(at("train_X.bin"), &records(0..3));
    write(at("train_y.bin"), &[1, 10, 2]);
    write(at("test_X.bin"), &records(5..7));
    write(at("test_y.bin"), &[3, 3]);
    write(at("unlabeled_X.bin"), &records(10..14));
    write(at("class_names.txt"), b"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n");
    let path = place.path().to_path_buf();
    let splits = open(path.clone(), None, Labels::Fine).unwrap();
    assert_eq!(splits.train.labels().unwrap(), [0, 9, 1]);
    assert_eq!(splits.train.classes()[9], "j");
    let test = splits.validation.unwrap();
    assert_eq!(test.labels().unwrap(), [2, 2]);
    let picture = test.image(1).unwrap();
    assert_eq!((picture.width, picture.height), (96, 96));
    for (x, y) in [(0, 0), (95, 0), (0, 95), (40, 71)] {
        for plane in 0..3 {
            assert_eq!(picture.values[(y * SIDE + x) * 3 + plane], value(6, plane, x, y));
        }
    }
    let splits = open(path.clone(), Some("unlabeled"), Labels::Auto).unwrap();
    assert_eq!((splits.train.len(), splits.train.labels()), (4, None));
    assert_eq!(splits.validation.unwrap().labels(), None);
    let both = open(path.clone(), Some("train+unlabeled"), Labels::Auto).unwrap().train;
    assert_eq!((both.len(), both.labels()), (7, None));
    assert_eq!(both.image(3).unwrap().values[0], value(10, 0, 0, 0));
    assert!(both.name(3).ends_with("unlabeled_X.bin record 0"), "{}", both.name(3));
    assert_eq!(both.stored_as(1).unwrap(), ("train_X.bin record 1".to_owned(), 27_648));
    assert_says(&refusal(open(path.clone(), Some("all"), Labels::Auto)), &["\"all\"", "unlabeled"]);
    assert_says(&refusal(open(path.clone(), Some("unlabeled"), Labels::Fine)), &["have no labels"]);
    assert_says(&refusal(open(path, None, Labels::Coarse)), &["coarse"]);
}

#[test]
fn missing_and_damaged_files_are_named() {
    let place = tempdir().unwrap();
    let path = place.path().to_path_buf();
    assert_says(
        &refusal(open(path.clone(), None, Labels::Auto)),
        &["train_X.bin", "vssl data fetch stl10"],
    );
    write(place.path().join("stl10_binary.tar.gz"), b"x");
    assert_says(&refusal(open(path.clone(), None, Labels::Auto)), &["is packed", "unpack it"]);
    write(place.path().join("train_X.bin"), &records(0..2)[1..]);
    assert_says(
        &refusal(open(path.clone(), None, Labels::Auto)),
        &["train_X.bin", "55295 bytes", "27648"],
    );
    write(place.path().join("train_X.bin"), &records(0..2));
    assert_eq!(open(path.clone(), None, Labels::Auto).unwrap().train.labels(), None);
    assert_says(
        &refusal(open(path.clone(), None, Labels::Fine)),
        &["train_y.bin", "does not exist"],
    );
    write(place.path().join("train_y.bin"), &[1]);
    assert_says(&refusal(open(path.clone(), None, Labels::Auto)), &["1 labels", "2, one an image"]);
    write(place.path().join("train_y.bin"), &[1, 11]);
    assert_says(&refusal(open(path, None, Labels::Auto)), &["label 11 of image 1", "from 1 to 10"]);
}
