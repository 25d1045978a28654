//! Guesses the format of a set of images from the names of its files. Called where a set is named without a recipe.

use std::{fs, path::Path};

use super::{Format, shards_are_in};

/// The endings of lists of images.
const LISTS: [&str; 3] = ["csv", "tsv", "parquet"];

/// The format that the names of the files in `path` suggest.
pub fn guess(path: &Path) -> Option<Format> {
    if path.is_file()
        && path
            .extension()
            .is_some_and(|own| LISTS.iter().any(|list| own.eq_ignore_ascii_case(list)))
    {
        return Some(Format::List);
    }
    let mut names = vec![path.file_name()?.to_string_lossy().into_owned()];
    if path.is_dir() {
        let entries = fs::read_dir(path).ok()?.filter_map(Result::ok);
        names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    }
    let any = |test: &dyn Fn(&str) -> bool| names.iter().any(|name| test(name));
    if any(&|name| name.contains("-idx3-ubyte")) {
        Some(Format::Idx)
    } else if any(&|name| name.starts_with("cifar-100") || name == "train.bin") {
        Some(Format::Cifar100)
    } else if any(&|name| name.starts_with("cifar-10-") || name == "data_batch_1.bin") {
        Some(Format::Cifar10)
    } else if any(&|name| {
        name == "stl10_binary" || name.ends_with("led_X.bin") || name == "train_X.bin"
    }) {
        Some(Format::Stl10)
    } else {
        [Format::Tar, Format::Parquet].into_iter().find(|format| shards_are_in(path, *format))
    }
}
