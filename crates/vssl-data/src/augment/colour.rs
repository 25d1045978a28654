//! Colour operations on single pixels: blends with black, with the mean grey and with the pixel's
//! own grey (brightness, contrast, saturation), greyscale and solarisation. Called by the views.
//!
//! A blend is `d + f · (x − d)` in single precision, cut to a byte.

use super::{
    canvas::{Canvas, LAYER, Pixel, pack, unpack},
    hue::rotate_hue,
    simd::{truncated, vectorised},
};

/// One adjustment of a colour jitter, with its drawn value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Adjustment {
    /// No change: the setting of this adjustment is 0.
    Nothing,
    /// Blend with black; 1 changes nothing.
    Brightness(f64),
    /// Blend with the mean grey of the image, or each channel with its own mean where there are not three; 1 changes
    /// nothing.
    Contrast(f64),
    /// Blend with the pixel's grey; 1 changes nothing.
    Saturation(f64),
    /// Rotation of the hue by this share of the circle, −0.5 to 0.5. Even 0 goes through 8-bit
    /// hue and back, which is not the identity.
    Hue(f64),
}

/// Luma of ITU-R 601-2 in 16-bit fixed point.
#[inline(always)]
fn luma([r, g, b]: [i32; 3]) -> i32 {
    (19_595 * r + 38_470 * g + 7_471 * b + 32_768) >> 16
}

#[inline(always)]
fn blend(from: f32, value: i32, factor: f32) -> i32 {
    let blended = from + factor * (value as f32 - from);
    truncated(blended.clamp(0.0, 255.0))
}

#[inline(always)]
fn map(pixels: &mut [Pixel], operation: impl Fn([i32; 3]) -> [i32; 3]) {
    for pixel in pixels {
        *pixel = pack(operation(unpack(*pixel)));
    }
}

/// Sum of the luma of all pixels.
#[inline(always)]
fn luma_sum(pixels: &[Pixel]) -> u64 {
    // 2^16 pixels of at most 255 fit 32 bits, which vectorise better than 64.
    let part = |pixels: &[Pixel]| pixels.iter().map(|&p| luma(unpack(p)) as u32).sum::<u32>();
    pixels.chunks(1 << 16).map(|chunk| u64::from(part(chunk))).sum()
}

/// The mean of each channel of a layer, rounded as the mean grey is.
fn means(pixels: &[Pixel]) -> [f32; LAYER] {
    let mut sums = [0_u64; LAYER];
    for pixel in pixels {
        sums.iter_mut().zip(pixel).for_each(|(sum, &value)| *sum += u64::from(value));
    }
    let count = pixels.len().max(1) as f64;
    sums.map(|sum| (sum as f64 / count + 0.5).floor() as f32)
}

impl Canvas {
    /// Applies one adjustment.
    ///
    /// # Panics
    /// When saturation or hue is to be changed of an image that has not three channels.
    pub fn adjust(&mut self, adjustment: Adjustment) {
        match adjustment {
            Adjustment::Nothing => {}
            Adjustment::Brightness(factor) if self.channels() != 3 => {
                self.blend_each(factor, |_| [0.0; LAYER]);
            }
            Adjustment::Contrast(factor) if self.channels() != 3 => {
                self.blend_each(factor, means);
            }
            Adjustment::Brightness(factor) => self.blend_with(0.0, factor),
            Adjustment::Contrast(factor) => {
                let sum = vectorised(
                    #[inline(always)]
                    || luma_sum(self.pixels()),
                );
                let mean = sum as f64 / self.pixels().len().max(1) as f64;
                self.blend_with((mean + 0.5).floor() as f32, factor);
            }
            Adjustment::Saturation(factor) => {
                self.require_colours();
                let factor = factor as f32;
                let pixels = self.pixels_mut();
                vectorised(
                    #[inline(always)]
                    || {
                        map(pixels, |rgb| {
                            let grey = luma(rgb) as f32;
                            rgb.map(|value| blend(grey, value, factor))
                        });
                    },
                );
            }
            Adjustment::Hue(shift) => {
                self.require_colours();
                rotate_hue(self.pixels_mut(), shift);
            }
        }
    }

    fn blend_with(&mut self, from: f32, factor: f64) {
        let factor = factor as f32;
        let pixels = self.pixels_mut();
        vectorised(
            #[inline(always)]
            || map(pixels, |rgb| rgb.map(|value| blend(from, value, factor))),
        );
    }

    /// Blends each channel with its number of those that `from` finds for the pixels of a layer.
    fn blend_each(&mut self, factor: f64, from: impl Fn(&[Pixel]) -> [f32; LAYER]) {
        let factor = factor as f32;
        for layer in 0..self.layers() {
            let pixels = self.layer_mut(layer);
            let from = from(pixels);
            vectorised(
                #[inline(always)]
                || {
                    for pixel in pixels {
                        for (value, from) in pixel.iter_mut().zip(from) {
                            *value = blend(from, i32::from(*value), factor) as u8;
                        }
                    }
                },
            );
        }
    }

    fn require_colours(&self) {
        assert_eq!(self.channels(), 3, "only images of three channels have colours");
    }

    /// Gives all channels the pixel's luma.
    ///
    /// # Panics
    /// When the image has not three channels.
    pub fn grayscale(&mut self) {
        self.require_colours();
        let pixels = self.pixels_mut();
        vectorised(
            #[inline(always)]
            || map(pixels, |rgb| [luma(rgb); 3]),
        );
    }

    /// Inverts every value from 128 up.
    pub fn solarize(&mut self) {
        let bytes = self.pixels_mut().as_flattened_mut();
        vectorised(
            #[inline(always)]
            || {
                for value in bytes {
                    *value = if *value < 128 { *value } else { 255 - *value };
                }
            },
        );
    }
}
