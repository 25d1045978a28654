//! Writes paths into JSON. JSON is Unicode text, but a path on Linux need not be: the parts of a path that
//! are not Unicode are written as U+FFFD, as in messages. A run must not end because of the name of its
//! folder.

use std::path::{Path, PathBuf};

use serde::Serializer;

/// Writes a path.
pub(crate) fn one<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// Writes a list of paths.
pub(crate) fn all<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| path.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    use serde::Serialize;

    use super::*;

    #[test]
    fn a_path_that_is_no_text_is_written_all_the_same() {
        #[derive(Serialize)]
        struct Paths {
            #[serde(serialize_with = "one")]
            run: PathBuf,
            #[serde(serialize_with = "all")]
            runs: Vec<PathBuf>,
        }
        let run = PathBuf::from(OsStr::from_bytes(b"a/b\xff"));
        let text = serde_json::to_string(&Paths { run: run.clone(), runs: vec![run] }).unwrap();
        assert_eq!(text, "{\"run\":\"a/b\u{fffd}\",\"runs\":[\"a/b\u{fffd}\"]}");
    }
}
