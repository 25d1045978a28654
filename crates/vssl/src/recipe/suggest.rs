//! "Did you mean …?"

/// Words that begin alike are a slip from this Jaro-Winkler likeness on, whatever their lengths.
const ALIKE: f64 = 0.85;

/// A suggestion, if one of `known` is close to `got`: a third of its letters may be wrong, swapped,
/// missing or too many.
pub(super) fn nearest(got: &str, known: &[&str]) -> Option<String> {
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

/// What to say about the unknown key `got` of a table with the keys `known`; at the top of a
/// recipe, the table of the method is one of them. Settings without a method name none.
pub(super) fn key<'a>(got: &str, known: &mut Vec<&'a str>, top: bool, method: &'a str) -> String {
    if top && !method.is_empty() {
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
        assert_eq!(nearest("rl", &known).unwrap(), "did you mean `lr`?");
        assert_eq!(nearest("weight", &known).unwrap(), "did you mean `weight_decay`?");
        assert_eq!(nearest("epochs", &known), None);
        assert_eq!(nearest("x", &[]), None);
    }
}
