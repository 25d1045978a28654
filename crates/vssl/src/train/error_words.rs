//! Parts of the messages of [`super::error`].

use std::path::{Path, PathBuf, absolute};

use crate::{encoder::foreign::ForeignError, recipe::Difference};

/// Returns the message of `error` with the path, which some of its messages have not.
pub(super) fn about(path: &Path, error: &ForeignError) -> String {
    let (path, message) = (path.display().to_string(), error.to_string());
    if message.contains(&path) { message } else { format!("{path}: {message}") }
}

/// How many tensors do not fit.
pub(super) fn unfitting(tensors: usize) -> String {
    match tensors {
        1 => "a tensor does not fit".to_owned(),
        several => format!("{several} tensors do not fit"),
    }
}

/// The paths, each place once: `x` and `./x` are one.
pub(super) fn list(paths: &[PathBuf]) -> String {
    let mut places = Vec::new();
    let mut is_new = |path: &&PathBuf| {
        let place = absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let is_new = !places.contains(&place);
        places.push(place);
        is_new
    };
    let shown = paths.iter().filter(&mut is_new).map(|path| path.display().to_string());
    shown.collect::<Vec<_>>().join(", ")
}

/// Each line with a margin.
pub(super) fn indented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// The differences, one a line.
pub(super) fn lines(differences: &[Difference]) -> String {
    indented(&differences.iter().map(ToString::to_string).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_was_looked_at_is_named_once() {
        let paths = ["a/x", "./a/x", "b/x", "a/x"].map(PathBuf::from);
        assert_eq!(list(&paths), "a/x, b/x");
    }
}
