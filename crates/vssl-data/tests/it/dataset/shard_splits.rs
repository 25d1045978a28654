//! Which shards are trained on and which are evaluated on, by their names and by the recipe.

use std::fs;
use std::path::Path;

use tempfile::{TempDir, tempdir};
use vssl_data::DataConfig;
use vssl_data::dataset::{self, Evaluated, Format};

use super::shards::stored;
use super::{assert_says, refusal, write};

#[test]
fn splits_are_named_guessed_or_refused() {
    let place = tempdir().unwrap();
    let shard = fs::read(stored("tar_cls").join("train/000000.tar")).unwrap();
    for name in ["birds-train-0.tar", "birds-val-0.tar", "birds-test-0.tar", "extra/0.tar"] {
        write(place.path().join(name), &shard);
    }
    let path = place.path().to_path_buf();
    let config = DataConfig { format: Format::Tar, path, ..DataConfig::default() };
    let splits = dataset::open(&config, None).unwrap();
    assert_eq!((splits.train.len(), splits.validation.unwrap().len()), (7, 7));
    assert_says(
        &splits.found.to_string(),
        &[
            "training images: birds-train-0.tar",
            "validation images: birds-val-0.tar",
            "not used: 2 shards",
        ],
    );
    assert!(dataset::has_own_test(&config).unwrap());
    let test = dataset::open_for(&config, None, Evaluated::Test).unwrap();
    assert!(test.validation.unwrap().name(0).contains("birds-test-0.tar/sample0000.png"));
    let named = DataConfig {
        train: Some("extra".into()),
        validation: Some("birds-v".into()),
        ..config.clone()
    };
    let splits = dataset::open(&named, None).unwrap();
    assert!(splits.train.name(6).ends_with("extra/0.tar/sample0006.png"));
    let all = DataConfig { train: Some(".".into()), ..config.clone() };
    assert_says(
        &refusal(dataset::open(&all, None)),
        &["birds-val-0.tar", "among the training images"],
    );
    let none = DataConfig { train: Some("cats".into()), ..config };
    assert_says(&refusal(dataset::open(&none, None)), &["cats", "data.train", "4 shards"]);
}

/// A set of copies of a shard of seven images, under these names.
fn shards_called(names: &[&str]) -> (TempDir, DataConfig) {
    let place = tempdir().unwrap();
    let shard = fs::read(stored("tar_cls").join("train/000000.tar")).unwrap();
    for name in names {
        write(place.path().join(name), &shard);
    }
    let path = place.path().to_path_buf();
    (place, DataConfig { format: Format::Tar, path, ..DataConfig::default() })
}

#[test]
fn images_to_evaluate_on_are_not_trained_on_where_a_folder_says_it_by_a_word() {
    for [train, validation] in [["train2017", "val2017"], ["imagenet-train", "imagenet-val"]] {
        let names = [train, validation].map(|folder| format!("{folder}/0.tar"));
        let (_place, config) = shards_called(&[&names[0], &names[1]]);
        let splits = dataset::open(&config, None).unwrap();
        assert_eq!(splits.train.len(), 7);
        assert!(splits.train.name(0).contains(&names[0]));
        assert!(splits.validation.unwrap().name(0).contains(&names[1]));
    }
    let (_place, config) = shards_called(&["trainset/0.tar", "valset/0.tar"]);
    let message = refusal(dataset::open(&config, None));
    assert_says(&message, &["valset/0.tar", "may be of the images to evaluate on", "data.train"]);
    let all = DataConfig { train: Some(".".into()), ..config };
    assert_eq!(dataset::open(&all, None).unwrap().train.len(), 14);
}

#[test]
fn a_named_folder_is_that_folder_and_not_others_that_begin_so() {
    let (place, config) = shards_called(&["train/0.tar", "train_noisy/0.tar", "part-0.tar"]);
    let with = |train: &Path| {
        let config = DataConfig { train: Some(train.into()), ..config.clone() };
        dataset::open(&config, None)
    };
    assert_eq!(with("train".as_ref()).unwrap().train.len(), 7);
    assert_eq!(with("./train/".as_ref()).unwrap().train.len(), 7);
    assert_eq!(with("tra".as_ref()).unwrap().train.len(), 14);
    assert_eq!(with("part-0.tar".as_ref()).unwrap().train.len(), 7);
    // An absolute path by another way, and one that is elsewhere.
    let other = place.path().join("train/../train_noisy");
    assert_eq!(with(&place.path().join("train_n")).unwrap().train.len(), 7);
    assert!(with(&other.join("../train")).unwrap().train.name(0).contains("train/0.tar"));
    let elsewhere = tempdir().unwrap();
    assert_says(&refusal(with(elsewhere.path())), &["data.train", "not below data.path"]);
}
