//! Where targets write their files. Shared by the targets of this crate and of `vssl`.

use std::path::Path;

use tempfile::TempDir;

/// A folder in memory, where the system has one.
pub fn folder() -> TempDir {
    let in_memory = Path::new("/dev/shm");
    let folder =
        if in_memory.is_dir() { tempfile::tempdir_in(in_memory) } else { tempfile::tempdir() };
    folder.expect("a folder is made")
}
