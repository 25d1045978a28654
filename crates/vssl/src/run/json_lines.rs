//! Files of JSON objects, one on each line, that grow while a run goes on. They are read as a whole, and
//! shortened for a run that goes on from an earlier step.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

/// Why a file of JSON lines cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonLinesError {
    /// The operating system refused.
    #[error("{}: {}", path.display(), vssl_data::explained(path, source))]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A line does not hold what the file should hold.
    #[error("{}: line {line}: {what}. Remove the line to read the others", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The number of the line, counted from 1.
        line: usize,
        /// The content that was found and the content that was expected.
        what: String,
    },
}

/// The content of a file: its lines, and an error for each damaged line.
type Content<T> = (Vec<T>, Vec<JsonLinesError>);

/// Returns the results of `parse` for each line of the file at `path`, in order, and the error of each line
/// that `parse` refuses; empty lists if the file is missing. An incomplete last line is left out: it is being
/// written at the moment, or was when the run was killed.
///
/// # Errors
/// The file cannot be read.
pub(super) fn read<T>(
    path: &Path,
    parse: impl Fn(&[u8]) -> Result<T, String>,
) -> Result<Content<T>, JsonLinesError> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
        bytes => bytes.map_err(|source| JsonLinesError::Io { path: path.to_owned(), source })?,
    };
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let lines = bytes[..whole].split_inclusive(|&byte| byte == b'\n').enumerate();
    let (mut parsed, mut damaged) = (Vec::new(), Vec::new());
    for (index, line) in lines {
        match parse(line) {
            Ok(value) => parsed.push(value),
            Err(what) => {
                let (path, line) = (path.to_owned(), index + 1);
                damaged.push(JsonLinesError::Damaged { path, line, what });
            }
        }
    }
    Ok((parsed, damaged))
}

/// Returns all lines of a file.
///
/// # Errors
/// The error of the first damaged line.
pub(super) fn all<T>((lines, damaged): Content<T>) -> Result<Vec<T>, JsonLinesError> {
    damaged.into_iter().next().map_or(Ok(lines), Err)
}

/// The part of a line that says where it belongs.
#[derive(Deserialize)]
struct Line {
    step: u64,
}

/// Returns the numbers, counted from 1, of the whole lines of `bytes` that are damaged.
pub(super) fn damaged(bytes: &[u8]) -> Vec<usize> {
    let lines = bytes.split_inclusive(|&byte| byte == b'\n').zip(1..);
    let whole = lines.filter(|(line, _)| line.ends_with(b"\n"));
    let bad = whole.filter(|(line, _)| serde_json::from_slice::<Line>(line).is_err());
    bad.map(|(_, number)| number).collect()
}

/// Returns the lines of `bytes` up to the first line about a later step than `step`, without damaged lines:
/// half a line of a run that was killed, or a line that the disk has damaged, must not remove the figures
/// behind it.
pub(super) fn until(bytes: &[u8], step: u64) -> Vec<u8> {
    let mut kept = Vec::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        match serde_json::from_slice::<Line>(line) {
            Ok(Line { step: at }) if at > step => break,
            Ok(_) if line.ends_with(b"\n") => kept.extend_from_slice(line),
            _ => {}
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_lines_and_half_a_line_are_dropped() {
        let text = "{\"step\":1}\n{\"step\":3,\"more\":[]}\n{\"step\":4}\n{\"step\":2}\n";
        let kept = |step| String::from_utf8(until(text.as_bytes(), step)).unwrap();
        assert_eq!(kept(0), "");
        assert_eq!(kept(3), "{\"step\":1}\n{\"step\":3,\"more\":[]}\n");
        assert_eq!(kept(9), text);
        assert_eq!(until(b"{\"step\":1}\n{\"step\":1}", 9), b"{\"step\":1}\n");
        let spoilt = b"{\"step\":1}\n{\"st\0p\":2}\n{\"step\":3}\n{\"step\":4}\n";
        assert_eq!(until(spoilt, 3), b"{\"step\":1}\n{\"step\":3}\n");
    }
}
