//! `~` in arguments of the form `--option=~/path`: a shell leaves it alone there.

use std::{ffi::OsString, os::unix::ffi::OsStringExt};

use vssl_data::dataset;

/// Returns the argument with the home folder in place of a `~` that begins the value of an option.
pub fn expanded(argument: OsString) -> OsString {
    let bytes = argument.as_encoded_bytes();
    let Some(at) = bytes.iter().position(|&byte| byte == b'=') else { return argument };
    let (option, value) = bytes.split_at(at + 1);
    if !option.starts_with(b"--") || !value.starts_with(b"~/") {
        return argument;
    }
    let path = dataset::in_home(OsString::from_vec(value.to_vec()).as_ref());
    OsString::from_vec([option, path.as_os_str().as_encoded_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_home_that_begins_a_value_is_replaced() {
        let home = std::env::var("HOME").unwrap();
        let expanded = |text: &str| expanded(text.into()).into_string().unwrap();
        assert_eq!(expanded("--out=~/runs/a"), format!("--out={home}/runs/a"));
        for text in ["--out", "--out=a/~/b", "--out=~other/a", "~/a", "data.path=~/a", "--out=~"] {
            assert_eq!(expanded(text), text);
        }
    }
}
