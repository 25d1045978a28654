//! Transposed copies, in squares of 8×8 numbers where the machine has vectors of that length.

use super::pool::{Shared, parallel_for};
use super::simd::{Isa, Kernel, Simd};

/// The side of a square.
const SIDE: usize = 8;
/// The number of columns that are turned together.
const TOGETHER: usize = 64;

/// Writes `from`, `[rows, columns]`, to `to` as `[columns, rows]`, on all threads.
///
/// # Panics
///
/// If a slice does not have that size.
pub fn transpose(isa: Isa, from: &[f32], rows: usize, columns: usize, to: &mut [f32]) {
    assert!(from.len() == rows * columns && to.len() == from.len(), "sizes of a transposed copy");
    if rows == 1 || columns == 1 {
        return to.copy_from_slice(from);
    }
    let out = Shared::new(to);
    parallel_for(columns.div_ceil(TOGETHER), |task| {
        let first = task * TOGETHER;
        // SAFETY: each task has its own columns, and the slices have the sizes that the kernel asks for.
        unsafe {
            isa.run(Transpose {
                from: from.as_ptr().add(first),
                size: (rows, TOGETHER.min(columns - first)),
                from_row: columns,
                to: |column: usize| out.at((first + column) * rows),
            });
        }
    });
}

/// The transposed copy of a matrix `size`, whose rows are `from_row` floats apart. `to` returns the place of
/// each column.
///
/// Bounds: `from` must be valid for the matrix, each place for as many floats as there are rows, and no
/// two places may overlap.
pub struct Transpose<F> {
    /// The first element.
    pub from: *const f32,
    /// The rows and columns.
    pub size: (usize, usize),
    /// The number of floats from a row to the next.
    pub from_row: usize,
    /// Returns the place of a column.
    pub to: F,
}

impl<F: Fn(usize) -> *mut f32> Kernel for Transpose<F> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (rows, columns) = self.size;
        let whole = if S::LANES >= SIDE { rows / SIDE * SIDE } else { 0 };
        // A few columns at a time, so that the places of a column are written in one go.
        for start in (0..columns).step_by(TOGETHER) {
            let end = (start + TOGETHER).min(columns);
            let squares = start + (end - start) / SIDE * SIDE;
            for row in (0..whole).step_by(SIDE) {
                let from = self.from.wrapping_add(row * self.from_row);
                for column in (start..squares).step_by(SIDE) {
                    let to = |i: usize| (self.to)(column + i).wrapping_add(row);
                    // SAFETY: the square is inside the matrix.
                    unsafe { square::<S>(from.add(column), self.from_row, to) };
                }
            }
            for column in start..end {
                let to = (self.to)(column);
                let first = if column < squares { whole } else { 0 };
                for row in first..rows {
                    // SAFETY: the element is inside the matrix.
                    unsafe { *to.add(row) = *self.from.add(row * self.from_row + column) };
                }
            }
        }
    }
}

/// Writes eight columns of eight floats each to their places.
///
/// # Safety
///
/// `from` must be valid for eight rows of eight floats, each place for eight floats.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
unsafe fn square<S: Simd>(from: *const f32, from_row: usize, to: impl Fn(usize) -> *mut f32) {
    for column in 0..SIDE {
        let to = to(column);
        for row in 0..SIDE {
            // SAFETY: the caller's bounds.
            unsafe { *to.add(row) = *from.add(row * from_row + column) };
        }
    }
}

/// Writes eight columns of eight floats each to their places.
///
/// # Safety
///
/// `from` must be valid for eight rows of eight floats, each place for eight floats. The machine must have
/// `S`, whose vectors have at least eight lanes.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn square<S: Simd>(from: *const f32, from_row: usize, to: impl Fn(usize) -> *mut f32) {
    use std::arch::x86_64::*;

    // SAFETY: vectors of eight lanes or more are those of AVX2 or AVX-512 here; the rest are the caller's
    // bounds.
    unsafe {
        let row = |i: usize| _mm256_loadu_ps(from.add(i * from_row));
        // Pairs of rows, interleaved: elements 0, 1, 4 and 5 of both, then 2, 3, 6 and 7.
        let pair = |i: usize| {
            let (a, b) = (row(i), row(i + 1));
            (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b))
        };
        // Four rows: columns (0, 4), (1, 5), (2, 6) and (3, 7).
        let four = |i: usize| {
            let ((a, b), (c, d)) = (pair(i), pair(i + 2));
            [
                _mm256_shuffle_ps::<0x44>(a, c),
                _mm256_shuffle_ps::<0xee>(a, c),
                _mm256_shuffle_ps::<0x44>(b, d),
                _mm256_shuffle_ps::<0xee>(b, d),
            ]
        };
        let (top, bottom) = (four(0), four(4));
        for column in 0..4 {
            let (a, b) = (top[column], bottom[column]);
            _mm256_storeu_ps(to(column), _mm256_permute2f128_ps::<0x20>(a, b));
            _mm256_storeu_ps(to(column + 4), _mm256_permute2f128_ps::<0x31>(a, b));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_columns_are_exchanged() {
        for (rows, columns) in [(1, 1), (1, 9), (7, 3), (8, 8), (9, 16), (17, 23), (9, 64), (64, 9)]
        {
            let from: Vec<f32> = (0..rows * columns).map(|index| index as f32).collect();
            for isa in Isa::all_available() {
                let mut to = vec![f32::NAN; from.len()];
                transpose(isa, &from, rows, columns, &mut to);
                for (index, value) in to.iter().enumerate() {
                    let expected = from[index % rows * columns + index / rows];
                    assert_eq!(*value, expected, "{isa:?} {rows}x{columns}: {index}");
                }
            }
        }
    }
}
