//! Finds the folders of the splits of a set: those that the recipe names, or else those with a usual name.
//!
//! Usual names, in any case: `train`, `training`; `val`, `valid`, `validation`, `dev`; `test`, `testing`.
//! A guess is told in a sentence. What could pretrain on the images of an evaluation is refused.

use std::{
    ffi::{OsStr, OsString},
    path::{Component, Path, PathBuf},
};

use super::{DataConfig, Evaluated, name_text::text_of, walk::folders_in};
use crate::DataError;

/// Number of folders that are looked into for splits of their own. Each costs a call of the file system, and a
/// set may have thousands of class folders.
const LOOKED_INTO: usize = 20;

/// A split: the key of the recipe that names its folder, and the usual names of such folders.
struct Names {
    key: &'static str,
    usual: &'static [&'static str],
}

const TRAIN: Names = Names { key: "train", usual: &["train", "training"] };
const VALIDATION: Names =
    Names { key: "validation", usual: &["val", "valid", "validation", "dev"] };
const TEST: Names = Names { key: "test", usual: &["test", "testing"] };

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
    /// A folder that is named is missing; several folders have usual names of one split; images of an
    /// evaluation lie among those that would be trained on; there are no test images, and they were asked
    /// for.
    pub(super) fn find(
        path: &Path,
        config: &DataConfig,
        evaluated: Evaluated,
    ) -> Result<Self, DataError> {
        let folders = if path.is_dir() { folders_in(path)? } else { Vec::new() };
        let whole = config.train.as_deref().is_some_and(is_whole);
        let search = Search { path, folders, whole };
        let train = search.folder(&TRAIN, config.train.as_deref())?;
        let test = |search: &Search<'_>| search.folder(&TEST, config.test.as_deref());
        let (judged, what) = match evaluated {
            Evaluated::Test => (Some(test(&search)?.ok_or_else(|| search.no_test())?), "test"),
            Evaluated::Validation => {
                match search.folder(&VALIDATION, config.validation.as_deref())? {
                    Some(folder) => (Some(folder), "validation"),
                    None => (test(&search)?, "validation"),
                }
            }
        };
        let own = train.clone().unwrap_or_else(|| path.to_owned());
        if let Some(judged) = &judged
            && !whole
            && (judged.starts_with(&own) || own.starts_with(judged))
        {
            return Err(search.overlapping(&own, judged));
        }
        if train.is_none()
            && let Some(inner) = search.nested()
        {
            return Err(search.split_below(inner));
        }
        let taken = search.sentences(train.as_deref(), judged.as_deref(), what);
        Ok(Self { train: own, evaluated: judged, taken })
    }
}

/// Whether a folder that the recipe names is the whole set.
fn is_whole(named: &Path) -> bool {
    named.components().all(|part| part == Component::CurDir)
}

impl Search<'_> {
    /// The folder of a split: the one that is `named`, or else the one with a usual name.
    fn folder(&self, names: &Names, named: Option<&Path>) -> Result<Option<PathBuf>, DataError> {
        let Names { key, usual } = names;
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
        let matches: Vec<&OsString> =
            self.folders.iter().filter(|name| is_any(name, usual)).collect();
        match matches.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(self.path.join(one))),
            several => Err(DataError::Format {
                path: self.path.into(),
                what: format!("{} could each hold the {key} images", listed(several)),
                expected: format!("one of them, or the name of the right one: data.{key} = \"…\""),
            }),
        }
    }

    /// A folder in the set that has splits of its own.
    fn nested(&self) -> Option<&OsString> {
        self.folders.iter().take(LOOKED_INTO).find(|name| {
            let inner = folders_in(&self.path.join(name)).unwrap_or_default();
            let has = |names: &Names| inner.iter().any(|folder| is_any(folder, names.usual));
            has(&TRAIN) && (has(&VALIDATION) || has(&TEST))
        })
    }

    fn split_below(&self, inner: &OsString) -> DataError {
        let inner = text_of(&self.path.join(inner));
        DataError::Format {
            path: self.path.into(),
            what: format!(
                "{inner} has splits of its own: all its images would be trained on, those to evaluate on too"
            ),
            expected: format!(
                "the folder of the splits, say data.path = \"{inner}\"; data.train = \".\" takes all images"
            ),
        }
    }

    fn no_test(&self) -> DataError {
        DataError::Missing {
            path: self.path.join("test"),
            expected: format!("a folder of test images, or its name in data.test; {}", self.seen()),
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
        if train == self.path {
            return DataError::Format {
                path: self.path.into(),
                what: format!(
                    "{judged} looks like images to evaluate on, and no folder is called train: all \
                     images would be trained on, these too"
                ),
                expected: format!(
                    "a folder train/ beside it; data.train = \"…\" names another folder, and \
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

    fn sentences(&self, train: Option<&Path>, judged: Option<&Path>, what: &str) -> Vec<String> {
        let mut taken = Vec::new();
        taken.push(match train {
            None => format!("training images: all in {}, which has no train/", text_of(self.path)),
            Some(train) => format!("training images: {}", self.relative(train)),
        });
        match judged {
            Some(judged) => {
                let instead = self.folders.iter().any(|name| {
                    is_any(name, TEST.usual) && self.path.join(name) == judged && what != "test"
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
            let is_test = |name: &&OsString| is_any(name, TEST.usual);
            let hint = match unused.iter().any(is_test) {
                true => " (--split test evaluates on the test images)",
                false => "",
            };
            taken.push(format!("not used: {}{hint}", listed(&unused)));
        }
        taken
    }
}

fn is_any(name: &OsStr, usual: &[&str]) -> bool {
    name.to_str().is_some_and(|name| usual.iter().any(|usual| name.eq_ignore_ascii_case(usual)))
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
