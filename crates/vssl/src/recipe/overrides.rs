//! `--set a.b=c`: changes to a recipe before it is read.

use toml::Value;

use super::tree::{Content, Node, Place};

impl Node {
    /// Applies the override `text`, number `position` on the command line.
    ///
    /// # Errors
    /// What is wrong with it and what to do, for a person.
    pub(super) fn apply(&mut self, text: &str, position: usize) -> Result<(), String> {
        let (key, value) = text
            .split_once('=')
            .ok_or("there is no `=`; write it as key=value, for example train.epochs=10")?;
        let path: Vec<&str> = key.trim().split('.').map(str::trim).collect();
        if path.iter().any(|part| part.is_empty()) {
            return Err("a part of the key is empty; write it as table.key=value".into());
        }
        let value = parse_value(value.trim())?;
        self.put(&path, 0, Node::at(&Place::Override(position), &value))
    }

    /// Puts `new` at `path`, of which `depth` parts lead here.
    fn put(&mut self, path: &[&str], depth: usize, new: Node) -> Result<(), String> {
        let Some(&key) = path.get(depth) else {
            *self = new;
            return Ok(());
        };
        let here = path[..depth].join(".");
        match &mut self.content {
            Content::Leaf(_) => {
                Err(format!("`{here}` is a single value, there is no `{key}` in it"))
            }
            Content::Array(items) => {
                let count = items.len();
                let index = key.parse().ok().filter(|&index: &usize| index < count);
                let index = index.ok_or_else(|| {
                    format!("`{here}` is a list of {count}: expected an index below {count}")
                })?;
                items[index].put(path, depth + 1, new)
            }
            Content::Table(entries) => {
                if let Some((_, entry)) = entries.iter_mut().find(|(k, _)| k == key) {
                    return entry.put(path, depth + 1, new);
                }
                if path.get(depth + 1).is_some_and(|next| next.parse::<usize>().is_ok()) {
                    let list = path[..=depth].join(".");
                    return Err(format!(
                        "the recipe file has no list `{list}`; write it there before changing an \
                         element"
                    ));
                }
                // Tables on the way that the file does not have.
                let mut node = new;
                for part in path[depth + 1..].iter().rev() {
                    let place = node.place.clone();
                    node = Node { place, content: Content::Table(vec![(part.to_string(), node)]) };
                }
                entries.push((key.to_owned(), node));
                Ok(())
            }
        }
    }
}

/// A TOML value; what is none, and does not begin like one that needs an end, is a string.
fn parse_value(text: &str) -> Result<Value, String> {
    if text.is_empty() {
        return Err("there is no value after `=`; an empty string is written \"\"".into());
    }
    match toml::from_str::<toml::Table>(&format!("value = {text}")) {
        Ok(mut table) if table.len() == 1 => {
            Ok(table.remove("value").expect("the text says `value =`"))
        }
        Ok(_) => Err("one value was expected".into()),
        Err(error) if text.starts_with(['"', '\'', '[', '{']) => {
            Err(format!("{text} is no TOML value: {}", error.message()))
        }
        Err(_) => Ok(Value::String(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(recipe: &str, text: &str) -> Result<Node, String> {
        let mut node = Node::parse(recipe).map_err(|e| e.message)?;
        node.apply(text, 0).map(|()| node)
    }

    fn leaf(node: &Node, path: &str) -> Value {
        let path: Vec<String> = path.split('.').map(String::from).collect();
        match &node.find(&path).unwrap().content {
            Content::Leaf(value) => value.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn values_are_toml_and_bare_words_are_strings() {
        let cases = [
            ("a.b=3", Value::Integer(3)),
            ("a.b=1e-3", Value::Float(1e-3)),
            ("a.b=true", Value::Boolean(true)),
            ("a.b=byol", Value::String("byol".into())),
            ("a.b=\"3\"", Value::String("3".into())),
            ("a.b=/data/my images", Value::String("/data/my images".into())),
            ("a.b=2=3", Value::String("2=3".into())),
            ("a.b = 4", Value::Integer(4)),
        ];
        for (text, expected) in cases {
            assert_eq!(leaf(&applied("[a]\nc = 1", text).unwrap(), "a.b"), expected, "{text}");
        }
    }

    #[test]
    fn an_index_reaches_into_a_list() {
        let recipe = "[[views]]\nsize = 32\n[[views]]\nsize = 32";
        let node = applied(recipe, "views.1.size=24").unwrap();
        assert_eq!(leaf(&node, "views.1.size"), Value::Integer(24));
        assert_eq!(leaf(&node, "views.0.size"), Value::Integer(32));
        assert!(applied(recipe, "views.2.size=24").unwrap_err().contains("below 2"));
        assert!(applied("", "views.0.size=24").unwrap_err().contains("no list `views`"));
    }

    #[test]
    fn what_is_no_override_is_refused() {
        for text in ["a", "a.=1", ".a=1", "a=", "a=[1", "a=\"x", "a=1\nb=2"] {
            assert!(applied("", text).is_err(), "{text}");
        }
        assert!(applied("a = 1", "a.b=2").unwrap_err().contains("single value"));
    }
}
