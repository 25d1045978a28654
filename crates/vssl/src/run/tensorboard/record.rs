//! TFRecord framing: length, checksum of the length, bytes, checksum of the bytes, little-endian.
//!
//! The checksum is a CRC32C that is rotated and offset ("masked"), because the checksum of data that contain
//! their own checksum would be weak. <https://www.tensorflow.org/tutorials/load_data/tfrecord>

use std::ops::Range;

const LENGTH: usize = 8;
const CHECK: usize = 4;
const MASK: u32 = 0xa282_ead8;

fn masked(bytes: &[u8]) -> [u8; CHECK] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(MASK).to_le_bytes()
}

/// Returns `data` as one record.
pub(super) fn frame(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), data, &masked(data)].concat()
}

/// Returns the place of the data of the first whole record in `bytes`, and the start of the next record;
/// `None` where the record was cut short or is damaged.
pub(super) fn first(bytes: &[u8]) -> Option<(Range<usize>, usize)> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH>()?;
    if rest.get(..CHECK)? != masked(length) {
        return None;
    }
    let start = LENGTH + CHECK;
    let end = start.checked_add(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let whole = bytes.get(end..end.checked_add(CHECK)?)? == masked(bytes.get(start..end)?);
    whole.then_some((start..end, end + CHECK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_format() {
        // CRC32C of "123456789" is 0xe3069283 (RFC 3720, appendix B.4 lists the polynomial).
        let expected = 0xe306_9283_u32.rotate_right(15).wrapping_add(MASK);
        assert_eq!(masked(b"123456789"), expected.to_le_bytes());
    }

    #[test]
    fn records_are_found_again_and_damage_is_seen() {
        let bytes = [frame(b"first"), frame(b"")].concat();
        let (data, next) = first(&bytes).unwrap();
        assert_eq!(&bytes[data], b"first");
        let (data, end) = first(&bytes[next..]).unwrap();
        assert!(data.is_empty() && next + end == bytes.len());
        for at in 0..next {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(first(&damaged).is_none(), "byte {at}");
            assert!(first(&bytes[..at]).is_none(), "cut at {at}");
        }
    }
}
