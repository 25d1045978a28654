//! The parts of a JPEG file (ITU-T T.81, annex B): marker segments and, behind each scan header, the
//! coded data of the scan. Nothing is decoded here. Called by [`super::file`].

use memchr::memchr;

/// Largest number of parts: a file with more is made to cost time.
const MOST: usize = 4096;

pub(super) const END_OF_IMAGE: u8 = 0xd9;
pub(super) const START_OF_SCAN: u8 = 0xda;

/// One marker segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    /// The second byte of the marker.
    pub marker: u8,
    /// What the segment holds, without its length.
    pub body: &'a [u8],
    /// Of a scan: its coded data, up to the next marker that is not part of them.
    pub coded: &'a [u8],
}

/// All the parts of one image.
pub(super) struct Parts<'a> {
    pub list: Vec<Part<'a>>,
    /// The number of bytes up to the end of the last scan's data.
    pub end: usize,
    /// Whether the image ends with its end marker.
    pub ended: bool,
}

/// Splits `bytes` up to the end marker, or up to the end of the file where that marker is missing.
/// `enough` says of each scan header whether no later scan is of interest.
///
/// # Errors
/// A segment that is longer than the file, or more segments than any image needs.
pub(super) fn parts<'a>(
    bytes: &'a [u8],
    mut enough: impl FnMut(&[Part<'a>]) -> bool,
) -> Result<Parts<'a>, String> {
    let mut found = Parts { list: Vec::with_capacity(16), end: bytes.len(), ended: false };
    let mut at = 2;
    while let Some((marker, body_at)) = next_marker(bytes, at) {
        if marker == END_OF_IMAGE {
            found.ended = true;
            break;
        }
        // Markers without a segment, which have no meaning outside of a scan.
        if matches!(marker, 0x01 | 0xd0..=0xd8) {
            at = body_at;
            continue;
        }
        let length =
            bytes.get(body_at..body_at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]));
        let segment = length.and_then(|length| bytes.get(body_at..body_at + usize::from(length)));
        let Some(body) = segment.and_then(|segment| segment.get(2..)) else {
            // What follows a scan may be the trailer of a camera, in which any two bytes can stand.
            if found.list.iter().any(|part| part.marker == START_OF_SCAN) {
                break;
            }
            return Err("truncated JPEG: the file ends within its header".into());
        };
        at = body_at + 2 + body.len();
        let start = at;
        if marker == START_OF_SCAN {
            at = end_of_scan(bytes, at);
            found.end = at;
        }
        found.list.push(Part { marker, body, coded: &bytes[start..at] });
        if found.list.len() > MOST {
            return Err(format!("damaged JPEG: more than {MOST} segments"));
        }
        if marker == START_OF_SCAN && enough(&found.list) {
            found.ended = next_marker(bytes, at).is_some_and(|(marker, _)| marker == END_OF_IMAGE);
            break;
        }
    }
    Ok(found)
}

/// The next marker from `at` on, and the position behind it. Bytes that are no marker are skipped, as
/// libjpeg does.
fn next_marker(bytes: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        at += memchr(0xff, bytes.get(at..)?)?;
        while bytes.get(at) == Some(&0xff) {
            at += 1;
        }
        match bytes.get(at) {
            Some(0) => at += 1,
            Some(&marker) => return Some((marker, at + 1)),
            None => return None,
        }
    }
}

/// Where the data of the scan that starts at `at` end: before the first marker other than a restart.
fn end_of_scan(bytes: &[u8], mut at: usize) -> usize {
    while let Some(step) = bytes.get(at..).and_then(|rest| memchr(0xff, rest)) {
        let marker = at + step;
        let mut behind = marker + 1;
        while bytes.get(behind) == Some(&0xff) {
            behind += 1;
        }
        match bytes.get(behind) {
            Some(0 | 0xd0..=0xd7) => at = behind + 1,
            Some(_) => return marker,
            None => break,
        }
    }
    bytes.len()
}
