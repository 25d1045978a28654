//! Bytes as hexadecimal digits, the form of checksums.

/// Returns two lower-case digits for each byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_read_back_as_the_bytes() {
        let text = hex(&[0, 9, 0xab, 0xff]);
        assert_eq!(text, "0009abff");
        let pairs = (0..4).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap());
        assert!(pairs.eq([0, 9, 0xab, 0xff]));
    }
}
