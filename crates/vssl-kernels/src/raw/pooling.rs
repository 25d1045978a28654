//! Max-pooling and global average pooling over channels-last images.
//!
//! Max-pooling stores no positions: its backward pass finds them again in the input, which the normalisation
//! before it keeps anyway.

use std::ops::Range;

use super::pool::{Shared, parallel_for};
use super::simd::{Isa, Kernel, Simd};

/// A square pooling window over images `[batch, height, width, channels]`.
#[derive(Clone, Copy, Debug)]
pub struct MaxPool {
    /// The number of images.
    pub batch: usize,
    /// The rows of an image.
    pub height: usize,
    /// The columns of an image.
    pub width: usize,
    /// The channels of a pixel.
    pub channels: usize,
    /// The rows and columns of the window.
    pub kernel: usize,
    /// The number of pixels from one output to the next.
    pub stride: usize,
    /// The number of pixels of −∞ around the image.
    pub padding: usize,
}

impl MaxPool {
    /// Returns the rows of the output.
    pub fn out_height(&self) -> usize {
        (self.height + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Returns the columns of the output.
    pub fn out_width(&self) -> usize {
        (self.width + 2 * self.padding - self.kernel) / self.stride + 1
    }

    fn image(&self) -> usize {
        self.height * self.width * self.channels
    }

    fn out_image(&self) -> usize {
        self.out_height() * self.out_width() * self.channels
    }

    fn check(&self, input: usize, output: usize) {
        assert!(
            self.stride > 0
                && 2 * self.padding <= self.kernel
                && self.kernel <= self.height + 2 * self.padding
                && self.kernel <= self.width + 2 * self.padding,
            "{self:?}: the window fits the image, its padding at most half of it"
        );
        assert_eq!(input, self.batch * self.image(), "{self:?}: floats of the input");
        assert_eq!(output, self.batch * self.out_image(), "{self:?}: floats of the output");
    }

    /// Returns the rows, or columns, of the window of an output that are inside an image of `size`.
    #[inline(always)]
    fn window(&self, output: usize, size: usize) -> Range<usize> {
        let first = output * self.stride;
        first.saturating_sub(self.padding)..(first + self.kernel - self.padding).min(size)
    }
}

/// Writes the largest value of each window to `y`; a NaN counts as larger than any number.
///
/// # Panics
///
/// If a slice does not have the size of its shape.
pub fn max_pool(isa: Isa, pool: &MaxPool, x: &[f32], y: &mut [f32]) {
    pool.check(x.len(), y.len());
    if y.is_empty() {
        return; // without channels there are no pixels to walk over
    }
    let (image, out_image) = (pool.image(), pool.out_image());
    let out = Shared::new(y);
    parallel_for(pool.batch, |index| {
        // SAFETY: each task has its own image.
        unsafe {
            let y = out.slice(index * out_image, out_image);
            isa.run(ForwardImage { pool, x: &x[index * image..][..image], y });
        }
    });
}

/// Writes the gradient with respect to the input. The gradient of each output goes to the first largest value
/// of its window.
///
/// # Panics
///
/// If a slice does not have the size of its shape.
pub fn max_pool_gradient(isa: Isa, pool: &MaxPool, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    pool.check(x.len(), dy.len());
    assert_eq!(dx.len(), x.len(), "{pool:?}: floats of the input's gradient");
    if dx.is_empty() {
        return;
    }
    let (image, out_image) = (pool.image(), pool.out_image());
    let out = Shared::new(dx);
    parallel_for(pool.batch, |index| {
        // SAFETY: each task has its own image.
        unsafe {
            isa.run(BackwardImage {
                pool,
                x: &x[index * image..][..image],
                dy: &dy[index * out_image..][..out_image],
                dx: out.slice(index * image, image),
            });
        }
    });
}

/// The number of channels that are in registers together.
const TOGETHER: usize = 16;

struct ForwardImage<'a> {
    pool: &'a MaxPool,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for ForwardImage<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { pool, x, y } = self;
        for (pixel, y) in y.chunks_exact_mut(pool.channels).enumerate() {
            let window = Window::of(pool, pixel);
            let (whole, rest) = y.as_chunks_mut::<TOGETHER>();
            let from = TOGETHER * whole.len();
            for (group, y) in whole.iter_mut().enumerate() {
                *y = window.largest(x, group * TOGETHER).0;
            }
            for (index, y) in rest.iter_mut().enumerate() {
                [*y] = window.largest(x, from + index).0;
            }
        }
    }
}

struct BackwardImage<'a> {
    pool: &'a MaxPool,
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl Kernel for BackwardImage<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { pool, x, dy, dx } = self;
        dx.fill(0.0);
        for (pixel, dy) in dy.chunks_exact(pool.channels).enumerate() {
            let window = Window::of(pool, pixel);
            let (whole, rest) = dy.as_chunks::<TOGETHER>();
            let from = TOGETHER * whole.len();
            for (group, dy) in whole.iter().enumerate() {
                window.scatter(x, group * TOGETHER, dy, dx);
            }
            for (index, dy) in rest.iter().enumerate() {
                window.scatter(x, from + index, &[*dy], dx);
            }
        }
    }
}

/// The pixels of the window of an output.
struct Window {
    rows: Range<usize>,
    columns: Range<usize>,
    /// The pixels of a line of the image.
    line: usize,
    channels: usize,
}

impl Window {
    /// Returns the window of the output with the number `pixel`, line by line.
    #[inline(always)]
    fn of(pool: &MaxPool, pixel: usize) -> Self {
        let out_width = pool.out_width();
        Self {
            rows: pool.window(pixel / out_width, pool.height),
            columns: pool.window(pixel % out_width, pool.width),
            line: pool.width,
            channels: pool.channels,
        }
    }

    /// Calls `body` with the number and the offset of each pixel, in order.
    #[inline(always)]
    fn each(&self, mut body: impl FnMut(u32, usize)) {
        let mut number = 0;
        for row in self.rows.clone() {
            for column in self.columns.clone() {
                body(number, (row * self.line + column) * self.channels);
                number += 1;
            }
        }
    }

    /// Returns the largest values of `N` channels from `c` on, and the numbers of the first pixels that have
    /// them.
    #[inline(always)]
    fn largest<const N: usize>(&self, x: &[f32], c: usize) -> ([f32; N], [u32; N]) {
        // Of a window of −∞ only, its first pixel.
        let (mut best, mut place) = ([f32::NEG_INFINITY; N], [0; N]);
        self.each(|number, at| {
            let x = &x[at + c..][..N];
            for ((best, place), x) in best.iter_mut().zip(&mut place).zip(x) {
                let larger = *x > *best || x.is_nan();
                *best = if larger { *x } else { *best };
                *place = if larger { number } else { *place };
            }
        });
        (best, place)
    }

    /// Adds the gradients of `N` channels from `c` on to the pixels whose values came out.
    #[inline(always)]
    fn scatter<const N: usize>(&self, x: &[f32], c: usize, dy: &[f32; N], dx: &mut [f32]) {
        let (_, place) = self.largest::<N>(x, c);
        self.each(|number, at| {
            let dx = &mut dx[at + c..][..N];
            for ((dx, place), dy) in dx.iter_mut().zip(&place).zip(dy) {
                *dx += if *place == number { *dy } else { 0.0 };
            }
        });
    }
}

/// Writes the mean over the pixels of `x`, `[batch, pixels, channels]`, to `y`.
pub fn average(x: &[f32], batch: usize, channels: usize, y: &mut [f32]) {
    assert_eq!(y.len(), batch * channels, "floats of the averages");
    if y.is_empty() {
        return;
    }
    let image = x.len() / batch;
    let scale = channels as f32 / image as f32;
    let out = Shared::new(y);
    parallel_for(batch, |index| {
        // SAFETY: each task has its own image.
        let y = unsafe { out.slice(index * channels, channels) };
        y.fill(0.0);
        for pixel in x[index * image..][..image].chunks_exact(channels) {
            y.iter_mut().zip(pixel).for_each(|(y, x)| *y += x);
        }
        y.iter_mut().for_each(|y| *y *= scale);
    });
}

/// Writes the gradient of [`average`] to `dx`.
pub fn average_gradient(dy: &[f32], batch: usize, channels: usize, dx: &mut [f32]) {
    assert_eq!(dy.len(), batch * channels, "floats of the gradient of the averages");
    if dy.is_empty() || dx.is_empty() {
        return;
    }
    let image = dx.len() / batch;
    let scale = channels as f32 / image as f32;
    let out = Shared::new(dx);
    parallel_for(batch, |index| {
        // SAFETY: each task has its own image.
        let dx = unsafe { out.slice(index * image, image) };
        let dy = &dy[index * channels..][..channels];
        for pixel in dx.chunks_exact_mut(channels) {
            pixel.iter_mut().zip(dy).for_each(|(dx, dy)| *dx = dy * scale);
        }
    });
}
