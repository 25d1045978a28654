//! Event files, `events.out.tfevents.<seconds>.vssl`, one for each start of a run. TensorBoard shows the
//! files of a folder as one run.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use prost::Message;

use super::{
    messages::{Event, Summary, Value},
    record,
};
use crate::run::whole_file;

/// The beginning of a file's name; TensorBoard recognises its files by `tfevents`.
const PREFIX: &str = "events.out.tfevents.";
const VERSION: &str = "brain.Event:2";

/// Returns whether a file of this name holds events.
pub fn is_event_file(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// An event file to which events are appended.
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Begins a new file in `folder`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let mut second = seconds() as u64;
        // Files are read in the order of their names, and two starts can be in one second.
        let (path, file) = loop {
            let path = folder.join(format!("{PREFIX}{second:010}.vssl"));
            match OpenOptions::new().append(true).create_new(true).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => second += 1,
                file => break (path, file?),
            }
        };
        let mut events = Self { path, file };
        let version = Some(VERSION.to_owned());
        events.write(Event { wall_time: seconds(), file_version: version, ..Event::default() })?;
        Ok(events)
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends the `figures` of one step, in a single write.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn scalars(&mut self, step: u64, figures: &[(String, f64)]) -> io::Result<()> {
        let value = |(tag, value): &(String, f64)| Value {
            tag: tag.clone(),
            simple_value: Some(*value as f32),
        };
        let summary = Summary { value: figures.iter().map(value).collect() };
        self.write(Event {
            wall_time: seconds(),
            step: step as i64,
            summary: Some(summary),
            ..Event::default()
        })
    }

    fn write(&mut self, event: Event) -> io::Result<()> {
        self.file.write_all(&record::frame(&event.encode_to_vec()))
    }
}

fn seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Drops events after `step`, and everything behind a damaged or half-written event, from all event files in
/// `folder`: the steps are about to run again, and their events would be there twice.
///
/// # Errors
/// A file cannot be read or replaced; the error names it.
pub fn shorten(folder: &Path, step: u64) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_event = |name: &std::ffi::OsStr| is_event_file(&name.to_string_lossy());
        if path.file_name().is_some_and(is_event) {
            let place = |error: io::Error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            };
            shorten_file(&path, step).map_err(place)?;
        }
    }
    Ok(())
}

fn shorten_file(path: &Path, step: u64) -> io::Result<()> {
    let bytes = fs::read(path)?;
    let (mut kept, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some((data, next)) = record::first(&bytes[at..]) {
        let Ok(event) = Event::decode(&bytes[at..][data]) else { break };
        if event.step <= step as i64 {
            kept.extend_from_slice(&bytes[at..at + next]);
        }
        at += next;
    }
    if kept.len() == bytes.len() {
        return Ok(());
    }
    whole_file::write(path, kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(path: &Path) -> Vec<(i64, usize)> {
        let (bytes, mut at, mut found) = (fs::read(path).unwrap(), 0, Vec::new());
        while let Some((data, next)) = record::first(&bytes[at..]) {
            let event = Event::decode(&bytes[at..][data]).unwrap();
            found.push((event.step, event.summary.map_or(0, |summary| summary.value.len())));
            at += next;
        }
        assert_eq!(at, bytes.len(), "bytes are left over");
        found
    }

    #[test]
    fn later_and_half_written_events_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = EventFile::create(folder.path()).unwrap();
        for step in [10, 20, 30] {
            events.scalars(step, &[("loss".to_owned(), 0.0), ("lr".to_owned(), 0.5)]).unwrap();
        }
        let path = events.path().to_owned();
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], &whole[..17]].concat()).unwrap();
        shorten(folder.path(), 20).unwrap();
        assert_eq!(steps(&path), [(0, 0), (10, 2), (20, 2)]);
        let next = EventFile::create(folder.path()).unwrap();
        assert!(next.path() > path.as_path(), "files are read in the order of their names");
    }
}
