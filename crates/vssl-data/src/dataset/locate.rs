//! Finds the folder that a relative data path is meant from. Called by the command line and by the
//! plan of a run, each with its own order of folders.

use std::{
    env,
    path::{Path, PathBuf},
};

/// `path` below the first of `folders` where it exists; `path` itself when it is absolute or exists
/// below none of them, for the message that says so. A `~` at the beginning is the home folder.
pub fn locate(path: &Path, folders: &[&Path]) -> PathBuf {
    folders
        .iter()
        .map(|folder| folder.join(path))
        .find(|candidate| candidate.exists())
        .unwrap_or_else(|| in_home(path))
}

/// `path` with the home folder in place of a `~` at the beginning; `path` itself where it begins otherwise
/// or the home folder is unknown.
pub fn in_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_folder_that_has_it_wins() {
        let root = tempfile::tempdir().unwrap();
        for name in ["a/x", "b/x", "b/y"] {
            std::fs::create_dir_all(root.path().join(name)).unwrap();
        }
        let (a, b) = (root.path().join("a"), root.path().join("b"));
        assert_eq!(locate(Path::new("x"), &[&a, &b]), a.join("x"));
        assert_eq!(locate(Path::new("y"), &[&a, &b]), b.join("y"));
        assert_eq!(locate(Path::new("z"), &[&a, &b]), Path::new("z"));
        assert_eq!(locate(&a, &[&b]), a);
        let home = env::home_dir().unwrap();
        assert_eq!(
            locate(Path::new("~/x-that-is-not-there"), &[&a]),
            home.join("x-that-is-not-there")
        );
        assert_eq!(in_home(Path::new("~x/y")), Path::new("~x/y"));
    }
}
