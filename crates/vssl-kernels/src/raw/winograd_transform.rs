//! The transforms of Winograd's F(4×4, 3×3): from tiles, filters and gradients to the 36 products
//! and back (Lavin and Gray 2015, arXiv:1509.09308, section 4.3; points 0, ±1, ±2, ∞).
//!
//! All transforms have the form `T · d · Tᵀ` over the two spatial axes, with channels across the lanes.

use std::mem::MaybeUninit;

use super::norm::{load, store};
use super::simd::{Kernel, Simd, tile_columns};
use super::transpose::Transpose;

/// The number of products of a tile and a channel pair.
pub const POSITIONS: usize = 36;

/// A linear map of `FROM` values to `TO`, applied along each spatial axis.
pub trait Transform<const FROM: usize, const TO: usize> {
    /// Applies the map to `FROM` values in each lane.
    fn apply<S: Simd>(from: [S::Vector; FROM]) -> [S::Vector; TO];
}

/// The transform `Bᵀ` of an input tile of six.
pub struct Input;
/// The transform `Aᵀ` of the products to four outputs.
pub struct Output;
/// The transform `A` of four output gradients to the gradients of the products.
pub struct OutputAdjoint;
/// The transform `G` of a filter of three taps.
pub struct Filter;
/// The transform `Gᵀ` of the gradients of the transformed filter to those of the filter.
pub struct FilterAdjoint;

impl Transform<6, 6> for Input {
    #[inline(always)]
    fn apply<S: Simd>(d: [S::Vector; 6]) -> [S::Vector; 6] {
        let even = S::scale_add(-4.0, d[2], d[4]);
        let odd = S::scale_add(-4.0, d[1], d[3]);
        let even_two = S::sub(d[4], d[2]);
        let odd_two = S::sub(d[3], d[1]);
        [
            S::scale_add(4.0, d[0], S::scale_add(-5.0, d[2], d[4])),
            S::add(even, odd),
            S::sub(even, odd),
            S::scale_add(2.0, odd_two, even_two),
            S::scale_add(-2.0, odd_two, even_two),
            S::scale_add(4.0, d[1], S::scale_add(-5.0, d[3], d[5])),
        ]
    }
}

impl Transform<6, 4> for Output {
    #[inline(always)]
    fn apply<S: Simd>(m: [S::Vector; 6]) -> [S::Vector; 4] {
        let (sum, difference) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (sum_two, difference_two) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        [
            S::add(m[0], S::add(sum, sum_two)),
            S::scale_add(2.0, difference_two, difference),
            S::scale_add(4.0, sum_two, sum),
            S::scale_add(8.0, difference_two, S::add(difference, m[5])),
        ]
    }
}

impl Transform<4, 6> for OutputAdjoint {
    #[inline(always)]
    fn apply<S: Simd>(y: [S::Vector; 4]) -> [S::Vector; 6] {
        let (even, odd) = (S::add(y[0], y[2]), S::add(y[1], y[3]));
        let even_two = S::scale_add(4.0, y[2], y[0]);
        let odd_two = S::scale_add(8.0, y[3], S::add(y[1], y[1]));
        [
            y[0],
            S::add(even, odd),
            S::sub(even, odd),
            S::add(even_two, odd_two),
            S::sub(even_two, odd_two),
            y[3],
        ]
    }
}

impl Transform<3, 6> for Filter {
    #[inline(always)]
    fn apply<S: Simd>(g: [S::Vector; 3]) -> [S::Vector; 6] {
        let even = S::scale(-1.0 / 6.0, S::add(g[0], g[2]));
        let odd = S::scale(1.0 / 6.0, g[1]);
        let even_two = S::scale_add(1.0 / 24.0, g[0], S::scale(1.0 / 6.0, g[2]));
        let odd_two = S::scale(1.0 / 12.0, g[1]);
        [
            S::scale(0.25, g[0]),
            S::sub(even, odd),
            S::add(even, odd),
            S::add(even_two, odd_two),
            S::sub(even_two, odd_two),
            g[2],
        ]
    }
}

impl Transform<6, 3> for FilterAdjoint {
    #[inline(always)]
    fn apply<S: Simd>(u: [S::Vector; 6]) -> [S::Vector; 3] {
        let (sum, difference) = (S::add(u[1], u[2]), S::sub(u[2], u[1]));
        let (sum_two, difference_two) = (S::add(u[3], u[4]), S::sub(u[3], u[4]));
        let minus_sum = S::scale(-1.0 / 6.0, sum);
        [
            S::scale_add(0.25, u[0], S::scale_add(1.0 / 24.0, sum_two, minus_sum)),
            S::scale_add(1.0 / 6.0, difference, S::scale(1.0 / 12.0, difference_two)),
            S::scale_add(1.0 / 6.0, sum_two, S::add(minus_sum, u[5])),
        ]
    }
}

/// Computes `T · d · Tᵀ`; `load(i, j)` returns an element of `d`, and `store(i, j, _)` takes an element of
/// the result.
#[inline(always)]
fn two_sided<S: Simd, T: Transform<FROM, TO>, const FROM: usize, const TO: usize>(
    mut load: impl FnMut(usize, usize) -> S::Vector,
    mut store: impl FnMut(usize, usize, S::Vector),
) {
    // Not initialised: to fill a kilobyte costs as much as a quarter of the transform.
    let mut half = [[MaybeUninit::<S::Vector>::uninit(); FROM]; TO];
    for j in 0..FROM {
        let mut column = [load(0, j); FROM];
        for (i, value) in column.iter_mut().enumerate().skip(1) {
            *value = load(i, j);
        }
        for (half, value) in half.iter_mut().zip(T::apply::<S>(column)) {
            half[j].write(value);
        }
    }
    for (i, row) in half.into_iter().enumerate() {
        // SAFETY: the loop above wrote every column of every row.
        let row = row.map(|value| unsafe { value.assume_init() });
        for (j, value) in T::apply::<S>(row).into_iter().enumerate() {
            store(i, j, value);
        }
    }
}

/// The memory layout of a matrix of tiles × channels, in strips of `strip` channels.
#[derive(Clone, Copy)]
pub struct Strips {
    /// The number of channels of a strip, a multiple of the lanes.
    pub strip: usize,
    /// The number of floats from a strip to the next.
    pub strip_stride: usize,
    /// The number of floats from a tile to the next.
    pub row: usize,
    /// The number of floats from a position to the next.
    pub position: usize,
}

/// The positions of the tiles in an image.
#[derive(Clone, Copy)]
pub struct Grid {
    /// The rows and columns of the image.
    pub size: (usize, usize),
    /// The number of tiles down and across.
    pub tiles: (usize, usize),
    /// The number of pixels by which the first tile starts outside of the image.
    pub outside: usize,
    /// The number of channels of a pixel.
    pub channels: usize,
}

/// The `SIDE × SIDE` pixels of a tile: their places, and which of them exist.
struct Window<const SIDE: usize> {
    /// The number of floats from the start of the images to the first pixel, which may be outside.
    corner: isize,
    /// A bit for each pixel: bit `SIDE · i + j` is set if pixel (`i`, `j`) is inside.
    inside: u64,
}

impl<const SIDE: usize> Window<SIDE> {
    const WHOLE: u64 = (1 << (SIDE * SIDE)) - 1;

    /// Returns the places of the pixels in `images`, from channel `c` on; pixels outside are at [`ZEROS`].
    #[inline(always)]
    fn pixels(&self, images: *const f32, grid: &Grid, c: usize) -> [[*const f32; SIDE]; SIDE] {
        let corner = images.wrapping_offset(self.corner).wrapping_add(c);
        let mut pixels = [[ZEROS.as_ptr(); SIDE]; SIDE];
        for (i, pixels) in pixels.iter_mut().enumerate() {
            let line = corner.wrapping_add(i * grid.line());
            for (j, pixel) in pixels.iter_mut().enumerate() {
                if self.inside >> (SIDE * i + j) & 1 == 1 {
                    *pixel = line.wrapping_add(j * grid.channels);
                }
            }
        }
        pixels
    }

    /// Prefetches the cache lines of the pixels.
    #[inline(always)]
    fn prefetch<S: Simd>(&self, images: *const f32, grid: &Grid, c: usize) {
        let corner = images.wrapping_offset(self.corner).wrapping_add(c);
        for i in 0..SIDE {
            for j in 0..SIDE {
                S::prefetch(corner.wrapping_add(i * grid.line() + j * grid.channels));
            }
        }
    }
}

/// The zeros that are read outside of an image: as many as the channels that are read at a time.
static ZEROS: [f32; 1024] = [0.0; 1024];
/// The number of floats of a cache line.
const LINE: usize = 16;

impl Grid {
    /// Returns the number of floats of a line of pixels.
    #[inline(always)]
    fn line(&self) -> usize {
        self.size.1 * self.channels
    }

    /// Returns the windows of `tiles`, the first tile and their number.
    #[inline(always)]
    fn windows<const SIDE: usize>(self, tiles: (usize, usize)) -> Windows<SIDE> {
        let (down, across) = self.tiles;
        let (image, rest) = (tiles.0 / (down * across), tiles.0 % (down * across));
        Windows { grid: self, image, row: rest / across, column: rest % across, left: tiles.1 }
    }
}

/// An iterator over windows: see [`Grid::windows`].
struct Windows<const SIDE: usize> {
    grid: Grid,
    image: usize,
    row: usize,
    column: usize,
    left: usize,
}

impl<const SIDE: usize> Windows<SIDE> {
    #[inline(always)]
    fn next(&mut self) -> Option<Window<SIDE>> {
        self.left = self.left.checked_sub(1)?;
        let grid = &self.grid;
        // Returns the first pixel of a tile, and the pixels of its window that exist as bits.
        let span = |tile: usize, size: usize| {
            let start = (4 * tile) as isize - grid.outside as isize;
            let last = (size as isize - start).clamp(0, SIDE as isize);
            let first = (-start).clamp(0, last);
            (start, (1u64 << last) - (1u64 << first))
        };
        let (top, rows) = span(self.row, grid.size.0);
        let (left, columns) = span(self.column, grid.size.1);
        let mut inside = 0;
        for i in 0..SIDE {
            inside |= ((rows >> i & 1) * columns) << (SIDE * i);
        }
        let pixel = ((self.image * grid.size.0) as isize + top) * grid.size.1 as isize + left;
        self.column += 1;
        if self.column == grid.tiles.1 {
            (self.column, self.row) = (0, self.row + 1);
        }
        if self.row == grid.tiles.0 {
            (self.row, self.image) = (0, self.image + 1);
        }
        Some(Window { corner: pixel * grid.channels as isize, inside })
    }
}

/// Gathers tiles from images and writes their 36 positions: with [`Input`] or [`OutputAdjoint`].
pub struct Gather<'a, T, const SIDE: usize> {
    /// The images, `[batch, rows, columns, channels]`.
    pub from: &'a [f32],
    /// The positions of the tiles.
    pub grid: Grid,
    /// The first tile and the number of tiles.
    pub tiles: (usize, usize),
    /// The place of tile zero of this call. Channels are filled up to whole vectors with zeros.
    pub to: *mut f32,
    /// The layout of the result.
    pub strips: Strips,
    /// The transform of the tiles.
    pub transform: std::marker::PhantomData<T>,
}

impl<T: Transform<SIDE, 6>, const SIDE: usize> Kernel for Gather<'_, T, SIDE> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (channels, line) = (self.grid.channels, self.grid.line());
        let images = self.from.as_ptr();
        let mut windows = self.grid.windows::<SIDE>(self.tiles);
        let mut coming = windows.next();
        let mut tile = 0;
        while let Some(window) = coming {
            coming = windows.next();
            for first in (0..channels).step_by(ZEROS.len()) {
                let pixels = window.pixels(images, &self.grid, first);
                for c in (first..channels.min(first + ZEROS.len())).step_by(S::LANES) {
                    let count = S::LANES.min(channels - c);
                    // SAFETY: pixels are inside `from` or zeros, `c + count ≤ channels`; the caller
                    // promises room for these strips.
                    unsafe {
                        if let (0, Some(window)) = (c % LINE, &coming) {
                            window.prefetch::<S>(images, &self.grid, c);
                        }
                        let strip = c / self.strips.strip * self.strips.strip_stride;
                        let row = tile * self.strips.row + c % self.strips.strip;
                        let to = self.to.add(strip + row);
                        let store = |i: usize, j: usize, value| {
                            S::store(to.add((6 * i + j) * self.strips.position), value);
                        };
                        if count < S::LANES {
                            let load = |i: usize, j: usize| {
                                S::load_partial(pixels[i][j].add(c - first), count)
                            };
                            two_sided::<S, T, SIDE, 6>(load, store);
                        } else if window.inside == Window::<SIDE>::WHOLE {
                            let corner = images.wrapping_offset(window.corner).wrapping_add(c);
                            let load = |i: usize, j: usize| {
                                S::load(corner.wrapping_add(i * line + j * channels))
                            };
                            two_sided::<S, T, SIDE, 6>(load, store);
                        } else {
                            let load = |i: usize, j: usize| S::load(pixels[i][j].add(c - first));
                            two_sided::<S, T, SIDE, 6>(load, store);
                        }
                    }
                }
            }
            tile += 1;
        }
    }
}

/// What happens to an output of a convolution before it is stored.
pub trait Finish: Copy + Sync {
    /// Returns what is stored at `to` in place of `sum`, the outputs of `count` channels from `channel` on.
    ///
    /// # Safety
    ///
    /// The machine must have `S`; `to` must be valid for reads of `count` floats; the channels must be those that
    /// the implementor knows.
    unsafe fn finish<S: Simd>(
        self,
        sum: S::Vector,
        to: *const f32,
        channel: usize,
        count: usize,
    ) -> S::Vector;
}

/// Nothing happens to the output.
#[derive(Clone, Copy)]
pub struct Plain;

impl Finish for Plain {
    #[inline(always)]
    unsafe fn finish<S: Simd>(
        self,
        sum: S::Vector,
        _: *const f32,
        _: usize,
        _: usize,
    ) -> S::Vector {
        sum
    }
}

/// The output is added to what is stored there.
#[derive(Clone, Copy)]
pub struct Added;

impl Finish for Added {
    #[inline(always)]
    unsafe fn finish<S: Simd>(
        self,
        sum: S::Vector,
        to: *const f32,
        _: usize,
        count: usize,
    ) -> S::Vector {
        // SAFETY: the caller promises that `to` can be read.
        unsafe { S::add(sum, load::<S>(to, count)) }
    }
}

/// Transforms the 36 positions of tiles into pixels.
pub struct Scatter<F> {
    /// The place of tile zero of this call; its channels are filled up to whole vectors.
    pub from: *const f32,
    /// The number of floats from a tile to the next.
    pub row: usize,
    /// The number of floats from a position to the next.
    pub position: usize,
    /// The positions of the tiles.
    pub grid: Grid,
    /// The first tile and the number of tiles.
    pub tiles: (usize, usize),
    /// The images.
    pub to: *mut f32,
    /// What happens to a pixel before it is stored.
    pub finish: F,
}

impl<F: Finish> Kernel for Scatter<F> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (channels, line) = (self.grid.channels, self.grid.line());
        let mut windows = self.grid.windows::<4>(self.tiles);
        let mut coming = windows.next();
        let mut tile = 0;
        while let Some(window) = coming {
            coming = windows.next();
            let corner = self.to.wrapping_offset(window.corner);
            for c in (0..channels).step_by(S::LANES) {
                let count = S::LANES.min(channels - c);
                let at = |i: usize, j: usize| corner.wrapping_add(i * line + j * channels + c);
                // SAFETY: only pixels inside the images are written; the caller promises the rest.
                unsafe {
                    if let (0, Some(window)) = (c % LINE, &coming) {
                        window.prefetch::<S>(self.to, &self.grid, c);
                    }
                    let from = self.from.add(tile * self.row + c);
                    let load = |i: usize, j: usize| S::load(from.add((6 * i + j) * self.position));
                    // What follows is in no closure: one that is not inlined has no target features, and each of
                    // its vectors would go through memory.
                    let mut pixels = [[S::splat(0.0); 4]; 4];
                    two_sided::<S, Output, 6, 4>(load, |i, j, value| pixels[i][j] = value);
                    let whole = window.inside == Window::<4>::WHOLE;
                    for (i, pixels) in pixels.into_iter().enumerate() {
                        for (j, sum) in pixels.into_iter().enumerate() {
                            if whole || window.inside >> (4 * i + j) & 1 == 1 {
                                let to = at(i, j);
                                let value = self.finish.finish::<S>(sum, to, c, count);
                                store::<S>(to, value, count);
                            }
                        }
                    }
                }
            }
            tile += 1;
        }
    }
}

/// Transforms filters to packed panels, one panel for each call.
pub struct FilterPanel<'a> {
    /// The filters, `[out_channels, in_channels, 3, 3]`.
    pub weight: &'a [f32],
    /// The number of input channels of `weight`.
    pub in_channels: usize,
    /// The rows of the panel: the channels over which the product sums.
    pub depth: usize,
    /// The first column of the panel.
    pub first: usize,
    /// The number of its columns; the rest of its width is zero.
    pub count: usize,
    /// Whether the filters are turned by 180° and the summed channels are the output's.
    pub turned: bool,
    /// The panel of position zero.
    pub to: *mut f32,
    /// The number of floats from a position to the next.
    pub position: usize,
}

/// The widest panel of the instruction sets.
const WIDEST: usize = 64;
/// The number of rows of a panel, or of input channels, whose filters are turned together.
pub const TOGETHER: usize = 8;

impl Kernel for FilterPanel<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let width = tile_columns::<S>();
        const { assert!(tile_columns::<S>() <= WIDEST) };
        // Lines of the panel's columns, one for each tap of each of a few rows. Columns from `count` on stay zero.
        let mut lines = [0.0f32; TOGETHER * 9 * WIDEST];
        for start in (0..self.depth).step_by(TOGETHER) {
            let rows = TOGETHER.min(self.depth - start);
            // SAFETY: `v + LANES ≤ width ≤ WIDEST`; the caller promises room for the panel.
            unsafe {
                self.lines::<S>(start, rows, width, &mut lines);
                for p in 0..rows {
                    for v in (0..width).step_by(S::LANES) {
                        let to = self.to.add((start + p) * width + v);
                        let from = lines.as_ptr().add(p * 9 * width + v);
                        let load = |i: usize, j: usize| S::load(from.add((3 * i + j) * width));
                        two_sided::<S, Filter, 3, 6>(load, |i, j, value| {
                            S::store(to.add((6 * i + j) * self.position), value);
                        });
                    }
                }
            }
        }
    }
}

impl FilterPanel<'_> {
    /// Copies the taps of `rows` rows of the panel from `start` on to lines of `width` columns.
    #[inline(always)]
    unsafe fn lines<S: Simd>(&self, start: usize, rows: usize, width: usize, lines: &mut [f32]) {
        let Self { weight, in_channels, first, count, turned, .. } = *self;
        assert!(rows * 9 * width <= lines.len() && count <= width, "room for the taps");
        let lines = lines.as_mut_ptr();
        if turned {
            for p in 0..rows {
                // The filters of the columns follow each other.
                let from = weight[((start + p) * in_channels + first) * 9..][..count * 9].as_ptr();
                let to = |tap: usize| lines.wrapping_add((9 * p + 8 - tap) * width);
                // SAFETY: nine lines of at least `count` floats; `count` filters.
                unsafe { Transpose { from, size: (count, 9), from_row: 9, to }.run::<S>() };
            }
            return;
        }
        // The filters of the rows follow each other.
        let filters = &weight[(first * in_channels + start) * 9..];
        assert!(((count - 1) * in_channels + rows) * 9 <= filters.len(), "filters of the panel");
        let to = |tap: usize| lines.wrapping_add(tap * width);
        let (from, from_row) = (filters.as_ptr(), in_channels * 9);
        // SAFETY: as was just checked.
        unsafe { Transpose { from, size: (count, rows * 9), from_row, to }.run::<S>() };
    }
}

/// Transforms gradients of transformed filters into those of the filters, for a few input channels.
pub struct FilterGradient {
    /// The transformed gradients, `[36, in_channels, row]`, at the first input channel of this call.
    pub from: *const f32,
    /// The number of input channels, at most [`TOGETHER`].
    pub inputs: usize,
    /// The number of floats from an input channel to the next.
    pub row: usize,
    /// The number of floats from a position to the next.
    pub position: usize,
    /// The first output channel and the number of output channels.
    pub channels: (usize, usize),
    /// The gradients of the filters, `[out_channels, in_channels, 3, 3]`, at the first input channel.
    pub to: *mut f32,
    /// The number of floats from an output channel to the next.
    pub filter: usize,
}

impl Kernel for FilterGradient {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        debug_assert!(self.inputs <= TOGETHER);
        // Lines of output channels, one for each tap of each input channel.
        let mut lines = [0.0f32; TOGETHER * 9 * WIDEST];
        let lines = lines.as_mut_ptr();
        for k in (0..self.channels.1).step_by(S::LANES) {
            let count = S::LANES.min(self.channels.1 - k);
            let first = self.channels.0 + k;
            // SAFETY: `first + count` is at most the number of output channels, and `LANES ≤ WIDEST`.
            unsafe {
                for c in 0..self.inputs {
                    let from = self.from.add(c * self.row + first);
                    let load = |i: usize, j: usize| {
                        let from = from.add((6 * i + j) * self.position);
                        if count == S::LANES { S::load(from) } else { S::load_partial(from, count) }
                    };
                    two_sided::<S, FilterAdjoint, 6, 3>(load, |i, j, value| {
                        S::store(lines.add((9 * c + 3 * i + j) * S::LANES), value);
                    });
                }
                let to = |lane: usize| self.to.wrapping_add((first + lane) * self.filter);
                let (from, size) = (lines.cast_const(), (self.inputs * 9, count));
                Transpose { from, size, from_row: S::LANES, to }.run::<S>();
            }
        }
    }
}
