//! The usual names of the folders of splits.
//!
//! Usual names, in any case: `train`, `training`; `val`, `valid`, `validation`, `dev`; `test`, `testing`. Where
//! training images and images to evaluate on are both found, a number may follow such a name, or `_` or `-`
//! and more, as in `train2017` and `val2017`: one such folder alone may well be a class.

use std::ffi::{OsStr, OsString};

/// A split: the key of the recipe that names its folder, and the usual names of such folders.
pub(super) struct Names {
    pub(super) key: &'static str,
    usual: &'static [&'static str],
}

pub(super) const TRAIN: Names = Names { key: "train", usual: &["train", "training"] };
pub(super) const VALIDATION: Names =
    Names { key: "validation", usual: &["val", "valid", "validation", "dev"] };
pub(super) const TEST: Names = Names { key: "test", usual: &["test", "testing"] };

impl Names {
    /// Whether `name` is a usual one.
    pub(super) fn has(&self, name: &OsStr) -> bool {
        name.to_str()
            .is_some_and(|name| self.usual.iter().any(|usual| name.eq_ignore_ascii_case(usual)))
    }

    /// Whether `name` is a usual one, or a usual one with a number, or `_` or `-` and more behind it.
    pub(super) fn is_like(&self, name: &OsStr) -> bool {
        let Some(name) = name.to_str().map(str::to_ascii_lowercase) else { return false };
        let rests = self.usual.iter().filter_map(|usual| name.strip_prefix(usual));
        rests.into_iter().any(|rest: &str| {
            rest.bytes().all(|byte| byte.is_ascii_digit())
                || (rest.len() > 1 && rest.starts_with(['_', '-']))
        })
    }
}

/// Whether the folders look like training images and images to evaluate on.
pub(super) fn are_splits(folders: &[OsString]) -> bool {
    let has = |names: &Names| folders.iter().any(|folder| names.is_like(folder));
    has(&TRAIN) && (has(&VALIDATION) || has(&TEST))
}
