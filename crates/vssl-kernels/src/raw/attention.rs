//! Attention, `softmax(q·kᵀ/√d)·v` for each image and head (Vaswani et al. 2017, arXiv:1706.03762), without a
//! matrix of tokens² in memory (Dao et al. 2022, arXiv:2205.14135).
//!
//! A task has one head of one image, and goes over its queries some panels at a time, each as wide as a
//! register tile. The logits of these queries are a strip `[tokens, queries]` that stays in the cache; its
//! lanes are queries, so the softmax needs no sums across lanes. What is kept for the backward pass is the logarithm of
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

/// The queries that are taken together where the strip is short, a multiple of the width of every panel. The
/// gradients of keys and values are sums over them, so each is read and written once for so many queries.
const TOGETHER: usize = 64;
/// The tokens up to which a strip of that many queries is short: both strips take half of a cache of 1 MiB.
const SHORT: usize = 1024;

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

    /// The queries of a strip, and the floats from a row of it to the next.
    fn together(&self) -> usize {
        if self.sizes.tokens <= SHORT { TOGETHER } else { self.panel() }
    }

    /// Writes the products of all rows of `left` with the rows `queries` of `of`, `[tokens, together]`. Of a
    /// row only the vectors that have queries are written.
    ///
    /// # Safety
    ///
    /// `strip` must have room for `tokens · together` floats, `turned` for `size · together`.
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
            columns: queries.len().next_multiple_of(self.isa.lanes()),
            depth: size,
            left: in_place(left),
            right: turned.as_ptr(),
            to: (strip.as_mut_ptr(), self.together()),
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
        let together = head.together();
        let [values, turned] = [tokens * head.room(), size * together];
        buffer::with_scratch(values + turned + tokens * together, |scratch| {
            let (values, rest) = scratch.split_at_mut(values);
            let (turned, strip) = rest.split_at_mut(turned);
            pack::columns(value, panel, values);
            for start in (0..tokens).step_by(together) {
                let queries = start..tokens.min(start + together);
                // SAFETY: the strip has `tokens` rows of its queries; a task writes its own head's
                // columns of its own image, and its own sums.
                unsafe {
                    head.strip(key, query, queries.clone(), turned, strip);
                    let sums = sums.slice(task * tokens + start, queries.len());
                    isa.run(Softmax { strip, row: together, scale: sizes.scale(), sums });
                    let mixed = Product {
                        rows: queries.len(),
                        columns: size,
                        depth: tokens,
                        left: (strip.as_ptr(), 1, together),
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
    /// The floats of a row of the strip.
    row: usize,
    scale: f32,
    /// The logarithms of the sums of exponentials, one for each query of the strip.
    sums: &'a mut [f32],
}

impl Kernel for Softmax<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        let mut first = 0;
        // Two vectors at once, for each sum waits for the one before it.
        while first < self.sums.len() {
            // SAFETY: the strip has whole vectors for all queries.
            unsafe {
                if first + S::LANES < self.sums.len() {
                    self.vectors::<S, 2>(first);
                    first += 2 * S::LANES;
                } else {
                    self.vectors::<S, 1>(first);
                    first += S::LANES;
                }
            }
        }
    }
}

impl Softmax<'_> {
    #[inline(always)]
    unsafe fn vectors<S: Simd, const V: usize>(&mut self, first: usize) {
        let (rows, row) = (self.strip.len() / self.row, self.row);
        let strip = self.strip.as_mut_ptr();
        // SAFETY: the strip has `rows` lines of whole vectors.
        unsafe {
            let at = |index: usize, v: usize| strip.add(index * row + first + v * S::LANES);
            let mut largest = [S::splat(f32::NEG_INFINITY); V];
            for index in 0..rows {
                for (v, largest) in largest.iter_mut().enumerate() {
                    *largest = S::max(*largest, S::load(at(index, v)));
                }
            }
            let largest = largest.map(|largest| S::scale(self.scale, largest));
            let lowered = largest.map(|largest| S::sub(S::splat(0.0), largest));
            let mut totals = [S::splat(0.0); V];
            for index in 0..rows {
                for (v, total) in totals.iter_mut().enumerate() {
                    let logit = S::load(at(index, v));
                    let value = exp::<S>(S::scale_add(self.scale, logit, lowered[v]));
                    *total = S::add(*total, value);
                    S::store(at(index, v), value);
                }
            }
            let shares = totals.map(|total| S::div(S::splat(1.0), total));
            for index in 0..rows {
                for (v, share) in shares.iter().enumerate() {
                    S::store(at(index, v), S::mul(S::load(at(index, v)), *share));
                }
            }
            for (v, (total, largest)) in totals.iter().zip(largest).enumerate() {
                let (mut totals, mut tops) = ([0.0f32; 16], [0.0f32; 16]);
                S::store(totals.as_mut_ptr(), *total);
                S::store(tops.as_mut_ptr(), largest);
                let sums = self.sums[first + v * S::LANES..].iter_mut().take(S::LANES);
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
        let together = self.together();
        let [query, key, value] = self.parts;
        let [whole, turned, line] = [tokens * room, size * together, together * room];
        let length = whole + turned + 2 * line + 2 * tokens * together;
        buffer::with_scratch(length, |scratch| {
            let (keys, rest) = scratch.split_at_mut(whole);
            let (turned, rest) = rest.split_at_mut(turned);
            let (queries, rest) = rest.split_at_mut(line);
            let (douts, rest) = rest.split_at_mut(line);
            let (p, ds) = rest.split_at_mut(tokens * together);
            pack::columns(key, panel, keys);
            for start in (0..tokens).step_by(together) {
                let of = start..tokens.min(start + together);
                let rows = of.len();
                pack::columns(query.part(start, rows, 0, size), panel, queries);
                pack::columns(dout.part(start, rows, 0, size), panel, douts);
                // Gradients of keys and values are sums over the queries: a strip's columns.
                let over_queries = |left: &[f32], right: &[f32], to: *mut f32| Product {
                    rows: tokens,
                    columns: size,
                    depth: rows,
                    left: (left.as_ptr(), together, 1),
                    right: right.as_ptr(),
                    to: (to, row),
                    accumulate: start > 0,
                };
                // SAFETY: the strips have `tokens` rows of their queries; the rest is the caller's.
                unsafe {
                    self.strip(key, query, of.clone(), turned, p);
                    self.strip(value, dout, of.clone(), turned, ds);
                    let (scale, sums) = (self.sizes.scale(), &sums[of.clone()]);
                    self.isa.run(Probabilities { p, ds, row: together, scale, sums });
                    over_queries(p, douts, to[2]).run(self.isa);
                    over_queries(ds, queries, to[1]).run(self.isa);
                    let dquery = Product {
                        rows,
                        columns: size,
                        depth: tokens,
                        left: (ds.as_ptr(), 1, together),
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
    /// The floats of a row of the strips.
    row: usize,
    scale: f32,
    /// The logarithms of the sums of exponentials, one for each query of the strip.
    sums: &'a [f32],
}

impl Kernel for Probabilities<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (rows, row) = (self.p.len() / self.row, self.row);
        let (p, ds) = (self.p.as_mut_ptr(), self.ds.as_mut_ptr());
        for first in (0..self.sums.len()).step_by(S::LANES) {
            let count = S::LANES.min(self.sums.len() - first);
            // SAFETY: the strips have `rows` lines of whole vectors.
            unsafe {
                let sums = S::load_partial(self.sums.as_ptr().add(first), count);
                let lowered = S::sub(S::splat(0.0), sums);
                let mut total = S::splat(0.0);
                for index in 0..rows {
                    let (p, ds) = (p.add(index * row + first), ds.add(index * row + first));
                    let value = exp::<S>(S::scale_add(self.scale, S::load(p), lowered));
                    total = S::fma(value, S::load(ds), total);
                    S::store(p, value);
                }
                for index in 0..rows {
                    let (p, ds) = (p.add(index * row + first), ds.add(index * row + first));
                    let rest = S::mul(S::sub(S::load(ds), total), S::load(p));
                    S::store(ds, S::scale(self.scale, rest));
                }
            }
        }
    }
}
