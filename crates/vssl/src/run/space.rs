//! Facts from the operating system: the free space of a disk, the peak memory of this process and the name of
//! the processor.

use std::path::Path;

/// Returns the number of bytes that an unprivileged process may still write at `path`, or at the nearest
/// parent that exists. `None` where the system cannot be asked.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let existing = path.ancestors().find(|parent| parent.exists()).unwrap_or(Path::new(""));
    // An empty path is the last ancestor of a relative path.
    let path = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
    let status = nix::sys::statvfs::statvfs(path).ok()?;
    Some(status.blocks_available() as u64 * status.fragment_size() as u64)
}

/// Returns the bytes of the files in the folders in `path`. A file or folder that cannot be read is not
/// counted.
pub fn used_bytes(path: &Path) -> u64 {
    let entries = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
    let files = entries(path).flat_map(|folder| entries(&folder.path()));
    files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

/// Returns the largest resident memory of this process so far, in MiB.
pub fn peak_rss_mib() -> Option<u64> {
    use nix::sys::resource::{UsageWho, getrusage};
    let peak = u64::try_from(getrusage(UsageWho::RUSAGE_SELF).ok()?.max_rss()).ok()?;
    // Linux counts KiB, macOS bytes.
    Some(if cfg!(target_os = "macos") { peak >> 20 } else { peak >> 10 })
}

/// Returns the processor and its threads, as in "AMD EPYC 7763, 2 threads". It is the CPU also where a GPU
/// computes; `None` where the system does not say, as on macOS.
pub fn machine() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    let threads = std::thread::available_parallelism().ok()?;
    let unit = if threads.get() == 1 { "thread" } else { "threads" };
    Some(format!("{}, {threads} {unit}", line.split_once(':')?.1.trim()))
}
