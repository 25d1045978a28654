//! Gaussian blur as Pillow does it: three box blurs in each direction whose box, with fractional
//! ends, has the variance of the Gaussian (Gwosdek et al. 2011, "Theoretical foundations of
//! Gaussian convolution by extended box filtering").

use super::{canvas::Canvas, canvas::Pixel, simd::vectorised};

/// Number of box blurs in each direction.
const PASSES: usize = 3;

/// Buffers that are kept between images.
#[derive(Debug, Default)]
pub(super) struct BlurScratch {
    row: Vec<Pixel>,
    other_row: Vec<Pixel>,
    plane: Vec<Pixel>,
}

/// Half the width of the box, without its centre, for a Gaussian of standard deviation `sigma`.
fn box_radius(sigma: f32) -> f32 {
    let variance = sigma * sigma / PASSES as f32;
    let length = (12.0 * f64::from(variance) + 1.0).sqrt() as f32;
    let l = ((length - 1.0) / 2.0).floor();
    let excess = (2.0 * l + 1.0) * (l * (l + 1.0) - 3.0 * variance);
    l + excess / (6.0 * (variance - (l + 1.0) * (l + 1.0)))
}

/// A box of `2 · radius + 1` whole pixels and a share of the next one on both sides, in 24-bit
/// fixed point.
#[derive(Clone, Copy)]
struct BoxFilter {
    radius: usize,
    whole: u32,
    end: u32,
}

impl BoxFilter {
    fn new(radius: f32) -> Self {
        let whole = ((1 << 24) as f32 / (radius * 2.0 + 1.0)) as u32;
        let radius = radius as usize;
        Self { radius, whole, end: ((1 << 24) - (2 * radius as u32 + 1) * whole) / 2 }
    }

    /// Number of pixels that one output reads.
    fn reach(self) -> usize {
        2 * self.radius + 3
    }

    /// `out[i]` from `line(0)[i], …, line(reach − 1)[i]`: the first and the last are the ends.
    #[inline(always)]
    fn apply<'a>(self, out: &mut [u8], line: impl Fn(usize) -> &'a [u8]) {
        // The radii of recipes are constants for the compiler: 0 up to 1.4 pixels, 1 up to 2.4 pixels.
        match self.radius {
            0 => self.weigh(out, [line(0), line(2)], [line(1)]),
            1 => self.weigh(out, [line(0), line(4)], [line(1), line(2), line(3)]),
            _ => self.weigh_many(out, line),
        }
    }

    #[inline(always)]
    fn weigh<const N: usize>(self, out: &mut [u8], ends: [&[u8]; 2], inner: [&[u8]; N]) {
        // Equal lengths let the compiler drop the checks.
        let length = out.len();
        let [first, last] = ends.map(|line| &line[..length]);
        let inner = inner.map(|line| &line[..length]);
        for i in 0..length {
            let mut sum = 0;
            for line in inner {
                sum += u32::from(line[i]);
            }
            out[i] = self.output(sum, u32::from(first[i]) + u32::from(last[i]));
        }
    }

    fn weigh_many<'a>(self, out: &mut [u8], line: impl Fn(usize) -> &'a [u8]) {
        let (first, last) = (line(0), line(self.reach() - 1));
        for i in 0..out.len() {
            let sum = (1..=2 * self.radius + 1).map(|k| u32::from(line(k)[i])).sum();
            out[i] = self.output(sum, u32::from(first[i]) + u32::from(last[i]));
        }
    }

    #[inline(always)]
    fn output(self, inner: u32, ends: u32) -> u8 {
        ((inner * self.whole + ends * self.end + (1 << 23)) >> 24) as u8
    }
}

/// Blurs with standard deviation `sigma` in pixels; 0 changes nothing.
pub(super) fn gaussian_blur(canvas: &mut Canvas, sigma: f64, scratch: &mut BlurScratch) {
    let radius = box_radius(sigma.min(100.0) as f32);
    let (width, height) = (canvas.width(), canvas.height());
    if radius == 0.0 || width == 0 || height == 0 {
        return;
    }
    let filter = BoxFilter::new(radius);
    let BlurScratch { row, other_row, plane } = scratch;
    let edge = filter.radius + 1;
    row.resize(width + 2 * edge, [0; 4]);
    other_row.resize(width + 2 * edge, [0; 4]);
    plane.resize(width * height, [0; 4]);
    for layer in 0..canvas.layers() {
        let pixels = canvas.layer_mut(layer);
        vectorised(
            #[inline(always)]
            || {
                for line in pixels.chunks_exact_mut(width) {
                    blur_row(filter, line, row, other_row);
                }
                // The three passes go from the canvas to the plane, back, and to the plane again.
                blur_columns(filter, width, pixels, plane);
                blur_columns(filter, width, plane, pixels);
                blur_columns(filter, width, pixels, plane);
                pixels.copy_from_slice(plane);
            },
        );
    }
}

/// All horizontal passes of one row. `padded` and `other` have room for the repeated edges.
#[inline(always)]
fn blur_row(filter: BoxFilter, line: &mut [Pixel], padded: &mut [Pixel], other: &mut [Pixel]) {
    let edge = filter.radius + 1;
    let width = line.len();
    padded[edge..edge + width].copy_from_slice(line);
    repeat_edges(padded, edge);
    let (mut from, mut to) = (padded, other);
    for _ in 1..PASSES {
        let bytes = from.as_flattened();
        filter.apply(to[edge..edge + width].as_flattened_mut(), |k| &bytes[4 * k..][..4 * width]);
        repeat_edges(to, edge);
        (from, to) = (to, from);
    }
    let bytes = from.as_flattened();
    filter.apply(line.as_flattened_mut(), |k| &bytes[4 * k..][..4 * width]);
}

#[inline(always)]
fn repeat_edges(padded: &mut [Pixel], edge: usize) {
    let end = padded.len() - edge;
    let (first, last) = (padded[edge], padded[end - 1]);
    padded[..edge].fill(first);
    padded[end..].fill(last);
}

/// One vertical pass.
#[inline(always)]
fn blur_columns(filter: BoxFilter, width: usize, from: &[Pixel], to: &mut [Pixel]) {
    let height = from.len() / width;
    let edge = filter.radius + 1;
    for (y, out) in to.chunks_exact_mut(width).enumerate() {
        filter.apply(out.as_flattened_mut(), |k| {
            let row = (y + k).saturating_sub(edge).min(height - 1);
            from[row * width..][..width].as_flattened()
        });
    }
}

impl Canvas {
    /// Gaussian blur with standard deviation `sigma` in pixels, at most 100.
    pub fn blur(&mut self, sigma: f64) {
        gaussian_blur(self, sigma, &mut BlurScratch::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Image;

    #[test]
    fn constant_images_stay_whatever_the_radius() {
        for (width, height) in [(1, 1), (1, 9), (9, 1), (5, 7), (40, 3)] {
            for sigma in [0.0, 0.1, 1.0, 2.0, 5.0, 40.0] {
                let image = Image { width, height, values: vec![200; width * height * 3] };
                let mut canvas = Canvas::from_image(&image);
                canvas.blur(sigma);
                assert_eq!(canvas.to_image(), image, "{width}x{height}, sigma {sigma}");
            }
        }
    }

    #[test]
    fn a_point_spreads_with_the_variance_of_the_gaussian() {
        let mut image = Image { width: 61, height: 61, values: vec![0; 61 * 61 * 3] };
        // A bright vertical bar: its horizontal profile is the kernel.
        for row in image.values.chunks_exact_mut(61 * 3) {
            row[90..93].fill(255);
        }
        for sigma in [1.5, 3.0, 4.5] {
            let mut canvas = Canvas::from_image(&image);
            canvas.blur(sigma);
            let row = &canvas.pixels()[30 * 61..31 * 61];
            let total: f64 = row.iter().map(|p| f64::from(p[0])).sum();
            let moment = |(x, p): (usize, &Pixel)| (x as f64 - 30.0).powi(2) * f64::from(p[0]);
            let variance = row.iter().enumerate().map(moment).sum::<f64>() / total;
            // Rounding to bytes cuts the tails.
            assert!((variance.sqrt() / sigma - 1.0).abs() < 0.1, "{sigma}: {}", variance.sqrt());
        }
    }
}
