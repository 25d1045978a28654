//! Position embeddings: fixed sines and cosines, the interpolation for another number of patches, and rotary ones. Called
//! by [`super::vit`], and by the networks of `methods::{ijepa, mae}`.

use std::f64::consts::TAU;

use burn::tensor::{Device, Tensor, TensorData};

use super::Interpolation;

/// What DINOv2 adds to the number of patches before it divides by the number of positions.
const OFFSET: f64 = 0.1;

/// Returns the two-dimensional sine-cosine positions of MoCo V3 (Chen, Xie and He 2021, arXiv:2104.02057,
/// appendix): a quarter of the width each for sine and cosine of column and row, with wavelengths from 2π to
/// 20000π, and zeros for the `prefix` tokens in front of the patches.
///
/// # Shapes — flat, `(prefix + rows · columns) · width`.
pub fn sincos(prefix: usize, [rows, columns]: [usize; 2], width: usize) -> Vec<f32> {
    let quarter = width / 4;
    let frequency = |i: usize| 1.0 / 10_000f64.powf(i as f64 / quarter as f64);
    let mut values = vec![0.0; prefix * width];
    for row in 0..rows {
        for column in 0..columns {
            for (place, function) in [
                (column, f64::sin as fn(f64) -> f64),
                (column, f64::cos),
                (row, f64::sin),
                (row, f64::cos),
            ] {
                values.extend((0..quarter).map(|i| function(place as f64 * frequency(i)) as f32));
            }
        }
    }
    values
}

/// The base of the periods of rotary positions, as DINOv3 has it.
pub const THETA: f64 = 100.0;

/// Returns the periods of rotary positions: `θ^(4i/size)` for a quarter of the length of a query each.
pub fn periods(size: usize) -> Vec<f64> {
    (0..size / 4).map(|i| THETA.powf(4.0 * i as f64 / size as f64)).collect()
}

/// Returns the rotary positions of DINOv3 (Siméoni et al. 2025, arXiv:2508.10104) for `rows × columns` patches: the
/// cosines of each patch, then its sines. The angles are `2π·c/period`, first of the row, then of the column, whose
/// coordinates c of the patches' centres go from −1 to 1 along each side of the image.
///
/// # Shapes — flat, `rows · columns · size`, with the length `size` of a query.
pub fn rotary(rows: usize, columns: usize, size: usize) -> Vec<f32> {
    let periods = periods(size);
    let angles = |place: usize, count: usize| -> Vec<f64> {
        let coordinate = 2.0 * (place as f64 + 0.5) / count as f64 - 1.0;
        periods.iter().map(|period| TAU * coordinate / period).collect()
    };
    let of_rows: Vec<Vec<f64>> = (0..rows).map(|row| angles(row, rows)).collect();
    let of_columns: Vec<Vec<f64>> = (0..columns).map(|column| angles(column, columns)).collect();
    let mut values = Vec::with_capacity(rows * columns * size);
    for row in &of_rows {
        for column in &of_columns {
            let angles = || row.iter().chain(column);
            values.extend(angles().map(|angle| angle.cos() as f32));
            values.extend(angles().map(|angle| angle.sin() as f32));
        }
    }
    values
}

/// Interpolates the positions of a square to `rows × columns` patches. The positions of the `prefix` tokens in front
/// of the patches stay as they are; positions of the right number and shape do, too.
///
/// # Shapes — `[1, prefix + side², width]` to `[1, prefix + rows · columns, width]`.
pub fn resized(
    positions: Tensor<3>,
    prefix: usize,
    [rows, columns]: [usize; 2],
    kind: Interpolation,
) -> Tensor<3> {
    let [_, tokens, width] = positions.dims();
    let side = (tokens - prefix).isqrt();
    if (rows, columns) == (side, side) {
        return positions;
    }
    let (device, precision) = (positions.device(), positions.dtype());
    let weights = |to: usize| weights(side, to, kind, &device).cast(precision);
    let grid = positions.clone().narrow(1, prefix, side * side).reshape([side, side * width]);
    let tall = weights(rows).matmul(grid); // [rows, side · width]
    let turned: Tensor<3> = tall.reshape([rows, side, width]).swap_dims(0, 1);
    let wide = weights(columns).matmul(turned.reshape([side, rows * width]));
    let grid: Tensor<3> = wide.reshape([columns, rows, width]).swap_dims(0, 1);
    let grid = grid.reshape([1, rows * columns, width]);
    match prefix {
        0 => grid,
        _ => Tensor::cat(vec![positions.narrow(1, 0, prefix), grid], 1),
    }
}

/// Returns the interpolation matrix; row i holds the weights of the `from` inputs in output i of `to`.
///
/// # Shapes — `[to, from]`.
fn weights(from: usize, to: usize, kind: Interpolation, device: &Device) -> Tensor<2> {
    let rows = (0..to).flat_map(|i| match kind {
        Interpolation::Antialiased => antialiased(from, to, i),
        Interpolation::Offset => with_offset(from, to, i),
    });
    let values: Vec<f32> = rows.map(|weight| weight as f32).collect();
    Tensor::from_data(TensorData::new(values, [to, from]), device)
}

/// Returns the weights of the inputs in output `i`: bicubic with antialiasing, as timm's `resample_abs_pos_embed`.
/// The kernel of outputs that are fewer than the inputs is wider, and the weights at the borders are made to add up
/// to one.
fn antialiased(from: usize, to: usize, i: usize) -> Vec<f64> {
    let scale = from as f64 / to as f64;
    let (centre, stretch) = ((i as f64 + 0.5) * scale, scale.max(1.0));
    let row = (0..from).map(|k| cubic((k as f64 + 0.5 - centre) / stretch, -0.5));
    let row: Vec<f64> = row.collect();
    let sum: f64 = row.iter().sum();
    row.into_iter().map(|weight| weight / sum).collect()
}

/// Returns the weights of the inputs in output `i` as DINOv2 without registers has them: bicubic, of four inputs, by
/// the factor (outputs + 0.1) / inputs; the border is repeated.
fn with_offset(from: usize, to: usize, i: usize) -> Vec<f64> {
    let place = (i as f64 + 0.5) * from as f64 / (to as f64 + OFFSET) - 0.5;
    let first = place.floor();
    let mut row = vec![0.0; from];
    for tap in -1..=2 {
        let input = first + f64::from(tap);
        let inside = input.clamp(0.0, (from - 1) as f64) as usize;
        row[inside] += cubic(place - input, -0.75);
    }
    row
}

/// Keys' cubic kernel.
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        a * (((x - 5.0) * x + 8.0) * x - 4.0)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_of_the_same_size_stay_and_constant_ones_stay_constant() {
        let device = Device::flex();
        let values: Vec<f32> = (0..5 * 3).map(|i| i as f32).collect();
        let own = Tensor::<3>::from_data(TensorData::new(values, [1, 5, 3]), &device);
        for kind in [Interpolation::Antialiased, Interpolation::Offset] {
            assert_eq!(resized(own.clone(), 1, [2, 2], kind).into_data(), own.clone().into_data());
            for prefix in [0, 1, 5] {
                let flat = Tensor::<3>::ones([1, 9 + prefix, 4], &device);
                for [rows, columns] in [[2, 2], [7, 5], [3, 1]] {
                    let got = resized(flat.clone(), prefix, [rows, columns], kind);
                    assert_eq!(got.dims(), [1, rows * columns + prefix, 4]);
                    let got: Vec<f32> = got.into_data().try_to_vec().unwrap();
                    assert!(got.iter().all(|x| (x - 1.0).abs() < 1e-6), "{got:?}");
                }
            }
        }
    }

    #[test]
    fn a_ramp_along_the_columns_stays_one_and_the_rows_stay_apart() {
        let device = Device::flex();
        // Position (row, column) holds [row, column].
        let values: Vec<f32> = [[-1.0, -1.0]]
            .into_iter()
            .chain((0..4).flat_map(|r| (0..4).map(move |c| [r as f32, c as f32])))
            .flatten()
            .collect();
        let own = Tensor::<3>::from_data(TensorData::new(values, [1, 17, 2]), &device);
        let got: Vec<f32> =
            resized(own, 1, [2, 8], Interpolation::Antialiased).into_data().try_to_vec().unwrap();
        assert_eq!(got[..2], [-1.0, -1.0]);
        let at = |row: usize, column: usize| &got[2 + 2 * (row * 8 + column)..][..2];
        for column in 0..8 {
            assert!(at(0, column)[0] < at(1, column)[0]);
            assert!((at(0, column)[1] - at(1, column)[1]).abs() < 1e-6);
        }
        assert!((1..8).all(|column| at(0, column)[1] > at(0, column - 1)[1]));
    }

    #[test]
    fn rotary_positions_turn_opposite_patches_in_opposite_ways() {
        let values = rotary(3, 2, 8);
        let patch = |row: usize, column: usize| &values[(row * 2 + column) * 8..][..8];
        for row in 0..3 {
            for column in 0..2 {
                let (here, there) = (patch(row, column), patch(2 - row, 1 - column));
                for i in 0..4 {
                    assert_eq!(here[i], there[i]);
                    assert!((here[4 + i] + there[4 + i]).abs() < 1e-6);
                    assert!((here[i].powi(2) + here[4 + i].powi(2) - 1.0).abs() < 1e-6);
                }
            }
        }
        // The centre of the middle row is at 0; that of the left column at −1/2, half a turn of the first period.
        assert!((patch(1, 0)[0] - 1.0).abs() < 1e-6 && (patch(1, 0)[2] + 1.0).abs() < 1e-6);
        assert_eq!(periods(8), [1.0, 10.0]);
    }

    #[test]
    fn fixed_positions_are_zero_for_the_class_and_unit_pairs_for_patches() {
        let values = sincos(1, [3, 3], 16);
        assert_eq!(values.len(), 10 * 16);
        assert!(values[..16].iter().all(|&x| x == 0.0));
        for patch in values[16..].chunks(16) {
            for i in 0..4 {
                assert!((patch[i].powi(2) + patch[4 + i].powi(2) - 1.0).abs() < 1e-6);
            }
        }
        assert_ne!(values[16..32], values[32..48]);
    }
}
