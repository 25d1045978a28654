//! The data section of a recipe.

use std::path::Path;

use tempfile::tempdir;
use vssl_data::DataConfig;
use vssl_data::dataset::{self, Format, Labels, MissingClasses};

use super::{assert_says, png, refusal, write};

#[test]
fn every_field_has_its_name_in_the_recipe() {
    let text = r#"
        format = "imagenet100"
        path = "images"
        train = "Train"
        validation = "Dev"
        test = "/other/Test"
        labels = "fine"
        limit_train = 500
        limit_validation = 100
        missing_classes = "allow"
        bits_used = 12
        channels = 5
        range = [0, 4095]
    "#;
    let expected = DataConfig {
        format: Format::ImageNet100,
        path: "images".into(),
        train: Some("Train".into()),
        validation: Some("Dev".into()),
        test: Some("/other/Test".into()),
        labels: Labels::Fine,
        limit_train: Some(500),
        limit_validation: Some(100),
        missing_classes: MissingClasses::Allow,
        bits_used: 12,
        channels: 5,
        range: vssl_data::dataset::Range::Between([0.0, 4095.0]),
    };
    assert_eq!(toml::from_str::<DataConfig>(text).unwrap(), expected);
    for format in ["idx", "cifar10", "cifar100", "folder"] {
        toml::from_str::<DataConfig>(&format!("format = {format:?}")).unwrap();
    }
    for labels in ["auto", "fine", "coarse", "none"] {
        toml::from_str::<DataConfig>(&format!("labels = {labels:?}")).unwrap();
    }
}

#[test]
fn a_misspelt_field_or_value_is_refused() {
    let message = toml::from_str::<DataConfig>("limit_trian = 3").unwrap_err().to_string();
    assert_says(&message, &["limit_trian"]);
    let message = toml::from_str::<DataConfig>("format = \"cifar\"").unwrap_err().to_string();
    assert_says(&message, &["cifar10"]);
}

#[test]
fn limits_take_the_same_number_of_each_class() {
    let folder = tempdir().unwrap();
    for class in ["a", "b", "c"] {
        for number in 0..4 {
            for split in ["train", "val"] {
                let file = format!("{split}/{class}/{number}.png");
                write(folder.path().join(file), &png(1, 1, [number; 3]));
            }
        }
    }
    let mut config = DataConfig {
        path: folder.path().file_name().unwrap().into(),
        limit_train: Some(6),
        limit_validation: Some(4),
        ..Default::default()
    };
    let root = folder.path().parent();
    let splits = dataset::open(&config, root).unwrap();
    assert_eq!(splits.train.labels().unwrap(), [0, 0, 1, 1, 2, 2]);
    assert!(splits.train.name(3).ends_with("b/1.png"));
    assert_eq!(splits.train.image(3).unwrap().values, [1; 3]);
    assert_eq!(splits.validation.unwrap().labels().unwrap(), [0, 0, 1, 2]);
    config.labels = Labels::None;
    let splits = dataset::open(&config, root).unwrap();
    assert!(splits.train.name(5).ends_with("b/1.png"));
    config.limit_train = Some(1000);
    assert_eq!(dataset::open(&config, root).unwrap().train.len(), 12);
}

#[test]
fn a_bad_image_of_a_subset_has_the_index_of_the_subset() {
    let folder = tempdir().unwrap();
    for file in ["a/1.png", "a/2.png"] {
        write(folder.path().join(file), &png(1, 1, [0; 3]));
    }
    write(folder.path().join("b/1.png"), b"text");
    let config =
        DataConfig { path: folder.path().into(), limit_train: Some(2), ..Default::default() };
    let splits = dataset::open(&config, None).unwrap();
    let message = splits.train.image(1).unwrap_err().to_string();
    assert_says(&message, &["b/1.png", "(image 1)"]);
}

#[test]
fn no_path_and_no_images_are_refused() {
    assert_says(&refusal(dataset::open(&DataConfig::default(), None)), &["data.path", "not set"]);
    let zero = DataConfig { path: "x".into(), limit_train: Some(0), ..Default::default() };
    assert_says(&refusal(dataset::open(&zero, Some(Path::new("/")))), &["data.limit_train = 0"]);
}

#[test]
fn each_format_has_its_normalisation() {
    assert_eq!(*Format::Cifar10.normalisation().mean, [0.4914, 0.4822, 0.4465]);
    assert_eq!(*Format::Cifar100.normalisation().std, [0.2673, 0.2564, 0.2762]);
    assert_eq!(Format::Folder.normalisation(), Format::ImageNet100.normalisation());
    // The embedded tenth of Fashion-MNIST has nearly the statistics of the whole.
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/fashion-mnist-tenth");
    let set = super::open(Format::Idx, Path::new(path), Labels::None).unwrap().train;
    let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
    for index in 0..set.len() {
        for value in set.image(index).unwrap().values {
            let value = f64::from(value) / 255.0;
            sum += value;
            squares += value * value;
            count += 1.0;
        }
    }
    let mean: f64 = sum / count;
    let std = (squares / count - mean * mean).sqrt();
    let normalisation = Format::Idx.normalisation();
    assert!((mean - f64::from(normalisation.mean[0])).abs() < 0.002, "{mean}");
    assert!((std - f64::from(normalisation.std[0])).abs() < 0.002, "{std}");
}

#[test]
fn a_format_without_folders_has_no_folders_of_splits() {
    for format in [Format::Idx, Format::Cifar10, Format::Cifar100] {
        let config =
            DataConfig { format, path: "x".into(), test: Some("t".into()), ..Default::default() };
        assert_says(&refusal(dataset::open(&config, None)), &["data.test", "imagenet100"]);
    }
}
