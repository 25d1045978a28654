//! Position embeddings: fixed sines and cosines, and the interpolation for another number of patches. Called
//! by [`super::vit`].

use burn::tensor::{Device, Tensor, TensorData};

/// Returns the two-dimensional sine-cosine positions of MoCo V3 (Chen, Xie and He 2021, arXiv:2104.02057,
/// appendix): a quarter of the width each for sine and cosine of column and row, with wavelengths from 2π to
/// 20000π, and zeros for the class token, which comes first.
///
/// # Shapes — flat, `(side² + 1) · width`.
pub fn sincos(side: usize, width: usize) -> Vec<f32> {
    let quarter = width / 4;
    let frequency = |i: usize| 1.0 / 10_000f64.powf(i as f64 / quarter as f64);
    let mut values = vec![0.0; width];
    for row in 0..side {
        for column in 0..side {
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

/// Interpolates the positions of a square to `rows × columns` patches: bicubic with antialiasing, as timm's
/// `resample_abs_pos_embed`. The class token keeps its position.
///
/// # Shapes — `[1, side² + 1, width]` to `[1, rows · columns + 1, width]`.
pub fn resized(positions: Tensor<3>, rows: usize, columns: usize) -> Tensor<3> {
    let [_, tokens, width] = positions.dims();
    let side = (tokens - 1).isqrt();
    if (rows, columns) == (side, side) {
        return positions;
    }
    let device = positions.device();
    let class = positions.clone().narrow(1, 0, 1);
    let grid = positions.narrow(1, 1, side * side).reshape([side, side * width]);
    let tall = weights(side, rows, &device).matmul(grid); // [rows, side · width]
    let turned: Tensor<3> = tall.reshape([rows, side, width]).swap_dims(0, 1);
    let wide = weights(side, columns, &device).matmul(turned.reshape([side, rows * width]));
    let grid: Tensor<3> = wide.reshape([columns, rows, width]).swap_dims(0, 1);
    Tensor::cat(vec![class, grid.reshape([1, rows * columns, width])], 1)
}

/// Returns the interpolation matrix; row i holds the weights of the `from` inputs in output i of `to`.
///
/// # Shapes — `[to, from]`.
fn weights(from: usize, to: usize, device: &Device) -> Tensor<2> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let mut values = Vec::with_capacity(from * to);
    for i in 0..to {
        let centre = (i as f64 + 0.5) * scale;
        let row: Vec<f64> = (0..from).map(|k| cubic((k as f64 + 0.5 - centre) / stretch)).collect();
        let sum: f64 = row.iter().sum();
        values.extend(row.iter().map(|weight| (weight / sum) as f32));
    }
    Tensor::from_data(TensorData::new(values, [to, from]), device)
}

/// Keys' cubic kernel with a = −½.
fn cubic(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        -0.5 * (((x - 5.0) * x + 8.0) * x - 4.0)
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
        assert_eq!(resized(own.clone(), 2, 2).into_data(), own.into_data());
        let flat = Tensor::<3>::ones([1, 10, 4], &device);
        for (rows, columns) in [(2, 2), (7, 5), (3, 1)] {
            let got = resized(flat.clone(), rows, columns);
            assert_eq!(got.dims(), [1, rows * columns + 1, 4]);
            let got: Vec<f32> = got.into_data().try_to_vec().unwrap();
            assert!(got.iter().all(|x| (x - 1.0).abs() < 1e-6), "{got:?}");
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
        let got: Vec<f32> = resized(own, 2, 8).into_data().try_to_vec().unwrap();
        assert_eq!(got[..2], [-1.0, -1.0]);
        let at = |row: usize, column: usize| &got[2 + 2 * (row * 8 + column)..][..2];
        for column in 0..8 {
            assert!(at(0, column)[0] < at(1, column)[0]);
            assert!((at(0, column)[1] - at(1, column)[1]).abs() < 1e-6);
        }
        assert!((1..8).all(|column| at(0, column)[1] > at(0, column - 1)[1]));
    }

    #[test]
    fn fixed_positions_are_zero_for_the_class_and_unit_pairs_for_patches() {
        let values = sincos(3, 16);
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
