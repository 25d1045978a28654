//! What was taken for what when a set of images was opened, and what was left out. Commands print it as
//! one line, because a guess that is not said cannot be corrected.

use crate::name_text::text_of;
use std::{collections::BTreeMap, fmt, path::PathBuf};

/// Largest number of kinds of files in the line.
const KINDS: usize = 6;

/// What was taken for what, and what was left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What the folders were taken for, in sentences without an end, such as
    /// `training images: train/`. Empty for formats whose files have fixed names.
    pub taken: Vec<String>,
    /// Files that were left out, by what they are: an ending such as `.heic`, `hidden`,
    /// `beside the class folders`.
    pub left_out: BTreeMap<String, LeftOut>,
    /// Class folders of which no file can be read as an image, relative to the set. They are only there
    /// where [`super::MissingClasses::Allow`] lets them be missing.
    pub lost_classes: Vec<String>,
}

/// Files of one kind that were left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Number of files.
    pub count: usize,
    /// The first of them, relative to the set.
    pub example: PathBuf,
}

impl LeftOut {
    /// Adds `other`, so that the example is the first by the bytes of its path.
    pub(super) fn add(&mut self, other: Self) {
        let [own, others] =
            [&self.example, &other.example].map(|path| path.as_os_str().as_encoded_bytes());
        if self.count == 0 || others < own {
            self.example = other.example;
        }
        self.count += other.count;
    }
}

impl Found {
    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.taken.is_empty() && self.left_out.is_empty() && self.lost_classes.is_empty()
    }

    pub(super) fn leave_out(&mut self, kind: impl Into<String>, files: LeftOut) {
        self.left_out.entry(kind.into()).or_default().add(files);
    }

    /// Takes in what was found of another split.
    pub(super) fn extend(&mut self, other: Self) {
        self.taken.extend(other.taken);
        self.lost_classes.extend(other.lost_classes);
        for (kind, files) in other.left_out {
            self.leave_out(kind, files);
        }
    }
}

/// The files as text, such as `12 .heic (a/1.heic), 1 .txt (notes.txt)`. The most frequent come first.
pub(super) fn counted(left_out: &BTreeMap<String, LeftOut>) -> String {
    let mut kinds: Vec<_> = left_out.iter().collect();
    kinds.sort_by_key(|(kind, files)| (std::cmp::Reverse(files.count), kind.as_str()));
    let shown = kinds.iter().take(KINDS);
    let mut texts: Vec<String> = shown
        .map(|(kind, files)| format!("{} {kind} ({})", files.count, text_of(&files.example)))
        .collect();
    let more: usize = kinds.iter().skip(KINDS).map(|(_, files)| files.count).sum();
    if more > 0 {
        texts.push(format!("{more} with other endings"));
    }
    texts.join(", ")
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = self.taken.clone();
        if !self.lost_classes.is_empty() {
            parts.push(format!("class folders without images: {}", self.lost_classes.join(", ")));
        }
        if !self.left_out.is_empty() {
            parts.push(format!("left out: {}", counted(&self.left_out)));
        }
        f.write_str(&parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_frequent_comes_first_and_the_rest_is_counted() {
        let mut found = Found { taken: vec!["training images: train/".into()], ..Found::default() };
        for (at, kind) in [".a", ".b", ".c", ".d", ".e", ".f", ".g", ".h"].iter().enumerate() {
            found.leave_out(*kind, LeftOut { count: at + 1, example: format!("x{kind}").into() });
        }
        found.leave_out(".h", LeftOut { count: 1, example: "a.h".into() });
        assert_eq!(
            found.to_string(),
            "training images: train/; left out: 9 .h (a.h), 7 .g (x.g), 6 .f (x.f), 5 .e (x.e), \
             4 .d (x.d), 3 .c (x.c), 3 with other endings"
        );
    }
}
