//! Turns bytes into normalised floats, `(v / 255 − mean) / std`, by a table of 256 values a channel.

use super::{Canvas, Normalisation};
use crate::DataError;

/// The table of a [`Normalisation`].
#[derive(Clone, Debug)]
pub struct Normaliser {
    /// A table for each channel.
    tables: Box<[[f32; 256]; 3]>,
}

impl Normaliser {
    /// Builds the table.
    ///
    /// # Errors
    /// [`DataError::Setting`] when a mean is not finite or a standard deviation below 1e-6.
    pub fn new(normalisation: &Normalisation) -> Result<Self, DataError> {
        let Normalisation { mean, std } = normalisation;
        if !mean.iter().all(|mean| mean.is_finite()) {
            return Err(DataError::Setting(format!(
                "normalisation.mean is {mean:?}; expected three finite numbers"
            )));
        }
        // A smaller deviation can only be a typing error.
        if !std.iter().all(|std| std.is_finite() && *std >= 1e-6) {
            return Err(DataError::Setting(format!(
                "normalisation.std is {std:?}; expected three numbers of at least 1e-6"
            )));
        }
        let mut tables = Box::new([[0.0; 256]; 3]);
        for ((table, mean), std) in tables.iter_mut().zip(mean).zip(std) {
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

    /// Writes the canvas to `out`, `[height, width, 3]`, mirrored if `flip`.
    ///
    /// # Panics
    /// When `out` has another length.
    pub fn write(&self, canvas: &Canvas, flip: bool, out: &mut [f32]) {
        assert_eq!(out.len(), canvas.pixels().len() * 3, "output of another size than the canvas");
        let [red, green, blue] = &*self.tables;
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Image;

    #[test]
    fn flip_mirrors_every_row() {
        let normaliser = Normaliser::new(&Normalisation { mean: [0.0; 3], std: [1.0; 3] }).unwrap();
        let mut canvas = Canvas::from_image(&Image { width: 3, height: 2, rgb: (0..18).collect() });
        let (mut straight, mut flipped) = ([0.0; 18], [0.0; 18]);
        normaliser.write(&canvas, true, &mut flipped);
        canvas.flip();
        normaliser.write(&canvas, false, &mut straight);
        assert_eq!(straight, flipped);
    }

    #[test]
    fn senseless_statistics_are_refused() {
        for (mean, std) in
            [([f32::NAN; 3], [1.0; 3]), ([0.0; 3], [1.0, 0.0, 1.0]), ([0.0; 3], [-1.0; 3])]
        {
            let error = Normaliser::new(&Normalisation { mean, std }).unwrap_err().to_string();
            assert!(error.starts_with("normalisation."), "{error}");
        }
    }
}
