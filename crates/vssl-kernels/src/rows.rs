//! Products and softmax of plain slices, for evaluations on the host: rows of numbers, no tensors.
//!
//! Each number is a sum in a fixed order, which does not depend on the number of threads. The reference of the
//! other operations works on tensors; for slices the narrowest instruction set takes its place.

use crate::raw::cross_entropy::{self, Sums};
use crate::raw::gemm::product;
use crate::raw::pack::Matrix;
use crate::raw::simd::{Isa, isa};

/// The instruction set for slices.
fn slices() -> Isa {
    match isa() {
        Isa::Reference => Isa::Portable,
        isa => isa,
    }
}

/// Writes `left · rightᵀ` to `out`: the products of every row of `left` with every row of `right`, on all
/// threads.
///
/// A number does not depend on the other rows of the call, so a product that is computed in blocks gives the
/// same bits.
///
/// # Shapes — `left`: `[m, depth]`; `right`: `[n, depth]`; `out`: `[m, n]`; row after row.
///
/// # Panics
///
/// If the shapes do not fit the slices.
pub fn products_of_rows(left: &[f32], right: &[f32], depth: usize, out: &mut [f32]) {
    assert!(depth > 0, "products_of_rows: rows of at least one number");
    let (m, n) = (left.len() / depth, right.len() / depth);
    assert_eq!((m * depth, n * depth), (left.len(), right.len()), "products_of_rows: whole rows");
    assert_eq!(out.len(), m * n, "products_of_rows: one number for each pair of rows");
    let left = Matrix::row_major(left, m, depth);
    let right = Matrix::row_major(right, n, depth).transposed();
    product(slices(), left, right, out, false);
}

/// Adds `left · right` to `out`, on all threads.
///
/// # Shapes — `left`: `[m, depth]`; `right`: `[depth, n]`; `out`: `[m, n]`; row after row.
///
/// # Panics
///
/// If the shapes do not fit the slices.
pub fn add_product(left: &[f32], right: &[f32], depth: usize, out: &mut [f32]) {
    assert!(depth > 0, "add_product: an inner size of at least one");
    let (m, n) = (left.len() / depth, right.len() / depth);
    assert_eq!((m * depth, n * depth), (left.len(), right.len()), "add_product: whole matrices");
    assert_eq!(out.len(), m * n, "add_product: one number for each row and column");
    let left = Matrix::row_major(left, m, depth);
    product(slices(), left, Matrix::row_major(right, depth, n), out, true);
}

/// Adds `rowsᵀ · rows` to `out`: the products of every column with every column, on all threads.
///
/// # Shapes — `rows`: `[n, columns]`; `out`: `[columns, columns]`; row after row.
///
/// # Panics
///
/// If the shapes do not fit the slices.
pub fn add_gram(rows: &[f32], columns: usize, out: &mut [f32]) {
    assert!(columns > 0, "add_gram: rows of at least one number");
    let n = rows.len() / columns;
    assert_eq!(n * columns, rows.len(), "add_gram: whole rows");
    assert_eq!(out.len(), columns * columns, "add_gram: one number for each pair of columns");
    let rows = Matrix::row_major(rows, n, columns);
    product(slices(), rows.transposed(), rows, out, true);
}

/// Replaces logits by `softmax − one-hot(label)`, on all threads, and returns sums over the rows. Exponentials
/// are computed in single precision, sums in double precision. A logit that is not a number makes the loss not
/// a number.
///
/// # Shapes — `logits`: `[classes, rows]`, class after class; `labels`: `[rows]`, each below `classes`.
///
/// # Panics
///
/// If the shapes do not fit, or a label is no class.
pub fn softmax_residuals(logits: &mut [f32], labels: &[u32]) -> Sums {
    cross_entropy::residuals(slices(), logits, labels)
}
