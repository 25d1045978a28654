//! A strided view of a matrix, and its copy into panels of a fixed number of columns.

use super::simd::isa;
use super::transpose::Transpose;

/// A matrix in a slice, with any strides.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub columns: usize,
    /// The number of floats from a row to the next.
    pub row_stride: usize,
    /// The number of floats from a column to the next.
    pub column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Makes a matrix whose rows follow each other, as in C.
    pub fn row_major(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// Returns the same memory with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Returns `rows` rows from `row` on, and of these `columns` columns from `column` on.
    pub fn part(self, row: usize, rows: usize, column: usize, columns: usize) -> Self {
        let start = row * self.row_stride + column * self.column_stride;
        Self { data: &self.data[start.min(self.data.len())..], rows, columns, ..self }
    }

    /// Returns the place of element (`row`, `column`).
    pub fn pointer(&self, row: usize, column: usize) -> *const f32 {
        self.data[row * self.row_stride + column * self.column_stride..].as_ptr()
    }

    /// # Panics
    ///
    /// If the last element is not in the slice.
    pub fn check(&self) {
        if self.rows > 0 && self.columns > 0 {
            let last = (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride;
            assert!(last < self.data.len(), "matrix {}x{} in its slice", self.rows, self.columns);
        }
    }
}

/// Copies `from` into panels of `width` columns: element `(p, j)` goes to
/// `(j / width) · rows · width + p · width + j % width`; columns beyond the last are zero.
///
/// # Panics
///
/// If `to` is smaller than the panels.
pub fn columns(from: Matrix<'_>, width: usize, to: &mut [f32]) {
    let panel_size = from.rows * width;
    if panel_size == 0 {
        return;
    }
    let panels = from.columns.div_ceil(width);
    if from.column_stride == 1 && from.columns.is_multiple_of(width) {
        match width {
            4 => return whole_panels::<4>(from, to),
            6 => return whole_panels::<6>(from, to),
            12 => return whole_panels::<12>(from, to),
            16 => return whole_panels::<16>(from, to),
            24 => return whole_panels::<24>(from, to),
            32 => return whole_panels::<32>(from, to),
            48 => return whole_panels::<48>(from, to),
            _ => {}
        }
    }
    for (panel, to) in to[..panels * panel_size].chunks_exact_mut(panel_size).enumerate() {
        let first = panel * width;
        let count = width.min(from.columns - first);
        let from = from.part(0, from.rows, first, count);
        if count < width {
            to.fill(0.0);
        }
        if from.column_stride == 1 {
            for (p, to) in to.chunks_exact_mut(width).enumerate() {
                to[..count].copy_from_slice(&from.data[p * from.row_stride..][..count]);
            }
        } else if from.row_stride == 1 {
            from.check();
            let (data, size) = (from.data.as_ptr(), (from.columns, from.rows));
            let to = to.as_mut_ptr();
            // SAFETY: the matrix is in its slice, and each of its rows has a place in the panel. A copy has
            // the same bits in every instruction set.
            unsafe {
                let to = |row: usize| to.wrapping_add(row * width);
                isa().run(Transpose { from: data, size, from_row: from.column_stride, to });
            }
        } else {
            for (p, to) in to.chunks_exact_mut(width).enumerate() {
                for (j, to) in to[..count].iter_mut().enumerate() {
                    *to = from.data[p * from.row_stride + j * from.column_stride];
                }
            }
        }
    }
}

/// Handles contiguous rows that fill their panels: a few panels at once, so that each row is read in long
/// pieces and copied without a call.
fn whole_panels<const WIDTH: usize>(from: Matrix<'_>, to: &mut [f32]) {
    const TOGETHER: usize = 4;
    let panel_size = from.rows * WIDTH;
    let panels = &mut to[..from.columns / WIDTH * panel_size];
    for (group, to) in panels.chunks_mut(TOGETHER * panel_size).enumerate() {
        let first = group * TOGETHER * WIDTH;
        let length = to.len() / from.rows;
        for p in 0..from.rows {
            let row = &from.data[p * from.row_stride + first..][..length];
            for (panel, values) in row.as_chunks::<WIDTH>().0.iter().enumerate() {
                to[panel * panel_size + p * WIDTH..][..WIDTH].copy_from_slice(values);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_where_the_definition_says_and_the_rest_is_zero() {
        for (rows, length) in [(1, 1), (3, 16), (17, 33), (5, 80), (2, 160), (33, 65), (9, 96)] {
            let data: Vec<f32> = (0..rows * length).map(|index| index as f32 + 1.0).collect();
            let matrix = Matrix::row_major(&data, rows, length);
            let turned = Matrix::row_major(&data, length, rows).transposed();
            for (from, width) in
                [(matrix, 16), (matrix, 32), (matrix, 24), (matrix, 48), (turned, 16)]
            {
                let panels = length.div_ceil(width);
                let mut packed = vec![f32::NAN; panels * rows * width];
                columns(from, width, &mut packed);
                for (index, value) in packed.iter().enumerate() {
                    let (panel, rest) = (index / (rows * width), index % (rows * width));
                    let (p, j) = (rest / width, panel * width + rest % width);
                    let at = p * from.row_stride + j * from.column_stride;
                    let expected = if j < length { data[at] } else { 0.0 };
                    assert_eq!(*value, expected, "{rows}x{length}, width {width}: ({p}, {j})");
                }
            }
        }
    }
}
