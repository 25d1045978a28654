//! What is wrong with a recipe, where, and what to do, as a compiler would say it: the findings of the
//! reader and of the checks in words, with the place where they were said.

use std::{
    fmt::{self, Display},
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use super::{
    check::Complaint,
    read::{Kind, Misread, alternatives},
    tables,
    tree::{Content, Node, Place, Syntax},
};

/// A recipe that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("recipe {}: {}", path.display(), vssl_data::explained(path, source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path of the recipe is a folder.
    #[error("recipe {}: this is a folder; expected a file (.toml){}", path.display(), recipe_inside(path))]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// A `--set` that is not of the form `a.b=c`, or whose key has no place in the recipe.
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

/// Returns which recipe may be meant by a folder.
fn recipe_inside(folder: &Path) -> String {
    let recipe = folder.join("recipe.toml");
    match recipe.is_file() {
        true => format!(". The recipe of this run is {}", recipe.display()),
        false => String::new(),
    }
}

impl RecipeError {
    /// Returns the error for the recipe of a run that goes on: help that such a run cannot follow, because its
    /// schedule is bound, gives way to help that it can follow.
    #[must_use]
    pub fn of_a_run_that_goes_on(mut self) -> Self {
        if let Self::Invalid { problems } = &mut self {
            for problem in problems.iter_mut().filter(|problem| problem.key == WARMUP) {
                problem.help = Some(
                    "a run that goes on keeps its warm-up: give train.epochs at least that many epochs, or begin \
                     another run with another --out"
                        .to_owned(),
                );
            }
        }
        self
    }
}

/// The key of the number of epochs of the warm-up.
const WARMUP: &str = "schedule.warmup_epochs";

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
        1 + self.text[..self.text.floor_char_boundary(offset)].matches('\n').count()
    }

    fn at(&self, range: &Range<usize>) -> Location {
        let file = self.name.to_owned();
        if range.is_empty() && range.start == 0 {
            return Location::File { file };
        }
        // A range may end, or begin, inside of a character of several bytes.
        let start = self.text.floor_char_boundary(range.start);
        let begin = self.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let end = self.text[start..].find('\n').map_or(self.text.len(), |length| start + length);
        let text = self.text[begin..end].trim_end_matches('\r').to_owned();
        let column = self.text[begin..start].chars().count();
        let marked = &self.text[start..self.text.ceil_char_boundary(range.end).clamp(start, end)];
        let width = marked.trim_end().chars().count();
        Location::Line { file, line: self.line(start), column, width, text }
    }

    fn syntax(&self, syntax: Syntax) -> RecipeError {
        let problem = Problem {
            key: String::new(),
            message: syntax.message,
            // An empty range is a place, too: the end of the file, say.
            location: self.at(&(syntax.at.start..syntax.at.end.max(syntax.at.start + 1))),
            help: None,
        };
        RecipeError::Invalid { problems: vec![problem] }
    }

    /// The text with its overrides applied.
    pub(super) fn tree(&self) -> Result<Node, RecipeError> {
        let mut tree = Node::parse(self.text).map_err(|syntax| self.syntax(syntax))?;
        for (position, text) in self.overrides.iter().enumerate() {
            tree.apply(text, position)
                .map_err(|problem| RecipeError::Override { text: text.clone(), problem })?;
        }
        Ok(tree)
    }

    /// The place among `names` of the method that the recipe names.
    pub(super) fn method(&self, typed: &Node, names: &[&str]) -> Result<usize, Box<Problem>> {
        let expected = alternatives(names);
        let key = "method".to_owned();
        let Some(node) = typed.get("method") else {
            let message = format!("`method` is missing; expected {expected}");
            let location = Location::File { file: self.name.to_owned() };
            let help = names.first().map(|name| format!("write method = \"{name}\" at the top"));
            return Err(Box::new(Problem { key, message, location, help }));
        };
        let location = self.locate(&node.place, Part::Value);
        let Content::Leaf(toml::Value::String(name)) = &node.content else {
            let message = format!("method: got no text, expected {expected}");
            return Err(Box::new(Problem { key, message, location, help: None }));
        };
        let Some(method) = names.iter().position(|known| known == name) else {
            let message = format!("method is {name:?}; expected {expected}");
            let help = nearest(name, names);
            return Err(Box::new(Problem { key, message, location, help }));
        };
        let stray = names.iter().filter(|other| *other != name).find_map(|other| {
            typed.get(other).map(|node| (other, self.locate(&node.place, Part::Key)))
        });
        match stray {
            None => Ok(method),
            Some((other, location)) => Err(Box::new(Problem {
                key: other.to_string(),
                message: format!("[{other}] has settings of {other}, but method is {name:?}"),
                location,
                help: Some(format!("remove [{other}], or set method = \"{other}\"")),
            })),
        }
    }

    /// What serde could not read.
    pub(super) fn misread(&self, error: Misread, typed: &Node, method: &str) -> Problem {
        let error = error.pinpoint(typed);
        let key = error.path.join(".");
        let node = typed.nearest(&error.path);
        match &error.kind {
            Kind::UnknownKey { key: unknown, known } => {
                let keys = tables::keys(&error.path, &typed.table());
                let known = keys.as_ref().unwrap_or(known);
                let table = match error.path.is_empty() {
                    true => "the recipe".to_owned(),
                    false => format!("[{key}]"),
                };
                // The table of the method is one more key at the top of a recipe.
                let table_of_method =
                    (error.path.is_empty() && !method.is_empty()).then_some(method);
                let known: Vec<&str> = known.iter().copied().chain(table_of_method).collect();
                let help = known_keys(unknown, &known);
                let place = node.get(unknown).unwrap_or(node).place.clone();
                let key = if key.is_empty() { unknown.clone() } else { format!("{key}.{unknown}") };
                Problem {
                    message: format!("unknown key `{unknown}` in {table}"),
                    location: self.locate(&place, Part::Key),
                    help: Some(help),
                    key,
                }
            }
            Kind::UnknownVariant { got, known } => Problem {
                message: format!("{key} is {got:?}; expected {}", alternatives(known)),
                location: self.locate(&node.place, Part::Value),
                help: nearest(got, known),
                key,
            },
            Kind::Missing { key: missing } => Problem {
                message: match key.as_str() {
                    "" => format!("`{missing}` is missing"),
                    _ => format!("`{missing}` is missing in [{key}]"),
                },
                location: self.locate(&node.place, Part::Key),
                help: None,
                key,
            },
            kind => {
                let message = match kind {
                    Kind::Type { got, expected } => {
                        format!("{key} is {got}; expected {expected}")
                    }
                    _ => format!("{key}: {error}"),
                };
                let location = self.locate(&node.place, Part::Value);
                Problem { message, location, help: None, key }
            }
        }
    }

    /// What is out of bounds.
    pub(super) fn complaints(&self, complaints: Vec<Complaint>, typed: &Node) -> Vec<Problem> {
        complaints.into_iter().map(|complaint| self.complaint(complaint, typed)).collect()
    }

    fn complaint(&self, complaint: Complaint, typed: &Node) -> Problem {
        let key = complaint.path.join(".");
        let said = typed.find(&complaint.path).is_some();
        let node = typed.nearest(&complaint.path);
        let note = if said { "" } else { " (the recipe does not say)" };
        let part = if said { Part::Value } else { Part::Key };
        Problem {
            message: format!("{key} {}{note}", complaint.message),
            location: self.locate(&node.place, part),
            help: complaint.help,
            key,
        }
    }
}

/// From this Jaro-Winkler likeness on, one word is taken for a slip of the other, whatever their
/// lengths.
const ALIKE: f64 = 0.85;

/// A suggestion, if one of `known` is close to `got`: a third of its letters may be wrong, swapped,
/// missing or too many.
fn nearest(got: &str, known: &[&str]) -> Option<String> {
    let got = got.to_lowercase();
    let length = got.chars().count();
    let close = |name: &&&str| {
        let edits = strsim::damerau_levenshtein(&got, name);
        edits <= (length / 3).max(1) && edits < length || strsim::jaro_winkler(&got, name) >= ALIKE
    };
    known
        .iter()
        .filter(close)
        .min_by_key(|name| strsim::damerau_levenshtein(&got, name))
        .map(|name| format!("did you mean `{name}`?"))
}

/// What to do about the unknown key `got` of a table with the keys `known`.
fn known_keys(got: &str, known: &[&str]) -> String {
    let list = known.join(", ");
    match nearest(got, known) {
        Some(suggestion) => format!("{suggestion} The keys are {list}"),
        None if known.is_empty() => "there are no keys".to_owned(),
        None => format!("the keys are {list}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let known = ["lr", "weight_decay", "momentum", "clip_lr"];
        assert_eq!(nearest("wieght_decay", &known).unwrap(), "did you mean `weight_decay`?");
        assert_eq!(nearest("LR", &known).unwrap(), "did you mean `lr`?");
        assert_eq!(nearest("rl", &known).unwrap(), "did you mean `lr`?");
        assert_eq!(nearest("weight", &known).unwrap(), "did you mean `weight_decay`?");
        assert_eq!(nearest("epochs", &known), None);
        assert_eq!(nearest("x", &[]), None);
    }
}
