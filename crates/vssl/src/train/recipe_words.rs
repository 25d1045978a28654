//! The messages of `vssl import` and of commands that take an encoder, in the words of a recipe: where a run starts from
//! an encoder or learns from one, the options of these commands are keys of `[init]` or `[teacher]`. Called by
//! [`super::error`].

/// The options, and the keys of the table that say the same.
const OPTIONS: [(&str, &str); 11] = [
    ("--architecture", "architecture"),
    ("--stem-padding", "stem_padding"),
    ("--stem", "stem"),
    ("--heads", "heads"),
    ("--pooling", "pooling"),
    ("--size", "size"),
    ("--resize", "resize"),
    ("--normalisation", "normalisation"),
    ("--network", "network"),
    ("--checkpoint", "checkpoint"),
    ("--prefix", "prefix"),
];

/// The texts that messages name as values of the options.
const VALUES: [&str; 8] =
    ["token", "mean", "fc-norm", "cifar10", "cifar100", "imagenet", "teacher", "student"];

/// Returns the message with the keys of this table of a recipe in place of the options, and their values as TOML has
/// them.
pub(super) fn as_keys(table: &str, message: &str) -> String {
    let mut text = message.replace("leave the argument out", "leave the key out");
    for (option, key) in OPTIONS {
        let mut parts = text.split(option);
        let mut told = parts.next().unwrap_or_default().to_owned();
        for rest in parts {
            if rest.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '-') {
                told.push_str(option); // the beginning of another option
                told.push_str(rest);
                continue;
            }
            told.push_str(&format!("{table}.{key}"));
            told.push_str(&valued(rest));
        }
        text = told;
    }
    text
}

/// Returns what follows an option with an equals sign in front of its value, if that follows.
fn valued(rest: &str) -> String {
    let Some(words) = rest.strip_prefix(' ') else { return rest.to_owned() };
    let is_of_value = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    let end = words.find(|letter| !is_of_value(letter)).unwrap_or(words.len());
    let (word, behind) = words.split_at(end);
    if word.parse::<u64>().is_ok() {
        format!(" = {word}{behind}")
    } else if VALUES.contains(&word) || word.starts_with("step-") {
        format!(" = \"{}\"{behind}", word.replace("fc-norm", "fc_norm"))
    } else {
        rest.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_keys_and_their_values_toml() {
        for (message, expected) in [
            (
                "give --stem-padding 1, the usual one, or 2",
                "give init.stem_padding = 1, the usual one, or 2",
            ),
            ("--pooling fc-norm: no fc_norm", "init.pooling = \"fc_norm\": no fc_norm"),
            (
                "give --heads 6 for timm, or --heads 12",
                "give init.heads = 6 for timm, or init.heads = 12",
            ),
            ("--stem is for ResNets", "init.stem is for ResNets"),
            ("choose one with --prefix", "choose one with init.prefix"),
            ("leave --network teacher out", "leave init.network = \"teacher\" out"),
            (
                "vssl import a.pth --to b --allow-partial",
                "vssl import a.pth --to b --allow-partial",
            ),
            ("a smaller --size", "a smaller init.size"),
            ("--sizes", "--sizes"),
        ] {
            assert_eq!(as_keys("init", message), expected);
            let of_teacher = expected.replace("init.", "teacher.");
            assert_eq!(as_keys("teacher", message), of_teacher);
        }
    }
}
