//! The shards below a folder, and which of them belong to which split.
//!
//! A split is what the recipe names: a folder, a file or the beginning of names. Otherwise a folder or a word of
//! a name says it, as in `train/000000.tar`, `imagenet-val/000000.tar` and `validation-00000-of-00002.parquet`; a
//! number may follow the word. Shards whose names say nothing are training images where no shard is called so.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::super::usual_names::{Names, TEST, TRAIN, VALIDATION};
use super::super::walk::check_folder;
use super::super::{DataConfig, Evaluated, Format};
use crate::{DataError, name_text::text_of};

/// Levels of folders that are looked through.
const LEVELS: usize = 4;

/// What a word of a split may be joined to, as in `valset`: too little to tell a split by, and too much to train on
/// such images without asking.
const JOINED: [&str; 7] = ["sets", "set", "splits", "split", "images", "data", "shards"];

/// The endings of tar files that are packed as a whole.
const PACKED: [(&str, &str); 6] = [
    (".tar.gz", "gunzip"),
    (".tgz", "gunzip"),
    (".tar.zst", "unzstd"),
    (".tar.bz2", "bunzip2"),
    (".tar.xz", "unxz"),
    (".tar.lz4", "unlz4"),
];

/// The shards of the splits, by their paths below the set, and what was taken for what.
pub(super) struct Split {
    pub(super) train: Vec<String>,
    pub(super) judged: Option<Vec<String>>,
    pub(super) taken: Vec<String>,
}

/// The ending of shards.
pub(super) fn ending(format: Format) -> &'static str {
    if format == Format::Parquet { "parquet" } else { "tar" }
}

impl Split {
    /// Finds the shards below `root`.
    ///
    /// # Errors
    /// No shards; those of a split that is named or asked for are missing; images of an evaluation would be
    /// trained on.
    pub(super) fn find(
        root: &Path,
        config: &DataConfig,
        evaluated: Evaluated,
    ) -> Result<Self, DataError> {
        if let Some(single) = single(root, config)? {
            return Ok(single);
        }
        let files = shards(root, config.format)?;
        let of = |names: &Names, named: Option<&Path>| chosen(root, &files, names, named);
        let train = of(&TRAIN, config.train.as_deref())?;
        let test = || of(&TEST, config.test.as_deref());
        let judged = match evaluated {
            Evaluated::Test => Some(test()?.ok_or_else(|| missing(root, "test", &files))?),
            Evaluated::Validation => match of(&VALIDATION, config.validation.as_deref())? {
                Some(files) => Some(files),
                None => test()?,
            },
        };
        let own = train.map_or_else(|| free(root, &files), Ok)?;
        if let Some(both) = judged.iter().flatten().find(|file| own.contains(file)) {
            return Err(DataError::Format {
                path: root.join(both),
                what: "is among the training images and among those to evaluate on".into(),
                expected: "splits without a common shard: see data.train and data.validation"
                    .into(),
            });
        }
        let mut taken = vec![format!("training images: {}", listed(&own))];
        match &judged {
            Some(judged) => taken.push(format!("{} images: {}", evaluated.name(), listed(judged))),
            None => taken.push("no validation images: no shards are called so".to_owned()),
        }
        let is_used =
            |file: &&String| own.contains(file) || judged.iter().flatten().any(|one| one == *file);
        let unused: Vec<String> = files.iter().filter(|file| !is_used(file)).cloned().collect();
        if !unused.is_empty() {
            taken.push(format!("not used: {}", listed(&unused)));
        }
        Ok(Self { train: own, judged, taken })
    }

    /// Whether there are test images that are not the validation images.
    ///
    /// # Errors
    /// As [`Split::find`].
    pub(super) fn has_own_test(root: &Path, config: &DataConfig) -> Result<bool, DataError> {
        if root.is_file() {
            return Ok(false);
        }
        let files = shards(root, config.format)?;
        let test = chosen(root, &files, &TEST, config.test.as_deref())?;
        let judged = Self::find(root, config, Evaluated::Validation)?.judged;
        Ok(test.is_some() && test != judged)
    }
}

/// The split of a set that is a single shard, whatever it is called; `None` for a folder.
///
/// # Errors
/// A file that is no shard by its ending, or the name of a split.
fn single(path: &Path, config: &DataConfig) -> Result<Option<Split>, DataError> {
    let (true, Some(name)) = (path.is_file(), path.file_name()) else { return Ok(None) };
    let ending = ending(config.format);
    if !path.extension().is_some_and(|own| own.eq_ignore_ascii_case(ending)) {
        return Err(DataError::Format {
            path: path.into(),
            what: "is a file with another ending".into(),
            expected: format!("a shard that ends in .{ending}, or a folder of shards"),
        });
    }
    let named = [&config.train, &config.validation, &config.test];
    if named.into_iter().any(Option::is_some) {
        return Err(DataError::Setting(format!(
            "{}: this is a single shard, which has no splits; leave data.train, data.validation and data.test out, or \
             give the folder of the shards",
            text_of(path)
        )));
    }
    let train = vec![name.to_string_lossy().into_owned()];
    let taken = vec![
        format!("training images: {}", train[0]),
        "no validation images: the set is a single shard".to_owned(),
    ];
    Ok(Some(Split { train, judged: None, taken }))
}

/// The paths of all shards below `root`, sorted by their bytes.
fn shards(root: &Path, format: Format) -> Result<Vec<String>, DataError> {
    check_folder(root)?;
    let ending = ending(format);
    let mut found = Vec::new();
    let is_shard =
        |own: &str| Path::new(own).extension().is_some_and(|own| own.eq_ignore_ascii_case(ending));
    below(root, "", &is_shard, LEVELS, &mut found)?;
    if found.is_empty() {
        if format == Format::Tar {
            refuse_packed(root)?;
        }
        return Err(DataError::Format {
            path: root.into(),
            what: format!("no shards that end in .{ending}"),
            expected: format!("files such as 000000.{ending} or train/000000.{ending}"),
        });
    }
    found.sort_unstable();
    Ok(found)
}

/// Names the tar files that are packed as a whole.
fn refuse_packed(root: &Path) -> Result<(), DataError> {
    let program = |own: &str| {
        let own = own.to_ascii_lowercase();
        PACKED.into_iter().find(|(ending, _)| own.ends_with(ending)).map(|(_, program)| program)
    };
    let mut packed = Vec::new();
    below(root, "", &|own| program(own).is_some(), LEVELS, &mut packed)?;
    packed.sort_unstable();
    match packed.first().and_then(|first| Some((first, program(first)?))) {
        None => Ok(()),
        Some((first, program)) => Err(DataError::Format {
            path: root.join(first),
            what: "this tar file is packed, and images cannot be read from the middle of it".into(),
            expected: format!(
                "tar files as they are: unpack each once, with `{program}`; images are packed already"
            ),
        }),
    }
}

fn below(
    folder: &Path,
    name: &str,
    is_meant: &dyn Fn(&str) -> bool,
    levels: usize,
    found: &mut Vec<String>,
) -> Result<(), DataError> {
    for entry in fs::read_dir(folder).map_err(DataError::io(folder))? {
        let entry = entry.map_err(DataError::io(folder))?;
        let own = entry.file_name();
        // A name that is no text could not be told from another in the index.
        let Some(own) = own.to_str().filter(|own| !own.starts_with('.')) else { continue };
        let name = if name.is_empty() { own.to_owned() } else { format!("{name}/{own}") };
        let path = entry.path();
        if path.is_dir() {
            if levels > 0 {
                below(&path, &name, is_meant, levels - 1, found)?;
            }
        } else if is_meant(own) {
            found.push(name);
        }
    }
    Ok(())
}

/// The shards of one split: those that are `named`, or else those with a usual name; `None` for none.
fn chosen(
    root: &Path,
    files: &[String],
    names: &Names,
    named: Option<&Path>,
) -> Result<Option<Vec<String>>, DataError> {
    let Some(named) = named else {
        let own = files.iter().filter(|file| split_of(file) == Some(names.key)).cloned();
        let own: Vec<String> = own.collect();
        return Ok((!own.is_empty()).then_some(own));
    };
    let below = relative(root, named).ok_or_else(|| {
        let key = names.key;
        DataError::Setting(format!(
            "data.{key} = {:?}: not below data.path, {}; expected a path below that folder",
            text_of(named),
            text_of(root)
        ))
    })?;
    let parts = below.components().filter(|part| *part != Component::CurDir);
    let start = text_of(&parts.collect::<PathBuf>());
    let folder = format!("{start}/");
    let like = |is_own: &dyn Fn(&String) -> bool| -> Vec<String> {
        files.iter().filter(|file| is_own(file)).cloned().collect()
    };
    // `train` is the folder of this name where there is one, and not `train_noisy/` too.
    let mut own = like(&|file| *file == start || file.starts_with(&folder));
    if own.is_empty() {
        own = like(&|file| file.starts_with(&start));
    }
    match own.is_empty() {
        false => Ok(Some(own)),
        true => Err(DataError::Missing {
            path: root.join(named),
            expected: format!(
                "the folder, a shard, or the beginning of the names of shards, that data.{} names; there are {}",
                names.key,
                listed(files)
            ),
        }),
    }
}

/// A named path from `root` on; `None` for one that is not below it.
fn relative(root: &Path, named: &Path) -> Option<PathBuf> {
    let below = named.strip_prefix(root).unwrap_or(named);
    if below.is_relative() && !below.components().any(|part| part == Component::ParentDir) {
        return Some(below.to_owned());
    }
    let (root, named) = (root.canonicalize().ok()?, root.join(below));
    // The last part may be a link to another disk, or the beginning of names, which no folder has.
    let own = || Some(named.parent()?.canonicalize().ok()?.join(named.file_name()?));
    let whole = || named.canonicalize().ok();
    let below = |path: PathBuf| path.strip_prefix(&root).ok().map(Path::to_owned);
    own().and_then(below).or_else(|| whole().and_then(below))
}

/// The key of the split that the name of a shard says: a folder called so, a word of the file's name, or a word of a
/// folder's name whose other words name no other split.
fn split_of(file: &str) -> Option<&'static str> {
    let mut folders: Vec<&str> = file.split('/').collect();
    let last = folders.pop().unwrap_or_default();
    let of_words = |folder: &&str| {
        let mut keys = words(folder).filter_map(key_of);
        let first = keys.next()?;
        keys.all(|key| key == first).then_some(first)
    };
    let whole = folders.iter().find_map(|folder| key_of(folder));
    whole.or_else(|| words(last).find_map(key_of)).or_else(|| folders.iter().find_map(of_words))
}

fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(['-', '_', '.'])
}

/// The key of the split that a word is a usual name of; a number may follow it.
fn key_of(word: &str) -> Option<&'static str> {
    let word = word.trim_end_matches(|end: char| end.is_ascii_digit());
    let names = [&TRAIN, &VALIDATION, &TEST];
    names.into_iter().find(|names| names.has(word.as_ref())).map(|names| names.key)
}

/// Whether a word of a shard's name begins like images to evaluate on, as `valset` does.
fn may_be_evaluated(file: &str) -> bool {
    file.to_ascii_lowercase().split('/').flat_map(words).any(|word| {
        let word = word.trim_end_matches(|end: char| end.is_ascii_digit());
        let start = JOINED.iter().find_map(|end| word.strip_suffix(end));
        start.and_then(key_of).is_some_and(|key| key != TRAIN.key)
    })
}

/// The shards whose names say no split: the training images where no shard is called so.
fn free(root: &Path, files: &[String]) -> Result<Vec<String>, DataError> {
    let free = files.iter().filter(|file| split_of(file).is_none()).cloned();
    let free: Vec<String> = free.collect();
    if free.is_empty() {
        return Err(missing(root, "training", files));
    }
    match free.iter().find(|file| may_be_evaluated(file)) {
        None => Ok(free),
        Some(odd) => Err(DataError::Format {
            path: root.join(odd),
            what: "may be of the images to evaluate on, and no shards are called train".into(),
            expected: "a folder or names that say it, such as train/ and val/; or in a recipe the beginning of their \
                       names, in data.train (\".\" for all shards) and data.validation"
                .into(),
        }),
    }
}

fn missing(root: &Path, split: &str, files: &[String]) -> DataError {
    DataError::Format {
        path: root.into(),
        what: format!("no shards of {split} images among {}", listed(files)),
        expected: "a folder or names that say it, such as train/000000.tar or test-00000.parquet; or in a recipe \
                   the beginning of their names, in data.train, data.validation or data.test"
            .into(),
    }
}

/// Names of shards, the first and the last.
fn listed(files: &[String]) -> String {
    match files {
        [] => "no shards".to_owned(),
        [one] => one.clone(),
        [first, .., last] => format!("{} shards, {first} to {last}", files.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_the_split() {
        for (file, expected) in [
            ("000000.tar", None),
            ("train/000000.tar", Some("train")),
            ("data/train-00000-of-00005.parquet", Some("train")),
            ("imagenet1k-validation-03.tar", Some("validation")),
            ("cc3m_val_0001.tar", Some("validation")),
            ("plain_text/test-00000-of-00001.parquet", Some("test")),
            ("val/train-cars.tar", Some("validation")),
            ("trainsets-00.tar", None),
            ("train2017/000000.tar", Some("train")),
            ("val2017/000000.tar", Some("validation")),
            ("imagenet-train/000000.tar", Some("train")),
            ("imagenet_val2012/000000.tar", Some("validation")),
            ("coco/val2017-003.tar", Some("validation")),
            ("speed-test/train-0001.tar", Some("train")),
            ("speed-test/train2017/0001.tar", Some("train")),
            ("train-val-test/0001.tar", None),
            ("valley-of-trains/0001.tar", None),
        ] {
            assert_eq!(split_of(file), expected, "{file}");
        }
    }

    #[test]
    fn names_that_are_like_a_split_to_evaluate_on_are_noticed() {
        for (file, expected) in [
            ("valset/000000.tar", true),
            ("birds-TestSet2-000.tar", true),
            ("trainset/000000.tar", false),
            ("dataset/000000.tar", false),
            ("valley/contest-000.tar", false),
        ] {
            assert_eq!(may_be_evaluated(file), expected, "{file}");
        }
    }
}
