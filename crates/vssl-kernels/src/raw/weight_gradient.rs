//! The weight gradient of a convolution of any filter and stride, as the product `dyᵀ · P`.
//!
//! `P` is the patch matrix of [`super::direct`]: rows for output pixels, columns for taps `(r, s, c)`. The sum
//! runs over pixels, of which there are many, and the result has a row for each output channel. A 1×1 filter
//! has its gradient in this order; for larger filters each row is turned into the order `(c, r, s)`.
//!
//! A task computes a rectangle of the result over some of the pixels. It copies [`PIXELS`] rows of `dy` and of
//! `P` at a time, and the matrix product reads both copies as they are: neither is packed into panels. Their
//! rows are an odd number of cache lines apart, because rows at a distance of a power of two would meet in
//! one set of the cache.

use std::ops::Range;

use super::buffer;
use super::gemm::{Block, RowsBlock};
use super::patches;
use super::pool::{Shared, parallel_for};
use super::shape::Conv;
use super::simd::Isa;
use super::transpose;

/// The number of pixels that are copied together: as many lines of a panel, beside those of a few rows of the
/// left side, fit into a 32 KiB L1.
const PIXELS: usize = 160;
/// The largest side of the rectangle of a task. With two of these sides, the copies fill 320 KiB of L2.
const SIDE: usize = 256;
/// The number of tasks that are wanted: fewer leave threads without work.
const TASKS: usize = 8;

/// How the result and the pixels are divided, by shape alone.
struct Plan {
    /// The rows and columns of the rectangle of a task.
    side: (usize, usize),
    /// The number of rectangles, down and across.
    rectangles: (usize, usize),
    /// The number of pixels of a task, and the number of such pieces.
    pixels: (usize, usize),
}

impl Plan {
    fn new(isa: Isa, conv: &Conv) -> Self {
        let cut = |size: usize, multiple: usize| {
            let side = size.div_ceil(size.div_ceil(SIDE)).next_multiple_of(multiple);
            (side, size.div_ceil(side))
        };
        let rows = cut(conv.out_channels, isa.tile_rows());
        let columns = cut(conv.taps(), isa.tile_columns());
        let all = conv.pixels();
        let pieces = TASKS.div_ceil(rows.1 * columns.1).min(all.div_ceil(PIXELS)).max(1);
        let share = all.div_ceil(pieces);
        let pixels = (share, all.div_ceil(share));
        Self { side: (rows.0, columns.0), rectangles: (rows.1, columns.1), pixels }
    }
}

/// See [`super::conv::weight_gradient`], which checks the sizes.
pub fn weight_gradient(isa: Isa, conv: &Conv, x: &[f32], dy: &[f32], dweight: &mut [f32]) {
    let plan = Plan::new(isa, conv);
    let (size, spatial) = (conv.weight_size(), conv.kernel.0 * conv.kernel.1);
    if spatial == 1 && plan.pixels.1 == 1 {
        return sums(isa, conv, &plan, x, dy, dweight);
    }
    let mut parts = buffer::take(plan.pixels.1 * size);
    sums(isa, conv, &plan, x, dy, &mut parts);
    let (to, parts) = (Shared::new(dweight), &*parts);
    let taps = conv.taps();
    // At least a few thousand floats a task.
    let rows = (4096 / taps).max(1);
    parallel_for(conv.out_channels.div_ceil(rows), |task| {
        for k in task * rows..((task + 1) * rows).min(conv.out_channels) {
            // SAFETY: each task has its own output channels.
            let to = unsafe { to.slice(k * taps, taps) };
            buffer::with_scratch(taps, |total| {
                total.copy_from_slice(&parts[k * taps..][..taps]);
                for part in parts.chunks_exact(size).skip(1) {
                    total.iter_mut().zip(&part[k * taps..]).for_each(|(sum, value)| *sum += value);
                }
                transpose::transpose(isa, total, spatial, conv.in_channels, to);
            });
        }
    });
}

/// Writes the sums of each piece of the pixels, `[piece, k, taps]`, to `to`.
fn sums(isa: Isa, conv: &Conv, plan: &Plan, x: &[f32], dy: &[f32], to: &mut [f32]) {
    let (k, taps) = (conv.out_channels, conv.taps());
    let (down, across) = plan.rectangles;
    let out = Shared::new(to);
    parallel_for(down * across * plan.pixels.1, |task| {
        let (piece, rectangle) = (task / (down * across), task % (down * across));
        let part = |index: usize, side: usize, all: usize| {
            (index * side).min(all)..((index + 1) * side).min(all)
        };
        let task = Task {
            isa,
            conv,
            rows: part(rectangle / across, plan.side.0, k),
            columns: part(rectangle % across, plan.side.1, taps),
            pixels: part(piece, plan.pixels.0, conv.pixels()),
        };
        // SAFETY: each task has its own rectangle of its own piece.
        unsafe { task.run(x, dy, out.from(piece * k * taps)) }
    });
}

struct Task<'a> {
    isa: Isa,
    conv: &'a Conv,
    /// The output channels of the rectangle.
    rows: Range<usize>,
    /// The taps of the rectangle.
    columns: Range<usize>,
    pixels: Range<usize>,
}

impl Task<'_> {
    /// # Safety
    ///
    /// `to` must be valid for the whole result, and no other task may use this task's rectangle.
    unsafe fn run(&self, x: &[f32], dy: &[f32], to: Shared) {
        let (k, taps) = (self.conv.out_channels, self.conv.taps());
        let odd_lines = |size: usize| (size.div_ceil(16) | 1) * 16;
        let left_row = odd_lines(self.rows.len());
        let right_row = odd_lines(self.columns.len().next_multiple_of(self.isa.tile_columns()));
        // Slices of about the same number of pixels.
        let slices = self.pixels.len().div_ceil(PIXELS).max(1);
        let step = self.pixels.len().div_ceil(slices).max(1);
        buffer::with_scratch(step * (left_row + right_row), |scratch| {
            let (left, right) = scratch.split_at_mut(step * left_row);
            for first in self.pixels.clone().step_by(step) {
                let pixels = first..(first + step).min(self.pixels.end);
                patches::copy_rows(
                    self.isa,
                    dy,
                    k,
                    (pixels.clone(), self.rows.clone()),
                    left,
                    left_row,
                );
                let part = (pixels.clone(), self.columns.clone());
                patches::pack(self.isa, self.conv, x, part, right, right_row);
                // SAFETY: the copies hold a row for each pixel; the result is the caller's.
                unsafe {
                    self.isa.run(RowsBlock {
                        block: Block {
                            rows: self.rows.len(),
                            columns: self.columns.len(),
                            depth: pixels.len(),
                            a: left.as_ptr(),
                            a_row: 1,
                            a_column: left_row,
                            b: right.as_ptr(),
                            b_panel: 0,
                            c: to.at(self.rows.start * taps + self.columns.start),
                            c_row: taps,
                            accumulate: first > self.pixels.start,
                        },
                        b_row: right_row,
                    });
                }
            }
        });
    }
}
