//! `[teacher]`: the frozen encoder that a method learns from. Its keys are those of `[init]` that say which encoder it is.

use serde::{Serialize, Serializer, ser::Error};
use toml::Table;

use super::{Checker, InitSection, Recipe};

/// Writes the table without the key that is for an encoder which trains.
pub(super) fn serialize<S: Serializer>(
    teacher: &Option<InitSection>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut table = Table::try_from(teacher.as_ref()).map_err(S::Error::custom)?;
    table.remove("freeze_epochs");
    table.serialize(serializer)
}

impl Recipe {
    /// Complains about a teacher that the method lacks or has no use for, and about values out of bounds.
    pub(super) fn check_teacher(&self, checker: &mut Checker) {
        let name = self.method.name();
        match (&self.teacher, self.method.has_frozen_teacher()) {
            (Some(teacher), true) => {
                teacher.check_source("teacher", checker);
                let freeze = teacher.freeze_epochs;
                let expected = "no such key: the teacher is frozen for good";
                checker.require("teacher.freeze_epochs", freeze == 0, freeze, expected);
                let expected = "the file of features, because teacher.features_digest is given";
                let named = teacher.features.is_some() || teacher.features_digest.is_none();
                checker.require("teacher.features", named, "not set", expected);
                let stem = teacher.stem_channels;
                let expected =
                    "no such key: the teacher sees images of as many channels as it was trained on";
                checker.require("teacher.stem_channels", stem.is_none(), "given", expected);
            }
            (None, true) => {
                let expected = format_args!(
                    "the trained encoder that the student learns from, because method = \"{name}\" has a frozen teacher: a \
                     run folder, an exported file, or a file of another program's weights, as --teacher PATH or \
                     --set teacher.from=PATH"
                );
                checker.require("teacher.from", false, "not set", expected);
            }
            (Some(_), false) => {
                let expected = format_args!(
                    "no table [teacher]: method = \"{name}\" has no frozen teacher, and method = \"distill\" has one. To \
                     start from an encoder there is [init]"
                );
                checker.require("teacher", false, "given", expected);
            }
            (None, false) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::METHODS;

    fn parsed(text: &str) -> Result<Recipe, String> {
        let text = format!("data.path = \"x\"\n{text}");
        let read = Recipe::parse(&text, "test.toml", &[], METHODS);
        read.map(|(recipe, _)| recipe).map_err(|error| error.to_string())
    }

    #[test]
    fn a_teacher_is_read_as_it_is_written_and_has_no_frozen_epochs() {
        let recipe = parsed("method = \"distill\"\nteacher = { from = \"t\", heads = 3 }").unwrap();
        let text = recipe.to_toml();
        assert!(text.contains("[teacher]") && !text.contains("freeze_epochs"), "{text}");
        let again = Recipe::parse(&text, "recipe.toml", &[], METHODS).unwrap().0;
        assert_eq!(again, recipe);
        assert_eq!(again.teacher.unwrap().heads, Some(3));
    }

    #[test]
    fn a_teacher_that_lacks_or_that_is_too_many_is_told_with_what_to_do() {
        for (text, parts) in [
            ("method = \"distill\"", ["teacher.from", "--teacher PATH"]),
            ("method = \"distill\"\nteacher.heads = 3", ["teacher.from", "run folder"]),
            (
                "method = \"distill\"\nteacher = { from = \"t\", freeze_epochs = 1 }",
                ["teacher.freeze_epochs", "frozen for good"],
            ),
            ("method = \"simclr\"\nteacher.from = \"t\"", ["teacher", "[init]"]),
            ("method = \"distill\"\nteacher.form = \"t\"", ["teacher.form", "from"]),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }
}
