//! "Did you mean …?"

/// How alike two words must be, from 0 to 1, to be taken for a slip.
const ALIKE: f64 = 0.7;

/// A suggestion, if one of `known` is close to `got`.
pub(super) fn nearest(got: &str, known: &[&str]) -> Option<String> {
    let likeness = |name: &str| {
        let (got, name) = (got.to_lowercase(), name.to_lowercase());
        // Words that begin alike are a slip more often than their edit distance says.
        strsim::jaro_winkler(&got, &name)
    };
    known
        .iter()
        .map(|name| (likeness(name), name))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .map(|(_, name)| format!("did you mean `{name}`?"))
}

/// What to say about the unknown key `got` of a table with the keys `known`; at the top of a
/// recipe, the table of the method is one of them.
pub(super) fn key<'a>(got: &str, known: &mut Vec<&'a str>, top: bool, method: &'a str) -> String {
    if top {
        known.push(method);
    }
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
        assert_eq!(nearest("epochs", &known), None);
        assert_eq!(nearest("x", &[]), None);
    }
}
