//! What is known of one shard: where its images lie, and what they are called. Made by the readers of tar and
//! Parquet files, kept by [`super::kept`].

use std::collections::BTreeMap;

use super::super::found::LeftOut;

/// The label of an image that has none.
pub(super) const NO_LABEL: u32 = u32::MAX;

/// The images of one shard, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) entries: Vec<Entry>,
    /// The names of the images, one behind the other, and where each ends.
    pub(super) names: String,
    pub(super) name_ends: Vec<u32>,
    /// One label an image: a number, or the place of its word in `words`; [`NO_LABEL`] for none.
    pub(super) labels: Vec<u32>,
    /// The labels that are words. Empty where labels are numbers.
    pub(super) words: Vec<String>,
    /// The names of the classes that the file gives for its numbers; empty for none.
    pub(super) class_names: Vec<String>,
    /// The packed pieces of the file that hold the images of entries with a `block`.
    pub(super) blocks: Vec<Block>,
    /// What is in the shard and not used, by what it is.
    pub(super) left_out: BTreeMap<String, LeftOut>,
}

/// Where the bytes of an image lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The place in the file; or, with a `block`, in what the block unpacks to.
    pub(super) offset: u64,
    pub(super) bytes: u32,
    /// The number of the block that the bytes begin in; [`Entry::PLAIN`] where they lie in the file as they
    /// are.
    pub(super) block: u32,
}

impl Entry {
    pub(super) const PLAIN: u32 = u32::MAX;
}

/// A packed piece of a file. What it unpacks to goes on in the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) offset: u64,
    pub(super) stored: u32,
    pub(super) unpacked: u32,
    pub(super) method: Method,
}

/// How a block is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// The elements of a Snappy stream, without its length.
    Snappy,
    /// A gzip stream.
    Gzip,
}

/// A label as it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Label {
    None,
    Number(u32),
    Word(String),
}

impl Part {
    pub(super) fn name(&self, at: usize) -> &str {
        let start = if at == 0 { 0 } else { self.name_ends[at - 1] as usize };
        &self.names[start..self.name_ends[at] as usize]
    }

    /// Adds an image.
    pub(super) fn push(&mut self, entry: Entry, name: &str) {
        self.entries.push(entry);
        self.names.push_str(name);
        self.name_ends.push(self.names.len() as u32);
    }

    /// Whether the names still fit their ends.
    pub(super) fn is_full(&self) -> bool {
        self.names.len() > u32::MAX as usize - (1 << 16) || self.entries.len() >= u32::MAX as usize
    }

    /// Counts something that is not used.
    pub(super) fn leave_out(&mut self, what: &str, example: &str) {
        let one = LeftOut { count: 1, example: example.into() };
        self.left_out.entry(what.to_owned()).or_default().add(one);
    }

    /// Takes the labels of all images in. Where some are words, all are.
    pub(super) fn set_labels(&mut self, labels: Vec<Label>) {
        let has_words = labels.iter().any(|label| matches!(label, Label::Word(_)));
        if !has_words {
            let number = |label| if let Label::Number(number) = label { number } else { NO_LABEL };
            self.labels = labels.into_iter().map(number).collect();
            return;
        }
        let mut places = BTreeMap::new();
        let mut place = |word: String| {
            let next = places.len() as u32;
            *places.entry(word).or_insert(next)
        };
        let labels = labels.into_iter().map(|label| match label {
            Label::None => NO_LABEL,
            Label::Number(number) => place(number.to_string()),
            Label::Word(word) => place(word),
        });
        self.labels = labels.collect();
        self.words = vec![String::new(); places.len()];
        for (word, place) in places {
            self.words[place as usize] = word;
        }
    }
}
