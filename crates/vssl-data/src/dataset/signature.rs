//! What a file is, by its first bytes. Called by [`super::decode`], for files that are no image that this
//! program reads.

/// Signatures: where they stand, the bytes, and what a file with them is.
const SIGNATURES: [(usize, &[u8], &str); 24] = [
    (4, b"ftypavif", "an AVIF image"),
    (4, b"ftypavis", "an AVIF sequence"),
    (4, b"ftyphei", "a HEIC image"),
    (4, b"ftyphev", "a HEIC sequence"),
    (4, b"ftypmif1", "a HEIF image"),
    (4, b"ftyp", "a video or another ISO media file"),
    (0, b"%PDF", "a PDF"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"qoif", "a QOI image"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR image"),
    (0, b"#?RADIANCE", "a Radiance HDR image"),
    (0, b"DDS ", "a DirectDraw surface"),
    (0, b"\0\0\x01\0", "an icon"),
    (0, b"\x93NUMPY", "a numpy array"),
    (0, b"\x89HDF", "an HDF5 file"),
    (128, b"DICM", "a DICOM file"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"RIFF", "a RIFF file, such as sound or a video"),
    (0, b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
];

/// The formats that are read, as messages name them.
const FORMATS: &str = "a JPEG, PNG, WebP, JPEG XL, TIFF, GIF, BMP or PNM (.ppm, .pgm, .pbm) image; convert others, for example to PNG";

/// First line of a pointer of Git LFS, up to its version.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";

/// What a file that begins with `bytes` is, and what to do about it where that is known.
pub(super) fn named(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "the file is empty".into();
    }
    if bytes.starts_with(LFS) {
        return "a pointer of Git LFS, not the image itself: run `git lfs pull`".into();
    }
    let found = SIGNATURES.iter().find(|(at, signature, _)| {
        bytes.get(*at..).is_some_and(|rest| rest.starts_with(signature))
    });
    if let Some((.., name)) = found {
        return format!("this is {name}, which is not read; expected {}", FORMATS);
    }
    if let Some(text) = text(bytes) {
        return format!("{text}; expected {}", FORMATS);
    }
    if bytes.iter().all(|&byte| byte == 0) {
        return "the file holds nothing but zeros, as after a download or copy that broke off"
            .into();
    }
    format!(
        "not an image that is read: it starts with {:02x?}; expected {}",
        &bytes[..bytes.len().min(8)],
        FORMATS
    )
}

/// What the file is if it begins as text does.
fn text(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let start = &bytes[..bytes.len().min(512)];
    // A character may be cut at the end.
    let start = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return None,
    };
    if start.is_empty()
        || start.chars().any(|letter| letter.is_control() && !letter.is_whitespace())
    {
        return None;
    }
    let lower = start.trim_start().to_ascii_lowercase();
    let kind = if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        "this is an HTML page, such as the error page of a server"
    } else if lower.contains("<svg") {
        "this is an SVG drawing, which is not read"
    } else if lower.starts_with('<') {
        "this is XML or HTML"
    } else {
        "this is a text file"
    };
    let line: String =
        start.trim_start().lines().next().unwrap_or_default().chars().take(40).collect();
    Some(format!("{kind}: it begins with {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_called_what_they_are() {
        for (bytes, expected) in [
            (&b"\0\0\0\x1cftypavif"[..], "an AVIF"),
            (b"\0\0\0\x18ftypheic", "a HEIC"),
            (b"\0\0\0\x18ftypmif1", "a HEIF"),
            (b"\0\0\0\x18ftypisom", "a video"),
            (b"%PDF-1.7", "a PDF"),
            (b"RIFF\0\0\0\0WAVE", "RIFF"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "git lfs pull"),
            (b"\n<!DOCTYPE html><html>", "an HTML page"),
            (b"<?xml version=\"1.0\"?><svg>", "an SVG"),
            (b"\xef\xbb\xbfhello", "a text file: it begins with \"hello\""),
            (b"", "empty"),
            (&[0; 40], "zeros"),
            (b"\xca\xfe\xba\xbe", "ca, fe, ba, be"),
        ] {
            let name = named(bytes);
            assert!(name.contains(expected), "{name:?} lacks {expected:?}");
        }
        assert!(named("ä".repeat(400).as_bytes()).contains("text file"));
    }
}
