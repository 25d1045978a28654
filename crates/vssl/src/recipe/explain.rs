//! Puts what the reader and the checks found into words, with the place where it was said.

use super::{
    MethodSchema,
    check::Complaint,
    error::{Location, Part, Problem, Source},
    read::{Kind, Misread, alternatives},
    suggest,
    tree::{Content, Node},
};

impl Source<'_> {
    /// The method that the recipe names.
    pub(super) fn method<'m>(
        &self,
        typed: &Node,
        methods: &'m [MethodSchema],
    ) -> Result<&'m MethodSchema, Box<Problem>> {
        let names: Vec<&str> = methods.iter().map(|method| method.name).collect();
        let expected = alternatives(&names);
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
        let Some(method) = methods.iter().find(|method| method.name == name) else {
            let message = format!("method is {name:?}; expected {expected}");
            let help = suggest::nearest(name, &names);
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
                let mut known = known.clone();
                let table = match error.path.is_empty() {
                    true => "the recipe".to_owned(),
                    false => format!("[{key}]"),
                };
                let help = suggest::key(unknown, &mut known, error.path.is_empty(), method);
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
                help: suggest::nearest(got, known),
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
    pub(super) fn complaint(&self, complaint: Complaint, typed: &Node) -> Problem {
        let key = complaint.path.join(".");
        let said = typed.find(&complaint.path).is_some();
        let node = typed.nearest(&complaint.path);
        let note = if said { "" } else { " (the recipe does not say)" };
        let part = if said { Part::Value } else { Part::Key };
        Problem {
            message: format!("{key} {}{note}", complaint.message),
            location: self.locate(&node.place, part),
            help: None,
            key,
        }
    }
}
