//! Pieces of the patch matrix of an image: with rows for output pixels and columns for taps
//! `(r, s, c)`, copied from channels-last images, and added back to them. For [`super::direct`].

use std::ops::Range;

use super::conv::Conv;
use super::simd::{Isa, Kernel, Simd};

/// Copies the columns `taps` of the rows `pixels` of the patch matrix to rows of `row` floats.
///
/// # Panics
///
/// If a slice is too small.
pub fn pack(
    isa: Isa,
    conv: &Conv,
    x: &[f32],
    (pixels, taps): (Range<usize>, Range<usize>),
    to: &mut [f32],
    row: usize,
) {
    assert!(x.len() >= conv.input_size() && pixels.end <= conv.pixels(), "pixels of the images");
    assert!(taps.len() <= row && taps.end <= conv.taps() && pixels.len() * row <= to.len(), "room");
    // SAFETY: the bounds that the kernel asks for were just checked.
    unsafe { isa.run(Pack { conv, x: x.as_ptr(), pixels, taps, to: to.as_mut_ptr(), row }) }
}

/// Adds rows of the patch matrix, those of `pixels` of one image, to that image.
///
/// # Panics
///
/// If a slice is too small or a pixel is another image's.
pub fn collect(isa: Isa, conv: &Conv, pixels: Range<usize>, patches: &[f32], dx: &mut [f32]) {
    let image = conv.out_height() * conv.out_width();
    assert!(pixels.end <= image && pixels.len() * conv.taps() <= patches.len(), "patches");
    assert_eq!(dx.len(), conv.height * conv.width * conv.in_channels, "floats of an image");
    // SAFETY: the bounds that the kernel asks for were just checked.
    unsafe { isa.run(Collect { conv, pixels, patches: patches.as_ptr(), dx: dx.as_mut_ptr() }) }
}

/// Where an output pixel looks: the image and the corner of its window, which may be outside.
struct Patch {
    image: usize,
    top: isize,
    left: isize,
}

#[inline(always)]
fn for_each_patch(conv: &Conv, pixels: Range<usize>, mut body: impl FnMut(usize, Patch)) {
    let (height, width) = (conv.out_height(), conv.out_width());
    let (mut image, rest) = (pixels.start / (height * width), pixels.start % (height * width));
    let (mut row, mut column) = (rest / width, rest % width);
    for index in 0..pixels.len() {
        let corner = |at: usize| (at * conv.stride) as isize - conv.padding as isize;
        body(index, Patch { image, top: corner(row), left: corner(column) });
        column += 1;
        if column == width {
            (column, row) = (0, row + 1);
        }
        if row == height {
            (row, image) = (0, image + 1);
        }
    }
}

impl Patch {
    /// Calls `body(tap, place, length)` for each filter row among `taps`: from that tap on, `place`
    /// says where the first of those that are in the image is, how many lie before it, and how many
    /// there are.
    #[inline(always)]
    fn rows(&self, conv: &Conv, taps: &Range<usize>, mut body: impl FnMut(usize, Place, usize)) {
        let run = conv.kernel.1 * conv.in_channels;
        let line = (conv.width * conv.in_channels) as isize;
        let (mut tap, mut r) = (taps.start, taps.start / run);
        while tap < taps.end {
            let end = taps.end.min((r + 1) * run);
            let y = self.top + r as isize;
            let mut place = Place { at: 0, before: end - tap, inside: 0 };
            if y >= 0 && y < conv.height as isize {
                let left = self.left * conv.in_channels as isize - (r * run) as isize;
                let (from, to) = (left + tap as isize, left + end as isize);
                let first = from.max(0).min(to);
                let last = to.min(line).max(first);
                let start = (self.image * conv.height + y as usize) as isize * line;
                place = Place {
                    at: (start + first) as usize,
                    before: (first - from) as usize,
                    inside: (last - first) as usize,
                };
            }
            body(tap, place, end - tap);
            (tap, r) = (end, r + 1);
        }
    }
}

/// The taps of one filter row that are in the image.
struct Place {
    /// Offset of the first of them.
    at: usize,
    /// Taps before it.
    before: usize,
    /// Their number.
    inside: usize,
}

/// Bounds: `x` holds the images, `pixels` and `taps` are of the convolution, `to` holds a row of
/// `row ≥ taps.len()` floats for each pixel.
struct Pack<'a> {
    conv: &'a Conv,
    x: *const f32,
    pixels: Range<usize>,
    taps: Range<usize>,
    to: *mut f32,
    row: usize,
}

impl Kernel for Pack<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for_each_patch(self.conv, self.pixels.clone(), |index, patch| {
            patch.rows(self.conv, &self.taps, |tap, place, length| {
                let Place { at, before, inside } = place;
                // SAFETY: a place is inside the images, a tap inside the row of its pixel.
                unsafe {
                    let to = self.to.add(index * self.row + tap - self.taps.start);
                    if inside == length {
                        copy::<S>(self.x.add(at), to, length);
                        return;
                    }
                    zero(to, before);
                    copy::<S>(self.x.add(at), to.add(before), inside);
                    zero(to.add(before + inside), length - before - inside);
                }
            });
        });
    }
}

/// Bounds: `patches` holds all taps of each of `pixels`, which are of the image `dx`.
struct Collect<'a> {
    conv: &'a Conv,
    pixels: Range<usize>,
    patches: *const f32,
    dx: *mut f32,
}

impl Kernel for Collect<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let taps = 0..self.conv.taps();
        for_each_patch(self.conv, self.pixels.clone(), |index, patch| {
            patch.rows(self.conv, &taps, |tap, place, _| {
                // SAFETY: a place is inside the image, a tap inside the row of its pixel.
                unsafe {
                    let from = self.patches.add(index * taps.end + tap + place.before);
                    add::<S>(from, self.dx.wrapping_add(place.at), place.inside);
                }
            });
        });
    }
}

/// # Safety
///
/// Both pointers must be valid for `length` floats that do not overlap.
#[inline(always)]
unsafe fn copy<S: Simd>(from: *const f32, to: *mut f32, length: usize) {
    // SAFETY: every access is below `length`; the last vector overlaps the one before it.
    unsafe {
        let mut at = 0;
        while at + S::LANES <= length {
            S::store(to.add(at), S::load(from.add(at)));
            at += S::LANES;
        }
        if at == length {
            return;
        }
        if length >= S::LANES {
            S::store(to.add(length - S::LANES), S::load(from.add(length - S::LANES)));
            return;
        }
        for index in at..length {
            *to.add(index) = *from.add(index);
        }
    }
}

/// # Safety
///
/// The pointer must be valid for `length` floats.
#[inline(always)]
unsafe fn zero(to: *mut f32, length: usize) {
    // SAFETY: handed on to the caller.
    unsafe { to.write_bytes(0, length) }
}

/// # Safety
///
/// Both pointers must be valid for `length` floats that do not overlap.
#[inline(always)]
unsafe fn add<S: Simd>(from: *const f32, to: *mut f32, length: usize) {
    // SAFETY: every access is below `length`.
    unsafe {
        let mut at = 0;
        while at + S::LANES <= length {
            S::store(to.add(at), S::add(S::load(to.add(at)), S::load(from.add(at))));
            at += S::LANES;
        }
        for index in at..length {
            *to.add(index) += *from.add(index);
        }
    }
}
