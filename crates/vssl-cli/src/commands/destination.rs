//! The check that every command makes of a file that the user named to be written: it must not be a file
//! that a run owns, and not one that the command reads.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::Path,
};

use anyhow::anyhow;
use vssl::run::{folder::is_run, ownership};

use crate::failure::Failure;

/// The endings of files that vssl writes. Such a file may lie among the images that a command reads and be
/// written again; any other file there is taken for one of the images.
const WRITTEN: [&str; 13] = [
    "parquet",
    "csv",
    "npy",
    "safetensors",
    "onnx",
    "bpk",
    "html",
    "json",
    "svg",
    "md",
    "tex",
    "toml",
    "txt",
];

/// Refuses to write `file`, which the argument `option` names, where that would replace a file of a run, one
/// of the files `read`, or an image in one of the folders `read`.
///
/// A file is recognised by its place on the disk, so that symbolic and hard links do not hide it.
pub(super) fn check<P: AsRef<Path>>(option: &str, file: &Path, read: &[P]) -> Result<(), Failure> {
    if let Some(run) = ownership::owner(file) {
        return Err(Failure::usage(anyhow!(
            "{option} {}: this is one of the files of the run {}, which would be lost; name another file",
            file.display(),
            run.display()
        )));
    }
    let Ok(present) = fs::metadata(file) else { return Ok(()) };
    for input in read.iter().map(AsRef::as_ref) {
        let is_lost = match fs::metadata(input) {
            Ok(input) if input.is_file() => same(&present, &input),
            // A run folder holds no images; `owner` knows its files.
            Ok(folder) if folder.is_dir() && !is_run(input) => {
                present.is_file() && is_image_of(input, file)
            }
            _ => false,
        };
        if is_lost {
            return Err(Failure::usage(anyhow!(
                "{option} {}: the command reads this file ({}), which would be lost; name another file",
                file.display(),
                input.display()
            )));
        }
    }
    Ok(())
}

/// Returns the ending of `file` in small letters; `None` for a device or pipe, whose name has no meaning.
pub(super) fn ending(file: &Path) -> Option<String> {
    let is_special = fs::metadata(file).is_ok_and(|file| !file.is_file() && !file.is_dir());
    let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    (!is_special).then(|| ending.to_ascii_lowercase())
}

/// Refuses a format that contradicts the one that the ending of `file` names: the file would not be what its
/// name says.
pub(super) fn agree<F: PartialEq>(
    (option, file): (&str, &Path),
    (argument, said): (&str, Option<F>),
    ending: Option<F>,
) -> Result<(), Failure> {
    match (said, ending) {
        (Some(said), Some(ending)) if said != ending => Err(Failure::usage(anyhow!(
            "{option} {}: {argument} names another format than the ending of the file; leave out \
             {argument}, or change the ending",
            file.display()
        ))),
        _ => Ok(()),
    }
}

fn same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

fn is_image_of(folder: &Path, file: &Path) -> bool {
    let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let written = WRITTEN.iter().any(|known| known.eq_ignore_ascii_case(ending));
    let inside = match (fs::canonicalize(folder), fs::canonicalize(file)) {
        (Ok(folder), Ok(file)) => file.starts_with(folder),
        _ => false,
    };
    inside && !written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_that_is_read_is_not_written_under_any_of_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a.pth"), "weights").unwrap();
        fs::hard_link(at("a.pth"), at("hard.safetensors")).unwrap();
        symlink(at("a.pth"), at("soft.safetensors")).unwrap();
        fs::write(at("other.safetensors"), "other").unwrap();
        let input = [at("a.pth")];
        for name in ["a.pth", "hard.safetensors", "soft.safetensors", "./a.pth"] {
            let error = check("--to", &at(name), &input).unwrap_err().message();
            assert!(error.contains("the command reads this file"), "{error}");
        }
        for name in ["other.safetensors", "new.safetensors"] {
            check("--to", &at(name), &input).unwrap();
        }
    }

    #[test]
    fn images_of_a_folder_that_is_read_are_not_replaced_and_earlier_results_are() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["a.png", "features.parquet"] {
            fs::write(at(name), "bytes").unwrap();
        }
        let images = [folder.path()];
        assert!(check("--draw", &at("a.png"), &images).is_err());
        check("--to", &at("features.parquet"), &images).unwrap();
        check("--draw", &at("new.png"), &images).unwrap();
    }
}
