//! Products of many rows with one weight, with what stands before and after them in a transformer: the rows
//! are normalised or go through a GELU as they are read, and the result gets its bias, its residual, or the
//! derivative of what stood before, while it lies in the cache. So none of these steps passes through memory
//! on its own, and the values between them are stored nowhere.
//!
//! A task has a block of rows and all columns. The weight is packed once a call.

use super::buffer;
use super::gelu;
use super::gemm::{Block, DEPTH, pack_right};
use super::layer_norm::{Gradient, Norm, Normalise, sums_of_blocks};
use super::linear::Linear;
use super::norm::{load, store};
use super::pack::Matrix;
use super::pool::{Shared, parallel_for};
use super::simd::{Isa, Kernel, Simd};
use super::transcendental::each_vector;

/// What happens to a matrix before it is multiplied.
#[derive(Clone, Copy)]
pub enum Before<'a> {
    /// The matrix is taken as it is.
    Nothing,
    /// Each element goes through a GELU.
    Gelu,
    /// Each row is normalised.
    Norm(Norm<'a>),
}

impl Before<'_> {
    /// Prepares a rectangle, whose first element is at `from`, and writes it to `to`, or over itself.
    ///
    /// # Safety
    ///
    /// The pointers must be valid for `rows × columns` elements with their strides.
    pub unsafe fn prepare(
        self,
        isa: Isa,
        (from, from_row): (*const f32, usize),
        rows: std::ops::Range<usize>,
        columns: std::ops::Range<usize>,
        (to, to_row): (*mut f32, usize),
    ) {
        // SAFETY: the caller's bounds.
        unsafe {
            match self {
                Before::Nothing => {}
                Before::Gelu => {
                    let (rows, columns) = (rows.len(), columns.len());
                    isa.run(GeluOf { from, from_row, rows, columns, to, to_row });
                }
                Before::Norm(norm) => {
                    isa.run(Normalise { norm, x: from, x_row: from_row, rows, columns, to, to_row })
                }
            }
        }
    }
}

/// The GELU of a rectangle. It may be written in place.
struct GeluOf {
    from: *const f32,
    from_row: usize,
    rows: usize,
    columns: usize,
    to: *mut f32,
    to_row: usize,
}

impl Kernel for GeluOf {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for row in 0..self.rows {
            // SAFETY: the caller's bounds.
            unsafe {
                let (from, to) =
                    (self.from.add(row * self.from_row), self.to.add(row * self.to_row));
                each_vector!(self.columns, |at, count| {
                    store::<S>(to.add(at), gelu::value::<S>(load::<S>(from.add(at), count)), count);
                });
            }
        }
    }
}

/// The division of rows into tasks, by shape alone. A task has whole tiles: enough rows that the weight is
/// read seldom. There are a multiple of eight tasks of nearly the same size, so that a few threads end
/// together.
struct Tasks {
    rows: usize,
    tile: usize,
    count: usize,
}

impl Tasks {
    fn of(rows: usize, tile: usize) -> Self {
        /// About as many rows as a task has, if there are many.
        const TOGETHER: usize = 96;
        const THREADS: usize = 8;
        let count = (rows / TOGETHER).next_multiple_of(THREADS).max(THREADS);
        Self { rows, tile, count: count.min(rows.div_ceil(tile)) }
    }

    /// Returns the rows of a task.
    fn rows(&self, task: usize) -> std::ops::Range<usize> {
        let tiles = self.rows.div_ceil(self.tile);
        let first = |task: usize| self.rows.min(task * tiles / self.count * self.tile);
        first(task)..first(task + 1)
    }
}

/// A product of rows, and where its result goes.
struct Rows<'a> {
    isa: Isa,
    left: Matrix<'a>,
    before: Before<'a>,
    /// The other matrix, `[left.columns, columns]`, packed.
    right: &'a [f32],
    columns: usize,
}

impl Rows<'_> {
    /// Writes the products of some rows to `to`, whose rows lie one after the other.
    ///
    /// # Safety
    ///
    /// `to` must be valid for these rows, `scratch` hold [`Rows::scratch`] floats for them.
    unsafe fn product(&self, rows: std::ops::Range<usize>, scratch: &mut [f32], to: *mut f32) {
        let (depth, width) = (self.left.columns, self.isa.tile_columns());
        let room = self.columns.next_multiple_of(width);
        for start in (0..depth).step_by(DEPTH) {
            let slice = DEPTH.min(depth - start);
            let place = self.left.pointer(rows.start, start);
            let (a, a_row) = match self.before {
                Before::Nothing => (place, self.left.row_stride),
                before => {
                    let prepared = (scratch.as_mut_ptr(), slice);
                    let columns = start..start + slice;
                    let from = (place, self.left.row_stride);
                    // SAFETY: the rows are in the left matrix; the scratch has a slice of each.
                    unsafe { before.prepare(self.isa, from, rows.clone(), columns, prepared) };
                    (scratch.as_ptr(), slice)
                }
            };
            let block = Block {
                rows: rows.len(),
                columns: self.columns,
                depth: slice,
                a,
                a_row,
                a_column: 1,
                b: self.right[start * room..].as_ptr(),
                b_panel: slice * width,
                c: to,
                c_row: self.columns,
                accumulate: start > 0,
            };
            // SAFETY: the matrices were checked, and the result is the caller's.
            unsafe { self.isa.run(block) };
        }
    }

    /// Returns the floats that the preparation of `rows` rows needs.
    fn scratch(&self, rows: usize) -> usize {
        match self.before {
            Before::Nothing => 0,
            _ => rows * DEPTH.min(self.left.columns),
        }
    }
}

/// What is added to the result of a linear layer.
#[derive(Clone, Copy)]
pub struct Added<'a> {
    /// One number for each column.
    pub bias: Option<&'a [f32]>,
    /// One number for each element.
    pub residual: Option<&'a [f32]>,
}

/// Writes `before(x) · Wᵀ + bias + residual` to `y`.
pub fn forward(
    isa: Isa,
    sizes: Linear,
    x: &[f32],
    before: Before<'_>,
    weight: &[f32],
    added: Added<'_>,
    y: &mut [f32],
) {
    let Linear { batch, inputs, outputs } = sizes;
    assert_eq!(x.len(), batch * inputs, "{sizes:?}: floats of the input");
    assert_eq!(weight.len(), outputs * inputs, "{sizes:?}: floats of the weight");
    assert_eq!(y.len(), batch * outputs, "{sizes:?}: floats of the output");
    assert!(added.bias.is_none_or(|bias| bias.len() == outputs), "{sizes:?}: floats of the bias");
    assert!(added.residual.is_none_or(|r| r.len() == y.len()), "{sizes:?}: floats of the residual");
    check_before(before, batch, inputs);
    if y.is_empty() {
        return;
    }
    if inputs == 0 {
        y.fill(0.0);
    }
    let left = Matrix::row_major(x, batch, inputs);
    let weight = Matrix::row_major(weight, outputs, inputs).transposed();
    let packed = pack_right(weight, isa.tile_columns());
    let rows = Rows { isa, left, before, right: &packed, columns: outputs };
    let (tasks, out) = (Tasks::of(batch, isa.tile_rows()), Shared::new(y));
    parallel_for(tasks.count, |task| {
        let of = tasks.rows(task);
        // SAFETY: each task has its own rows of the output.
        unsafe {
            let to = out.at(of.start * outputs);
            buffer::with_scratch(rows.scratch(of.len()), |scratch| {
                rows.product(of.clone(), scratch, to);
            });
            isa.run(Add { added, first: of.start, rows: of.len(), columns: outputs, to });
        }
    });
}

fn check_before(before: Before<'_>, rows: usize, columns: usize) {
    if let Before::Norm(norm) = before {
        norm.check();
        assert!(
            norm.of.mean.len() == rows && norm.gamma.len() == columns,
            "statistics of the rows"
        );
    }
}

/// Adds bias and residual to some rows.
struct Add<'a> {
    added: Added<'a>,
    first: usize,
    rows: usize,
    columns: usize,
    to: *mut f32,
}

impl Kernel for Add<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the sizes were checked against the output.
        unsafe {
            match (self.added.bias, self.added.residual) {
                (None, None) => {}
                (Some(bias), None) => self.each::<S, true, false>(bias, bias.as_ptr()),
                (None, Some(residual)) => self.each::<S, false, true>(&[], residual.as_ptr()),
                (Some(bias), Some(residual)) => {
                    self.each::<S, true, true>(bias, residual.as_ptr());
                }
            }
        }
    }
}

impl Add<'_> {
    #[inline(always)]
    unsafe fn each<S: Simd, const BIAS: bool, const RESIDUAL: bool>(
        &self,
        bias: &[f32],
        residual: *const f32,
    ) {
        for row in 0..self.rows {
            // SAFETY: the caller's bounds; without a residual its pointer is not read.
            unsafe {
                let to = self.to.add(row * self.columns);
                let residual = residual.wrapping_add((self.first + row) * self.columns);
                each_vector!(self.columns, |at, count| {
                    let mut value = load::<S>(to.add(at), count);
                    if BIAS {
                        value = S::add(value, load::<S>(bias.as_ptr().add(at), count));
                    }
                    if RESIDUAL {
                        value = S::add(value, load::<S>(residual.add(at), count));
                    }
                    store::<S>(to.add(at), value, count);
                });
            }
        }
    }
}

/// Writes `(dy · W) ∘ GELU'(x)` to `dx`, the gradient with respect to the `x` that a GELU stood before; without
/// `x` the gradient with respect to the product's own input.
pub fn input_gradient(
    isa: Isa,
    sizes: Linear,
    dy: &[f32],
    weight: &[f32],
    x: Option<&[f32]>,
    dx: &mut [f32],
) {
    let Linear { batch, inputs, outputs } = sizes;
    assert_eq!(dx.len(), batch * inputs, "{sizes:?}: floats of the gradient");
    assert!(x.is_none_or(|x| x.len() == dx.len()), "{sizes:?}: floats of the input");
    if dx.is_empty() || outputs == 0 {
        return dx.fill(0.0);
    }
    let packed = packed_weight(isa, sizes, dy, weight);
    let left = Matrix::row_major(dy, batch, outputs);
    let rows = Rows { isa, left, before: Before::Nothing, right: &packed, columns: inputs };
    let (tasks, out) = (Tasks::of(batch, isa.tile_rows()), Shared::new(dx));
    parallel_for(tasks.count, |task| {
        let of = tasks.rows(task);
        // SAFETY: each task has its own rows of the gradient; those of `x` are as many.
        unsafe {
            let to = out.at(of.start * inputs);
            rows.product(of.clone(), &mut [], to);
            if let Some(x) = x {
                let x = &x[of.start * inputs..of.end * inputs];
                isa.run(Derive { x, to });
            }
        }
    });
}

fn packed_weight(isa: Isa, sizes: Linear, dy: &[f32], weight: &[f32]) -> buffer::Buffer {
    let Linear { batch, inputs, outputs } = sizes;
    assert_eq!(dy.len(), batch * outputs, "{sizes:?}: floats of the output's gradient");
    assert_eq!(weight.len(), outputs * inputs, "{sizes:?}: floats of the weight");
    pack_right(Matrix::row_major(weight, outputs, inputs), isa.tile_columns())
}

/// Multiplies by the derivative of the GELU at `x`.
struct Derive<'a> {
    x: &'a [f32],
    to: *mut f32,
}

impl Kernel for Derive<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let x = self.x.as_ptr();
        // SAFETY: `to` is as long as `x`.
        unsafe {
            each_vector!(self.x.len(), |at, count| {
                let slope = gelu::derivative::<S>(load::<S>(x.add(at), count));
                let value = S::mul(load::<S>(self.to.add(at), count), slope);
                store::<S>(self.to.add(at), value, count);
            });
        }
    }
}

/// Writes the gradient with respect to the rows `x` that were normalised before the product to `dx`, or adds
/// it there. Returns the gradients of γ and β.
#[allow(clippy::too_many_arguments, reason = "two operations at once have this many terms")]
pub fn normed_input_gradient(
    isa: Isa,
    sizes: Linear,
    x: &[f32],
    norm: Norm<'_>,
    dy: &[f32],
    weight: &[f32],
    dx: &mut [f32],
    accumulate: bool,
) -> [Vec<f32>; 2] {
    let Linear { batch, inputs, outputs } = sizes;
    assert!(x.len() == batch * inputs && dx.len() == x.len(), "{sizes:?}: floats of the rows");
    check_before(Before::Norm(norm), batch, inputs);
    if dx.is_empty() {
        return [vec![0.0; inputs], vec![0.0; inputs]];
    }
    let packed = packed_weight(isa, sizes, dy, weight);
    let left = Matrix::row_major(dy, batch, outputs);
    let rows = Rows { isa, left, before: Before::Nothing, right: &packed, columns: inputs };
    let tasks = Tasks::of(batch, isa.tile_rows());
    let mut sums = buffer::take(tasks.count * 2 * inputs);
    let (out, factors) = (Shared::new(dx), Shared::new(&mut sums));
    parallel_for(tasks.count, |task| {
        let of = tasks.rows(task);
        buffer::with_scratch(of.len() * inputs, |scratch| {
            if outputs == 0 {
                scratch.fill(0.0);
            }
            // SAFETY: each task has its own rows and its own sums; those of `x` are as many.
            unsafe {
                rows.product(of.clone(), &mut [], scratch.as_mut_ptr());
                let factors = factors.slice(task * 2 * inputs, 2 * inputs);
                factors.fill(0.0);
                isa.run(Gradient {
                    norm,
                    rows: of.clone(),
                    x: x.as_ptr().add(of.start * inputs),
                    dy: scratch.as_ptr(),
                    dx: out.at(of.start * inputs),
                    accumulate,
                    factors,
                });
            }
        });
    });
    sums_of_blocks(&sums, inputs)
}
