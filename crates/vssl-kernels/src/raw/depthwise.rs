//! Depthwise convolution with filters of 7×7, stride 1 and a padding of 3, over channels-last images: the convolution of a
//! ConvNeXt. With the pixels `p` of an image and the taps `t` of a channel, `y[p] = bias + Σ w[t] · x[p + t]`.
//!
//! A task has some lines of an image. It copies as many channels as a vector has, with the zeros around the image,
//! and computes some neighbouring pixels at once: each loaded value meets seven weights. The gradient of the input is
//! the same convolution with the taps in reverse; the gradient of the weight sums products of the copy with the
//! output's gradient over lines, then over tasks, in a fixed order.

use std::ops::Range;

use super::buffer;
use super::norm::{load, store};
use super::pool::{Shared, parallel_for};
use super::simd::{Isa, Kernel, Simd};

/// The side of a filter.
pub const SIDE: usize = 7;
/// The taps of a filter.
pub const TAPS: usize = SIDE * SIDE;
/// The zeros on each side of an image.
const PADDING: usize = SIDE / 2;
/// The number of lines of a task.
const LINES: usize = 16;
/// The most floats of a vector, and the most pixels that are computed at once.
const LANES: usize = 16;
const STRIP: usize = 8;
/// The largest number of parts whose sums of the weight's gradient are kept apart.
const PARTS: usize = 32;

/// The sizes of images `[batch, height, width, channels]`.
#[derive(Clone, Copy, Debug)]
pub struct Depthwise {
    /// The number of images.
    pub batch: usize,
    /// The rows of an image.
    pub height: usize,
    /// The columns of an image.
    pub width: usize,
    /// The channels of a pixel.
    pub channels: usize,
}

impl Depthwise {
    fn image(&self) -> usize {
        self.height * self.width * self.channels
    }

    fn bands(&self) -> usize {
        self.height.div_ceil(LINES)
    }

    fn band(&self, index: usize) -> Range<usize> {
        index * LINES..self.height.min(index * LINES + LINES)
    }

    /// The pixels of a line of the copy: a multiple of a strip, and the zeros on both sides.
    fn line(&self) -> usize {
        self.width.next_multiple_of(STRIP) + 2 * PADDING
    }

    /// The floats of the copy of a band.
    fn copy(&self) -> usize {
        (self.height.min(LINES) + 2 * PADDING) * self.line() * LANES
    }
}

/// Writes the convolution of `x` to `y`. `taps` is `[49, channels]`.
///
/// # Panics
///
/// If a slice does not have the size of its shape.
pub fn forward(
    isa: Isa,
    of: Depthwise,
    x: &[f32],
    taps: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let size = of.batch * of.image();
    assert!(x.len() == size && y.len() == size, "{of:?}: floats of the images");
    assert_eq!(taps.len(), TAPS * of.channels, "{of:?}: floats of the weight");
    assert!(bias.is_none_or(|bias| bias.len() == of.channels), "{of:?}: floats of the bias");
    if y.is_empty() {
        return;
    }
    let out = Shared::new(y);
    parallel_for(of.batch * of.bands(), |task| {
        let (image, lines) = (task / of.bands(), of.band(task % of.bands()));
        let x = &x[image * of.image()..][..of.image()];
        buffer::with_scratch(of.copy(), |copy| {
            // SAFETY: each task has its own lines of an image of the output.
            unsafe {
                let y = out.at(image * of.image() + lines.start * of.width * of.channels);
                isa.run(Band { of, lines, x, taps, bias, copy, y });
            }
        });
    });
}

/// Returns a weight `[channels, 49]` as `[49, channels]`, for the gradient of the input in reverse order.
pub fn turned(weight: &[f32], channels: usize, reversed: bool) -> Vec<f32> {
    assert_eq!(weight.len(), TAPS * channels, "floats of the weight of a depthwise convolution");
    let mut taps = vec![0.0; weight.len()];
    for (channel, filter) in weight.chunks_exact(TAPS).enumerate() {
        for (tap, value) in filter.iter().enumerate() {
            let tap = if reversed { TAPS - 1 - tap } else { tap };
            taps[tap * channels + channel] = *value;
        }
    }
    taps
}

/// Writes the gradients of the weight, `[channels, 49]`, and of the bias.
///
/// # Panics
///
/// If a slice does not have the size of its shape.
pub fn weight_gradient(
    isa: Isa,
    of: Depthwise,
    x: &[f32],
    dy: &[f32],
    dweight: &mut [f32],
    dbias: &mut [f32],
) {
    let (size, channels) = (of.batch * of.image(), of.channels);
    assert!(x.len() == size && dy.len() == size, "{of:?}: floats of the images");
    assert!(
        dweight.len() == TAPS * channels && dbias.len() == channels,
        "{of:?}: floats of the gradients"
    );
    let bands = of.batch * of.bands();
    let each = bands.div_ceil(PARTS).max(1);
    let (parts, sums_of) = (bands.div_ceil(each), (TAPS + 1) * channels);
    let mut sums = buffer::take(parts * sums_of);
    sums.fill(0.0);
    let out = Shared::new(&mut sums);
    parallel_for(parts, |part| {
        buffer::with_scratch(of.copy(), |copy| {
            for task in part * each..bands.min(part * each + each) {
                let (image, lines) = (task / of.bands(), of.band(task % of.bands()));
                let at = image * of.image();
                let (x, dy) = (&x[at..][..of.image()], &dy[at..][..of.image()]);
                // SAFETY: each part has its own sums.
                unsafe {
                    let sums = out.at(part * sums_of);
                    isa.run(BandGradient { of, lines, x, dy, copy: &mut *copy, sums });
                }
            }
        });
    });
    let mut total = vec![0.0f32; sums_of];
    for part in sums.chunks_exact(sums_of.max(1)) {
        total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
    }
    for (channel, filter) in dweight.chunks_exact_mut(TAPS).enumerate() {
        for (tap, value) in filter.iter_mut().enumerate() {
            *value = total[tap * channels + channel];
        }
        dbias[channel] = total[TAPS * channels + channel];
    }
}

/// Copies the lines around a band, `count` channels from `c` on, with zeros outside of the image and in the lanes
/// behind `count`.
///
/// # Safety
///
/// `copy` must hold [`Depthwise::copy`] floats, and the lines and channels be those of `x`.
#[inline(always)]
unsafe fn copy_band<S: Simd>(
    of: &Depthwise,
    lines: &Range<usize>,
    x: &[f32],
    (c, count): (usize, usize),
    copy: *mut f32,
) {
    let (line, lanes) = (of.line(), S::LANES);
    // SAFETY: the caller's bounds.
    unsafe {
        let zero = S::splat(0.0);
        for row in 0..lines.len() + 2 * PADDING {
            let to = copy.add(row * line * lanes);
            let from = (lines.start + row).checked_sub(PADDING).filter(|from| *from < of.height);
            let Some(from) = from else {
                (0..line).for_each(|column| S::store(to.add(column * lanes), zero));
                continue;
            };
            (0..PADDING).for_each(|column| S::store(to.add(column * lanes), zero));
            let from = x.as_ptr().add(from * of.width * of.channels + c);
            for column in 0..of.width {
                let value = load::<S>(from.add(column * of.channels), count);
                S::store(to.add((PADDING + column) * lanes), value);
            }
            (PADDING + of.width..line).for_each(|column| S::store(to.add(column * lanes), zero));
        }
    }
}

/// Repeats a body for each of some numbers, so that registers are chosen while it is compiled.
macro_rules! unrolled {
    ([$($number:literal)+], |$index:ident| $body:block) => {
        $({
            const $index: usize = $number;
            $body
        })+
    };
}

/// The outputs of some lines.
struct Band<'a> {
    of: Depthwise,
    lines: Range<usize>,
    x: &'a [f32],
    taps: &'a [f32],
    bias: Option<&'a [f32]>,
    copy: &'a mut [f32],
    y: *mut f32,
}

impl Kernel for Band<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { of, lines, x, taps, bias, copy, y } = self;
        let (lanes, line) = (S::LANES, of.line());
        let copy = copy.as_mut_ptr();
        let mut weights = [0.0f32; TAPS * LANES];
        // SAFETY: `c + count` is at most the number of channels, and the copy has the pixels around each strip.
        unsafe {
            for c in (0..of.channels).step_by(lanes) {
                let count = lanes.min(of.channels - c);
                copy_band::<S>(&of, &lines, x, (c, count), copy);
                for tap in 0..TAPS {
                    let value = load::<S>(taps.as_ptr().add(tap * of.channels + c), count);
                    S::store(weights.as_mut_ptr().add(tap * lanes), value);
                }
                let start = match bias {
                    Some(bias) => load::<S>(bias.as_ptr().add(c), count),
                    None => S::splat(0.0),
                };
                for row in 0..lines.len() {
                    let from = copy.add(row * line * lanes);
                    let to = y.add(row * of.width * of.channels + c);
                    for column in (0..of.width).step_by(strip::<S>()) {
                        let whole = strip::<S>().min(of.width - column);
                        let sums = sums_of_strip::<S>(
                            from.add(column * lanes),
                            line * lanes,
                            weights.as_ptr(),
                            start,
                        );
                        for (pixel, sum) in sums.into_iter().enumerate().take(whole) {
                            store::<S>(to.add((column + pixel) * of.channels), sum, count);
                        }
                    }
                }
            }
        }
    }
}

/// The pixels that are computed at once: as many as there are registers for.
const fn strip<S: Simd>() -> usize {
    if S::LANES == LANES { STRIP } else { STRIP / 2 }
}

/// Returns the outputs of a strip whose first tap is at `from`. The second half is meaningless where a strip has half
/// as many pixels.
///
/// # Safety
///
/// The lines of the copy and the weights must be there.
#[inline(always)]
unsafe fn sums_of_strip<S: Simd>(
    from: *const f32,
    line: usize,
    weights: *const f32,
    start: S::Vector,
) -> [S::Vector; STRIP] {
    let mut sums = [start; STRIP];
    for row in 0..SIDE {
        // SAFETY: the caller's bounds.
        unsafe {
            let from = from.add(row * line);
            let weights = weights.add(row * SIDE * S::LANES);
            let w: [S::Vector; SIDE] = std::array::from_fn(|k| S::load(weights.add(k * S::LANES)));
            unrolled!([0 1 2 3 4 5 6 7 8 9 10 11 12 13], |J| {
                if J < strip::<S>() + SIDE - 1 {
                    let x = S::load(from.add(J * S::LANES));
                    unrolled!([0 1 2 3 4 5 6], |K| {
                        if (K..K + strip::<S>()).contains(&J) {
                            sums[J.wrapping_sub(K) % STRIP] =
                                S::fma(x, w[K], sums[J.wrapping_sub(K) % STRIP]);
                        }
                    });
                }
            });
        }
    }
    sums
}

/// Adds the share of some lines to the sums of the gradients, `[49 + 1, channels]`.
struct BandGradient<'a> {
    of: Depthwise,
    lines: Range<usize>,
    x: &'a [f32],
    dy: &'a [f32],
    copy: &'a mut [f32],
    sums: *mut f32,
}

/// The pixels whose products are summed at once.
const TOGETHER: usize = 4;

impl Kernel for BandGradient<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { of, lines, x, dy, copy, sums } = self;
        let (lanes, line) = (S::LANES, of.line());
        let copy = copy.as_mut_ptr();
        // SAFETY: `c + count` is at most the number of channels, and the copy has the pixels around each strip.
        unsafe {
            for c in (0..of.channels).step_by(lanes) {
                let count = lanes.min(of.channels - c);
                copy_band::<S>(&of, &lines, x, (c, count), copy);
                let gradient = |row: usize, column: usize| {
                    let pixel = (lines.start + row) * of.width + column;
                    match column < of.width {
                        true => load::<S>(dy.as_ptr().add(pixel * of.channels + c), count),
                        false => S::splat(0.0),
                    }
                };
                let add = |tap: usize, value: S::Vector| {
                    let to = sums.add(tap * of.channels + c);
                    store::<S>(to, S::add(load::<S>(to, count), value), count);
                };
                let mut of_bias = S::splat(0.0);
                for row in 0..lines.len() {
                    let mut own = S::splat(0.0);
                    for column in 0..of.width {
                        own = S::add(own, gradient(row, column));
                    }
                    of_bias = S::add(of_bias, own);
                }
                add(TAPS, of_bias);
                for tap_row in 0..SIDE {
                    let mut total = [S::splat(0.0); SIDE];
                    for row in 0..lines.len() {
                        let from = copy.add((row + tap_row) * line * lanes);
                        let mut own = [S::splat(0.0); SIDE];
                        for column in (0..of.width).step_by(TOGETHER) {
                            let dy: [S::Vector; TOGETHER] =
                                std::array::from_fn(|pixel| gradient(row, column + pixel));
                            let from = from.add(column * lanes);
                            unrolled!([0 1 2 3 4 5 6 7 8 9], |J| {
                                let x = S::load(from.add(J * lanes));
                                unrolled!([0 1 2 3 4 5 6], |K| {
                                    if (K..K + TOGETHER).contains(&J) {
                                        let dy = dy[J.wrapping_sub(K) % TOGETHER];
                                        own[K] = S::fma(x, dy, own[K]);
                                    }
                                });
                            });
                        }
                        for (total, own) in total.iter_mut().zip(own) {
                            *total = S::add(*total, own);
                        }
                    }
                    for (k, total) in total.into_iter().enumerate() {
                        add(tap_row * SIDE + k, total);
                    }
                }
            }
        }
    }
}
