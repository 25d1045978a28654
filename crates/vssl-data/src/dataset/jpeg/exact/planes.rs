//! The samples of one component, and its enlargement to the size of the picture as in libjpeg's
//! `jdsample.c` ("fancy upsampling"). Called by [`super::colour`].

/// The samples of one component.
pub(super) struct Plane {
    /// The number of samples in a stored row, those that fill up the last blocks among them.
    stride: usize,
    /// The columns and rows that belong to the picture.
    width: usize,
    height: usize,
    samples: Vec<u8>,
}

impl Plane {
    pub fn new(stride: usize, width: usize, height: usize, stored_rows: usize) -> Self {
        Self { stride, width, height, samples: vec![0; stride * stored_rows] }
    }

    /// Puts an 8 × 8 block at column `x`, row `y`.
    pub fn put(&mut self, x: usize, y: usize, block: &[u8; 64]) {
        for (row, line) in block.chunks_exact(8).enumerate() {
            let at = (y + row) * self.stride + x;
            self.samples[at..at + 8].copy_from_slice(line);
        }
    }

    /// A row; rows beyond the picture are the last row.
    fn row(&self, y: usize) -> &[u8] {
        &self.samples[y.min(self.height - 1) * self.stride..][..self.width]
    }

    /// Writes row `y` of the plane that is enlarged `across` and `down` times to `out`, which it fills: at
    /// least `across` samples for each of the plane's columns.
    pub fn enlarged_row(&self, y: usize, (across, down): (usize, usize), out: &mut Vec<u8>) {
        out.clear();
        let near = self.row(y / down);
        match (across, down) {
            (1, 1) => out.extend_from_slice(near),
            (2, 1) if self.width > 2 => doubled(near, out),
            (1, 2) => {
                let bias = if y.is_multiple_of(2) { 1 } else { 2 };
                let pairs = near.iter().zip(self.beside(y));
                out.extend(pairs.map(|(&near, &far)| {
                    ((3 * u32::from(near) + u32::from(far) + bias) >> 2) as u8
                }));
            }
            (2, 2) if self.width > 2 => {
                let pairs = near.iter().zip(self.beside(y));
                let sums: Vec<u32> =
                    pairs.map(|(&near, &far)| 3 * u32::from(near) + u32::from(far)).collect();
                doubled_both(&sums, out);
            }
            _ => out.extend(near.iter().flat_map(|&sample| std::iter::repeat_n(sample, across))),
        }
    }

    /// The row of the plane that is second nearest to row `y` of twice the height.
    fn beside(&self, y: usize) -> &[u8] {
        match y % 2 {
            0 => self.row((y / 2).saturating_sub(1)),
            _ => self.row(y / 2 + 1),
        }
    }
}

/// Doubles a row: each new sample is three parts its nearest neighbour and one part the next.
fn doubled(row: &[u8], out: &mut Vec<u8>) {
    let at = |index: usize| u32::from(row[index]);
    let last = row.len() - 1;
    for index in 0..=last {
        let three = 3 * at(index);
        out.push(match index {
            0 => row[0],
            _ => ((three + at(index - 1) + 1) >> 2) as u8,
        });
        out.push(match index == last {
            true => row[last],
            false => ((three + at(index + 1) + 2) >> 2) as u8,
        });
    }
}

/// The same for a row whose samples are mixed with the next row's already, and four times too large.
fn doubled_both(sums: &[u32], out: &mut Vec<u8>) {
    let last = sums.len() - 1;
    for index in 0..=last {
        let three = 3 * sums[index];
        let before = sums[index.saturating_sub(1)];
        let after = sums[(index + 1).min(last)];
        out.push(((three + before + 8) >> 4) as u8);
        out.push(((three + after + 7) >> 4) as u8);
    }
}
