//! Attention, `softmax(q·kᵀ/√d)·v` for each image and head (Vaswani et al. 2017, arXiv:1706.03762), without a
//! matrix of tokens² in memory (Dao et al. 2022, arXiv:2205.14135).
//!
//! A task has one head of one image, and goes over its queries a panel at a time: as many as a register tile
//! is wide. The logits of a panel are a strip `[tokens, panel]` that stays in the cache; its lanes are
//! queries, so the softmax needs no sums across lanes. What is kept for the backward pass is the logarithm of
//! the sum of exponentials of each row, from which a strip is computed again. With P the probabilities,
//!
//! ```text
//! dV = Pᵀ·dO    dP = dO·Vᵀ    dS = P ∘ (dP − Σₖ P∘dP)/√d    dQ = dS·K    dK = dSᵀ·Q
//! ```
//!
//! Query, key and value are read where the fused linear layer put them, and the gradients are written there.

use super::buffer;
use super::gemm::Block;
use super::pack::{self, Matrix};
use super::pool::{Shared, parallel_for};
use super::simd::{Isa, Kernel, Simd};
use super::transcendental::exp;

/// The sizes of an attention. A row of `qkv` has `3 · heads · size` floats: all queries, keys and values.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// The number of images.
    pub images: usize,
    /// The tokens of an image.
    pub tokens: usize,
    /// The number of heads.
    pub heads: usize,
    /// The length of a query.
    pub size: usize,
}

impl Attention {
    /// Returns the floats of a token of the output.
    pub fn width(&self) -> usize {
        self.heads * self.size
    }

    /// Returns the floats of the output.
    pub fn output_size(&self) -> usize {
        self.images * self.tokens * self.width()
    }

    /// Returns the number of rows of all softmaxes.
    pub fn rows(&self) -> usize {
        self.images * self.heads * self.tokens
    }

    fn scale(&self) -> f32 {
        (1.0 / (self.size as f64).sqrt()) as f32
    }

    fn is_empty(&self) -> bool {
        self.output_size() == 0
    }
}

/// One head of one image.
struct Head<'a> {
    isa: Isa,
    sizes: Attention,
    /// Query, key and value, `[tokens, size]` each.
    parts: [Matrix<'a>; 3],
}

/// A product of a task, whose right side is packed.
struct Product {
    rows: usize,
    columns: usize,
    depth: usize,
    /// The left side, and the strides of its rows and columns.
    left: (*const f32, usize, usize),
    right: *const f32,
    /// The result, and the stride of its rows.
    to: (*mut f32, usize),
    accumulate: bool,
}

impl Product {
    /// # Safety
    ///
    /// As [`Block`].
    unsafe fn run(self, isa: Isa) {
        let (a, a_row, a_column) = self.left;
        // SAFETY: the caller's bounds.
        unsafe {
            isa.run(Block {
                rows: self.rows,
                columns: self.columns,
                depth: self.depth,
                a,
                a_row,
                a_column,
                b: self.right,
                b_panel: self.depth * isa.tile_columns(),
                c: self.to.0,
                c_row: self.to.1,
                accumulate: self.accumulate,
            });
        }
    }
}

fn in_place(matrix: Matrix<'_>) -> (*const f32, usize, usize) {
    (matrix.pointer(0, 0), matrix.row_stride, matrix.column_stride)
}

impl<'a> Head<'a> {
    fn new(isa: Isa, sizes: Attention, qkv: &'a [f32], task: usize) -> Self {
        let Attention { tokens, heads, size, .. } = sizes;
        let (image, head) = (task / heads, task % heads);
        let row = 3 * sizes.width();
        let rows = Matrix::row_major(qkv, sizes.images * tokens, row);
        let part =
            |of: usize| rows.part(image * tokens, tokens, of * sizes.width() + head * size, size);
        Self { isa, sizes, parts: [part(0), part(1), part(2)] }
    }

    /// The width of a panel of queries.
    fn panel(&self) -> usize {
        self.isa.tile_columns()
    }

    /// The columns of the panels of a head's rows.
    fn room(&self) -> usize {
        self.sizes.size.next_multiple_of(self.panel())
    }

    /// Writes the products of all rows of `left` with the rows `queries` of `of`, `[tokens, panel]`.
    ///
    /// # Safety
    ///
    /// `strip` must have room for `tokens · panel` floats, `turned` for `size · panel`.
    unsafe fn strip(
        &self,
        left: Matrix<'_>,
        of: Matrix<'_>,
        queries: std::ops::Range<usize>,
        turned: &mut [f32],
        strip: &mut [f32],
    ) {
        let (size, panel) = (self.sizes.size, self.panel());
        let rows = of.part(queries.start, queries.len(), 0, size).transposed();
        pack::columns(rows, panel, turned);
        let product = Product {
            rows: self.sizes.tokens,
            columns: panel,
            depth: size,
            left: in_place(left),
            right: turned.as_ptr(),
            to: (strip.as_mut_ptr(), panel),
            accumulate: false,
        };
        // SAFETY: the matrix is checked, and the caller's strip has the room.
        unsafe { product.run(self.isa) }
    }
}

/// Writes the output to `out`, `[images · tokens, width]`, and for each image, head and query the logarithm of
/// the sum of exponentials of its logits to `sums`.
pub fn forward(isa: Isa, sizes: Attention, qkv: &[f32], out: &mut [f32], sums: &mut [f32]) {
    let Attention { tokens, size, .. } = sizes;
    assert_eq!(qkv.len(), 3 * sizes.output_size(), "{sizes:?}: floats of the input");
    assert_eq!(out.len(), sizes.output_size(), "{sizes:?}: floats of the output");
    assert_eq!(sums.len(), sizes.rows(), "{sizes:?}: rows of the softmaxes");
    if sizes.is_empty() {
        return;
    }
    let (width, panel) = (sizes.width(), isa.tile_columns());
    let (out, sums) = (Shared::new(out), Shared::new(sums));
    parallel_for(sizes.images * sizes.heads, |task| {
        let head = Head::new(isa, sizes, qkv, task);
        let [query, key, value] = head.parts;
        let first = task / sizes.heads * tokens * width + task % sizes.heads * size;
        let [values, turned] = [tokens * head.room(), size * panel];
        buffer::with_scratch(values + turned + tokens * panel, |scratch| {
            let (values, rest) = scratch.split_at_mut(values);
            let (turned, strip) = rest.split_at_mut(turned);
            pack::columns(value, panel, values);
            for start in (0..tokens).step_by(panel) {
                let queries = start..tokens.min(start + panel);
                // SAFETY: the strip has `tokens` rows of a panel; a task writes its own head's
                // columns of its own image, and its own sums.
                unsafe {
                    head.strip(key, query, queries.clone(), turned, strip);
                    let sums = sums.slice(task * tokens + start, queries.len());
                    isa.run(Softmax { strip, scale: sizes.scale(), sums });
                    let mixed = Product {
                        rows: queries.len(),
                        columns: size,
                        depth: tokens,
                        left: (strip.as_ptr(), 1, panel),
                        right: values.as_ptr(),
                        to: (out.at(first + start * width), width),
                        accumulate: false,
                    };
                    mixed.run(isa);
                }
            }
        });
    });
}

/// The softmax over the rows of a strip of logits that are to be scaled: each column becomes probabilities.
struct Softmax<'a> {
    strip: &'a mut [f32],
    scale: f32,
    /// The logarithms of the sums of exponentials, one for each query of the panel.
    sums: &'a mut [f32],
}

impl Kernel for Softmax<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let panel = S::LANES * S::TILE_VECTORS;
        let rows = self.strip.len() / panel;
        let strip = self.strip.as_mut_ptr();
        for first in (0..self.sums.len()).step_by(S::LANES) {
            // SAFETY: the strip has `rows` lines of whole vectors.
            unsafe {
                let at = |row: usize| strip.add(row * panel + first);
                let mut largest = S::load(at(0));
                for row in 1..rows {
                    largest = S::max(largest, S::load(at(row)));
                }
                let largest = S::scale(self.scale, largest);
                let lowered = S::sub(S::splat(0.0), largest);
                let mut total = S::splat(0.0);
                for row in 0..rows {
                    let value = exp::<S>(S::scale_add(self.scale, S::load(at(row)), lowered));
                    total = S::add(total, value);
                    S::store(at(row), value);
                }
                let share = S::div(S::splat(1.0), total);
                for row in 0..rows {
                    S::store(at(row), S::mul(S::load(at(row)), share));
                }
                let (mut totals, mut tops) = ([0.0f32; 16], [0.0f32; 16]);
                S::store(totals.as_mut_ptr(), total);
                S::store(tops.as_mut_ptr(), largest);
                let sums = self.sums[first..].iter_mut().take(S::LANES);
                for (sum, (total, top)) in sums.zip(totals.iter().zip(tops)) {
                    *sum = top + total.ln();
                }
            }
        }
    }
}

/// Writes the gradient with respect to `qkv`; `sums` are those of [`forward`].
pub fn backward(
    isa: Isa,
    sizes: Attention,
    qkv: &[f32],
    sums: &[f32],
    dout: &[f32],
    dqkv: &mut [f32],
) {
    assert_eq!(qkv.len(), 3 * sizes.output_size(), "{sizes:?}: floats of the input");
    assert_eq!(dout.len(), sizes.output_size(), "{sizes:?}: floats of the output's gradient");
    assert_eq!(sums.len(), sizes.rows(), "{sizes:?}: rows of the softmaxes");
    assert_eq!(dqkv.len(), qkv.len(), "{sizes:?}: floats of the gradient");
    if sizes.is_empty() {
        return;
    }
    let out = Shared::new(dqkv);
    parallel_for(sizes.images * sizes.heads, |task| {
        let head = Head::new(isa, sizes, qkv, task);
        let (width, tokens) = (sizes.width(), sizes.tokens);
        let rows = Matrix::row_major(dout, sizes.images * tokens, width);
        let (image, column) = (task / sizes.heads, task % sizes.heads * sizes.size);
        let dout = rows.part(image * tokens, tokens, column, sizes.size);
        let sums = &sums[task * tokens..][..tokens];
        // SAFETY: a task writes its own head's columns of its own image.
        unsafe {
            let to =
                [0, 1, 2].map(|part| out.at(image * tokens * 3 * width + part * width + column));
            head.backward(dout, sums, to);
        }
    });
}

impl Head<'_> {
    /// # Safety
    ///
    /// `to` must be the places of this head's gradients of query, key and value.
    unsafe fn backward(&self, dout: Matrix<'_>, sums: &[f32], to: [*mut f32; 3]) {
        let Attention { tokens, size, .. } = self.sizes;
        let (panel, room, row) = (self.panel(), self.room(), 3 * self.sizes.width());
        let [query, key, value] = self.parts;
        let [whole, turned, line] = [tokens * room, size * panel, panel * room];
        let length = whole + turned + 2 * line + 2 * tokens * panel;
        buffer::with_scratch(length, |scratch| {
            let (keys, rest) = scratch.split_at_mut(whole);
            let (turned, rest) = rest.split_at_mut(turned);
            let (queries, rest) = rest.split_at_mut(line);
            let (douts, rest) = rest.split_at_mut(line);
            let (p, ds) = rest.split_at_mut(tokens * panel);
            pack::columns(key, panel, keys);
            for start in (0..tokens).step_by(panel) {
                let of = start..tokens.min(start + panel);
                let rows = of.len();
                pack::columns(query.part(start, rows, 0, size), panel, queries);
                pack::columns(dout.part(start, rows, 0, size), panel, douts);
                // Gradients of keys and values are sums over the queries: a strip's columns.
                let over_queries = |left: &[f32], right: &[f32], to: *mut f32| Product {
                    rows: tokens,
                    columns: size,
                    depth: rows,
                    left: (left.as_ptr(), panel, 1),
                    right: right.as_ptr(),
                    to: (to, row),
                    accumulate: start > 0,
                };
                // SAFETY: the strips have `tokens` rows of a panel; the rest is the caller's.
                unsafe {
                    self.strip(key, query, of.clone(), turned, p);
                    self.strip(value, dout, of.clone(), turned, ds);
                    let scale = self.sizes.scale();
                    self.isa.run(Probabilities { p, ds, scale, sums: &sums[of.clone()] });
                    over_queries(p, douts, to[2]).run(self.isa);
                    over_queries(ds, queries, to[1]).run(self.isa);
                    let dquery = Product {
                        rows,
                        columns: size,
                        depth: tokens,
                        left: (ds.as_ptr(), 1, panel),
                        right: keys.as_ptr(),
                        to: (to[0].add(start * row), row),
                        accumulate: false,
                    };
                    dquery.run(self.isa);
                }
            }
        });
    }
}

/// Turns logits that are to be scaled into probabilities, and gradients of probabilities into those of the
/// logits before the scaling.
struct Probabilities<'a> {
    p: &'a mut [f32],
    ds: &'a mut [f32],
    scale: f32,
    /// The logarithms of the sums of exponentials, one for each query of the panel.
    sums: &'a [f32],
}

impl Kernel for Probabilities<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let panel = S::LANES * S::TILE_VECTORS;
        let rows = self.p.len() / panel;
        let (p, ds) = (self.p.as_mut_ptr(), self.ds.as_mut_ptr());
        for first in (0..self.sums.len()).step_by(S::LANES) {
            let count = S::LANES.min(self.sums.len() - first);
            // SAFETY: the strips have `rows` lines of whole vectors.
            unsafe {
                let sums = S::load_partial(self.sums.as_ptr().add(first), count);
                let lowered = S::sub(S::splat(0.0), sums);
                let mut total = S::splat(0.0);
                for row in 0..rows {
                    let (p, ds) = (p.add(row * panel + first), ds.add(row * panel + first));
                    let value = exp::<S>(S::scale_add(self.scale, S::load(p), lowered));
                    total = S::fma(value, S::load(ds), total);
                    S::store(p, value);
                }
                for row in 0..rows {
                    let (p, ds) = (p.add(row * panel + first), ds.add(row * panel + first));
                    let rest = S::mul(S::sub(S::load(ds), total), S::load(p));
                    S::store(ds, S::scale(self.scale, rest));
                }
            }
        }
    }
}
