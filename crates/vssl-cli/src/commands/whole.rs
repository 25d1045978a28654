//! Files that are written whole or not at all, for every command that writes one.

use std::{fs, io, path::Path};

/// Writes beside `to` first, so that whoever reads `to` never meets a part of it.
///
/// # Errors
/// What the system refuses; `to` is then as it was.
pub(super) fn write(to: &Path, content: impl AsRef<[u8]>) -> io::Result<()> {
    let name = to.file_name().unwrap_or(to.as_os_str()).to_string_lossy();
    let temporary = to.with_file_name(format!(".{name}.partial"));
    fs::write(&temporary, content)
        .and_then(|()| fs::rename(&temporary, to))
        .inspect_err(|_| drop(fs::remove_file(&temporary)))
}
