//! Settings that are a file of their own, read as strictly as a recipe: those of evaluations.

use serde::de::Error as _;

use super::{Checker, RecipeError, Settings, error::Source, read::Misread, tree::Node};

/// Reads the settings `text`, which messages call `name`, changed by `overrides` of the form
/// `a.b=c`. Whoever sets one key of a table keeps the others as they are by default.
///
/// # Errors
/// Text that is no TOML, or says what makes no sense: with every such value, its line, and what was
/// expected.
pub fn settings<S: Settings>(
    text: &str,
    name: &str,
    overrides: &[String],
) -> Result<S, RecipeError> {
    let source = Source { name, text, overrides };
    let mut typed = Node::parse(text).map_err(|syntax| source.syntax(syntax))?;
    for (position, text) in overrides.iter().enumerate() {
        typed
            .apply(text, position)
            .map_err(|problem| RecipeError::Override { text: text.clone(), problem })?;
    }
    let read = || -> Result<S, Misread> {
        let defaults = toml::Table::try_from(S::default()).map_err(Misread::custom)?;
        let mut whole = typed.clone();
        whole.complete_tables(&defaults);
        S::deserialize(&whole)
    };
    let invalid = |problems| RecipeError::Invalid { problems };
    let settings = read().map_err(|error| invalid(vec![source.misread(error, &typed, "")]))?;
    let mut checker = Checker::default();
    settings.check(&mut checker);
    let complaints = checker.into_complaints().into_iter();
    let problems: Vec<_> = complaints.map(|c| source.complaint(c, &typed)).collect();
    if problems.is_empty() { Ok(settings) } else { Err(invalid(problems)) }
}
