//! A number of things in words, for the messages of all crates.

use std::fmt::Display;

/// `count` of a thing, such as `1 image`, `5 images` or `2 classes`: the plural has an `s`, or `es` behind a hiss, and
/// `ies` in place of a `y` behind a consonant.
pub fn counted(count: impl Display, thing: &str) -> String {
    let count = count.to_string();
    match count.as_str() {
        "1" => format!("1 {thing}"),
        _ => format!("{count} {}", plural(thing)),
    }
}

/// The same with its verb: `1 image has`, `5 images have`.
pub(crate) fn having(count: usize, thing: &str) -> String {
    let verb = if count == 1 { "has" } else { "have" };
    format!("{} {verb}", counted(count, thing))
}

fn plural(thing: &str) -> String {
    let before_y = thing.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u']));
    match before_y {
        Some(stem) => format!("{stem}ies"),
        None if is_hiss(thing) => format!("{thing}es"),
        None => format!("{thing}s"),
    }
}

/// Whether the plural has an `es`; `epoch` and `batch` end alike and are not pronounced alike.
fn is_hiss(thing: &str) -> bool {
    let soft = thing.ends_with("ch") && !thing.ends_with("och");
    soft || thing.ends_with(['s', 'x', 'z'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_no_plural() {
        for (count, thing, expected) in [
            (0, "image", "0 images"),
            (1, "image", "1 image"),
            (5, "validation image", "5 validation images"),
            (1, "class", "1 class"),
            (2, "class", "2 classes"),
            (3, "patch", "3 patches"),
            (2, "entry", "2 entries"),
            (2, "key", "2 keys"),
            (2, "epoch", "2 epochs"),
        ] {
            assert_eq!(counted(count, thing), expected);
        }
        assert_eq!([having(1, "image"), having(2, "image")], ["1 image has", "2 images have"]);
        assert_eq!([counted(1_u64, "step"), counted(7_u8, "step")], ["1 step", "7 steps"]);
    }
}
