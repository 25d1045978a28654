//! Turns bytes into normalised floats, `(v / 255 − mean) / std`, by a table of 256 values a channel.

use super::{Canvas, Normalisation, canvas::LAYER};
use crate::DataError;

/// The table of a [`Normalisation`].
#[derive(Clone, Debug)]
pub struct Normaliser {
    /// A table for each channel.
    tables: Vec<[f32; 256]>,
}

impl Normaliser {
    /// Builds the table.
    ///
    /// # Errors
    /// [`DataError::Setting`] when a mean is not finite or a standard deviation below 1e-6, or when there are more
    /// of one than of the other.
    pub fn new(normalisation: &Normalisation) -> Result<Self, DataError> {
        let Normalisation { mean, std } = normalisation;
        if !mean.iter().all(|mean| mean.is_finite()) {
            return Err(DataError::Setting(format!(
                "normalisation.mean is {mean:?}; expected a finite number for each channel"
            )));
        }
        if mean.len() != std.len() {
            return Err(DataError::Setting(format!(
                "normalisation.std has {} numbers and normalisation.mean {}; expected one of each for each channel",
                std.len(),
                mean.len()
            )));
        }
        // A smaller deviation can only be a typing error.
        if !std.iter().all(|std| std.is_finite() && *std >= 1e-6) {
            return Err(DataError::Setting(format!(
                "normalisation.std is {std:?}; expected numbers of at least 1e-6"
            )));
        }
        let mut tables = vec![[0.0; 256]; mean.len()];
        for ((table, mean), std) in tables.iter_mut().zip(mean.iter()).zip(std.iter()) {
            for (value, entry) in table.iter_mut().enumerate() {
                *entry = (value as f32 / 255.0 - mean) / std;
            }
        }
        Ok(Self { tables })
    }

    /// The number that `byte` becomes in a channel.
    pub(super) fn value(&self, channel: usize, byte: u8) -> f32 {
        self.tables[channel][usize::from(byte)]
    }

    /// The number of channels.
    pub fn channels(&self) -> usize {
        self.tables.len()
    }

    /// Writes the canvas to `out`, `[height, width, channels]`, mirrored if `flip`.
    ///
    /// # Panics
    /// When `out` has another length, or the canvas another number of channels.
    pub fn write(&self, canvas: &Canvas, flip: bool, out: &mut [f32]) {
        let values = canvas.width() * canvas.height() * canvas.channels();
        assert_eq!(out.len(), values, "output of another size than the canvas");
        assert_eq!(canvas.channels(), self.channels(), "a canvas of other channels");
        let [red, green, blue] = self.tables.as_slice() else {
            return self.write_channels(canvas, flip, out);
        };
        let value = |&[r, g, b, _]: &[u8; 4]| {
            [red[usize::from(r)], green[usize::from(g)], blue[usize::from(b)]]
        };
        let width = canvas.width().max(1);
        let rows = out.as_chunks_mut::<3>().0.chunks_exact_mut(width);
        for (out, row) in rows.zip(canvas.pixels().chunks_exact(width)) {
            if flip {
                for (out, pixel) in out.iter_mut().zip(row.iter().rev()) {
                    *out = value(pixel);
                }
            } else {
                for (out, pixel) in out.iter_mut().zip(row) {
                    *out = value(pixel);
                }
            }
        }
    }

    /// Writes a canvas of any number of channels.
    fn write_channels(&self, canvas: &Canvas, flip: bool, out: &mut [f32]) {
        let (width, channels) = (canvas.width().max(1), self.channels());
        for (layer, tables) in self.tables.chunks(LAYER).enumerate() {
            let rows = canvas.layer(layer).chunks_exact(width);
            for (out, row) in out.chunks_exact_mut(width * channels).zip(rows) {
                for (x, pixel) in row.iter().enumerate() {
                    let x = if flip { width - 1 - x } else { x };
                    let out = &mut out[x * channels + layer * LAYER..][..tables.len()];
                    for ((out, table), &value) in out.iter_mut().zip(tables).zip(pixel) {
                        *out = table[usize::from(value)];
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Image, augment::PerChannel};

    #[test]
    fn flip_mirrors_every_row() {
        for channels in 1..=9 {
            let numbers: Vec<f32> = (1..=channels).map(|channel| channel as f32).collect();
            let each = PerChannel::of(&numbers).unwrap();
            let normaliser = Normaliser::new(&Normalisation { mean: each, std: each }).unwrap();
            let values: Vec<u8> = (0..6 * channels as u8).collect();
            let image = Image { width: 3, height: 2, values: values.clone() };
            let mut canvas = Canvas::from_image(&image);
            let (mut straight, mut flipped) = (vec![0.0; values.len()], vec![0.0; values.len()]);
            normaliser.write(&canvas, false, &mut straight);
            let expected = |(at, value): (usize, &u8)| {
                let own = numbers[at % channels];
                (f32::from(*value) / 255.0 - own) / own
            };
            assert_eq!(straight, values.iter().enumerate().map(expected).collect::<Vec<_>>());
            normaliser.write(&canvas, true, &mut flipped);
            canvas.flip();
            normaliser.write(&canvas, false, &mut straight);
            assert_eq!(straight, flipped, "{channels} channels");
        }
    }

    #[test]
    fn senseless_statistics_are_refused() {
        for (mean, std) in
            [([f32::NAN; 3], [1.0; 3]), ([0.0; 3], [1.0, 0.0, 1.0]), ([0.0; 3], [-1.0; 3])]
        {
            let given = Normalisation::new(mean, std);
            let error = Normaliser::new(&given).unwrap_err().to_string();
            assert!(error.starts_with("normalisation."), "{error}");
        }
        let mean = PerChannel::new([0.5; 4]);
        let uneven = Normalisation { mean, std: PerChannel::new([0.5; 3]) };
        let error = Normaliser::new(&uneven).unwrap_err().to_string();
        assert!(error.contains("std has 3 numbers and normalisation.mean 4"), "{error}");
    }
}
