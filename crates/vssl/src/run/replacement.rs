//! A folder that takes the place of another folder of the same name. The file system cannot exchange two folders
//! in one step everywhere, so the old folder gets a hidden name first: `.replaced-step-00001200`. A process that
//! is killed between the two renames leaves the old folder, whole, under the hidden name.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The beginning of the hidden names.
pub(super) const ASIDE: &str = ".replaced-";

/// Returns the path of the folder `name` in `parent`: the hidden one where a replacement was cut short.
pub(super) fn path_of(parent: &Path, name: &str) -> PathBuf {
    let (named, aside) = (parent.join(name), aside(parent, name));
    // Where the system cannot tell whether a folder is there, the error comes with the first file in it.
    if !named.exists() && aside.exists() { aside } else { named }
}

/// Gives the folder `new` the name `name` in `parent`. An earlier folder of that name stays aside, under its
/// hidden name.
///
/// # Errors
/// A folder cannot be renamed or removed; the earlier folder has its name again, or its hidden name.
pub(super) fn replace(parent: &Path, name: &str, new: &Path) -> io::Result<()> {
    let (named, aside) = (parent.join(name), aside(parent, name));
    if !named.exists() {
        return fs::rename(new, &named);
    }
    if aside.exists() {
        fs::remove_dir_all(&aside)?;
    }
    fs::rename(&named, &aside)?;
    fs::rename(new, &named).inspect_err(|_| {
        // Where this fails as well, `path_of` finds the folder.
        let _ = fs::rename(&aside, &named);
    })
}

/// Gives the folder `name` in `parent` its name back where a replacement was cut short.
///
/// # Errors
/// The folder cannot be renamed.
pub(super) fn bring_back(parent: &Path, name: &str) -> io::Result<()> {
    let (named, aside) = (parent.join(name), aside(parent, name));
    if named.exists() { Ok(()) } else { fs::rename(aside, named) }
}

fn aside(parent: &Path, name: &str) -> PathBuf {
    parent.join(format!("{ASIDE}{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_replaced_keeps_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let parent = folder.path();
        let make = |name: &str, text: &str| {
            fs::create_dir(parent.join(name)).unwrap();
            fs::write(parent.join(name).join("content"), text).unwrap();
        };
        let content = || fs::read_to_string(path_of(parent, "step").join("content")).unwrap();
        make("step", "old");
        assert!(replace(parent, "step", &parent.join("missing")).is_err());
        assert!(parent.join("step").exists() && !aside(parent, "step").exists());
        make("new", "new");
        replace(parent, "step", &parent.join("new")).unwrap();
        assert_eq!(content(), "new");
        assert!(aside(parent, "step").exists());
        // As after a kill between the two renames.
        fs::remove_dir_all(parent.join("step")).unwrap();
        assert_eq!(content(), "old");
        bring_back(parent, "step").unwrap();
        assert_eq!((content().as_str(), aside(parent, "step").exists()), ("old", false));
    }
}
