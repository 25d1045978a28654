//! Pieces of the patch matrix of an image: with rows for output pixels and columns for taps
//! `(r, s, c)`, copied from channels-last images, and added back to them. For [`super::direct`].

use std::ops::Range;

use super::pool::Shared;
use super::shape::Conv;
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

/// Copies the `columns` of the `rows` of a matrix of `width` columns to rows of `row` floats.
///
/// # Panics
///
/// If a slice is too small.
pub fn copy_rows(
    isa: Isa,
    from: &[f32],
    width: usize,
    (rows, columns): (Range<usize>, Range<usize>),
    to: &mut [f32],
    row: usize,
) {
    assert!(columns.end <= width && rows.end * width <= from.len(), "part of the matrix");
    assert!(columns.len() <= row && rows.len() * row <= to.len(), "room");
    let from = from.as_ptr().wrapping_add(rows.start * width + columns.start);
    let size = (rows.len(), columns.len());
    // SAFETY: the bounds that the kernel asks for were just checked.
    unsafe { isa.run(Copy { from, from_row: width, size, to: to.as_mut_ptr(), to_row: row }) }
}

/// Bounds: both matrices, whose rows are `from_row` and `to_row` floats apart, are valid for `size`, rows and
/// columns.
struct Copy {
    from: *const f32,
    from_row: usize,
    size: (usize, usize),
    to: *mut f32,
    to_row: usize,
}

impl Kernel for Copy {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for row in 0..self.size.0 {
            // SAFETY: the row is inside both matrices.
            unsafe {
                copy::<S>(
                    self.from.add(row * self.from_row),
                    self.to.add(row * self.to_row),
                    self.size.1,
                );
            }
        }
    }
}

/// Sets `channels` of an image to zero.
///
/// # Safety
///
/// `dx` must be valid for an image, and no other task may use these channels of it.
pub unsafe fn clear(conv: &Conv, channels: Range<usize>, dx: Shared) {
    let (pixels, all) = (conv.height * conv.width, conv.in_channels);
    // SAFETY: a pixel has `all` channels.
    unsafe {
        if channels.len() == all {
            return dx.at(0).write_bytes(0, pixels * all);
        }
        for pixel in 0..pixels {
            dx.at(pixel * all + channels.start).write_bytes(0, channels.len());
        }
    }
}

/// Adds rows of the patch matrix to their image. The rows are `pixels`, counted from the image's first pixel;
/// they hold only `channels`, in blocks of `block` with all taps of each block.
///
/// # Safety
///
/// `dx` must be valid for an image, and no other task may use these channels of it.
///
/// # Panics
///
/// If a pixel is not the image's, or the patches are too few.
pub unsafe fn collect(
    isa: Isa,
    conv: &Conv,
    pixels: Range<usize>,
    (channels, block): (Range<usize>, usize),
    patches: &[f32],
    dx: Shared,
) {
    let columns = conv.kernel.0 * conv.kernel.1 * channels.len();
    assert!(pixels.end <= conv.out_height() * conv.out_width(), "pixels of an image");
    assert!(channels.end <= conv.in_channels && pixels.len() * columns <= patches.len(), "patches");
    let patches = patches.as_ptr();
    // SAFETY: the bounds that the kernels ask for were just checked or are the caller's.
    unsafe {
        if block == conv.in_channels {
            isa.run(Collect { conv, pixels, patches, dx: dx.at(0) });
        } else {
            isa.run(CollectBlocks { conv, pixels, channels, block, patches, dx: dx.at(0) });
        }
    }
}

/// The position of an output pixel's window: the image and the corner of the window, which may be outside.
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
    /// Calls `body(tap, place, length)` for each filter row among `taps`. `tap` is the first tap of the row,
    /// and `place` describes the taps of the row that are inside the image.
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
    /// The offset of the first tap inside.
    at: usize,
    /// The number of taps before it.
    before: usize,
    /// The number of taps inside.
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

/// Bounds: `patches` holds all taps of `channels` of each of `pixels`, in blocks of `block` channels;
/// the pixels are of the image `dx`.
struct CollectBlocks<'a> {
    conv: &'a Conv,
    pixels: Range<usize>,
    channels: Range<usize>,
    block: usize,
    patches: *const f32,
    dx: *mut f32,
}

impl Kernel for CollectBlocks<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (conv, block) = (self.conv, self.block);
        let all = conv.in_channels;
        let (rows, columns) = conv.kernel;
        let spatial = rows * columns;
        let inside = |at: isize, size: usize| at >= 0 && at < size as isize;
        for_each_patch(conv, self.pixels.clone(), |index, patch| {
            let from = self.patches.wrapping_add(index * spatial * self.channels.len());
            for tap in 0..spatial {
                let y = patch.top + (tap / columns) as isize;
                let x = patch.left + (tap % columns) as isize;
                if !(inside(y, conv.height) && inside(x, conv.width)) {
                    continue;
                }
                let to = (y as usize * conv.width + x as usize) * all + self.channels.start;
                for c in (0..self.channels.len()).step_by(block) {
                    // SAFETY: the pixel is inside the image, `c + block` among its channels.
                    unsafe {
                        let from = from.add(c * spatial + tap * block);
                        add::<S>(from, self.dx.add(to + c), block);
                    }
                }
            }
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
        S::store_partial(to, S::load_partial(from, length), length);
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
