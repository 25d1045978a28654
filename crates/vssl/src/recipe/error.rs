//! What is wrong with a recipe, where, and what to do, as a compiler would say it.

use std::{
    fmt::{self, Display},
    io,
    ops::Range,
    path::PathBuf,
};

use super::tree::{Place, Syntax};

/// A recipe that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("recipe {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A `--set` that is none or has no place to go to.
    #[error("--set {text}: {problem}")]
    Override {
        /// As typed.
        text: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// Something that the recipe says.
    #[error("{}", each(problems))]
    Invalid {
        /// At least one.
        problems: Vec<Problem>,
    },
}

fn each(problems: &[Problem]) -> String {
    let texts: Vec<String> = problems.iter().map(Problem::to_string).collect();
    texts.join("\n\n")
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, as `--set` takes it; empty when it concerns the file as a whole.
    pub key: String,
    /// Key, value found and what was expected.
    pub message: String,
    /// Where it was said.
    pub location: Location,
    /// What to do about it.
    pub help: Option<String>,
}

/// Where something was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In a line of the recipe.
    Line {
        /// Name of the file.
        file: String,
        /// Counted from 1.
        line: usize,
        /// Characters before the part that matters.
        column: usize,
        /// Characters of that part.
        width: usize,
        /// The line.
        text: String,
    },
    /// On the command line.
    Override {
        /// What stands after `--set`.
        text: String,
    },
    /// Nowhere in particular.
    File {
        /// Name of the file.
        file: String,
    },
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Location::Override { text } => write!(f, "--set {text}: {}", self.message)?,
            Location::File { file } => write!(f, "{file}: {}", self.message)?,
            Location::Line { file, line, column, width, text } => {
                let number = line.to_string();
                let gutter = " ".repeat(number.len());
                // A tab before the caret keeps the column whatever a tab is worth.
                let indent: String = text
                    .chars()
                    .take(*column)
                    .map(|c| if c == '\t' { '\t' } else { ' ' })
                    .collect();
                writeln!(f, "{file}:{line}: {}", self.message)?;
                writeln!(f, "{gutter} |")?;
                writeln!(f, "{number} | {text}")?;
                write!(f, "{gutter} | {indent}{}", "^".repeat((*width).max(1)))?;
            }
        }
        match &self.help {
            Some(help) => write!(f, "\nhelp: {help}"),
            None => Ok(()),
        }
    }
}

/// The text of a recipe, to point into.
pub(super) struct Source<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
    pub(super) overrides: &'a [String],
}

/// Which half of `key = value` matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Key,
    Value,
}

impl Source<'_> {
    pub(super) fn locate(&self, place: &Place, part: Part) -> Location {
        match (place, part) {
            (Place::Override(position), _) => {
                Location::Override { text: self.overrides[*position].clone() }
            }
            (Place::File { key, .. }, Part::Key) => self.at(key),
            (Place::File { value, .. }, Part::Value) => self.at(value),
        }
    }

    /// The line that `place` is in, counted from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        1 + self.text[..offset.min(self.text.len())].matches('\n').count()
    }

    fn at(&self, range: &Range<usize>) -> Location {
        let file = self.name.to_owned();
        if range.is_empty() && range.start == 0 {
            return Location::File { file };
        }
        let start = range.start.min(self.text.len());
        let begin = self.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let end = self.text[start..].find('\n').map_or(self.text.len(), |length| start + length);
        let text = self.text[begin..end].trim_end_matches('\r').to_owned();
        let column = self.text[begin..start].chars().count();
        let marked = &self.text[start..range.end.clamp(start, end)];
        let width = marked.trim_end().chars().count();
        Location::Line { file, line: self.line(start), column, width, text }
    }

    pub(super) fn syntax(&self, syntax: Syntax) -> RecipeError {
        let problem = Problem {
            key: String::new(),
            message: syntax.message,
            // An empty range is a place, too: the end of the file, say.
            location: self.at(&(syntax.at.start..syntax.at.end.max(syntax.at.start + 1))),
            help: None,
        };
        RecipeError::Invalid { problems: vec![problem] }
    }
}
