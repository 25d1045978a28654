//! Where a Snappy stream can be entered (<https://github.com/google/snappy/blob/main/format_description.txt>).
//!
//! Encoders pack each 64 KiB on their own: no copy reaches back beyond such a border. So an image in a page of a
//! megabyte is read with the one or two pieces that it lies in, and the rest of the page is not unpacked.

use super::part::{Block, Method};

/// The bytes that an encoder packs on their own.
const PIECE: u64 = 1 << 16;

/// The pieces of the stream `packed`, which lies at `offset` in the file and unpacks to `unpacked` bytes. A stream
/// that was packed otherwise is one piece. `None` for a damaged stream.
pub(super) fn pieces(packed: &[u8], offset: u64, unpacked: u32) -> Option<Vec<Block>> {
    let mut rest = packed;
    let mut length = 0_u64;
    for shift in (0..35).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        length |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    if length != u64::from(unpacked) {
        return None;
    }
    let start = packed.len() - rest.len();
    let block = |from: usize, to: usize, unpacked: u64| Block {
        offset: offset + from as u64,
        stored: (to - from) as u32,
        unpacked: unpacked as u32,
        method: Method::Snappy,
    };
    let mut blocks = Vec::new();
    // Where the piece begins in the stream and in what it unpacks to.
    let (mut begin, mut border) = (start, 0_u64);
    let (mut at, mut made) = (start, 0_u64);
    let mut is_apart = true;
    while at < packed.len() {
        if made == border + PIECE {
            blocks.push(block(begin, at, PIECE));
            (begin, border) = (at, made);
        }
        let (size, count, back) = element(&packed[at..])?;
        is_apart &= made + count <= border + PIECE && back <= made - border;
        at += size;
        made += count;
    }
    if made != length || at != packed.len() {
        return None;
    }
    if made > border {
        blocks.push(block(begin, at, made - border));
    }
    Some(if is_apart { blocks } else { vec![block(start, at, length)] })
}

/// The size of the element that `bytes` begin with, the bytes that it makes, and how far a copy reaches back.
fn element(bytes: &[u8]) -> Option<(usize, u64, u64)> {
    let tag = *bytes.first()?;
    let number = |from: usize, count: usize| {
        let bytes = bytes.get(from..from + count)?;
        Some(bytes.iter().rev().fold(0_u64, |value, &byte| value << 8 | u64::from(byte)))
    };
    let upper = u64::from(tag >> 2);
    let (size, count, back) = match tag & 3 {
        0 => {
            let more = upper.saturating_sub(59) as usize;
            let count = if more == 0 { upper } else { number(1, more)? } + 1;
            (1 + more + usize::try_from(count).ok()?, count, 0)
        }
        1 => (2, 4 + (upper & 7), u64::from(tag >> 5) << 8 | number(1, 1)?),
        2 => (3, upper + 1, number(1, 2)?),
        _ => (5, upper + 1, number(1, 4)?),
    };
    (size <= bytes.len()).then_some((size, count, back))
}

#[cfg(test)]
mod tests {
    use super::super::file::unpack;
    use super::*;
    use crate::rng::{Stream, below, rng};

    fn sample(bytes: usize, spread: u64) -> Vec<u8> {
        let mut rng = rng(1, Stream::Evaluation, spread, bytes as u64);
        (0..bytes).map(|_| below(&mut rng, spread) as u8).collect()
    }

    #[test]
    fn each_piece_unpacks_on_its_own_to_its_part() {
        for bytes in [1, 100, 65_535, 65_536, 65_537, 200_000, 1 << 20] {
            for spread in [1, 3, 256] {
                let plain = sample(bytes, spread);
                let packed = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
                let blocks = pieces(&packed, 1000, bytes as u32).unwrap();
                assert_eq!(blocks.len(), bytes.div_ceil(1 << 16));
                let mut whole = Vec::new();
                for block in &blocks {
                    let from = (block.offset - 1000) as usize;
                    let stored = &packed[from..from + block.stored as usize];
                    whole.extend(unpack(stored, block.unpacked as usize, block.method).unwrap());
                }
                assert!(whole == plain, "{bytes} {spread}");
            }
        }
    }

    #[test]
    fn a_stream_without_borders_is_one_piece_and_a_damaged_one_is_refused() {
        // A literal of 65,540 bytes crosses the border.
        let mut stream = vec![0x84, 0x80, 0x04, 61 << 2, 0x03, 0x00];
        stream[3] = 62 << 2;
        stream.splice(4.., [0x03, 0x00, 0x01]);
        stream.extend(sample(65_540, 256));
        let blocks = pieces(&stream, 0, 65_540).unwrap();
        assert_eq!(blocks.len(), 1);
        assert_eq!(unpack(&stream[3..], 65_540, Method::Snappy).unwrap(), sample(65_540, 256));
        assert!(pieces(&stream, 0, 65_541).is_none());
        assert!(pieces(&stream[..stream.len() - 1], 0, 65_540).is_none());
        assert!(pieces(&[], 0, 0).is_none());
    }
}
