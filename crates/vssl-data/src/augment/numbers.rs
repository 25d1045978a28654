//! What the pixels of a view are handed out as: normalised floats or bytes, the channels of a pixel beside each
//! other or a plane for each. Called by the pipeline.

use super::{Canvas, Normaliser};

/// The order of the numbers of a view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// `[size, size, 3]`.
    #[default]
    ChannelsLast,
    /// `[3, size, size]`.
    Planes,
}

/// A number of a view: `f32` for normalised pixels, `u8` for the bytes before normalisation.
pub trait Value: Copy + Default + Send + Sync + 'static {
    /// Writes the canvas to `out` in `order`, mirrored if `flip`.
    ///
    /// # Panics
    /// When `out` has another length than three numbers a pixel.
    fn write(normaliser: &Normaliser, canvas: &Canvas, flip: bool, order: Order, out: &mut [Self]);
}

impl Value for f32 {
    fn write(normaliser: &Normaliser, canvas: &Canvas, flip: bool, order: Order, out: &mut [f32]) {
        match order {
            Order::ChannelsLast => normaliser.write(canvas, flip, out),
            Order::Planes => {
                planes(canvas, flip, out, |channel, byte| normaliser.value(channel, byte));
            }
        }
    }
}

impl Value for u8 {
    fn write(_: &Normaliser, canvas: &Canvas, flip: bool, order: Order, out: &mut [u8]) {
        match order {
            Order::ChannelsLast => {
                assert_eq!(out.len(), canvas.pixels().len() * 3, "output of another size");
                let width = canvas.width().max(1);
                let rows = out.as_chunks_mut::<3>().0.chunks_exact_mut(width);
                for (out, row) in rows.zip(canvas.pixels().chunks_exact(width)) {
                    in_direction(row, flip, |column, pixel| {
                        out[column] = [pixel[0], pixel[1], pixel[2]]
                    });
                }
            }
            Order::Planes => planes(canvas, flip, out, |_, byte| byte),
        }
    }
}

/// Writes one plane after the other.
fn planes<T>(canvas: &Canvas, flip: bool, out: &mut [T], value: impl Fn(usize, u8) -> T) {
    assert_eq!(out.len(), canvas.pixels().len() * 3, "output of another size than the canvas");
    let width = canvas.width().max(1);
    for (channel, plane) in out.chunks_exact_mut(canvas.pixels().len().max(1)).enumerate() {
        let rows = plane.chunks_exact_mut(width);
        for (out, row) in rows.zip(canvas.pixels().chunks_exact(width)) {
            in_direction(row, flip, |column, pixel| out[column] = value(channel, pixel[channel]));
        }
    }
}

/// Calls `each` with the pixels of a row and their columns in the view.
#[inline(always)]
fn in_direction(row: &[[u8; 4]], flip: bool, mut each: impl FnMut(usize, &[u8; 4])) {
    match flip {
        true => row.iter().rev().enumerate().for_each(|(column, pixel)| each(column, pixel)),
        false => row.iter().enumerate().for_each(|(column, pixel)| each(column, pixel)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Image, Normalisation};

    #[test]
    fn every_form_holds_the_same_pixels() {
        let statistics = Normalisation { mean: [0.1, 0.2, 0.3], std: [0.5, 0.25, 2.0] };
        let normaliser = Normaliser::new(&statistics).unwrap();
        let (width, height) = (5, 3);
        let rgb = (0..width * height * 3).map(|i| (i * 37 % 256) as u8).collect();
        let canvas = Canvas::from_image(&Image { width, height, rgb });
        let count = width * height * 3;
        for flip in [false, true] {
            let mut expected = vec![0.0; count];
            normaliser.write(&canvas, flip, &mut expected);
            let (mut planes, mut bytes, mut byte_planes) =
                (vec![0.0_f32; count], vec![0_u8; count], vec![0_u8; count]);
            f32::write(&normaliser, &canvas, flip, Order::Planes, &mut planes);
            u8::write(&normaliser, &canvas, flip, Order::ChannelsLast, &mut bytes);
            u8::write(&normaliser, &canvas, flip, Order::Planes, &mut byte_planes);
            for (place, &number) in expected.iter().enumerate() {
                let (pixel, channel) = (place / 3, place % 3);
                assert_eq!(planes[channel * width * height + pixel], number);
                assert_eq!(normaliser.value(channel, bytes[place]), number);
                assert_eq!(byte_planes[channel * width * height + pixel], bytes[place]);
            }
        }
    }
}
