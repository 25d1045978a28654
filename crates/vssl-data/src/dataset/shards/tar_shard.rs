//! Tar files in WebDataset's naming (<https://github.com/webdataset/webdataset>): files that follow each other
//! and whose names are the same up to their first point are one sample, such as `0001.jpg` and `0001.cls`.
//!
//! A sample has an image, by its ending, and may have a label: `cls` holds a number or a name, `json` an object
//! with `label` or `cls`. An ending has everything behind the first point; where it has several parts, as in
//! `0001.left.jpg`, the last one says what the file is, and a file of one part comes before it. The images are read
//! where they lie.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde_json::Value;

use super::super::read::stream_error;
use super::super::walk::EXTENSIONS;
use super::file::read_at;
use super::part::{Entry, Label, Part};
use crate::DataError;

/// Bytes that are read at a time while headers are looked for: many small images, or the header of a large one.
const WINDOW: usize = 1 << 14;

/// The largest file of a label.
const MOST_LABEL: u64 = 1 << 20;

/// Looks through the headers of a tar file.
///
/// # Errors
/// A file that is no tar, is packed, or was cut short; a label that is no text.
pub(super) fn scan(path: &Path) -> Result<Part, DataError> {
    let file = File::open(path).map_err(DataError::io(path))?;
    let length = file.metadata().map_err(DataError::io(path))?.len();
    let window = Window { file: &file, at: 0, start: 0, buffer: Vec::new(), length };
    let mut scan =
        Scan { path, length, part: Part::default(), labels: Vec::new(), sample: None, end: 0 };
    scan.refuse_packed(&file)?;
    let mut archive = tar::Archive::new(window);
    let entries = archive.entries_with_seek().map_err(|error| scan.damaged(error))?;
    for entry in entries {
        let mut entry = entry.map_err(|error| scan.damaged(error))?;
        scan.take(&mut entry)?;
    }
    scan.check_end(&file)?;
    scan.finish()
}

/// One sample while its files are collected.
struct Sample {
    key: String,
    image: Option<Found>,
    label: Label,
    /// Whether the label's file has an ending of one part.
    has_plain_label: bool,
}

/// The image of a sample.
struct Found {
    entry: Entry,
    name: String,
    /// Whether its ending has one part.
    is_plain: bool,
}

struct Scan<'a> {
    path: &'a Path,
    length: u64,
    part: Part,
    labels: Vec<Label>,
    sample: Option<Sample>,
    /// Where the last file ends.
    end: u64,
}

impl Scan<'_> {
    fn refuse_packed(&self, file: &File) -> Result<(), DataError> {
        let mut first = [0; 6];
        let known = self.length >= 6 && read_at(file, &mut first, 0).is_ok();
        let (kind, program) = match first {
            [0x1f, 0x8b, ..] => ("gzip", "gunzip"),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => ("zstd", "unzstd"),
            [b'B', b'Z', b'h', ..] => ("bzip2", "bunzip2"),
            [0xfd, b'7', b'z', b'X', b'Z', 0] => ("xz", "unxz"),
            _ => return Ok(()),
        };
        if !known {
            return Ok(());
        }
        Err(self.wrong(
            format!("this tar file is packed with {kind}, and images cannot be read from the middle of it"),
            format!("a tar file as it is: unpack it once, with `{program}`; images are packed already"),
        ))
    }

    /// A tar file ends with blocks of zeros. Without them it may have been cut between two files.
    fn check_end(&self, file: &File) -> Result<(), DataError> {
        let mut block = [1; 512];
        if read_at(file, &mut block, self.end).is_ok() && block == [0; 512] {
            return Ok(());
        }
        let images = self.part.entries.len();
        Err(self.wrong(
            format!("this tar file lacks its end, behind {images} images: it was cut short"),
            "a whole tar file: get it again".to_owned(),
        ))
    }

    fn wrong(&self, what: String, expected: String) -> DataError {
        DataError::Format { path: self.path.into(), what, expected }
    }

    fn damaged(&self, error: io::Error) -> DataError {
        let kind = match error.kind() {
            // The archive reader gives broken headers this kind.
            io::ErrorKind::Other => io::ErrorKind::InvalidData,
            kind => kind,
        };
        let images = self.part.entries.len();
        match stream_error(self.path, io::Error::new(kind, error), 0) {
            DataError::Format { path, .. } => DataError::Format {
                path,
                what: format!("this tar file is damaged or cut short behind {images} images"),
                expected: "a whole tar file: get it again".to_owned(),
            },
            other => other,
        }
    }

    fn take<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<(), DataError> {
        let (bytes, offset) = (entry.size(), entry.raw_file_position());
        self.end = offset.saturating_add(bytes).checked_next_multiple_of(512).unwrap_or(u64::MAX);
        if !entry.header().entry_type().is_file() {
            return Ok(());
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if offset.checked_add(bytes).is_none_or(|end| end > self.length) {
            let expected = "a whole tar file: get it again".to_owned();
            return Err(self.wrong(format!("this tar file is cut short in {name}"), expected));
        }
        let base = name.rfind('/').map_or(0, |slash| slash + 1);
        // Hidden files and those without an ending are no part of a sample.
        let Some(point) = name[base..].find('.').filter(|&point| point > 0) else {
            self.part.leave_out("without an ending, in shards", &name);
            return Ok(());
        };
        let key = &name[..base + point];
        if self.sample.as_ref().is_none_or(|sample| sample.key != key) {
            self.flush()?;
            self.sample = Some(Sample {
                key: key.to_owned(),
                image: None,
                label: Label::None,
                has_plain_label: false,
            });
        }
        let ending = name[base + point + 1..].to_ascii_lowercase();
        self.add(entry, name, &ending)
    }

    /// Adds a file with this ending to the sample that was begun.
    fn add<R: Read>(
        &mut self,
        file: &mut tar::Entry<'_, R>,
        name: String,
        ending: &str,
    ) -> Result<(), DataError> {
        let sample = self.sample.as_mut().expect("it was begun");
        let (last, is_plain) = match ending.rsplit_once('.') {
            Some((_, last)) => (last, false),
            None => (ending, true),
        };
        let is_image = EXTENSIONS.contains(&last);
        let has_image = sample.image.as_ref().is_some_and(|image| image.is_plain || !is_plain);
        match last {
            "cls" if is_plain || !sample.has_plain_label => {
                sample.label = class(&text(self.path, &name, file)?);
                sample.has_plain_label = is_plain;
            }
            "json" if sample.label == Label::None => {
                sample.label = in_json(&text(self.path, &name, file)?);
            }
            _ if is_image && has_image => {
                self.part.leave_out("further images of a sample", &name);
            }
            _ if is_image => {
                if let Some(other) = &sample.image {
                    self.part.leave_out("further images of a sample", &other.name);
                }
                let (bytes, offset) = (file.size(), file.raw_file_position());
                let bytes = u32::try_from(bytes).map_err(|_| DataError::Format {
                    path: self.path.into(),
                    what: format!("{name} has {bytes} bytes"),
                    expected: format!("images of at most {} bytes", u32::MAX),
                })?;
                let entry = Entry { offset, bytes, block: Entry::PLAIN };
                sample.image = Some(Found { entry, name, is_plain });
            }
            _ => {}
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DataError> {
        let Some(Sample { key, image, label, .. }) = self.sample.take() else { return Ok(()) };
        let Some(Found { entry, name, .. }) = image else {
            self.part.leave_out("samples without an image", &key);
            return Ok(());
        };
        if self.part.is_full() {
            let expected = "several smaller tar files".to_owned();
            return Err(self.wrong("this tar file has too many images".to_owned(), expected));
        }
        self.part.push(entry, &name);
        self.labels.push(label);
        Ok(())
    }

    fn finish(mut self) -> Result<Part, DataError> {
        self.flush()?;
        self.part.set_labels(self.labels);
        Ok(self.part)
    }
}

fn text(path: &Path, name: &str, entry: &mut impl Read) -> Result<String, DataError> {
    let mut bytes = Vec::new();
    entry.take(MOST_LABEL + 1).read_to_end(&mut bytes).map_err(DataError::io(path))?;
    let wrong = |what: &str| DataError::Format {
        path: path.into(),
        what: format!("{name} {what}"),
        expected: "a label as text".to_owned(),
    };
    if bytes.len() as u64 > MOST_LABEL {
        return Err(wrong("is larger than a label"));
    }
    String::from_utf8(bytes).map_err(|_| wrong("is no text"))
}

fn class(text: &str) -> Label {
    let text = text.trim();
    match text.parse::<u32>() {
        _ if text.is_empty() => Label::None,
        Ok(number) if number < u32::MAX => Label::Number(number),
        _ => Label::Word(text.to_owned()),
    }
}

/// The label in an object, such as `{"label": 3}`. Many objects hold captions and no label.
fn in_json(text: &str) -> Label {
    let Ok(Value::Object(object)) = serde_json::from_str(text) else { return Label::None };
    match ["label", "cls"].iter().find_map(|key| object.get(*key)) {
        Some(Value::Number(number)) => number
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|&number| number < u32::MAX)
            .map_or(Label::None, Label::Number),
        Some(Value::String(text)) => class(text),
        _ => Label::None,
    }
}

/// A file that is read a window at a time. Seeking inside the window reads nothing.
struct Window<'a> {
    file: &'a File,
    at: u64,
    /// What `buffer` holds begins here in the file.
    start: u64,
    buffer: Vec<u8>,
    length: u64,
}

impl Read for Window<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let end = self.start + self.buffer.len() as u64;
        if !(self.start..end).contains(&self.at) {
            let bytes = (WINDOW as u64).min(self.length.saturating_sub(self.at)) as usize;
            self.buffer.resize(bytes, 0);
            read_at(self.file, &mut self.buffer, self.at)?;
            self.start = self.at;
        }
        let held = &self.buffer[(self.at - self.start) as usize..];
        let count = held.len().min(out.len());
        out[..count].copy_from_slice(&held[..count]);
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_numbers_or_names() {
        for (text, expected) in [
            ("3\n", Label::Number(3)),
            (" 0", Label::Number(0)),
            ("tabby cat", Label::Word("tabby cat".into())),
            ("-1", Label::Word("-1".into())),
            ("", Label::None),
        ] {
            assert_eq!(class(text), expected);
        }
        for (text, expected) in [
            (r#"{"label": 3, "caption": "a cat"}"#, Label::Number(3)),
            (r#"{"cls": "cat"}"#, Label::Word("cat".into())),
            (r#"{"caption": "a cat"}"#, Label::None),
            (r#"{"label": [1, 0]}"#, Label::None),
            ("[1]", Label::None),
            ("{", Label::None),
        ] {
            assert_eq!(in_json(text), expected, "{text}");
        }
    }
}
