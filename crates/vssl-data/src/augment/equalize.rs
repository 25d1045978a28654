//! Histogram equalisation of each channel, as Pillow does it.

use super::canvas::{Canvas, LAYER};

/// The new value of each level of a channel; `None` when the channel stays as it is.
fn equalizing_table(histogram: &[u32; 256]) -> Option<[u8; 256]> {
    let occupied = histogram.iter().filter(|&&count| count > 0).count();
    let highest = histogram.iter().rev().find(|&&count| count > 0)?;
    let total: u32 = histogram.iter().sum();
    let step = (total - highest) / 255;
    if occupied <= 1 || step == 0 {
        return None;
    }
    let mut below = step / 2;
    Some(histogram.map(|count| {
        let level = (below / step).min(255) as u8;
        below += count;
        level
    }))
}

impl Canvas {
    /// Spreads the levels of each channel evenly.
    pub fn equalize(&mut self) {
        // The fourth byte of red, green and blue counts for nothing.
        let channels = self.channels();
        for layer in 0..self.layers() {
            let own = (channels - layer * LAYER).min(LAYER);
            let mut histograms = [[0u32; 256]; LAYER];
            for pixel in self.layer(layer) {
                for (histogram, &value) in histograms[..own].iter_mut().zip(pixel) {
                    histogram[usize::from(value)] += 1;
                }
            }
            let tables = histograms.map(|histogram| equalizing_table(&histogram));
            for (channel, table) in tables[..own].iter().enumerate() {
                if let Some(table) = table {
                    for pixel in self.layer_mut(layer) {
                        pixel[channel] = table[usize::from(pixel[channel])];
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Image;

    #[test]
    fn one_level_and_small_images_stay() {
        for rgb in [vec![7; 300], (0..=251).collect::<Vec<u8>>()] {
            let image = Image { width: rgb.len() / 3, height: 1, values: rgb };
            let mut canvas = Canvas::from_image(&image);
            canvas.equalize();
            assert_eq!(canvas.to_image(), image);
        }
    }

    #[test]
    fn two_levels_go_to_the_ends() {
        let rgb = (0..512).flat_map(|i| if i < 256 { [100; 3] } else { [110; 3] }).collect();
        let mut canvas = Canvas::from_image(&Image { width: 512, height: 1, values: rgb });
        canvas.equalize();
        let pixels = canvas.pixels();
        assert_eq!((pixels[0][0], pixels[511][0]), (0, 255));
    }
}
