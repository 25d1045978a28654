//! Weight gradients of the linear layers of a transformer: `leftᵀ · right` of two matrices that have as many
//! rows as there are tokens and few columns, either of them normalised or put through a GELU as it is read.
//!
//! The wider matrix is packed by the tasks, each of which has some of its columns, and the narrower one
//! before. So every element is prepared once, or as often as the narrower has pieces of [`PIECE`] columns.
//! Sums over the rows are taken in slices of [`DEPTH`], in order.

use super::buffer::{self, Buffer};
use super::gemm::{Block, DEPTH};
use super::linear::Linear;
use super::pack::{self, Matrix};
use super::pool::{Shared, parallel_for};
use super::rows::Before;
use super::simd::Isa;

/// The columns of the narrower matrix that a task takes.
const PIECE: usize = 768;

/// A matrix of many rows.
#[derive(Clone, Copy)]
struct Tall<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    before: Before<'a>,
}

impl Tall<'_> {
    /// Packs a rectangle into panels of `width` columns and prepares it there.
    fn pack(
        &self,
        isa: Isa,
        start: usize,
        depth: usize,
        [j, columns]: [usize; 2],
        width: usize,
        to: &mut [f32],
    ) {
        let matrix = Matrix::row_major(self.data, self.rows, self.columns);
        pack::columns(matrix.part(start, depth, j, columns), width, to);
        for (panel, to) in
            to[..columns.div_ceil(width) * depth * width].chunks_mut(depth * width).enumerate()
        {
            let first = j + panel * width;
            let last = (first + width).min(j + columns);
            let (from, place) = ((to.as_ptr(), width), (to.as_mut_ptr(), width));
            // SAFETY: a panel has `depth` rows of `width` columns.
            unsafe { self.before.prepare(isa, from, start..start + depth, first..last, place) };
        }
    }
}

/// Writes `dyᵀ · before(x)`, the gradient of the weight `[outputs, inputs]`, and the sum of `dy` over its
/// rows, the gradient of the bias.
pub fn weight_gradient(
    isa: Isa,
    sizes: Linear,
    x: &[f32],
    before: Before<'_>,
    dy: &[f32],
    dweight: &mut [f32],
    dbias: Option<&mut [f32]>,
) {
    let Linear { batch, inputs, outputs } = sizes;
    assert_eq!(x.len(), batch * inputs, "{sizes:?}: floats of the input");
    assert_eq!(dy.len(), batch * outputs, "{sizes:?}: floats of the output's gradient");
    assert_eq!(dweight.len(), outputs * inputs, "{sizes:?}: floats of the weight's gradient");
    assert!(dbias.as_ref().is_none_or(|d| d.len() == outputs), "{sizes:?}: floats of the bias");
    let x = Tall { data: x, rows: batch, columns: inputs, before };
    let dy = Tall { data: dy, rows: batch, columns: outputs, before: Before::Nothing };
    if let Some(dbias) = dbias {
        sums_of_columns(dy.data, outputs, dbias);
    }
    if batch == 0 || dweight.is_empty() {
        return dweight.fill(0.0);
    }
    if outputs >= inputs {
        return product(isa, dy, x, dweight);
    }
    let mut turned = buffer::take(dweight.len());
    product(isa, x, dy, &mut turned);
    transpose(&turned, outputs, dweight);
}

/// Writes `from`, whose rows have `columns` elements, with rows and columns exchanged.
fn transpose(from: &[f32], columns: usize, to: &mut [f32]) {
    const SIDE: usize = 16;
    let rows = from.len() / columns;
    let out = Shared::new(to);
    parallel_for(columns.div_ceil(SIDE), |task| {
        for j in task * SIDE..columns.min(task * SIDE + SIDE) {
            // SAFETY: each task has its own rows of the result.
            let to = unsafe { out.slice(j * rows, rows) };
            to.iter_mut().zip(from[j..].iter().step_by(columns)).for_each(|(to, from)| *to = *from);
        }
    });
}

/// The rows of which the sum of a column is taken in single precision.
const RUN: usize = 64;

/// Writes the sum of each column: in `f32` over [`RUN`] rows, then in `f64`, in order.
fn sums_of_columns(rows: &[f32], columns: usize, to: &mut [f32]) {
    let mut totals = vec![0.0f64; columns];
    if columns > 0 {
        let runs = rows.len().div_ceil(RUN * columns);
        let mut sums = buffer::take(runs * columns);
        let out = Shared::new(&mut sums);
        parallel_for(runs, |run| {
            // SAFETY: each task has its own line.
            let sums = unsafe { out.slice(run * columns, columns) };
            sums.fill(0.0);
            let run = &rows[run * RUN * columns..rows.len().min((run + 1) * RUN * columns)];
            for row in run.chunks_exact(columns) {
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
        });
        for line in sums.chunks_exact(columns) {
            totals.iter_mut().zip(line).for_each(|(total, sum)| *total += f64::from(*sum));
        }
    }
    to.iter_mut().zip(totals).for_each(|(to, total)| *to = total as f32);
}

/// Packs the whole matrix in slices of [`DEPTH`] rows, each in panels.
fn packed(isa: Isa, matrix: Tall<'_>) -> Buffer {
    let width = isa.tile_columns();
    let room = matrix.columns.next_multiple_of(width);
    let mut packed = buffer::take(matrix.rows * room);
    let out = Shared::new(&mut packed);
    parallel_for(matrix.rows.div_ceil(DEPTH), |task| {
        let start = task * DEPTH;
        let depth = DEPTH.min(matrix.rows - start);
        // SAFETY: each task has its own slice.
        let to = unsafe { out.slice(start * room, depth * room) };
        matrix.pack(isa, start, depth, [0, matrix.columns], width, to);
    });
    packed
}

/// Writes `leftᵀ · right`.
fn product(isa: Isa, left: Tall<'_>, right: Tall<'_>, to: &mut [f32]) {
    let (width, slab) = (isa.tile_columns(), 4 * isa.tile_rows());
    let room = right.columns.next_multiple_of(width);
    let packed = packed(isa, right);
    let piece = right.columns.min(PIECE).next_multiple_of(width);
    let pieces = right.columns.div_ceil(piece);
    let rows = (left.columns * pieces / 8).next_multiple_of(slab).clamp(slab, 4 * slab);
    let out = Shared::new(to);
    parallel_for(left.columns.div_ceil(rows) * pieces, |task| {
        let (i, j) = (task / pieces * rows, task % pieces * piece);
        let rows = rows.min(left.columns - i);
        buffer::with_scratch(rows.next_multiple_of(slab) * DEPTH.min(left.rows), |scratch| {
            for start in (0..left.rows).step_by(DEPTH) {
                let depth = DEPTH.min(left.rows - start);
                left.pack(isa, start, depth, [i, rows], slab, scratch);
                for first in (0..rows).step_by(slab) {
                    let block = Block {
                        rows: slab.min(rows - first),
                        columns: piece.min(right.columns - j),
                        depth,
                        a: scratch[first * depth..].as_ptr(),
                        a_row: 1,
                        a_column: slab,
                        b: packed[start * room + j * depth..].as_ptr(),
                        b_panel: depth * width,
                        // SAFETY: each task has its own rectangle of the result.
                        c: unsafe { out.at((i + first) * right.columns + j) },
                        c_row: right.columns,
                        accumulate: start > 0,
                    };
                    // SAFETY: the slab and the panels were just filled; the result is as above.
                    unsafe { isa.run(block) };
                }
            }
        });
    });
}
