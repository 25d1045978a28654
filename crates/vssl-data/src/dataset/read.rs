//! Reads whole files, plain or gzipped, with errors that say what was expected.

use std::fs::{self, File, FileType};
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::DataError;

/// The bytes of an uncompressed file.
///
/// # Errors
/// As [`open`].
pub(super) fn whole(path: &Path, expected: &str) -> Result<Vec<u8>, DataError> {
    // `file` knows the size beforehand, which saves copies of hundreds of megabytes.
    let mut bytes = Vec::new();
    file(path, expected)?.read_to_end(&mut bytes).map_err(DataError::io(path))?;
    Ok(bytes)
}

/// A reader of the uncompressed bytes of a file. The content tells whether the file is compressed,
/// because browsers unpack downloads without renaming them.
///
/// # Errors
/// [`DataError::Missing`], [`DataError::Format`] for a folder, [`DataError::Io`].
pub(super) fn open(path: &Path, expected: &str) -> Result<Box<dyn Read>, DataError> {
    let mut reader = BufReader::with_capacity(1 << 16, file(path, expected)?);
    let magic = reader.fill_buf().map_err(DataError::io(path))?;
    if magic.starts_with(&[0x1f, 0x8b]) {
        Ok(Box::new(MultiGzDecoder::new(reader)))
    } else {
        Ok(Box::new(reader))
    }
}

/// Largest image file, in bytes: more than the largest picture takes without any compression.
const MOST_BYTES: u64 = 1 << 32;

/// The bytes of an image file.
///
/// # Errors
/// What the system says, or that this is no file: a named pipe would wait for a writer.
pub(super) fn image_file(path: &Path) -> Result<Vec<u8>, String> {
    let said = |error: std::io::Error| error.to_string();
    let metadata = metadata_of_file(path)?;
    if metadata.len() > MOST_BYTES {
        return Err(format!("{} bytes: more than {MOST_BYTES} are refused", metadata.len()));
    }
    // With room for what the JPEG decoder puts behind the data, which is not worth a copy.
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(metadata.len() as usize + 64).map_err(|error| error.to_string())?;
    File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(said)?;
    Ok(bytes)
}

/// The first bytes of an image file, at most 64: enough for what its header says of the samples.
///
/// # Errors
/// As [`image_file`].
pub(super) fn first_bytes(path: &Path) -> Result<Vec<u8>, String> {
    metadata_of_file(path)?;
    let mut bytes = Vec::with_capacity(64);
    let file = File::open(path).and_then(|file| file.take(64).read_to_end(&mut bytes));
    file.map(|_| bytes).map_err(|error| error.to_string())
}

fn metadata_of_file(path: &Path) -> Result<fs::Metadata, String> {
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    match no_file(metadata.file_type()) {
        Some(what) => Err(format!("this is {what}, not a file")),
        None => Ok(metadata),
    }
}

/// What something is that cannot be read as a file; `None` for a file.
fn no_file(kind: FileType) -> Option<&'static str> {
    if kind.is_file() {
        return None;
    }
    if kind.is_dir() {
        return Some("a folder");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return Some("a named pipe");
        }
        if kind.is_socket() {
            return Some("a socket");
        }
    }
    Some("a device")
}

fn file(path: &Path, expected: &str) -> Result<File, DataError> {
    if let Some(what) = fs::metadata(path).ok().and_then(|metadata| no_file(metadata.file_type())) {
        return Err(DataError::Format {
            path: path.into(),
            what: format!("is {what}"),
            expected: expected.into(),
        });
    }
    File::open(path).map_err(|source| match source.kind() {
        ErrorKind::NotFound => DataError::Missing { path: path.into(), expected: expected.into() },
        _ => DataError::Io { path: path.into(), source },
    })
}

/// Reads up to `limit` bytes, so that a false header or a gzip bomb cannot fill the memory.
///
/// # Errors
/// [`DataError::Format`] for a damaged or truncated gzip stream, with the number of bytes before it.
pub(super) fn read_up_to(
    reader: &mut dyn Read,
    limit: u64,
    path: &Path,
) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    match reader.take(limit).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(stream_error(path, error, bytes.len())),
    }
}

/// The error of a read: [`DataError::Format`] for what the decompressor complains about,
/// [`DataError::Io`] for what the system refuses.
pub(super) fn stream_error(path: &Path, error: std::io::Error, bytes: usize) -> DataError {
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::InvalidInput => {
            DataError::Format {
                path: path.into(),
                what: format!(
                    "damaged or truncated archive after {bytes} unpacked bytes ({error})"
                ),
                expected: "a complete file: get it again".into(),
            }
        }
        _ => DataError::Io { path: path.into(), source: error },
    }
}

/// The non-empty lines of a text file, trimmed; `None` when there is no such file.
///
/// # Errors
/// [`DataError::Io`] when the file exists but cannot be read or is not UTF-8.
pub(super) fn lines(path: &Path) -> Result<Option<Vec<String>>, DataError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(names(&text))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DataError::Io { path: path.into(), source }),
    }
}

/// The names in a text file, one a line.
pub(super) fn names(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(String::from).collect()
}
