//! Matrix products: a register tile, a block over packed panels, and the parallel product.
//!
//! The right matrix is packed into panels of one tile width, the left one is read where it lies
//! with any strides (Goto and van de Geijn 2008, "Anatomy of high-performance matrix
//! multiplication", less its packing of the left side). A sum over the inner index is taken in
//! slices of [`DEPTH`], in order, so it does not depend on threads.

use super::buffer::{self, Buffer};
use super::pack::{self, Matrix};
use super::pool::{Shared, parallel_for};
use super::simd::{Isa, Kernel, Simd, tile_columns};

/// The number of inner indices of one pass: a panel of this depth and 16 columns fills half of a 32 KiB L1.
pub const DEPTH: usize = 256;

/// A single-threaded product `C (+)= A · B` over packed panels of `B`.
pub struct Block {
    /// The rows of `A` and `C`.
    pub rows: usize,
    /// The columns of `B` and `C`.
    pub columns: usize,
    /// The columns of `A` and rows of `B`.
    pub depth: usize,
    /// The matrix `A`, whose element `(i, p)` is at `i · a_row + p · a_column`.
    pub a: *const f32,
    /// The stride of the rows of `a`.
    pub a_row: usize,
    /// The stride of the columns of `a`.
    pub a_column: usize,
    /// The panels of `B`, whose column `j`, row `p` is at `(j / width) · b_panel + p · width + j % width`.
    pub b: *const f32,
    /// The stride of the panels of `b`.
    pub b_panel: usize,
    /// The matrix `C`, whose element `(i, j)` is at `i · c_row + j`.
    pub c: *mut f32,
    /// The stride of the rows of `c`.
    pub c_row: usize,
    /// Whether to add to `C` or to replace it.
    pub accumulate: bool,
}

impl Kernel for Block {
    type Output = ();
    /// Bounds: `a`, `b` and `c` must be valid for the shapes above; panels are full width.
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: handed on to the caller.
        unsafe {
            let a_tile = S::TILE_ROWS * self.a_row;
            let (b_row, run) = (tile_columns::<S>(), self.depth);
            self.panels::<S>(Lie { a_tile, b_row, run, next_run: 0 })
        }
    }
}

/// A [`Block`] whose left matrix lies in slabs of one tile's rows, as [`pack::columns`] makes them of its
/// transpose: a tile reads one run of memory.
pub struct SlabsBlock {
    /// The product; its `a_row` and `a_column` have no meaning.
    pub block: Block,
}

impl Kernel for SlabsBlock {
    type Output = ();
    /// Bounds: as [`Block`]; `a` must be valid for whole slabs.
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let block = Block { a_row: 1, a_column: S::TILE_ROWS, ..self.block };
        let (a_tile, b_row) = (S::TILE_ROWS * block.depth, tile_columns::<S>());
        // SAFETY: handed on to the caller.
        unsafe { block.panels::<S>(Lie { a_tile, b_row, run: block.depth, next_run: 0 }) }
    }
}

/// A [`Block`] whose right matrix lies in rows, not in panels.
pub struct RowsBlock {
    /// The product; its `b` is the first element of `B`, and its `b_panel` has no meaning.
    pub block: Block,
    /// The number of floats from a row of `B` to the next, at least the columns filled up to whole panels.
    pub b_row: usize,
}

impl Kernel for RowsBlock {
    type Output = ();
    /// Bounds: as [`Block`]; `b` must be valid for `depth` rows of `b_row` floats.
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: handed on to the caller.
        unsafe {
            let block = Block { b_panel: tile_columns::<S>(), ..self.block };
            let (a_tile, b_row, run) = (S::TILE_ROWS * block.a_row, self.b_row, block.depth);
            block.panels::<S>(Lie { a_tile, b_row, run, next_run: 0 });
        }
    }
}

/// A [`Block`] whose inner index is divided into runs: within a run the columns of `A` are `a_column` apart,
/// and the runs begin `next_run` floats apart.
pub struct RunsBlock {
    /// The product; `b_panel` is the number of floats from one panel of `B` to the next.
    pub block: Block,
    /// The number of floats from a row of `B` to the next.
    pub b_row: usize,
    /// The inner indices of a run, a divisor of the depth.
    pub run: usize,
    /// The number of floats from the beginning of a run to the next.
    pub next_run: usize,
}

impl Kernel for RunsBlock {
    type Output = ();
    /// Bounds: as [`Block`], with the strides above; of the last panel only the vectors that have columns are
    /// read.
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { block, b_row, run, next_run } = self;
        let a_tile = S::TILE_ROWS * block.a_row;
        // SAFETY: handed on to the caller.
        unsafe { block.panels::<S>(Lie { a_tile, b_row, run, next_run }) }
    }
}

/// How the operands of a block lie, besides its strides.
#[derive(Clone, Copy)]
struct Lie {
    /// The number of floats from a tile of `A` to the tile below it.
    a_tile: usize,
    b_row: usize,
    run: usize,
    next_run: usize,
}

impl Block {
    #[inline(always)]
    unsafe fn panels<S: Simd>(&self, lie: Lie) {
        let width = tile_columns::<S>();
        for panel in 0..self.columns.div_ceil(width) {
            let columns = (self.columns - panel * width).min(width);
            // A narrow panel at the right border takes a narrow tile.
            let vectors = columns.div_ceil(S::LANES);
            // SAFETY: handed on to the caller.
            unsafe {
                match (S::TILE_VECTORS, vectors) {
                    (2, 1) => self.tiles::<S, 1>(panel, columns, lie),
                    (2, _) | (4, 1 | 2) => self.tiles::<S, 2>(panel, columns, lie),
                    (4, _) => self.tiles::<S, 4>(panel, columns, lie),
                    _ => unreachable!("the sets have two or four vectors across a tile"),
                }
            }
        }
    }

    /// The tiles of a panel, of which the first `V` vectors are in use.
    #[inline(always)]
    unsafe fn tiles<S: Simd, const V: usize>(&self, panel: usize, columns: usize, lie: Lie) {
        let width = tile_columns::<S>();
        let mut row = 0;
        while row < self.rows {
            let rows = (self.rows - row).min(S::TILE_ROWS);
            // SAFETY: `row` and `panel` are inside the matrices of this block.
            unsafe {
                let tile = Tile {
                    depth: self.depth,
                    a: self.a.add(row / S::TILE_ROWS * lie.a_tile),
                    a_row: self.a_row,
                    a_column: self.a_column,
                    b: self.b.add(panel * self.b_panel),
                    lie,
                    c: self.c.add(row * self.c_row + panel * width),
                    c_row: self.c_row,
                    columns,
                    accumulate: self.accumulate,
                };
                match rows {
                    1 => tile.run::<S, 1, V>(),
                    2 => tile.run::<S, 2, V>(),
                    3 => tile.run::<S, 3, V>(),
                    4 => tile.run::<S, 4, V>(),
                    5 if S::TILE_ROWS >= 5 => tile.run::<S, 5, V>(),
                    6 if S::TILE_ROWS >= 6 => tile.run::<S, 6, V>(),
                    7 if S::TILE_ROWS >= 7 => tile.run::<S, 7, V>(),
                    8 if S::TILE_ROWS >= 8 => tile.run::<S, 8, V>(),
                    9 if S::TILE_ROWS >= 9 => tile.run::<S, 9, V>(),
                    10 if S::TILE_ROWS >= 10 => tile.run::<S, 10, V>(),
                    11 if S::TILE_ROWS >= 11 => tile.run::<S, 11, V>(),
                    12 if S::TILE_ROWS >= 12 => tile.run::<S, 12, V>(),
                    _ => unreachable!("a tile has at most twelve rows"),
                }
            }
            row += rows;
        }
    }
}

struct Tile {
    depth: usize,
    a: *const f32,
    a_row: usize,
    a_column: usize,
    b: *const f32,
    lie: Lie,
    c: *mut f32,
    c_row: usize,
    columns: usize,
    accumulate: bool,
}

impl Tile {
    /// `ROWS × (VECTORS · LANES)` sums in registers over the whole depth.
    #[inline(always)]
    unsafe fn run<S: Simd, const ROWS: usize, const VECTORS: usize>(self) {
        // SAFETY: the block's bounds; partial columns go through partial loads and stores.
        unsafe {
            let mut sums = [[S::splat(0.0); VECTORS]; ROWS];
            // The result is needed only after the whole depth: time enough to fetch it.
            for i in 0..ROWS {
                for v in 0..VECTORS {
                    S::prefetch(self.c.wrapping_add(i * self.c_row + v * S::LANES));
                }
            }
            // A pointer a row and one offset for all: a chain of additions from row to row would
            // take as long as the products.
            let rows: [*const f32; ROWS] =
                std::array::from_fn(|i| self.a.wrapping_add(i * self.a_row));
            let (mut start, mut b) = (0, self.b);
            for _ in 0..self.depth.checked_div(self.lie.run).unwrap_or(0) {
                let mut offset = start;
                for _ in 0..self.lie.run {
                    let mut right = [S::splat(0.0); VECTORS];
                    for (v, right) in right.iter_mut().enumerate() {
                        *right = S::load(b.add(v * S::LANES));
                    }
                    for (row, sums) in rows.iter().zip(&mut sums) {
                        let left = S::splat(*row.add(offset));
                        for (sum, right) in sums.iter_mut().zip(right) {
                            *sum = S::fma(left, right, *sum);
                        }
                    }
                    offset += self.a_column;
                    // Behind the last row there may be no further one.
                    b = b.wrapping_add(self.lie.b_row);
                }
                start += self.lie.next_run;
            }
            if self.columns < VECTORS * S::LANES {
                for (i, sums) in sums.into_iter().enumerate() {
                    for (v, sum) in sums.into_iter().enumerate() {
                        let count = self.columns.saturating_sub(v * S::LANES).min(S::LANES);
                        let c = self.c.wrapping_add(i * self.c_row + v * S::LANES);
                        let sum = match self.accumulate {
                            true => S::add(S::load_partial(c, count), sum),
                            false => sum,
                        };
                        S::store_partial(c, sum, count);
                    }
                }
                return;
            }
            // Loops that unroll: any index known only later would send the sums through memory.
            if self.accumulate {
                for (i, sums) in sums.into_iter().enumerate() {
                    for (v, sum) in sums.into_iter().enumerate() {
                        let c = self.c.add(i * self.c_row + v * S::LANES);
                        S::store(c, S::add(S::load(c), sum));
                    }
                }
            } else {
                for (i, sums) in sums.into_iter().enumerate() {
                    for (v, sum) in sums.into_iter().enumerate() {
                        S::store(self.c.add(i * self.c_row + v * S::LANES), sum);
                    }
                }
            }
        }
    }
}

/// Returns how many rows of the left matrix are packed together when it is not read in place: four tiles.
pub fn slab_rows(isa: Isa) -> usize {
    4 * isa.tile_rows()
}

/// Computes `c (+)= a · b` on all threads; `c` is row-major and dense.
///
/// # Panics
///
/// If the shapes do not fit each other or the slices.
pub fn product(isa: Isa, a: Matrix<'_>, b: Matrix<'_>, c: &mut [f32], accumulate: bool) {
    let (rows, depth, columns) = (a.rows, a.columns, b.columns);
    assert_eq!(depth, b.rows, "inner sizes of a matrix product");
    assert_eq!(c.len(), rows * columns, "size of the result of a matrix product");
    a.check();
    b.check();
    if depth == 0 && !accumulate {
        c.fill(0.0);
    }
    if rows == 0 || columns == 0 || depth == 0 {
        return;
    }
    let width = isa.tile_columns();
    let (row_block, column_block) = blocks(rows, columns, isa.tile_rows(), width);
    let (row_tasks, column_tasks) = (rows.div_ceil(row_block), columns.div_ceil(column_block));
    // Packed once if several tasks read the same columns.
    let packed = (row_tasks > 1).then(|| pack_right(b, width));
    let out = Shared::new(c);
    parallel_for(row_tasks * column_tasks, |task| {
        let (i, j) = (task / column_tasks * row_block, task % column_tasks * column_block);
        let a = a.part(i, row_block.min(rows - i), 0, depth);
        let right = Right {
            matrix: b.part(0, depth, j, column_block.min(columns - j)),
            packed: packed.as_deref(),
            first: j,
            room: columns.next_multiple_of(width),
        };
        // SAFETY: tasks write disjoint rectangles of `c`.
        unsafe { rectangle(isa, a, right, out.at(i * columns + j), columns, accumulate) }
    });
}

/// The columns of the right matrix that a task reads.
struct Right<'a> {
    matrix: Matrix<'a>,
    /// The whole right matrix as [`pack_right`] packs it; `None` if this task has to pack its part.
    packed: Option<&'a [f32]>,
    /// The first of the columns.
    first: usize,
    /// The columns of all panels.
    room: usize,
}

/// Packs the right matrix into slices of [`DEPTH`] rows, each in panels.
pub fn pack_right(b: Matrix<'_>, width: usize) -> Buffer {
    /// Panels of a task.
    const TOGETHER: usize = 4;
    let room = b.columns.next_multiple_of(width);
    let mut packed = buffer::take(b.rows * room);
    let out = Shared::new(&mut packed);
    let pieces = b.columns.div_ceil(TOGETHER * width);
    parallel_for(pieces * b.rows.div_ceil(DEPTH), |task| {
        let (start, j) = (task / pieces * DEPTH, task % pieces * TOGETHER * width);
        let depth = DEPTH.min(b.rows - start);
        let columns = (TOGETHER * width).min(b.columns - j);
        let size = columns.next_multiple_of(width) * depth;
        // SAFETY: each task has its own panels of its own slice.
        let to = unsafe { out.slice(start * room + j * depth, size) };
        pack::columns(b.part(start, depth, j, columns), width, to);
    });
    packed
}

/// Returns the size of the rectangle of the result that a task computes, by shape alone. Packing the right
/// side costs once a task, so tasks have many rows as long as there are at least eight tasks.
fn blocks(rows: usize, columns: usize, tile_rows: usize, width: usize) -> (usize, usize) {
    let mut column_block = columns.min(256).next_multiple_of(width);
    let row_limit = rows.min(768).next_multiple_of(tile_rows);
    let mut row_block = row_limit;
    while rows.div_ceil(row_block) * columns.div_ceil(column_block) < 8 {
        if row_block >= 8 * tile_rows && row_block >= column_block {
            row_block = (row_block / 2).next_multiple_of(tile_rows);
        } else if column_block >= 2 * width {
            column_block = (column_block / 2).next_multiple_of(width);
        } else {
            break;
        }
    }
    (row_block, column_block)
}

/// Computes the product of a task: a rectangle of the result, whose first element is at `c`.
///
/// # Safety
///
/// The rectangle must be inside the result, and no other task may use it.
unsafe fn rectangle(
    isa: Isa,
    a: Matrix<'_>,
    right: Right<'_>,
    c: *mut f32,
    c_row: usize,
    accumulate: bool,
) {
    let (b, width) = (right.matrix, isa.tile_columns());
    let slab = slab_rows(isa);
    let depth = DEPTH.min(a.columns);
    let pack_left = a.column_stride != 1;
    let panels = match right.packed {
        Some(_) => 0,
        None => b.columns.next_multiple_of(width) * depth,
    };
    let left = if pack_left { a.rows.next_multiple_of(slab) * depth } else { 0 };
    buffer::with_scratch(panels + left, |scratch| {
        let (panels, left) = scratch.split_at_mut(panels);
        let mut start = 0;
        while start < a.columns {
            let depth = DEPTH.min(a.columns - start);
            let panels = match right.packed {
                Some(packed) => &packed[start * right.room + right.first * depth..],
                None => {
                    pack::columns(b.part(start, depth, 0, b.columns), width, panels);
                    &*panels
                }
            };
            let block = Block {
                rows: a.rows,
                columns: b.columns,
                depth,
                a: a.pointer(0, start),
                a_row: a.row_stride,
                a_column: a.column_stride,
                b: panels.as_ptr(),
                b_panel: depth * width,
                c,
                c_row,
                accumulate: accumulate || start > 0,
            };
            if pack_left {
                pack::columns(a.part(0, a.rows, start, depth).transposed(), slab, left);
                // SAFETY: the caller's bounds; the slabs and the panels were just filled.
                unsafe { run_slabs(isa, &block, left, slab) };
            } else {
                // SAFETY: as above, with `a` read in place, inside its checked bounds.
                unsafe { isa.run(block) };
            }
            start += depth;
        }
    });
}

/// Runs a block whose left side is packed into slabs of `slab` rows.
///
/// # Safety
///
/// As [`Block`], but for its `a`.
unsafe fn run_slabs(isa: Isa, block: &Block, left: &[f32], slab: usize) {
    for row in (0..block.rows).step_by(slab) {
        // SAFETY: the caller's bounds; the rows from `row` on are inside the block.
        unsafe {
            isa.run(Block {
                rows: slab.min(block.rows - row),
                a: left[row * block.depth..].as_ptr(),
                a_row: 1,
                a_column: slab,
                c: block.c.add(row * block.c_row),
                ..*block
            });
        }
    }
}
