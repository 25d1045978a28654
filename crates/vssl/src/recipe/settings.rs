//! Tables of settings: those of a method, those that are a file of their own, and which keys a table
//! has whose tag decides.

use std::collections::BTreeMap;

use serde::{Serialize, de::DeserializeOwned};
use toml::Table;

use super::{
    Checker, Provenance, RecipeError,
    check::Complaint,
    error::{Part, Problem, Source},
    read::Misread,
    tables::{REMOVED, foreign, is_of_earlier_version, tagged},
    tree::{Node, Place},
};
use crate::method::{
    Method,
    learner::{AnyMethod, erase},
};

/// A typed table: the settings of a method, or of an evaluation.
pub trait Settings: Default + Serialize + DeserializeOwned {
    /// Complains about values out of bounds; the keys are relative to the table.
    fn check(&self, checker: &mut Checker);
}

/// A line of the list of methods: its name, what people should know of it, and how its settings are
/// read.
#[derive(Clone, Copy)]
pub struct Entry {
    /// What `method = "…"` says, and the name of the table with the settings.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// The paper that it is from.
    pub paper: &'static str,
    read: fn(&'static str, Node) -> Read,
}

/// A method, and which of its settings are out of bounds.
type Read = Result<(Box<dyn AnyMethod>, Vec<Complaint>), Misread>;

impl Entry {
    /// The method `M`, whose settings are its own fields.
    pub const fn of<M: Method + Settings + Clone + 'static>(
        name: &'static str,
        summary: &'static str,
        paper: &'static str,
    ) -> Self {
        Self { name, summary, paper, read: read::<M> }
    }

    /// The method with the settings `table`; what it does not say has its default.
    ///
    /// # Errors
    /// Every setting that is unknown, of another type or out of bounds.
    pub fn with(&self, table: &Table) -> Result<Box<dyn AnyMethod>, RecipeError> {
        let typed = Node::nowhere(Table::from_iter([(self.name.to_owned(), table.clone().into())]));
        let source = Source { name: self.name, text: "", overrides: &[] };
        let invalid = |problems| RecipeError::Invalid { problems };
        let (method, complaints) = self
            .read(typed.get(self.name))
            .map_err(|error| invalid(vec![source.misread(error, &typed, self.name)]))?;
        match complaints.is_empty() {
            true => Ok(method),
            false => Err(invalid(source.complaints(complaints, &typed))),
        }
    }

    /// The method with its default settings.
    pub fn defaults(&self) -> Box<dyn AnyMethod> {
        let (method, _) = self.read(None).expect("defaults are read as they are written");
        method
    }

    /// The method with the settings at `table`, and what is out of bounds among them.
    pub(super) fn read(&self, table: Option<&Node>) -> Read {
        let table = table.cloned().unwrap_or_else(|| Node::nowhere(Table::new()));
        let (method, complaints) =
            (self.read)(self.name, table).map_err(|error| error.below(self.name))?;
        Ok((method, complaints.into_iter().map(|c| c.below(self.name)).collect()))
    }
}

fn read<M: Method + Settings + Clone + 'static>(name: &'static str, table: Node) -> Read {
    let (method, complaints) = typed::<M>(table)?;
    Ok((erase(name, method), complaints))
}

/// The settings at `table`, and what is out of bounds among them. A table inside that has some of its
/// keys keeps the others as they are by default.
fn typed<S: Settings>(mut table: Node) -> Result<(S, Vec<Complaint>), Misread> {
    let defaults = Table::try_from(S::default()).map_err(serde::de::Error::custom)?;
    complete(&mut table, &defaults);
    let settings = S::deserialize(&table)?;
    let mut checker = Checker::default();
    settings.check(&mut checker);
    Ok((settings, checker.into_complaints()))
}

/// Adds what the tables inside `settings` do not say and `defaults` does, as far as the tag of such a
/// table has it.
fn complete(settings: &mut Node, defaults: &Table) {
    for (name, table) in defaults {
        let (Some(defaults), Some(own)) = (table.as_table(), settings.get_mut(name)) else {
            continue;
        };
        own.complete(defaults);
        if let Some(tagged) = tagged(name) {
            tagged.foreign(&own.table()).iter().for_each(|key| own.remove(key));
        }
    }
}

/// Reads the settings `text`, which messages call `name`, changed by `overrides` of the form
/// `a.b=c`, as strictly as a recipe: those of evaluations.
///
/// # Errors
/// Text that is not TOML, or that says what makes no sense: with every such value, its line, and what
/// was expected.
pub fn settings<S: Settings>(
    text: &str,
    name: &str,
    overrides: &[String],
) -> Result<S, RecipeError> {
    settings_and_origins(text, name, overrides).map(|(settings, _)| settings)
}

/// Reads settings as [`settings()`] does, and returns where each of them comes from as well.
///
/// # Errors
/// As [`settings()`].
pub fn settings_and_origins<S: Settings>(
    text: &str,
    name: &str,
    overrides: &[String],
) -> Result<(S, Provenance), RecipeError> {
    let source = Source { name, text, overrides };
    let invalid = |problems| RecipeError::Invalid { problems };
    let mut tree = source.tree()?;
    // A table without a tag has that of these settings, which need not be that of recipes.
    for (name, table) in Table::try_from(S::default()).expect("settings are plain values") {
        let (Some(tagged), Some(own)) = (tagged(&name), tree.get_mut(&name)) else { continue };
        let tag = |(key, _): &(String, toml::Value)| key == tagged.tag;
        own.complete(&table.as_table().cloned().into_iter().flatten().filter(tag).collect());
    }
    let notes = source.refuse_foreign(&mut tree)?;
    let (settings, complaints) = typed::<S>(tree.clone())
        .map_err(|error| invalid(vec![source.misread(error, &tree, "")]))?;
    if !complaints.is_empty() {
        return Err(invalid(source.complaints(complaints, &tree)));
    }
    let table = Table::try_from(&settings).expect("settings are plain values");
    Ok((settings, Provenance::of(&table, &tree, &source).with(notes)))
}

impl Source<'_> {
    /// Takes out the foreign keys that earlier versions wrote, and those of the choice that a tag on the command
    /// line replaces; refuses all others. A key that was set on the command line is always of today. Returns
    /// notes on what was left out because of the command line.
    ///
    /// # Errors
    /// Every foreign key, with its line and the keys that there are.
    pub(super) fn refuse_foreign(&self, typed: &mut Node) -> Result<Vec<String>, RecipeError> {
        let file = typed.table();
        let is_of_earlier_version = is_of_earlier_version(&file);
        let (mut problems, mut left_out) = (Vec::new(), BTreeMap::<_, Vec<String>>::new());
        for (name, key) in foreign(&file) {
            let Some(table) = typed.get_mut(name) else { continue };
            let Some(place) = table.get(&key).map(|node| node.place.clone()) else { continue };
            let is_replaced = tagged(name)
                .and_then(|tagged| table.get(tagged.tag))
                .is_some_and(|tag| matches!(tag.place, Place::Override(_)));
            match place {
                Place::File { .. } if is_of_earlier_version => table.remove(&key),
                Place::File { .. } if is_replaced => {
                    table.remove(&key);
                    left_out.entry(name).or_default().push(key);
                }
                place => problems.push(self.foreign(&file, name, &key, &place)),
            }
        }
        let note = |(name, keys): (&str, Vec<String>)| {
            let tagged = tagged(name)?;
            let choice = tagged.choice(file.get(name)?.as_table()?)?;
            let (tag, keys) = (tagged.tag, keys.join(", "));
            Some(format!(
                "{name}.{tag} is {choice:?} on the command line: {keys} of the file belong to another {tag} and \
                 are left out; all other keys of [{name}] stay as the file has them"
            ))
        };
        match problems.is_empty() {
            true => Ok(left_out.into_iter().filter_map(note).collect()),
            false => Err(RecipeError::Invalid { problems }),
        }
    }

    fn foreign(&self, file: &Table, name: &str, key: &str, place: &Place) -> Problem {
        let location = self.locate(place, Part::Key);
        let full = format!("{name}.{key}");
        let (Some(tagged), Some(table)) = (tagged(name), file[name].as_table()) else {
            let removed = REMOVED.iter().find(|removed| (removed.0, removed.1) == (name, key));
            let why = removed.map_or("", |(_, _, why)| *why);
            return Problem {
                message: format!("{full} no longer exists: {why}"),
                location,
                help: Some(format!("remove `{key}`")),
                key: full,
            };
        };
        let choice = tagged.choice(table).unwrap_or_default();
        let other = tagged.choices_with(key)[0];
        Problem {
            message: format!("{name}.{}", tagged.refusal(key, choice)),
            location,
            help: Some(format!("remove `{key}`, or set {} = {other:?}", tagged.tag)),
            key: full,
        }
    }
}
