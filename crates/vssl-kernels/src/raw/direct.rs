//! Convolution as an implicit matrix product, for any filter, stride and padding.
//!
//! With rows for output pixels and columns for taps `(r, s, c)`, the patches of an image form a
//! matrix `P`, of which only cache-sized pieces are ever written out. Then `y = P · W`,
//! `dW = Pᵀ · dy`, and `dx` collects `dy · Wᵀ` back from patches to pixels.

use super::buffer::{self, Buffer};
use super::conv::Conv;
use super::gemm::{Block, DEPTH, slab_rows};
use super::pack::{self, Matrix};
use super::pool::{Shared, parallel_for};
use super::simd::Isa;

/// Output pixels of one task of the forward pass: a slice of their patches fills a fourth of a
/// 512 KiB L2.
const PIXELS: usize = 96;

/// See [`super::conv::forward`], which checks the sizes.
pub fn forward(isa: Isa, conv: &Conv, x: &[f32], weight: &[f32], y: &mut [f32]) {
    let width = isa.tile_columns();
    let taps = conv.taps();
    let panels = forward_panels(conv, weight, width);
    let pixels = conv.pixels();
    let pointwise = is_pointwise(conv);
    let out = Shared::new(y);
    parallel_for(pixels.div_ceil(PIXELS), |task| {
        let first = task * PIXELS;
        let count = PIXELS.min(pixels - first);
        let depth_limit = DEPTH.min(taps);
        buffer::with_scratch(if pointwise { 0 } else { PIXELS * depth_limit }, |patches| {
            for start in (0..taps).step_by(DEPTH) {
                let depth = DEPTH.min(taps - start);
                let (a, a_row) = if pointwise {
                    (x[first * taps + start..].as_ptr(), taps)
                } else {
                    let taps = start..start + depth;
                    pack_patches(conv, x, first..first + count, taps, patches, depth);
                    (patches.as_ptr(), depth)
                };
                // SAFETY: the rows `first..first + count` of `y` are this task's; the panels hold
                // `taps` rows each, of which `depth` from `start` on are read.
                unsafe {
                    isa.run(Block {
                        rows: count,
                        columns: conv.out_channels,
                        depth,
                        a,
                        a_row,
                        a_column: 1,
                        b: panels[start * width..].as_ptr(),
                        b_panel: taps * width,
                        c: out.at(first * conv.out_channels),
                        c_row: conv.out_channels,
                        accumulate: start > 0,
                    });
                }
            }
        });
    });
}

/// Whether the patches are the image itself.
fn is_pointwise(conv: &Conv) -> bool {
    conv.kernel == (1, 1) && conv.stride == 1 && conv.padding == 0
}

/// `W` as panels: row `(r, s, c)`, column output channel.
fn forward_panels(conv: &Conv, weight: &[f32], width: usize) -> Buffer {
    let (taps, spatial) = (conv.taps(), conv.kernel.0 * conv.kernel.1);
    let panels = conv.out_channels.div_ceil(width);
    let mut packed = buffer::take(panels * taps * width);
    let out = Shared::new(&mut packed);
    parallel_for(panels, |panel| {
        // SAFETY: each task has its own panel.
        let to = unsafe { out.slice(panel * taps * width, taps * width) };
        let first = panel * width;
        let count = width.min(conv.out_channels - first);
        if count < width {
            to.fill(0.0);
        }
        for c in 0..conv.in_channels {
            for k in 0..count {
                let from = &weight[((first + k) * conv.in_channels + c) * spatial..][..spatial];
                for (tap, value) in from.iter().enumerate() {
                    to[(tap * conv.in_channels + c) * width + k] = *value;
                }
            }
        }
    });
    packed
}

/// `Wᵀ` as panels: row output channel, column `(r, s, c)`.
fn backward_panels(conv: &Conv, weight: &[f32], width: usize) -> Buffer {
    let (taps, spatial) = (conv.taps(), conv.kernel.0 * conv.kernel.1);
    let panels = taps.div_ceil(width);
    let mut packed = buffer::take(panels * conv.out_channels * width);
    let out = Shared::new(&mut packed);
    parallel_for(panels, |panel| {
        let size = conv.out_channels * width;
        // SAFETY: each task has its own panel.
        let to = unsafe { out.slice(panel * size, size) };
        let first = panel * width;
        for (k, to) in to.chunks_exact_mut(width).enumerate() {
            let from = &weight[k * taps..][..taps];
            for (j, to) in to.iter_mut().enumerate() {
                let (tap, c) = ((first + j) / conv.in_channels, (first + j) % conv.in_channels);
                *to = if first + j < taps { from[c * spatial + tap] } else { 0.0 };
            }
        }
    });
    packed
}

/// Copies the columns `taps` of the rows `pixels` of the patch matrix to rows of `row` floats.
fn pack_patches(
    conv: &Conv,
    x: &[f32],
    pixels: std::ops::Range<usize>,
    taps: std::ops::Range<usize>,
    to: &mut [f32],
    row: usize,
) {
    for_each_patch(conv, pixels, |index, patch| {
        let to = &mut to[index * row..];
        patch.segments(conv, taps.clone(), |tap, at, length| {
            let to = &mut to[tap - taps.start..][..length];
            match at {
                Some(at) => to.copy_from_slice(&x[at..at + length]),
                None => to.fill(0.0),
            }
        });
    });
}

/// Where an output pixel looks: the image and the corner of its window, which may be outside.
struct Patch {
    image: usize,
    top: isize,
    left: isize,
}

fn for_each_patch(
    conv: &Conv,
    pixels: std::ops::Range<usize>,
    mut body: impl FnMut(usize, &Patch),
) {
    let (height, width) = (conv.out_height(), conv.out_width());
    let (mut image, rest) = (pixels.start / (height * width), pixels.start % (height * width));
    let (mut row, mut column) = (rest / width, rest % width);
    for index in 0..pixels.len() {
        let corner = |at: usize| (at * conv.stride) as isize - conv.padding as isize;
        body(index, &Patch { image, top: corner(row), left: corner(column) });
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
    /// Cuts the taps of this patch into runs that lie together in the image (`Some(offset)`) or
    /// outside of it (`None`), in order: `body(first tap, offset, length)`.
    #[inline(always)]
    fn segments(
        &self,
        conv: &Conv,
        taps: std::ops::Range<usize>,
        mut body: impl FnMut(usize, Option<usize>, usize),
    ) {
        let run = conv.kernel.1 * conv.in_channels;
        let left = self.left * conv.in_channels as isize;
        let line = (conv.width * conv.in_channels) as isize;
        let mut tap = taps.start;
        while tap < taps.end {
            let r = tap / run;
            let end = taps.end.min((r + 1) * run);
            let y = self.top + r as isize;
            if y < 0 || y >= conv.height as isize {
                body(tap, None, end - tap);
                tap = end;
                continue;
            }
            // Of the positions `from..to` in the image's line, `inside` exist.
            let (from, to) = (left + (tap - r * run) as isize, left + (end - r * run) as isize);
            let first = from.max(0).min(to);
            let last = to.min(line).max(first);
            let start = (self.image * conv.height + y as usize) * line as usize;
            let mut at = from;
            for (stop, inside) in [(first, false), (last, true), (to, false)] {
                if stop > at {
                    let offset = inside.then(|| start + at as usize);
                    body(tap, offset, (stop - at) as usize);
                    tap += (stop - at) as usize;
                    at = stop;
                }
            }
        }
    }
}

/// See [`super::conv::input_gradient`], which checks the sizes.
pub fn input_gradient(isa: Isa, conv: &Conv, dy: &[f32], weight: &[f32], dx: &mut [f32]) {
    let (k, taps) = (conv.out_channels, conv.taps());
    let width = isa.tile_columns();
    if is_pointwise(conv) {
        let dy = Matrix::row_major(dy, conv.pixels(), k);
        super::gemm::product(isa, dy, Matrix::row_major(weight, k, taps), dx, false);
        return;
    }
    let panels = backward_panels(conv, weight, width);
    let image_pixels = conv.out_height() * conv.out_width();
    let image_size = conv.height * conv.width * conv.in_channels;
    // A quarter of a megabyte of patches at a time, but enough rows to pay for reading `W`.
    let rows = (65_536 / taps).clamp(4 * isa.tile_rows(), 256).min(image_pixels);
    let out = Shared::new(dx);
    parallel_for(conv.batch, |image| {
        // SAFETY: each task has its own image.
        let dx = unsafe { out.slice(image * image_size, image_size) };
        dx.fill(0.0);
        buffer::with_scratch(rows * taps, |patches| {
            for start in (0..image_pixels).step_by(rows) {
                let first = image * image_pixels + start;
                let count = rows.min(image_pixels - start);
                for channel in (0..k).step_by(DEPTH) {
                    // SAFETY: `patches` has `rows · taps` floats; the panels have `k` rows.
                    unsafe {
                        isa.run(Block {
                            rows: count,
                            columns: taps,
                            depth: DEPTH.min(k - channel),
                            a: dy[first * k + channel..].as_ptr(),
                            a_row: k,
                            a_column: 1,
                            b: panels[channel * width..].as_ptr(),
                            b_panel: k * width,
                            c: patches.as_mut_ptr(),
                            c_row: taps,
                            accumulate: channel > 0,
                        });
                    }
                }
                collect_patches(conv, image, first..first + count, patches, dx);
            }
        });
    });
}

/// Adds rows of the patch matrix to the pixels they came from.
fn collect_patches(
    conv: &Conv,
    image: usize,
    pixels: std::ops::Range<usize>,
    patches: &[f32],
    dx: &mut [f32],
) {
    let taps = conv.taps();
    let image_start = image * dx.len();
    for_each_patch(conv, pixels, |index, patch| {
        let from = &patches[index * taps..][..taps];
        patch.segments(conv, 0..taps, |tap, at, length| {
            let Some(at) = at else { return };
            let to = &mut dx[at - image_start..][..length];
            for (to, from) in to.iter_mut().zip(&from[tap..]) {
                *to += from;
            }
        });
    });
}

/// Output pixels whose patches are packed together for the weight gradient: with a slab and a
/// panel beside each other in L1.
const GRADIENT_PIXELS: usize = 160;

/// See [`super::conv::weight_gradient`], which checks the sizes.
pub fn weight_gradient(isa: Isa, conv: &Conv, x: &[f32], dy: &[f32], dweight: &mut [f32]) {
    let (k, taps, pixels) = (conv.out_channels, conv.taps(), conv.pixels());
    let slab = slab_rows(isa);
    // Eight tasks or more, first over taps, then over pixels; the latter need sums of their own.
    let row_block = taps.div_ceil(8).next_multiple_of(slab).max(4 * slab).min(taps);
    let row_tasks = taps.div_ceil(row_block);
    let chunks = 8usize.div_ceil(row_tasks).min(pixels.div_ceil(GRADIENT_PIXELS)).max(1);
    let chunk = pixels.div_ceil(chunks).next_multiple_of(GRADIENT_PIXELS);
    let gradients = gradient_panels(isa, dy, pixels, k);
    let mut sums = buffer::zeros(chunks * taps * k);
    let out = Shared::new(&mut sums);
    parallel_for(row_tasks * chunks, |task| {
        let (rows, index) = (task / chunks * row_block, task % chunks);
        let rows = rows..(rows + row_block).min(taps);
        let pixels = (index * chunk).min(pixels)..((index + 1) * chunk).min(pixels);
        // SAFETY: each task has its own rows of its own chunk's sums.
        unsafe {
            let sums = out.at((index * taps + rows.start) * k);
            weight_gradient_part(isa, conv, x, &gradients, rows, pixels, sums);
        }
    });
    let spatial = conv.kernel.0 * conv.kernel.1;
    let to = Shared::new(dweight);
    let sums = &sums;
    parallel_for(k.div_ceil(16), |task| {
        for k_index in task * 16..(task * 16 + 16).min(k) {
            // SAFETY: each task has its own output channels.
            let to = unsafe { to.slice(k_index * taps, taps) };
            for (c, to) in to.chunks_exact_mut(spatial).enumerate() {
                for (tap, to) in to.iter_mut().enumerate() {
                    let at = (tap * conv.in_channels + c) * k + k_index;
                    *to = (0..chunks).map(|chunk| sums[chunk * taps * k + at]).sum();
                }
            }
        }
    });
}

/// `dy` as panels of output channels, [`GRADIENT_PIXELS`] rows after each other.
fn gradient_panels(isa: Isa, dy: &[f32], pixels: usize, k: usize) -> Buffer {
    let width = isa.tile_columns();
    let size = GRADIENT_PIXELS * k.next_multiple_of(width);
    let blocks = pixels.div_ceil(GRADIENT_PIXELS);
    let mut packed = buffer::take(blocks * size);
    let out = Shared::new(&mut packed);
    parallel_for(blocks, |block| {
        let first = block * GRADIENT_PIXELS;
        let count = GRADIENT_PIXELS.min(pixels - first);
        // SAFETY: each task has its own block.
        let to = unsafe { out.slice(block * size, size) };
        pack::columns(Matrix::row_major(&dy[first * k..], count, k), width, to);
    });
    packed
}

/// Adds `P[pixels, rows]ᵀ · dy[pixels]` to `sums`, `dy` as [`gradient_panels`] packs it. The pixels
/// start at a block.
///
/// # Safety
///
/// `sums` must be valid for `rows.len() · out_channels` floats.
unsafe fn weight_gradient_part(
    isa: Isa,
    conv: &Conv,
    x: &[f32],
    gradients: &[f32],
    rows: std::ops::Range<usize>,
    pixels: std::ops::Range<usize>,
    sums: *mut f32,
) {
    let (k, slab, width) = (conv.out_channels, slab_rows(isa), isa.tile_columns());
    buffer::with_scratch(slab * GRADIENT_PIXELS, |patches| {
        for first in pixels.clone().step_by(GRADIENT_PIXELS) {
            let count = GRADIENT_PIXELS.min(pixels.end - first);
            let panels = &gradients[first * k.next_multiple_of(width)..];
            for row in rows.clone().step_by(slab) {
                let taps = row..(row + slab).min(rows.end);
                pack_patches(conv, x, first..first + count, taps.clone(), patches, slab);
                // SAFETY: the caller's bound on `sums`; the scratch holds `count` rows of `P`, and
                // `panels` begins with `count` rows of `dy`.
                unsafe {
                    isa.run(Block {
                        rows: taps.len(),
                        columns: k,
                        depth: count,
                        a: patches.as_ptr(),
                        a_row: 1,
                        a_column: slab,
                        b: panels.as_ptr(),
                        b_panel: count * width,
                        c: sums.add((row - rows.start) * k),
                        c_row: k,
                        accumulate: true,
                    });
                }
            }
        }
    });
}
