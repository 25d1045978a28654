//! Parquet's mixed run-length and bit-packed code of small numbers: definition levels and numbers in a
//! dictionary (<https://parquet.apache.org/docs/file-format/data-pages/encodings/>, RLE).

/// Reads `count` numbers of `bits` bits; `None` where the code ends early.
pub(super) fn read(mut code: &[u8], bits: u32, count: usize) -> Option<Vec<u32>> {
    if bits > 32 {
        return None;
    }
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let mut head = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = code.split_first()?;
            code = rest;
            head |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        let left = count - numbers.len();
        if head & 1 == 0 {
            let (value, rest) = code.split_at_checked(bits.div_ceil(8) as usize)?;
            code = rest;
            let value = value.iter().rev().fold(0_u32, |sum, &byte| sum << 8 | u32::from(byte));
            let run = usize::try_from(head >> 1).ok()?;
            if run == 0 {
                return None;
            }
            numbers.resize(numbers.len() + run.min(left), value);
        } else {
            let groups = usize::try_from(head >> 1).ok()?;
            let packed = groups.checked_mul(bits as usize)?;
            // Writers may leave the zeros at the end out.
            let (packed, rest) = code.split_at(packed.min(code.len()));
            code = rest;
            let most = groups.checked_mul(8)?.min(left);
            if groups == 0 || most * bits as usize > packed.len() * 8 {
                return None;
            }
            numbers.extend((0..most).map(|at| number(packed, at * bits as usize, bits)));
        }
    }
    Some(numbers)
}

/// The number of `bits` bits that begins at a bit, the lowest first.
fn number(packed: &[u8], at: usize, bits: u32) -> u32 {
    let bytes = packed[at / 8..].iter().take(5);
    let window =
        bytes.enumerate().fold(0_u64, |sum, (place, &byte)| sum | u64::from(byte) << (8 * place));
    let mask = (1_u64 << bits) - 1;
    (window >> (at % 8) & mask) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_packed_numbers_are_read() {
        // Five sevens, then 0 to 7 with three bits each.
        let code = [10, 7, 3, 0x88, 0xc6, 0xfa];
        let expected = [7, 7, 7, 7, 7, 0, 1, 2, 3, 4, 5, 6, 7];
        assert_eq!(read(&code, 3, 13).unwrap(), expected);
        assert_eq!(read(&code, 3, 9).unwrap(), expected[..9]);
        assert_eq!(read(&code, 3, 14), None);
        assert_eq!(read(&code[..3], 3, 13), None);
        // With no bits, all numbers are 0.
        assert_eq!(read(&[6], 0, 3).unwrap(), [0; 3]);
        assert_eq!(read(&[0, 1], 1, 3), None);
        assert!(read(&[], 1, 0).unwrap().is_empty());
        let wide = [2, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(read(&wide, 32, 1).unwrap(), [u32::MAX]);
    }
}
