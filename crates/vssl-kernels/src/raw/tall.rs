//! Weight gradients of the linear layers of a transformer: `leftᵀ · right` of two matrices that have as many
//! rows as there are tokens and few columns, either of them normalised or put through a GELU as it is read.
//!
//! The wider matrix is packed by the tasks, each of which has some of its columns, and the narrower one
//! before. So every element is prepared once, or as often as the narrower has pieces of [`PIECE`] columns.
//! Sums over the rows are taken in slices of [`DEPTH`], in order.

use super::buffer::{self, Buffer};
use super::gemm::{Block, DEPTH, SlabsBlock};
use super::linear::Linear;
use super::norm::{load, store};
use super::pack::{self, Matrix};
use super::pool::{Shared, parallel_for};
use super::rows::Before;
use super::simd::{Isa, Kernel, Simd};
use super::transcendental::each_vector;
use super::transpose::transpose;

/// The columns of the narrower matrix that a task takes.
const PIECE: usize = 768;

/// A matrix of many rows.
#[derive(Clone, Copy)]
struct Tall<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    before: Before<'a>,
    /// Where the sums of the columns go as they are packed, if they are asked for.
    sums: Option<Sums>,
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
        if let Before::Gelu = self.before {
            // Places in a panel are alike, so all panels are one row.
            let all = columns.div_ceil(width) * depth * width;
            let (from, place) = ((to.as_ptr(), all), (to.as_mut_ptr(), all));
            // SAFETY: the panels have that many floats.
            return unsafe { self.before.prepare(isa, from, 0..1, 0..all, place) };
        }
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
    let mut lines = buffer::take(batch.div_ceil(DEPTH) * outputs);
    lines.fill(0.0);
    let sums = Some(Sums { to: Shared::new(&mut lines), columns: outputs });
    let sums = sums.filter(|_| dbias.is_some());
    let x = Tall { data: x, rows: batch, columns: inputs, before, sums: None };
    let dy = Tall { data: dy, rows: batch, columns: outputs, before: Before::Nothing, sums };
    if batch == 0 || dweight.is_empty() {
        dweight.fill(0.0);
        sums_without_product(isa, dy);
    } else if outputs >= inputs {
        product(isa, dy, x, dweight);
    } else {
        let mut turned = buffer::take(dweight.len());
        product(isa, x, dy, &mut turned);
        transpose(isa, &turned, inputs, outputs, dweight);
    }
    if let Some(dbias) = dbias {
        let mut totals = vec![0.0f64; outputs];
        for line in lines.chunks_exact(outputs.max(1)) {
            totals.iter_mut().zip(line).for_each(|(total, sum)| *total += f64::from(*sum));
        }
        dbias.iter_mut().zip(totals).for_each(|(to, total)| *to = total as f32);
    }
}

/// Takes the sums of a matrix whose product has no element.
fn sums_without_product(isa: Isa, matrix: Tall<'_>) {
    if matrix.rows * matrix.columns > 0 {
        packed(isa, matrix);
    }
}

/// The sums of the columns of a matrix, a line for each slice of [`DEPTH`] rows.
#[derive(Clone, Copy)]
struct Sums {
    to: Shared,
    columns: usize,
}

impl Sums {
    /// Writes the sums of the columns from `first` on of a packed slice with the number `slice`.
    ///
    /// # Safety
    ///
    /// Each column of a slice must be summed by one task.
    unsafe fn of_panels(
        self,
        isa: Isa,
        slice: usize,
        [first, count]: [usize; 2],
        panels: &[f32],
        width: usize,
    ) {
        let depth = panels.len() / count.next_multiple_of(width);
        for (index, panel) in panels.chunks_exact(depth * width).enumerate() {
            let columns = width.min(count - index * width);
            let place = slice * self.columns + first + index * width;
            // SAFETY: the line has the columns, which are this task's.
            unsafe { isa.run(PanelSums { panel, width, columns, to: self.to.at(place) }) };
        }
    }
}

/// The sums of the columns of a panel.
struct PanelSums<'a> {
    panel: &'a [f32],
    width: usize,
    columns: usize,
    to: *mut f32,
}

impl Kernel for PanelSums<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (rows, panel) = (self.panel.len() / self.width, self.panel.as_ptr());
        // SAFETY: the panel has `rows` lines, and `to` has room for its columns.
        unsafe {
            each_vector!(self.columns, |at, count| {
                // Four sums, because an addition takes four times as long as its turn.
                let mut sums = [S::splat(0.0); 4];
                let mut row = 0;
                while row + 4 <= rows {
                    for (next, sum) in sums.iter_mut().enumerate() {
                        let from = panel.add((row + next) * self.width + at);
                        *sum = S::add(*sum, load::<S>(from, count));
                    }
                    row += 4;
                }
                while row < rows {
                    let from = panel.add(row * self.width + at);
                    sums[0] = S::add(sums[0], load::<S>(from, count));
                    row += 1;
                }
                let sum = S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3]));
                store::<S>(self.to.add(at), sum, count);
            });
        }
    }
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
        if let Some(sums) = matrix.sums {
            // SAFETY: each task has its own slice.
            unsafe { sums.of_panels(isa, task, [0, matrix.columns], to, width) };
        }
    });
    packed
}

/// Writes `leftᵀ · right`.
fn product(isa: Isa, left: Tall<'_>, right: Tall<'_>, to: &mut [f32]) {
    let (width, slab) = (isa.tile_columns(), isa.tile_rows());
    let room = right.columns.next_multiple_of(width);
    let packed = packed(isa, right);
    let piece = right.columns.min(PIECE).next_multiple_of(width);
    let pieces = right.columns.div_ceil(piece);
    let rows = (left.columns * pieces / 8).next_multiple_of(4 * slab);
    let rows = rows.clamp(4 * slab, 16 * slab);
    let out = Shared::new(to);
    parallel_for(left.columns.div_ceil(rows) * pieces, |task| {
        let (i, j) = (task / pieces * rows, task % pieces * piece);
        let rows = rows.min(left.columns - i);
        buffer::with_scratch(rows.next_multiple_of(slab) * DEPTH.min(left.rows), |scratch| {
            for start in (0..left.rows).step_by(DEPTH) {
                let depth = DEPTH.min(left.rows - start);
                left.pack(isa, start, depth, [i, rows], slab, scratch);
                if let Some(sums) = left.sums.filter(|_| j == 0) {
                    let slabs = &scratch[..rows.next_multiple_of(slab) * depth];
                    // SAFETY: of the tasks with these rows, one has the first columns.
                    unsafe { sums.of_panels(isa, start / DEPTH, [i, rows], slabs, slab) };
                }
                let block = Block {
                    rows,
                    columns: piece.min(right.columns - j),
                    depth,
                    a: scratch.as_ptr(),
                    a_row: 1,
                    a_column: slab,
                    b: packed[start * room + j * depth..].as_ptr(),
                    b_panel: depth * width,
                    // SAFETY: each task has its own rectangle of the result.
                    c: unsafe { out.at(i * right.columns + j) },
                    c_row: right.columns,
                    accumulate: start > 0,
                };
                // SAFETY: the slabs and the panels were just filled; the result is as above.
                unsafe { isa.run(SlabsBlock { block }) };
            }
        });
    });
}
