//! The shards below a folder, and which of them belong to which split.
//!
//! A split is what the recipe names: a folder, a file or the beginning of names. Otherwise a folder or a word of
//! a file's name says it, as in `train/000000.tar` and `validation-00000-of-00002.parquet`. Shards whose names
//! say nothing are training images where no shard is called so.

use std::fs;
use std::path::{Component, Path};

use super::super::name_text::text_of;
use super::super::usual_names::{Names, TEST, TRAIN, VALIDATION};
use super::super::walk::check_folder;
use super::super::{DataConfig, Evaluated, Format};
use crate::DataError;

/// Levels of folders that are looked through.
const LEVELS: usize = 4;

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
        let own = match train {
            Some(train) => train,
            None => {
                let free = files.iter().filter(|file| split_of(file).is_none()).cloned();
                let free: Vec<String> = free.collect();
                if free.is_empty() {
                    return Err(missing(root, "training", &files));
                }
                free
            }
        };
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
        let files = shards(root, config.format)?;
        let test = chosen(root, &files, &TEST, config.test.as_deref())?;
        let judged = Self::find(root, config, Evaluated::Validation)?.judged;
        Ok(test.is_some() && test != judged)
    }
}

/// The paths of all shards below `root`, sorted by their bytes.
fn shards(root: &Path, format: Format) -> Result<Vec<String>, DataError> {
    check_folder(root)?;
    let ending = ending(format);
    let mut found = Vec::new();
    below(root, "", ending, LEVELS, &mut found)?;
    if found.is_empty() {
        return Err(DataError::Format {
            path: root.into(),
            what: format!("no shards that end in .{ending}"),
            expected: format!("files such as 000000.{ending} or train/000000.{ending}"),
        });
    }
    found.sort_unstable();
    Ok(found)
}

fn below(
    folder: &Path,
    name: &str,
    ending: &str,
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
                below(&path, &name, ending, levels - 1, found)?;
            }
        } else if Path::new(own).extension().is_some_and(|own| own.eq_ignore_ascii_case(ending)) {
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
    let below = named.strip_prefix(root).unwrap_or(named);
    let parts = below.components().filter(|part| *part != Component::CurDir);
    let start = text_of(&parts.collect::<std::path::PathBuf>());
    let own = files.iter().filter(|file| file.starts_with(&start)).cloned();
    let own: Vec<String> = own.collect();
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

/// The key of the split that the name of a shard says.
fn split_of(file: &str) -> Option<&'static str> {
    let mut parts: Vec<&str> = file.split('/').collect();
    let last = parts.pop().unwrap_or_default();
    let words = last.split(['-', '_', '.']);
    parts.into_iter().chain(words).find_map(|word| {
        let names = [&TRAIN, &VALIDATION, &TEST];
        names.into_iter().find(|names| names.has(word.as_ref())).map(|names| names.key)
    })
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
        ] {
            assert_eq!(split_of(file), expected, "{file}");
        }
    }
}
