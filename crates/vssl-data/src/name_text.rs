//! Names of files and folders as text. A name on Linux is any bytes, but labels, tables and JSON are
//! Unicode text: a name that is not UTF-8 is written so that it stays another name than all others.

use std::{borrow::Cow, collections::HashSet, ffi::OsStr, fmt::Write, path::Path};

use serde::Serializer;

/// `path` as text. Each byte that is not UTF-8, and each of a control character such as a newline, becomes `\x` and its
/// two hexadecimal digits, so that two such paths stay apart and a name stays in its line of a message or table; other
/// paths are not changed.
pub fn text_of(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter.is_control() {
                true => push_bytes(&mut text, letter.encode_utf8(&mut [0; 4]).as_bytes()),
                false => text.push(letter),
            }
        }
        push_bytes(&mut text, chunk.invalid());
    }
    text
}

/// A name that is text already, such as that of a class, written as [`text_of`] writes a path.
pub fn name_of(name: &str) -> Cow<'_, str> {
    match name.contains(char::is_control) {
        false => name.into(),
        true => text_of(Path::new(name)).into(),
    }
}

fn push_bytes(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(text, "\\x{byte:02X}").expect("a string takes all text");
    }
}

/// The names of classes as text, in the same order. Names that would read the same are numbered.
pub(super) fn unique_texts(names: &[&OsStr]) -> Vec<String> {
    let is_changed = |name: &OsStr| name.to_str() != Some(&text_of(Path::new(name)));
    let plain: HashSet<&str> =
        names.iter().filter(|name| !is_changed(name)).filter_map(|name| name.to_str()).collect();
    let mut used = HashSet::new();
    let text = |name: &&OsStr| {
        let text = text_of(Path::new(name));
        let is_plain = !is_changed(name);
        let is_free = |text: &str| is_plain || !plain.contains(text);
        let numbered = (2..).map(|number| format!("{text} ({number})"));
        let mut all = std::iter::once(text.clone()).chain(numbered);
        let own = all.find(|text| is_free(text) && used.insert(text.clone()));
        own.expect("one of endlessly many numbers is free")
    };
    names.iter().map(text).collect()
}

/// Writes a path as text, as it is where it is UTF-8: it is read back as a path.
pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    match path.to_str() {
        Some(text) => serializer.serialize_str(text),
        None => serializer.serialize_str(&text_of(path)),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn name(bytes: &[u8]) -> &OsStr {
        OsStr::from_bytes(bytes)
    }

    #[test]
    fn a_byte_that_is_no_text_is_written_by_its_digits() {
        let cases: [(&[u8], &str); 6] = [
            (b"a\nb\x1b[1m", "a\\x0Ab\\x1B[1m"),
            ("\u{85}".as_bytes(), "\\xC2\\x85"),
            (b"caf\xe9/1.png", "caf\\xE9/1.png"),
            (b"\xff\xfe", "\\xFF\\xFE"),
            ("caf\u{e9}".as_bytes(), "caf\u{e9}"),
            (b"plain", "plain"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(text_of(Path::new(name(bytes))), expected);
            let text = str::from_utf8(bytes).map_or(expected.into(), name_of);
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn names_that_read_the_same_are_numbered() {
        let names = [name(b"a\xe9"), name(b"a\xea"), name(b"a\\xE9"), name(b"b")];
        assert_eq!(unique_texts(&names), ["a\\xE9 (2)", "a\\xEA", "a\\xE9", "b"]);
        let names = [name(b"a\n"), name(b"a\\x0A")];
        assert_eq!(unique_texts(&names), ["a\\x0A (2)", "a\\x0A"]);
    }
}
