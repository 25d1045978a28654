//! Antialiased resize in fixed point, byte for byte as Pillow does it.
//!
//! Each direction is one pass: output `x` of `m` out of `n` is the sum of inputs weighted by the
//! filter centred at `(x + 0.5) · n / m` and stretched by `max(n / m, 1)`; weights are integers of
//! 22 fractional bits, and the result of each pass is rounded to a byte. Only the part of the
//! output that `window` names is computed, so that a centre crop of a long thin image stays cheap.

use super::{
    Interpolation,
    canvas::{Canvas, LAYER, Pixel, copy_row, in_layer},
    crop::Region,
    simd::vectorised,
    weights::{PRECISION, Weights},
};
use crate::Image;

const HALF: i32 = 1 << (PRECISION - 1);

/// One resize: the region that is scaled, its new size, and the part of the result that is computed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resize {
    /// Part of the image that is scaled; pixels outside are never read.
    pub region: Region,
    /// Width and height that `region` is scaled to.
    pub size: (usize, usize),
    /// Part of the scaled picture that is computed.
    pub window: Region,
    /// Filter of the resize.
    pub interpolation: Interpolation,
}

impl Resize {
    /// A region scaled to a square of side `size`.
    pub fn to_square(region: Region, size: usize, interpolation: Interpolation) -> Self {
        let window = Region { top: 0, left: 0, height: size, width: size };
        Self { region, size: (size, size), window, interpolation }
    }
}

/// Buffers that are kept between images.
#[derive(Debug, Default)]
pub(super) struct ResizeScratch {
    horizontal: Weights,
    vertical: Weights,
    columns: Columns,
    between: Canvas,
    between_values: Vec<u8>,
}

/// Four rows beside each other, before and after the horizontal pass.
#[derive(Debug, Default)]
struct Columns {
    before: Vec<[u8; LANES]>,
    after: Vec<[u8; LANES]>,
}

/// Scales a region of `image` onto `out`, which takes the size of the window.
///
/// The horizontal pass comes first, unless the height shrinks by more than twice as many pixels
/// as the width: rounding in between makes the order visible.
pub(super) fn resize(image: &Image, plan: &Resize, scratch: &mut ResizeScratch, out: &mut Canvas) {
    let Resize { region, size: (width, height), window, interpolation } = *plan;
    let wide = region.width != width;
    let high = region.height != height;
    if wide {
        scratch.horizontal.set(region.width, width, window.left, window.width, interpolation);
    }
    if high {
        scratch.vertical.set(region.height, height, window.top, window.height, interpolation);
    }
    let shrunk = region.height as i64 - height as i64;
    let vertical_first = shrunk > 0 && shrunk > 2 * (region.width as i64 - width as i64);
    if vertical_first {
        vertical_then_horizontal(image, plan, wide, scratch, out);
    } else {
        horizontal_then_vertical(image, plan, wide, high, scratch, out);
    }
}

fn horizontal_then_vertical(
    image: &Image,
    plan: &Resize,
    wide: bool,
    high: bool,
    scratch: &mut ResizeScratch,
    out: &mut Canvas,
) {
    let Resize { region, window, .. } = *plan;
    let ResizeScratch { horizontal, vertical, columns, between, .. } = scratch;
    let (from, to) = if high { vertical.reach() } else { (window.top, window.top + window.height) };
    let target = if high { &mut *between } else { &mut *out };
    let rows = Region { top: region.top + from, height: to - from, ..region };
    if wide {
        target.reshape(window.width, rows.height, image.channels());
        for layer in 0..target.layers() {
            let source = Rows::of(image, rows, layer);
            vectorised(
                #[inline(always)]
                || horizontal_pass(source, horizontal, columns, target.layer_mut(layer)),
            );
        }
    } else {
        let left = region.left + window.left;
        target.copy(image, Region { left, width: window.width, ..rows });
    }
    if high {
        out.reshape(window.width, window.height, image.channels());
        let stride = window.width * 4;
        for layer in 0..out.layers() {
            let source = between.layer(layer).as_flattened();
            let out = out.layer_mut(layer).as_flattened_mut();
            vectorised(
                #[inline(always)]
                || vertical_pass(source, stride, from, vertical, stride, out),
            );
        }
    }
}

fn vertical_then_horizontal(
    image: &Image,
    plan: &Resize,
    wide: bool,
    scratch: &mut ResizeScratch,
    out: &mut Canvas,
) {
    let Resize { region, window, .. } = *plan;
    let ResizeScratch { horizontal, vertical, columns, between_values, .. } = scratch;
    let channels = image.channels();
    let (from, to) =
        if wide { horizontal.reach() } else { (window.left, window.left + window.width) };
    let bytes = (to - from) * channels;
    between_values.resize(bytes * window.height, 0);
    let stride = image.width * channels;
    let source = &image.values[region.top * stride + (region.left + from) * channels..];
    vectorised(
        #[inline(always)]
        || vertical_pass(source, stride, 0, vertical, bytes, between_values),
    );
    out.reshape(window.width, window.height, channels);
    for layer in 0..out.layers() {
        if wide {
            let (bytes, stride, width) = (&**between_values, bytes, to - from);
            let source = Rows { bytes, stride, first: from, width, channels, layer };
            vectorised(
                #[inline(always)]
                || horizontal_pass(source, horizontal, columns, out.layer_mut(layer)),
            );
        } else {
            copy_row(between_values, (channels, layer), out.layer_mut(layer));
        }
    }
}

impl Canvas {
    /// `region` of `image` scaled to `size` = (width, height).
    ///
    /// # Panics
    /// When `region` is empty or exceeds the image, or `size` has a zero.
    pub fn resized(
        image: &Image,
        region: Region,
        size: (usize, usize),
        interpolation: Interpolation,
    ) -> Canvas {
        let window = Region { top: 0, left: 0, height: size.1, width: size.0 };
        let mut canvas = Canvas::default();
        let plan = Resize { region, size, window, interpolation };
        resize(image, &plan, &mut ResizeScratch::default(), &mut canvas);
        canvas
    }
}

/// Rows of pixels, of which one layer is scaled: up to four channels.
#[derive(Clone, Copy)]
struct Rows<'a> {
    bytes: &'a [u8],
    /// Bytes from one row to the next.
    stride: usize,
    /// The column of the scaled region that the first pixel of a row lies in.
    first: usize,
    /// Number of pixels of a row.
    width: usize,
    /// Number of bytes of a pixel.
    channels: usize,
    /// The layer that is scaled.
    layer: usize,
}

impl<'a> Rows<'a> {
    fn of(image: &'a Image, region: Region, layer: usize) -> Self {
        let channels = image.channels();
        let stride = image.width * channels;
        let bytes = &image.values[region.top * stride + region.left * channels..];
        Self { bytes, stride, first: 0, width: region.width, channels, layer }
    }

    fn row(&self, y: usize) -> &'a [u8] {
        &self.bytes[y * self.stride..][..self.width * self.channels]
    }

    /// Lays a part of row `y` into bytes `at..at + 4` of the columns.
    #[inline(always)]
    fn lay(&self, y: usize, (from, to): (usize, usize), at: usize, columns: &mut Columns) {
        let Self { channels, layer, first, .. } = *self;
        let row = &self.row(y)[(from - first) * channels..(to - first) * channels];
        if channels == 3 {
            return lay_row(row, at, columns);
        }
        for (column, values) in columns.before.iter_mut().zip(row.chunks_exact(channels)) {
            column[at..at + LAYER].copy_from_slice(&in_layer(values, layer));
        }
    }
}

/// Rows that the horizontal pass treats together, and bytes of one column of them.
const ROWS: usize = 4;
const LANES: usize = ROWS * 4;

/// `out`: `[rows, window]`. Four rows at once are laid side by side, column by column, so that
/// one weight meets 16 neighbouring bytes.
#[inline(always)]
fn horizontal_pass(source: Rows, weights: &Weights, columns: &mut Columns, out: &mut [Pixel]) {
    let (from, to) = weights.reach();
    let width = weights.start.len();
    columns.before.resize(to - from, [0; LANES]);
    columns.after.resize(width, [0; LANES]);
    for (block, out) in out.chunks_mut(ROWS * width).enumerate() {
        for r in 0..out.len() / width {
            source.lay(block * ROWS + r, (from, to), 4 * r, columns);
        }
        let taps = weights.weights.chunks_exact(weights.taps);
        let outputs = columns.after.iter_mut().zip(&weights.start).zip(taps);
        for ((after, &start), taps) in outputs {
            let mut sum = [HALF; LANES];
            for (&weight, column) in taps.iter().zip(&columns.before[start - from..]) {
                accumulate(&mut sum, weight, column);
            }
            *after = to_bytes(&sum);
        }
        for (r, out) in out.chunks_exact_mut(width).enumerate() {
            for (pixel, column) in out.iter_mut().zip(&columns.after) {
                *pixel = column.as_chunks::<4>().0[r];
            }
        }
    }
}

/// Puts a row of three-byte pixels into bytes `at..at + 4` of the columns. Four bytes are copied
/// at once: the fourth has no meaning.
#[inline(always)]
fn lay_row(row: &[u8], at: usize, columns: &mut Columns) {
    for (column, bytes) in columns.before.iter_mut().zip(row.windows(4).step_by(3)) {
        column[at..at + 4].copy_from_slice(bytes);
    }
    if let (Some(column), Some(last)) = (columns.before.last_mut(), row.last_chunk::<3>()) {
        column[at..at + 3].copy_from_slice(last);
    }
}

/// Bytes of a row that the vertical pass keeps in registers.
const BLOCK: usize = 32;

/// `out`: `[outputs, bytes]`. The source's first row is input number `from`.
#[inline(always)]
fn vertical_pass(
    source: &[u8],
    stride: usize,
    from: usize,
    weights: &Weights,
    bytes: usize,
    out: &mut [u8],
) {
    let taps = weights.weights.chunks_exact(weights.taps);
    for ((out, &start), taps) in out.chunks_exact_mut(bytes).zip(&weights.start).zip(taps) {
        let source = &source[(start - from) * stride..];
        let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
        let tail = blocks.len() * BLOCK;
        for (b, block) in blocks.iter_mut().enumerate() {
            *block = weighted_rows(source, stride, b * BLOCK, taps);
        }
        for (i, out) in rest.iter_mut().enumerate() {
            [*out] = weighted_rows(source, stride, tail + i, taps);
        }
    }
}

#[inline(always)]
fn weighted_rows<const N: usize>(
    source: &[u8],
    stride: usize,
    offset: usize,
    taps: &[i32],
) -> [u8; N] {
    let mut sum = [HALF; N];
    for (k, &weight) in taps.iter().enumerate() {
        let row = source[k * stride + offset..].first_chunk().expect("a row of `bytes` bytes");
        accumulate(&mut sum, weight, row);
    }
    to_bytes(&sum)
}

#[inline(always)]
fn accumulate<const N: usize>(sum: &mut [i32; N], weight: i32, values: &[u8; N]) {
    for i in 0..N {
        sum[i] += weight * i32::from(values[i]);
    }
}

#[inline(always)]
fn to_bytes<const N: usize>(sum: &[i32; N]) -> [u8; N] {
    let mut bytes = [0; N];
    for i in 0..N {
        bytes[i] = (sum[i] >> PRECISION).clamp(0, 255) as u8;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(width: usize, height: usize) -> Image {
        let rgb = (0..width * height * 3).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8);
        Image { width, height, values: rgb.collect() }
    }

    fn whole(image: &Image) -> Region {
        Region { top: 0, left: 0, height: image.height, width: image.width }
    }

    #[test]
    fn window_equals_the_same_part_of_the_whole() {
        let interpolation = Interpolation::Bicubic;
        let (mut scratch, mut out) = (ResizeScratch::default(), Canvas::default());
        for (width, height, size) in [
            (40, 30, (20, 15)),
            (17, 60, (17, 21)),
            (9, 70, (13, 20)),
            (9, 9, (30, 9)),
            (5, 5, (5, 5)),
        ] {
            let image = noise(width, height);
            let region = whole(&image);
            let all = Region { top: 0, left: 0, height: size.1, width: size.0 };
            resize(
                &image,
                &Resize { region, size, window: all, interpolation },
                &mut scratch,
                &mut out,
            );
            let full = out.to_image();
            let window = Region { top: 2, left: 1, height: size.1 - 3, width: size.0 - 2 };
            resize(&image, &Resize { region, size, window, interpolation }, &mut scratch, &mut out);
            let mut expected = Canvas::default();
            expected.copy(&full, window);
            assert_eq!(out.to_image(), expected.to_image(), "{width}x{height} to {size:?}");
        }
    }

    #[test]
    fn weights_sum_to_one_and_constants_stay() {
        let (mut scratch, mut out) = (ResizeScratch::default(), Canvas::default());
        for (width, height) in [(1, 1), (1, 400), (400, 1), (3, 200), (33, 31)] {
            let image = Image { width, height, values: vec![201; width * height * 3] };
            for interpolation in [Interpolation::Bicubic, Interpolation::Bilinear] {
                for size in [1, 2, 31, 32, 224] {
                    let plan = Resize::to_square(whole(&image), size, interpolation);
                    resize(&image, &plan, &mut scratch, &mut out);
                    assert!(out.to_image().values.iter().all(|&v| v == 201), "{width}x{height}");
                }
            }
        }
    }
}
