//! From the data of a scan to coefficients: sequential (T.81, F.2.2) and progressive (G.2) coding, with
//! the components interleaved or not. Called by [`super::decode`].

use super::super::file::{Component, File, Frame, Scan};
use super::bits::{Bits, Codes, Fault};
use super::planes::Plane;
use super::transform::{Block, block_to_samples};

/// Position of each coefficient in a block, in the order of the file (figure A.6).
#[rustfmt::skip]
const ZIGZAG: [usize; 64] = [
     0,  1,  8, 16,  9,  2,  3, 10, 17, 24, 32, 25, 18, 11,  4,  5,
    12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13,  6,  7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// The tables that segments define between scans.
#[derive(Default)]
pub(super) struct Tables {
    dc: [Option<Codes>; 4],
    ac: [Option<Codes>; 4],
    quantisation: [Option<[i32; 64]>; 4],
    /// The number of units between two restart markers; 0 where there are none.
    restarts: usize,
}

impl Tables {
    pub fn define_codes(&mut self, mut body: &[u8]) -> Result<(), String> {
        let damaged = || "damaged JPEG: a table of Huffman codes is cut".to_owned();
        while let Some((&kind, rest)) = body.split_first() {
            let (counts, rest) = rest.split_at_checked(16).ok_or_else(damaged)?;
            let count = counts.iter().map(|&count| usize::from(count)).sum();
            let (symbols, rest) = rest.split_at_checked(count).ok_or_else(damaged)?;
            let tables = if kind & 0x10 == 0 { &mut self.dc } else { &mut self.ac };
            *tables.get_mut(usize::from(kind & 0xef)).ok_or_else(damaged)? =
                Some(Codes::new(counts, symbols)?);
            body = rest;
        }
        Ok(())
    }

    pub fn define_quantisation(&mut self, mut body: &[u8]) -> Result<(), String> {
        let damaged = || "damaged JPEG: a table of quantisation is cut".to_owned();
        while let Some((&kind, rest)) = body.split_first() {
            let wide = kind >> 4 != 0;
            let (steps, rest) =
                rest.split_at_checked(if wide { 128 } else { 64 }).ok_or_else(damaged)?;
            let mut table = [0; 64];
            for (at, position) in ZIGZAG.into_iter().enumerate() {
                table[position] = match wide {
                    true => i32::from(u16::from_be_bytes([steps[2 * at], steps[2 * at + 1]])),
                    false => i32::from(steps[at]),
                };
            }
            *self.quantisation.get_mut(usize::from(kind & 15)).ok_or_else(damaged)? = Some(table);
            body = rest;
        }
        Ok(())
    }

    pub fn define_restarts(&mut self, body: &[u8]) -> Result<(), String> {
        let &[high, low] = body else {
            return Err("damaged JPEG: its restart interval is cut".into());
        };
        self.restarts = usize::from(u16::from_be_bytes([high, low]));
        Ok(())
    }
}

/// The coefficients of one component.
pub(super) struct Coefficients {
    /// In the order of rows of blocks, with the blocks that fill up the last units.
    blocks: Vec<[i16; 64]>,
    /// The number of blocks in a row of `blocks`.
    stride: usize,
    /// The number of blocks that have samples of the picture, horizontally and vertically.
    used: (usize, usize),
    /// The steps of quantisation, from the tables of the component's first scan on.
    steps: Option<[i32; 64]>,
}

impl Coefficients {
    pub fn new(frame: &Frame, index: usize) -> Self {
        let component = &frame.components[index];
        let (columns, rows) = units(frame);
        let (width, height) = frame.size_of(component);
        let stride = columns * component.horizontal;
        Self {
            blocks: vec![[0; 64]; stride * rows * component.vertical],
            stride,
            used: (width.div_ceil(8), height.div_ceil(8)),
            steps: None,
        }
    }

    /// The samples of the component.
    ///
    /// # Errors
    /// A component that no scan holds.
    pub fn transformed(&self, frame: &Frame, component: &Component) -> Result<Plane, String> {
        let Some(steps) = &self.steps else {
            return Err(format!(
                "damaged JPEG: too few scans: none has the component that is called {}",
                component.name
            ));
        };
        let (width, height) = frame.size_of(component);
        let mut plane = Plane::new(self.used.0 * 8, width, height, self.used.1 * 8);
        for row in 0..self.used.1 {
            for column in 0..self.used.0 {
                let samples = block_to_samples(&self.blocks[row * self.stride + column], steps);
                plane.put(column * 8, row * 8, &samples);
            }
        }
        Ok(plane)
    }
}

/// The number of units of the frame, each of 8 rows and columns a sampling factor.
fn units(frame: &Frame) -> (usize, usize) {
    let (horizontal, vertical) = frame.largest();
    (frame.width.div_ceil(8 * horizontal), frame.height.div_ceil(8 * vertical))
}

/// Adds what one scan says to `coefficients`.
///
/// # Errors
/// Tables that are missing, codes that mean nothing, or data that end before the last block.
pub(super) fn decode(
    file: &File,
    scan: &Scan,
    coded: &[u8],
    tables: &Tables,
    coefficients: &mut [Coefficients],
) -> Result<(), String> {
    for &(index, dc, ac) in &scan.components {
        let missing = |what: &str| format!("its table of {what} is missing");
        let component = &file.frame.components[index];
        let quantisation = tables.quantisation[component.table];
        let steps = &mut coefficients[index].steps;
        *steps = Some(steps.or(quantisation).ok_or_else(|| missing("quantisation"))?);
        let needs_dc = scan.first == 0 && scan.high == 0;
        if needs_dc && tables.dc[dc].is_none() || scan.last > 0 && tables.ac[ac].is_none() {
            return Err(missing("Huffman codes"));
        }
    }
    let (columns, rows) = match scan.components[..] {
        [(only, ..)] => coefficients[only].used,
        _ => units(&file.frame),
    };
    let mut state = Progress { bits: Bits::new(coded), predicted: [0; 4], run: 0 };
    for unit in 0..columns * rows {
        if tables.restarts > 0 && unit > 0 && unit.is_multiple_of(tables.restarts) {
            let number = (unit / tables.restarts - 1) % 8;
            state.bits.restart(number).map_err(|fault| what(fault, unit, columns * rows))?;
            (state.predicted, state.run) = ([0; 4], 0);
        }
        let place = (unit % columns, unit / columns);
        state
            .unit(file, scan, tables, coefficients, place)
            .map_err(|fault| what(fault, unit, columns * rows))?;
    }
    Ok(())
}

fn what(fault: Fault, done: usize, of: usize) -> String {
    match fault {
        Fault::Ended => format!("too few blocks: its data end in unit {} of {of}", done + 1),
        Fault::Code => format!("its data make no sense in unit {} of {of}", done + 1),
    }
}

impl Scan {
    /// The place in a block of a coefficient of the band.
    fn place(&self, at: usize) -> Result<usize, Fault> {
        if at > self.last { Err(Fault::Code) } else { Ok(ZIGZAG[at]) }
    }
}

/// How far a scan is.
struct Progress<'a> {
    bits: Bits<'a>,
    /// The last DC coefficient of each component.
    predicted: [i32; 4],
    /// The number of blocks to come that have no new coefficients in the band.
    run: i32,
}

impl Progress<'_> {
    /// Decodes one unit: a block of each component as often as its factors say, or a single block.
    fn unit(
        &mut self,
        file: &File,
        scan: &Scan,
        tables: &Tables,
        coefficients: &mut [Coefficients],
        (column, row): (usize, usize),
    ) -> Result<(), Fault> {
        let single = scan.components.len() == 1;
        for &(index, dc, ac) in &scan.components {
            let component = &file.frame.components[index];
            let (horizontal, vertical) = match single {
                true => (1, 1),
                false => (component.horizontal, component.vertical),
            };
            let of = &mut coefficients[index];
            for down in 0..vertical {
                for across in 0..horizontal {
                    let (x, y) = (column * horizontal + across, row * vertical + down);
                    let block = &mut of.blocks[y * of.stride + x];
                    let codes = (tables.dc[dc].as_ref(), tables.ac[ac].as_ref());
                    self.block(file, scan, codes, index, block)?;
                }
            }
        }
        Ok(())
    }

    fn block(
        &mut self,
        file: &File,
        scan: &Scan,
        (dc, ac): (Option<&Codes>, Option<&Codes>),
        index: usize,
        block: &mut [i16; 64],
    ) -> Result<(), Fault> {
        if scan.first == 0 {
            match (scan.high, dc) {
                (0, Some(dc)) => self.first_dc(dc, scan.low, index, block)?,
                _ if self.bits.take(1)? == 1 => block[0] |= 1 << scan.low,
                _ => {}
            }
        }
        match ac {
            Some(ac) if !file.frame.progressive => self.sequential_ac(ac, block),
            Some(ac) if scan.last > 0 && scan.high == 0 => self.first_ac(ac, scan, block),
            Some(ac) if scan.last > 0 => self.refined_ac(ac, scan, block),
            _ => Ok(()),
        }
    }

    fn first_dc(
        &mut self,
        dc: &Codes,
        low: u32,
        index: usize,
        block: &mut Block,
    ) -> Result<(), Fault> {
        let size = u32::from(self.bits.symbol(dc)?);
        if size > 15 {
            return Err(Fault::Code);
        }
        let difference = self.bits.signed(size)?;
        self.predicted[index] = self.predicted[index].wrapping_add(difference);
        block[0] = (self.predicted[index] << low) as i16;
        Ok(())
    }

    fn sequential_ac(&mut self, ac: &Codes, block: &mut Block) -> Result<(), Fault> {
        let mut at = 1;
        while at < 64 {
            let symbol = self.bits.symbol(ac)?;
            let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            match (run, size) {
                (15, 0) => at += 16,
                (_, 0) => return Ok(()),
                _ => {
                    at += run;
                    let value = self.bits.signed(size)?;
                    block[*ZIGZAG.get(at).ok_or(Fault::Code)?] = value as i16;
                    at += 1;
                }
            }
        }
        Ok(())
    }

    /// The first scan of a band (G.1.2.2).
    fn first_ac(&mut self, ac: &Codes, scan: &Scan, block: &mut Block) -> Result<(), Fault> {
        if self.run > 0 {
            self.run -= 1;
            return Ok(());
        }
        let mut at = scan.first;
        while at <= scan.last {
            let symbol = self.bits.symbol(ac)?;
            let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            match (run, size) {
                (15, 0) => at += 16,
                (_, 0) => {
                    self.run = (1 << run) - 1 + self.bits.take(run)?;
                    return Ok(());
                }
                _ => {
                    at += run as usize;
                    let value = self.bits.signed(size)?;
                    block[scan.place(at)?] = (value << scan.low) as i16;
                    at += 1;
                }
            }
        }
        Ok(())
    }

    /// A later scan of a band, which adds one bit to each coefficient (G.1.2.3).
    fn refined_ac(&mut self, ac: &Codes, scan: &Scan, block: &mut Block) -> Result<(), Fault> {
        let bit = 1_i16 << scan.low;
        let mut at = scan.first;
        while self.run == 0 && at <= scan.last {
            let symbol = self.bits.symbol(ac)?;
            let (run, size) = (u32::from(symbol >> 4), symbol & 15);
            let value = match size {
                0 if run < 15 => {
                    self.run = (1 << run) + self.bits.take(run)?;
                    break;
                }
                0 => 0,
                1 if self.bits.take(1)? == 1 => bit,
                1 => -bit,
                _ => return Err(Fault::Code),
            };
            at = self.refine(scan, at, Some(run), bit, block)?;
            if value != 0 {
                block[scan.place(at)?] = value;
            }
            at += 1;
        }
        if self.run > 0 {
            self.refine(scan, at, None, bit, block)?;
            self.run -= 1;
        }
        Ok(())
    }

    /// Reads the bit of each coefficient that is not zero from `at` on, until `zeros` coefficients that are
    /// zero were passed and one more is reached, whose place is returned; without `zeros`, up to the end
    /// of the band.
    fn refine(
        &mut self,
        scan: &Scan,
        mut at: usize,
        zeros: Option<u32>,
        bit: i16,
        block: &mut Block,
    ) -> Result<usize, Fault> {
        let mut left = zeros;
        while at <= scan.last {
            let coefficient = &mut block[ZIGZAG[at]];
            if *coefficient == 0 {
                match &mut left {
                    Some(0) => return Ok(at),
                    Some(left) => *left -= 1,
                    None => {}
                }
            } else if self.bits.take(1)? == 1 && *coefficient & bit == 0 {
                let step = if *coefficient > 0 { bit } else { -bit };
                *coefficient = coefficient.wrapping_add(step);
            }
            at += 1;
        }
        Ok(at)
    }
}
