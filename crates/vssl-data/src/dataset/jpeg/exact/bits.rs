//! Reads bits and Huffman codes from the data of a scan (T.81, F.2.2). Called by [`super::scan`].

/// What ends a scan before its last block.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The data end.
    Ended,
    /// These are bits that no code begins with, or a code that means nothing here.
    Code,
}

/// The bits of a scan, without the stuffed bytes.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The next bits, from the highest bit on.
    held: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, held: 0, count: 0 }
    }

    /// Holds at least 16 bits, as far as there are any before the next marker.
    fn fill(&mut self) {
        while self.count <= 48
            && let Some(&byte) = self.bytes.get(self.at)
        {
            if byte == 0xff {
                // A zero follows such a byte of the data. More of them may stand before the zero, as
                // they may before a marker: libjpeg reads them all as one.
                let rest = &self.bytes[self.at..];
                let repeated = rest.iter().take_while(|&&byte| byte == 0xff).count();
                if rest.get(repeated) != Some(&0) {
                    return;
                }
                self.at += repeated;
            }
            self.at += 1;
            self.held |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    fn drop(&mut self, count: u32) -> Result<(), Fault> {
        self.count = self.count.checked_sub(count).ok_or(Fault::Ended)?;
        self.held <<= count;
        Ok(())
    }

    /// The next `count` bits, at most 16, as a number.
    pub fn take(&mut self, count: u32) -> Result<i32, Fault> {
        if count == 0 {
            return Ok(0);
        }
        self.fill();
        let value = (self.held >> (64 - count)) as i32;
        self.drop(count)?;
        Ok(value)
    }

    /// The next `size` bits as a difference or coefficient (F.2.2.1, EXTEND).
    pub fn signed(&mut self, size: u32) -> Result<i32, Fault> {
        let value = self.take(size)?;
        match size > 0 && value < 1 << (size - 1) {
            true => Ok(value - (1 << size) + 1),
            false => Ok(value),
        }
    }

    /// The symbol of the next code.
    pub fn symbol(&mut self, codes: &Codes) -> Result<u8, Fault> {
        self.fill();
        let (length, symbol) = codes.by_prefix[(self.held >> 48) as usize];
        if length == 0 {
            // The missing bits of the last code read as zeros.
            return Err(if self.count < 16 { Fault::Ended } else { Fault::Code });
        }
        self.drop(u32::from(length))?;
        Ok(symbol)
    }

    /// Goes on behind restart marker `number` (0 to 7).
    pub fn restart(&mut self, number: usize) -> Result<(), Fault> {
        (self.held, self.count) = (0, 0);
        while let Some(&byte) = self.bytes.get(self.at) {
            self.at += 1;
            let next = self.bytes.get(self.at).copied();
            match (byte, next) {
                (0xff, Some(marker @ 0xd0..=0xd7)) => {
                    self.at += 1;
                    return match usize::from(marker - 0xd0) == number {
                        true => Ok(()),
                        false => Err(Fault::Code),
                    };
                }
                _ => continue,
            }
        }
        Err(Fault::Ended)
    }
}

/// One table of Huffman codes (C.2).
pub(super) struct Codes {
    /// Length and symbol of the code that 16 bits begin with; the length is 0 where there is none.
    by_prefix: Vec<(u8, u8)>,
}

impl Codes {
    /// Takes the counts of codes of 1 to 16 bits, and the symbols by ascending code.
    ///
    /// # Errors
    /// More codes than there are.
    pub fn new(counts: &[u8], symbols: &[u8]) -> Result<Self, String> {
        let mut by_prefix = Vec::with_capacity(1 << 16);
        let mut symbols = symbols.iter();
        for (length, &count) in (1_u8..).zip(counts) {
            for &symbol in symbols.by_ref().take(usize::from(count)) {
                by_prefix.resize(by_prefix.len() + (1 << (16 - length)), (length, symbol));
            }
            // A code of ones only is reserved: it would begin with every longer one.
            if by_prefix.len() >= 1 << 16 {
                return Err("damaged JPEG: a table has more Huffman codes than there can be".into());
            }
        }
        by_prefix.resize(1 << 16, (0, 0));
        Ok(Self { by_prefix })
    }
}
