//! What the pixels of a view are handed out as: normalised floats or bytes, the channels of a pixel beside each
//! other or a plane for each. Called by the pipeline.

use super::{
    Canvas, Normaliser,
    canvas::{LAYER, Pixel},
};

/// The order of the numbers of a view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// `[size, size, channels]`.
    #[default]
    ChannelsLast,
    /// `[channels, size, size]`.
    Planes,
}

/// A number of a view: `f32` for normalised pixels, `u8` for the bytes before normalisation.
pub trait Value: Copy + Default + Send + Sync + 'static {
    /// Writes the canvas to `out` in `order`, mirrored if `flip`.
    ///
    /// # Panics
    /// When `out` has another length than a number for each channel of each pixel.
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
                let (width, channels) = (canvas.width().max(1), canvas.channels());
                check(canvas, out.len());
                for layer in 0..canvas.layers() {
                    let first = layer * LAYER;
                    let own = LAYER.min(channels - first);
                    let rows = canvas.layer(layer).chunks_exact(width);
                    for (out, row) in out.chunks_exact_mut(width * channels).zip(rows) {
                        in_direction(row, flip, |column, pixel| {
                            out[column * channels + first..][..own].copy_from_slice(&pixel[..own]);
                        });
                    }
                }
            }
            Order::Planes => planes(canvas, flip, out, |_, byte| byte),
        }
    }
}

/// Writes one plane after the other.
fn planes<T>(canvas: &Canvas, flip: bool, out: &mut [T], value: impl Fn(usize, u8) -> T) {
    check(canvas, out.len());
    let (width, area) = (canvas.width().max(1), canvas.width() * canvas.height());
    for (channel, plane) in out.chunks_exact_mut(area.max(1)).enumerate() {
        let rows = plane.chunks_exact_mut(width);
        for (out, row) in rows.zip(canvas.layer(channel / LAYER).chunks_exact(width)) {
            in_direction(row, flip, |column, pixel| {
                out[column] = value(channel, pixel[channel % LAYER]);
            });
        }
    }
}

fn check(canvas: &Canvas, values: usize) {
    let expected = canvas.width() * canvas.height() * canvas.channels();
    assert_eq!(values, expected, "output of another size than the canvas");
}

/// Calls `each` with the pixels of a row and their columns in the view.
#[inline(always)]
fn in_direction(row: &[Pixel], flip: bool, mut each: impl FnMut(usize, &Pixel)) {
    match flip {
        true => row.iter().rev().enumerate().for_each(|(column, pixel)| each(column, pixel)),
        false => row.iter().enumerate().for_each(|(column, pixel)| each(column, pixel)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Image, Normalisation, PerChannel};

    #[test]
    fn every_form_holds_the_same_pixels() {
        let (width, height) = (5, 3);
        for (channels, flip) in (1..=9).flat_map(|channels| [(channels, false), (channels, true)]) {
            let numbers: Vec<f32> = (1..=channels).map(|channel| channel as f32 / 8.0).collect();
            let each = PerChannel::of(&numbers).unwrap();
            let normaliser = Normaliser::new(&Normalisation { mean: each, std: each }).unwrap();
            let count = width * height * channels;
            let values = (0..count).map(|i| (i * 37 % 256) as u8).collect();
            let canvas = Canvas::from_image(&Image { width, height, values });
            let mut expected = vec![0.0; count];
            normaliser.write(&canvas, flip, &mut expected);
            let (mut planes, mut bytes, mut byte_planes) =
                (vec![0.0_f32; count], vec![0_u8; count], vec![0_u8; count]);
            f32::write(&normaliser, &canvas, flip, Order::Planes, &mut planes);
            u8::write(&normaliser, &canvas, flip, Order::ChannelsLast, &mut bytes);
            u8::write(&normaliser, &canvas, flip, Order::Planes, &mut byte_planes);
            for (place, &number) in expected.iter().enumerate() {
                let (pixel, channel) = (place / channels, place % channels);
                assert_eq!(planes[channel * width * height + pixel], number);
                assert_eq!(normaliser.value(channel, bytes[place]), number);
                assert_eq!(byte_planes[channel * width * height + pixel], bytes[place]);
            }
        }
    }
}
