//! The passes over memory of global response normalisation (Woo et al. 2023, arXiv:2301.00808), over rows of channels of
//! several images: sums of products per image and channel, and maps with a factor for each image and channel. What
//! happens to the sums is so little that the caller computes it.

use super::norm::{load, store};
use super::pool::{Shared, parallel_for};
use super::simd::{Isa, Kernel, Simd};
use super::transcendental::each_vector;

/// The rows that are summed on their own before they are added to the sum of an image.
const RUN: usize = 32;

/// Writes `Σ a · b` over the rows of each image to `sums`, `[images, channels]`; without `b` it is `Σ a`.
///
/// # Panics
///
/// If a slice does not have the size of its shape.
pub fn sums(isa: Isa, a: &[f32], b: Option<&[f32]>, images: usize, sums: &mut [f32]) {
    if sums.is_empty() {
        return;
    }
    let channels = sums.len() / images;
    assert_eq!(sums.len(), images * channels, "sums of each image and channel");
    let image = a.len() / images;
    assert!(a.len() == images * image && image.is_multiple_of(channels), "rows of whole images");
    assert!(b.is_none_or(|b| b.len() == a.len()), "floats of the other factor");
    let out = Shared::new(sums);
    parallel_for(images, |index| {
        let part = index * image..(index + 1) * image;
        let (a, b) = (&a[part.clone()], b.map(|b| &b[part]));
        // SAFETY: each task has its own sums.
        unsafe { isa.run(SumsOfImage { a, b, channels, to: out.at(index * channels) }) }
    });
}

struct SumsOfImage<'a> {
    a: &'a [f32],
    b: Option<&'a [f32]>,
    channels: usize,
    to: *mut f32,
}

impl Kernel for SumsOfImage<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { a, b, channels, to } = self;
        let rows = a.len() / channels;
        // SAFETY: `at + count` is at most the number of channels.
        unsafe {
            each_vector!(channels, |at, count| {
                let mut total = S::splat(0.0);
                for first in (0..rows).step_by(RUN) {
                    let mut sum = S::splat(0.0);
                    for row in first..rows.min(first + RUN) {
                        let place = row * channels + at;
                        let value = load::<S>(a.as_ptr().add(place), count);
                        sum = match b {
                            Some(b) => S::fma(value, load::<S>(b.as_ptr().add(place), count), sum),
                            None => S::add(sum, value),
                        };
                    }
                    total = S::add(total, sum);
                }
                store::<S>(to.add(at), total, count);
            });
        }
    }
}

/// Writes `factor · a + other` to `y`, with a factor for each image and channel. `other` is a shift for each channel,
/// or a factor for each image and channel of a second matrix.
///
/// # Panics
///
/// If a slice does not have the size of its shape.
pub fn map(isa: Isa, a: &[f32], factor: &[f32], other: Other<'_>, images: usize, y: &mut [f32]) {
    if y.is_empty() {
        return;
    }
    let (channels, image) = (factor.len() / images, a.len() / images);
    assert_eq!(a.len(), y.len(), "floats of the output");
    assert!(factor.len() == images * channels && a.len() == images * image, "a factor for each");
    assert!(image.is_multiple_of(channels), "rows of whole images");
    match other {
        Other::Shift(shift) => assert_eq!(shift.len(), channels, "a shift for each channel"),
        Other::Scaled(b, factors) => {
            assert!(b.len() == a.len() && factors.len() == factor.len(), "the second matrix");
        }
    }
    let out = Shared::new(y);
    parallel_for(images, |index| {
        let part = index * image..(index + 1) * image;
        let of = index * channels..(index + 1) * channels;
        let other = match other {
            Other::Shift(shift) => Other::Shift(shift),
            Other::Scaled(b, factors) => Other::Scaled(&b[part.clone()], &factors[of.clone()]),
        };
        let (a, factor, to) = (&a[part], &factor[of], index * image);
        // SAFETY: each task has its own image.
        unsafe { isa.run(MapOfImage { a, factor, other, to: out.at(to) }) }
    });
}

/// What is added in [`map`].
#[derive(Clone, Copy)]
pub enum Other<'a> {
    /// A number for each channel.
    Shift(&'a [f32]),
    /// A matrix, and a factor for each image and channel.
    Scaled(&'a [f32], &'a [f32]),
}

struct MapOfImage<'a> {
    a: &'a [f32],
    factor: &'a [f32],
    other: Other<'a>,
    to: *mut f32,
}

impl Kernel for MapOfImage<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { a, factor, other, to } = self;
        let channels = factor.len();
        for row in 0..a.len() / channels {
            // SAFETY: `at + count` is at most the number of channels.
            unsafe {
                each_vector!(channels, |at, count| {
                    let place = row * channels + at;
                    let value = load::<S>(a.as_ptr().add(place), count);
                    let other = match other {
                        Other::Shift(shift) => load::<S>(shift.as_ptr().add(at), count),
                        Other::Scaled(b, factors) => S::mul(
                            load::<S>(b.as_ptr().add(place), count),
                            load::<S>(factors.as_ptr().add(at), count),
                        ),
                    };
                    let factor = load::<S>(factor.as_ptr().add(at), count);
                    store::<S>(to.add(place), S::fma(value, factor, other), count);
                });
            }
        }
    }
}
