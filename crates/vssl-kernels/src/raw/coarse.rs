//! Products of rows of 16-bit whole numbers: twice as many a second as of floats on AVX2, where one
//! instruction multiplies 16 pairs and adds neighbours.
//!
//! Sums are whole numbers of 32 bits, hence exact in any order, as long as no product of two rows
//! (nor a part of it) leaves them; then each becomes a float. The right rows are packed into panels of
//! 16, pair after pair, the left ones are read where they lie, as in [`super::gemm`].

use std::cell::RefCell;

use super::pool::{Shared, parallel_for};

/// Rows of a panel of the right side: two vectors of sums.
const WIDTH: usize = 16;
/// Left rows of a register tile.
const ROWS: usize = 6;
/// Left rows of a task: they stay in L2 while the panels go by.
const TASK_ROWS: usize = 32 * ROWS;
/// Numbers of a row that are taken in one go: a panel of them fills half of a 32 KiB L1.
const DEPTH: usize = 512;

thread_local! {
    /// Panels of the last call: new pages would be cleared first, at a tenth of the whole time.
    static PACKED: RefCell<Vec<i16>> = const { RefCell::new(Vec::new()) };
}

/// Writes `scale · left · rightᵀ` to `out`, `[m, n]`, on all threads.
///
/// # Panics
///
/// If `depth` is odd or the shapes do not fit the slices.
pub fn products(left: &[i16], right: &[i16], depth: usize, scale: f32, out: &mut [f32]) {
    assert!(depth > 0 && depth.is_multiple_of(2), "coarse products: pairs of numbers");
    let (m, n) = (left.len() / depth, right.len() / depth);
    assert_eq!((m * depth, n * depth), (left.len(), right.len()), "coarse products: whole rows");
    assert_eq!(out.len(), m * n, "coarse products: one number for each pair of rows");
    let out = Shared::new(out);
    let mut packed = PACKED.take();
    packed.resize(n.next_multiple_of(WIDTH) * depth.min(DEPTH), 0);
    for start in (0..depth).step_by(DEPTH) {
        let part = DEPTH.min(depth - start);
        pack(right, depth, start, part, &mut packed);
        let packed = &packed[..n.next_multiple_of(WIDTH) * part];
        parallel_for(m.div_ceil(TASK_ROWS), |task| {
            let rows = task * TASK_ROWS..m.min((task + 1) * TASK_ROWS);
            for (panel, right) in packed.chunks_exact(WIDTH * part).enumerate() {
                let columns = WIDTH.min(n - panel * WIDTH);
                for row in rows.clone().step_by(ROWS) {
                    let count = ROWS.min(rows.end - row);
                    let sums = tile(&left[row * depth + start..], depth, count, right);
                    for (i, sums) in sums[..count].iter().enumerate() {
                        // SAFETY: each task has its own rows of the result.
                        let to = unsafe { out.slice((row + i) * n + panel * WIDTH, columns) };
                        for (to, &sum) in to.iter_mut().zip(sums) {
                            let product = sum as f32 * scale;
                            *to = if start == 0 { product } else { *to + product };
                        }
                    }
                }
            }
        });
    }
    PACKED.set(packed);
}

/// Pair `p` of row `j` goes to `(j / WIDTH) · WIDTH · part + (p · WIDTH + j % WIDTH) · 2`; rows beyond
/// the last keep what was there, for nobody looks at their sums.
fn pack(right: &[i16], depth: usize, start: usize, part: usize, packed: &mut [i16]) {
    for (j, row) in right.chunks_exact(depth).enumerate() {
        let panel = &mut packed[j / WIDTH * WIDTH * part..][..WIDTH * part];
        let pairs = row[start..start + part].as_chunks::<2>().0;
        for (pair, to) in pairs.iter().zip(panel[j % WIDTH * 2..].chunks_mut(2 * WIDTH)) {
            to[..2].copy_from_slice(pair);
        }
    }
}

/// Sums of `count` left rows, `stride` apart, with the rows of a panel.
#[inline(always)]
fn tile(left: &[i16], stride: usize, count: usize, right: &[i16]) -> [[i32; WIDTH]; ROWS] {
    let depth = right.len() / WIDTH;
    assert!((count - 1) * stride + depth <= left.len(), "rows of the left side");
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the machine has AVX2, and the rows were just checked.
        return unsafe { avx2::tile(left, stride, count, right) };
    }
    plain(left, stride, count, right)
}

/// The definition.
fn plain(left: &[i16], stride: usize, count: usize, right: &[i16]) -> [[i32; WIDTH]; ROWS] {
    let depth = right.len() / WIDTH;
    let mut sums = [[0i32; WIDTH]; ROWS];
    for (i, sums) in sums[..count].iter_mut().enumerate() {
        let row = left[i * stride..][..depth].as_chunks::<2>().0;
        for (pair, right) in row.iter().zip(right.chunks_exact(2 * WIDTH)) {
            for (sum, other) in sums.iter_mut().zip(right.as_chunks::<2>().0) {
                *sum += i32::from(pair[0]) * i32::from(other[0]);
                *sum += i32::from(pair[1]) * i32::from(other[1]);
            }
        }
    }
    sums
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{ROWS, WIDTH};

    /// # Safety
    ///
    /// The machine must have AVX2; `left` must have `count ≤ ROWS` rows as long as the panel's.
    #[target_feature(enable = "avx2")]
    pub unsafe fn tile(
        left: &[i16],
        stride: usize,
        count: usize,
        right: &[i16],
    ) -> [[i32; WIDTH]; ROWS] {
        // SAFETY: handed on to the caller.
        unsafe {
            match count {
                1 => rows::<1>(left, stride, right),
                2 => rows::<2>(left, stride, right),
                3 => rows::<3>(left, stride, right),
                4 => rows::<4>(left, stride, right),
                5 => rows::<5>(left, stride, right),
                _ => rows::<ROWS>(left, stride, right),
            }
        }
    }

    /// # Safety
    ///
    /// As [`tile`], for `N` rows.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn rows<const N: usize>(
        left: &[i16],
        stride: usize,
        right: &[i16],
    ) -> [[i32; WIDTH]; ROWS] {
        let mut sums = [[_mm256_setzero_si256(); 2]; N];
        // A pointer a row and one offset for all, as in the product of floats.
        let from: [*const i16; N] =
            std::array::from_fn(|row| left.as_ptr().wrapping_add(row * stride));
        let mut panel = right.as_ptr();
        for pair in 0..right.len() / (2 * WIDTH) {
            // SAFETY: the panel has 32 numbers a pair, each row two.
            unsafe {
                let first = _mm256_loadu_si256(panel.cast());
                let second = _mm256_loadu_si256(panel.add(WIDTH).cast());
                for (row, sums) in from.iter().zip(&mut sums) {
                    let own = row.add(2 * pair).cast::<i32>().read_unaligned();
                    let own = _mm256_set1_epi32(own);
                    sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(own, first));
                    sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(own, second));
                }
                panel = panel.add(2 * WIDTH);
            }
        }
        let mut out = [[0; WIDTH]; ROWS];
        for (out, sums) in out.iter_mut().zip(sums) {
            // SAFETY: `out` has room for two vectors of eight.
            unsafe {
                _mm256_storeu_si256(out.as_mut_ptr().cast(), sums[0]);
                _mm256_storeu_si256(out.as_mut_ptr().add(8).cast(), sums[1]);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize, depth: usize, salt: u32) -> Vec<i16> {
        let mut state = salt;
        let mut number = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as i16 >> 3
        };
        (0..count * depth).map(|_| number()).collect()
    }

    #[test]
    fn every_number_is_the_sum_of_the_products_of_two_rows() {
        for (m, n, depth) in [(1, 1, 2), (7, 17, 6), (200, 33, 64), (5, 512, 1030), (13, 3, 514)] {
            let (left, right) = (rows(m, depth, 1), rows(n, depth, 2));
            let mut out = vec![f32::NAN; m * n];
            products(&left, &right, depth, 0.5, &mut out);
            for (index, got) in out.iter().enumerate() {
                let pairs = left[index / n * depth..][..depth].iter();
                let pairs = pairs.zip(&right[index % n * depth..][..depth]);
                let terms = pairs.map(|(&a, &b)| i64::from(a) * i64::from(b));
                let exact: i64 = terms.clone().sum();
                let size: i64 = terms.map(i64::abs).sum();
                let error = (f64::from(*got) - 0.5 * exact as f64).abs();
                assert!(error <= 1e-7 * size as f64, "{m}x{n}x{depth}: {got} and {exact}");
            }
        }
    }

    #[test]
    fn a_tile_is_what_its_definition_says_on_this_machine() {
        for (count, depth) in [(1, 2), (4, 34), (6, 512)] {
            let (left, right) = (rows(count, depth + 2, 3), rows(WIDTH, depth, 4));
            let got = tile(&left, depth + 2, count, &right);
            assert_eq!(got[..count], plain(&left, depth + 2, count, &right)[..count]);
        }
    }
}
