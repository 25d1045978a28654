//! Max-pooling and global average pooling over channels-last images.
//!
//! Max-pooling stores no positions: its backward pass finds them again in the input, which the normalisation
//! before it keeps anyway.

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

    /// Returns the offsets of the pixels of the window of output (`row`, `column`), in order.
    #[inline(always)]
    fn window(&self, row: usize, column: usize) -> impl Iterator<Item = usize> + use<'_> {
        let inside = move |at: usize, i: usize, size: usize| {
            (at * self.stride + i).checked_sub(self.padding).filter(|at| *at < size)
        };
        (0..self.kernel).filter_map(move |i| inside(row, i, self.height)).flat_map(move |y| {
            (0..self.kernel)
                .filter_map(move |j| inside(column, j, self.width))
                .map(move |x| (y * self.width + x) * self.channels)
        })
    }
}

/// Writes the largest value of each window to `y`; a NaN counts as larger than any number.
///
/// # Panics
///
/// If a slice does not have the size of its shape.
pub fn max_pool(isa: Isa, pool: &MaxPool, x: &[f32], y: &mut [f32]) {
    pool.check(x.len(), y.len());
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

struct ForwardImage<'a> {
    pool: &'a MaxPool,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for ForwardImage<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (channels, out_width) = (self.pool.channels, self.pool.out_width());
        for (pixel, y) in self.y.chunks_exact_mut(channels).enumerate() {
            y.fill(f32::NEG_INFINITY);
            for at in self.pool.window(pixel / out_width, pixel % out_width) {
                for (y, x) in y.iter_mut().zip(&self.x[at..at + channels]) {
                    *y = if *x > *y || x.is_nan() { *x } else { *y };
                }
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
        let (channels, out_width) = (self.pool.channels, self.pool.out_width());
        self.dx.fill(0.0);
        let mut best = vec![0.0f32; channels];
        let mut place = vec![0u32; channels];
        for (pixel, dy) in self.dy.chunks_exact(channels).enumerate() {
            let window = || self.pool.window(pixel / out_width, pixel % out_width);
            best.fill(f32::NEG_INFINITY);
            place.fill(0); // a window of −∞ only: its first place
            for (index, at) in window().enumerate() {
                let x = &self.x[at..at + channels];
                for ((best, place), x) in best.iter_mut().zip(&mut place).zip(x) {
                    let larger = *x > *best || x.is_nan();
                    *best = if larger { *x } else { *best };
                    *place = if larger { index as u32 } else { *place };
                }
            }
            for (index, at) in window().enumerate() {
                let dx = &mut self.dx[at..at + channels];
                for ((dx, place), dy) in dx.iter_mut().zip(&place).zip(dy) {
                    *dx += if *place == index as u32 { *dy } else { 0.0 };
                }
            }
        }
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
