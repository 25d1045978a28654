//! Finds the folders of the splits of a set: those that the recipe names, or else those with a usual name.
//!
//! A guess is told in a sentence. What could pretrain on the images of an evaluation is refused.

use std::{
    ffi::OsString,
    path::{Component, Path, PathBuf},
};

use super::{
    DataConfig, Evaluated,
    usual_names::{Names, TEST, TRAIN, VALIDATION, are_splits},
    walk::{check_folder, folders_in, holds_images},
};
use crate::{DataError, name_text::text_of};

/// Number of folders that are looked into for splits of their own. Each costs a call of the file system, and a
/// set may have thousands of class folders.
const LOOKED_INTO: usize = 20;

/// Number of levels that are gone down where a folder holds a single folder.
const LEVELS: usize = 5;

/// The folders of the splits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SplitFolders {
    /// The folder of the training images: one of the split folders, or the set itself.
    pub(super) train: PathBuf,
    /// The folder of the images to evaluate on.
    pub(super) evaluated: Option<PathBuf>,
    /// What was taken for what, and what was not used.
    pub(super) taken: Vec<String>,
}

/// The folders in a set, and what the recipe says of them.
struct Search<'a> {
    path: &'a Path,
    folders: Vec<OsString>,
    /// Whether the recipe takes the whole folder for training: no split is guessed inside it.
    whole: bool,
}

impl SplitFolders {
    /// Finds the folders of the set in `path`.
    ///
    /// # Errors
    /// The set or a folder that is named is missing; several folders have usual names of one split; a folder
    /// with the usual name of the training images may be a class; images of an evaluation lie among those that
    /// would be trained on; there are no test images, and they were asked for.
    pub(super) fn find(
        path: &Path,
        config: &DataConfig,
        evaluated: Evaluated,
    ) -> Result<Self, DataError> {
        let search = Search::of(path, config)?;
        let train = search.folder(&TRAIN, config.train.as_deref())?;
        let test = |search: &Search<'_>| search.folder(&TEST, config.test.as_deref());
        let judged = match evaluated {
            Evaluated::Test => Some(test(&search)?.ok_or_else(|| search.no_test())?),
            Evaluated::Validation => {
                match search.folder(&VALIDATION, config.validation.as_deref())? {
                    Some(folder) => Some(folder),
                    None => test(&search)?,
                }
            }
        };
        if let (Some(train), None, None) = (&train, &judged, &config.train)
            && let Some(sibling) = search.sibling_class(train)
        {
            return Err(search.no_split(train, sibling));
        }
        let own = train.clone().unwrap_or_else(|| path.to_owned());
        if let Some(judged) = &judged
            && (judged.starts_with(&own) || own.starts_with(judged))
        {
            return Err(search.overlapping(&own, judged));
        }
        if train.is_none()
            && let Some(inner) = search.nested()
        {
            return Err(search.split_below(&inner));
        }
        let taken = search.sentences(train.as_deref(), judged.as_deref(), evaluated);
        Ok(Self { train: own, evaluated: judged, taken })
    }

    /// Whether the set has test images that are not its validation images.
    ///
    /// # Errors
    /// As [`SplitFolders::find`].
    pub(super) fn has_own_test(path: &Path, config: &DataConfig) -> Result<bool, DataError> {
        let test = Search::of(path, config)?.folder(&TEST, config.test.as_deref())?;
        let judged = Self::find(path, config, Evaluated::Validation)?.evaluated;
        Ok(test.is_some() && test != judged)
    }
}

/// Whether a folder that the recipe names is the whole set.
fn is_whole(named: &Path) -> bool {
    named.components().all(|part| part == Component::CurDir)
}

impl<'a> Search<'a> {
    fn of(path: &'a Path, config: &DataConfig) -> Result<Self, DataError> {
        check_folder(path)?;
        let is_all = |named: &Path| is_whole(named) || path.join(named) == path;
        let whole = config.train.as_deref().is_some_and(is_all);
        Ok(Self { path, folders: folders_in(path)?, whole })
    }

    /// The folder of a split: the one that is `named`, or else the one with a usual name.
    fn folder(&self, names: &Names, named: Option<&Path>) -> Result<Option<PathBuf>, DataError> {
        let key = names.key;
        if let Some(named) = named {
            // Without the point, so that messages and names of images do not have it.
            let folder = if is_whole(named) { self.path.to_owned() } else { self.path.join(named) };
            return match folder.is_dir() {
                true => Ok(Some(folder)),
                false => Err(DataError::Missing {
                    path: folder,
                    expected: format!("the folder that data.{key} names; {}", self.seen()),
                }),
            };
        }
        if self.whole {
            return Ok(None);
        }
        let mut matches: Vec<&OsString> =
            self.folders.iter().filter(|name| names.has(name)).collect();
        if matches.is_empty() && are_splits(&self.folders) {
            matches = self.folders.iter().filter(|name| names.is_like(name)).collect();
        }
        match matches.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(self.path.join(one))),
            several => Err(DataError::Format {
                path: self.path.into(),
                what: format!("{} could each hold the {key} images", listed(several)),
                expected: format!(
                    "one of them; or in a recipe the name of the right one, data.{key} = \"…\"{}",
                    if key == "train" { "; data.train = \".\" takes all images" } else { "" }
                ),
            }),
        }
    }

    /// A folder in the set that has splits of its own; one with images, if there are several.
    fn nested(&self) -> Option<PathBuf> {
        let from = below_single(self.path.to_owned());
        let folders = match from == self.path {
            true => self.folders.clone(),
            false => folders_in(&from).unwrap_or_default(),
        };
        if from != self.path && are_splits(&folders) {
            return Some(from);
        }
        let inner = folders.iter().take(LOOKED_INTO).map(|name| below_single(from.join(name)));
        let split: Vec<PathBuf> =
            inner.filter(|inner| folders_in(inner).is_ok_and(|below| are_splits(&below))).collect();
        split.iter().find(|inner| begins_with_images(inner)).or(split.first()).cloned()
    }

    /// A folder beside the training folder that holds images as this does, directly.
    fn sibling_class(&self, train: &Path) -> Option<&OsString> {
        if !holds_images(train) || folders_in(train).is_ok_and(|below| !below.is_empty()) {
            return None;
        }
        let siblings = self.folders.iter().filter(|name| self.path.join(name) != train);
        siblings.take(LOOKED_INTO).find(|name| holds_images(&self.path.join(name)))
    }

    fn no_split(&self, train: &Path, sibling: &OsString) -> DataError {
        let own = self.relative(train);
        let named = own.trim_end_matches('/');
        DataError::Format {
            path: self.path.into(),
            what: format!(
                "{own} may hold the training images, or be a class as {}/ beside it: there is no folder of \
                 validation or test images",
                text_of(Path::new(sibling))
            ),
            expected: format!(
                "in a recipe, data.train = \".\" to take all images with the folders as classes, or \
                 data.train = \"{named}\" to take the images in {own} alone"
            ),
        }
    }

    fn split_below(&self, inner: &Path) -> DataError {
        let inner = text_of(inner);
        DataError::Format {
            path: self.path.into(),
            what: format!(
                "{inner} has splits of its own: all its images would be trained on, those to evaluate on too"
            ),
            expected: format!(
                "the folder of the splits, {inner}, in data.path; data.train = \".\" in a recipe takes all \
                 images"
            ),
        }
    }

    fn no_test(&self) -> DataError {
        if self.whole {
            return DataError::Format {
                path: self.path.into(),
                what: "no folder holds the test images: data.train = \".\" takes all images for training"
                    .into(),
                expected: "a folder of test images elsewhere, which data.test names in a recipe".into(),
            };
        }
        DataError::Missing {
            path: self.path.join("test"),
            expected: format!(
                "a folder of test images, or its name in a recipe, data.test; {}",
                self.seen()
            ),
        }
    }

    /// What the set has, for a message.
    fn seen(&self) -> String {
        match self.folders.as_slice() {
            [] => format!("{} has no folders", text_of(self.path)),
            folders => format!(
                "{} has {}",
                text_of(self.path),
                listed(&folders.iter().collect::<Vec<_>>())
            ),
        }
    }

    fn overlapping(&self, train: &Path, judged: &Path) -> DataError {
        let judged = self.relative(judged);
        if self.whole {
            return DataError::Format {
                path: self.path.into(),
                what: format!(
                    "data.train = \".\" takes all images for training, and the images to evaluate on, \
                     {judged}, are among them"
                ),
                expected: format!(
                    "another folder of training images in data.train, or {judged} moved out of the set"
                ),
            };
        }
        if train == self.path {
            return DataError::Format {
                path: self.path.into(),
                what: format!(
                    "{judged} looks like images to evaluate on, and no folder is called train: all \
                     images would be trained on, these too"
                ),
                expected: format!(
                    "a folder train/ beside it; in a recipe, data.train = \"…\" names another folder, and \
                     data.train = \".\" takes all images. To use {judged} alone, give it as the folder of \
                     the images"
                ),
            };
        }
        DataError::Format {
            path: self.path.into(),
            what: format!(
                "{} and {judged} lie within each other: training images would be evaluated on",
                self.relative(train)
            ),
            expected: "two folders apart from each other".into(),
        }
    }

    /// A folder as text, relative to the set.
    fn relative(&self, folder: &Path) -> String {
        match folder.strip_prefix(self.path) {
            Ok(below) if below.as_os_str().is_empty() => "all images".to_owned(),
            Ok(below) => format!("{}/", text_of(below)),
            Err(_) => format!("{}/", text_of(folder)),
        }
    }

    fn sentences(
        &self,
        train: Option<&Path>,
        judged: Option<&Path>,
        evaluated: Evaluated,
    ) -> Vec<String> {
        let what = evaluated.name();
        let mut taken = Vec::new();
        taken.push(match train {
            None => format!("training images: all in {}, which has no train/", text_of(self.path)),
            Some(train) => format!("training images: {}", self.relative(train)),
        });
        match judged {
            Some(judged) => {
                let instead = self.folders.iter().any(|name| {
                    TEST.is_like(name)
                        && self.path.join(name) == judged
                        && evaluated == Evaluated::Validation
                });
                let why = if instead { " (there is no val/)" } else { "" };
                taken.push(format!("{what} images: {}{why}", self.relative(judged)));
            }
            None if train.is_some_and(|train| train != self.path) => {
                taken.push("no validation images: there is neither val/ nor test/".to_owned());
            }
            None => {}
        }
        let Some(train) = train.filter(|train| *train != self.path) else { return taken };
        let is_used = |name: &OsString| {
            let folder = self.path.join(name);
            [Some(train), judged].into_iter().flatten().any(|used| used.starts_with(&folder))
        };
        let unused: Vec<&OsString> = self.folders.iter().filter(|name| !is_used(name)).collect();
        if !unused.is_empty() {
            let hint = match unused.iter().any(|name| TEST.has(name)) {
                true => " (evaluations such as `vssl linear --split test` take the test images)",
                false => "",
            };
            taken.push(format!("not used: {}{hint}", listed(&unused)));
        }
        taken
    }
}

/// The first folder from `folder` down that holds no folder, or more than one.
fn below_single(mut folder: PathBuf) -> PathBuf {
    for _ in 0..LEVELS {
        let below = folders_in(&folder).unwrap_or_default();
        let [only] = below.as_slice() else { break };
        folder.push(only);
    }
    folder
}

/// Whether images are in the folder, or in the first folder in it, and so on.
fn begins_with_images(folder: &Path) -> bool {
    let mut folder = folder.to_owned();
    for _ in 0..LEVELS {
        if holds_images(&folder) {
            return true;
        }
        let Some(first) = folders_in(&folder).unwrap_or_default().into_iter().next() else { break };
        folder.push(first);
    }
    false
}

/// Names of folders, such as `cat/, dog/`; at most five of them.
pub(super) fn listed(folders: &[&OsString]) -> String {
    let names = folders.iter().take(5).map(|name| format!("{}/", text_of(Path::new(name))));
    let mut names: Vec<String> = names.collect();
    match folders.len().saturating_sub(5) {
        0 => names.join(", "),
        more => {
            names.push(format!("{more} more"));
            names.join(", ")
        }
    }
}
