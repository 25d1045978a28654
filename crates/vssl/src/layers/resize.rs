//! Bilinear resizing, with half-pixel centres as PyTorch's `interpolate(align_corners=False)`.
//!
//! Output i of `to` lies at `(i + ½)·from/to − ½` and takes the inputs beside it by their distance; the border is
//! repeated. With antialiasing, outputs that are fewer than the inputs take all inputs that they cover. Called for the
//! images of a frozen teacher and for grids of features.

use burn::tensor::{Device, Tensor, TensorData};
use vssl_kernels::linear;

/// Returns the images or grids in another size. A gradient flows to them.
///
/// # Shapes — `[n, h, w, c]` to `[n, rows, columns, c]`.
pub fn resized(x: Tensor<4>, [rows, columns]: [usize; 2], antialiased: bool) -> Tensor<4> {
    let [n, h, w, c] = x.dims();
    if [h, w] == [rows, columns] {
        return x;
    }
    let device = x.device();
    let weights = |from, to| weights(from, to, antialiased, &device).cast(x.dtype());
    // The axis that is resized is the last one: [n, w, c, h] -> [n, w, c, rows]
    let tall = x.clone().permute([0, 2, 3, 1]).reshape([n * w * c, h]);
    let tall = linear(tall, weights(h, rows), None).reshape([n, w, c, rows]);
    // [n, rows, c, w] -> [n, rows, c, columns]
    let wide = tall.permute([0, 3, 2, 1]).reshape([n * rows * c, w]);
    let wide = linear(wide, weights(w, columns), None).reshape([n, rows, c, columns]);
    wide.permute([0, 1, 3, 2])
}

/// Returns the interpolation matrix; row i holds the weights of the `from` inputs in output i of `to`.
///
/// # Shapes — `[to, from]`.
fn weights(from: usize, to: usize, antialiased: bool, device: &Device) -> Tensor<2> {
    let scale = from as f64 / to as f64;
    let stretch = if antialiased { scale.max(1.0) } else { 1.0 };
    let mut values = Vec::with_capacity(to * from);
    for i in 0..to {
        let place = ((i as f64 + 0.5) * scale - 0.5).clamp(0.0, (from - 1) as f64);
        let centre = if stretch > 1.0 { (i as f64 + 0.5) * scale - 0.5 } else { place };
        let row = (0..from).map(|k| (1.0 - (k as f64 - centre).abs() / stretch).max(0.0));
        let row: Vec<f64> = row.collect();
        let sum: f64 = row.iter().sum();
        values.extend(row.into_iter().map(|weight| (weight / sum) as f32));
    }
    Tensor::from_data(TensorData::new(values, [to, from]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(x: Tensor<4>) -> Vec<f32> {
        x.into_data().try_to_vec().unwrap()
    }

    fn ramp(h: usize, w: usize) -> Tensor<4> {
        let ramp: Vec<f32> = (0..h * w).map(|i| i as f32).collect();
        Tensor::from_data(TensorData::new(ramp, [1, h, w, 1]), &Device::flex())
    }

    #[test]
    fn twice_the_size_has_pytorch_s_quarters() {
        // torch.nn.functional.interpolate(torch.arange(2.)[None, None], size=4, mode="linear")
        let got = values(resized(ramp(1, 2), [1, 4], false));
        assert_eq!(got, [0.0, 0.25, 0.75, 1.0]);
        assert_eq!(values(resized(ramp(1, 2), [1, 4], true)), got);
        assert_eq!(values(resized(ramp(2, 1), [4, 1], false)), got);
    }

    #[test]
    fn fewer_outputs_take_the_two_beside_them_or_all_that_they_cover() {
        // Output 0 of 1 lies between inputs 1 and 2 of 4.
        assert_eq!(values(resized(ramp(1, 4), [1, 1], false)), [1.5]);
        let all = values(resized(ramp(1, 4) * ramp(1, 4), [1, 1], true));
        // Weights 5/32, 11/32, 11/32, 5/32 of 0, 1, 4 and 9 without the inputs beyond the border.
        assert!((all[0] - (11.0 + 44.0 + 45.0) / 32.0).abs() < 1e-6, "{all:?}");
    }

    #[test]
    fn constant_images_stay_constant_and_the_channels_apart() {
        let flat = Tensor::<4>::ones([2, 3, 5, 2], &Device::flex());
        let x = Tensor::cat(vec![flat.clone(), flat * 3.0], 3);
        for antialiased in [false, true] {
            for size in [[7, 2], [1, 9], [3, 5]] {
                let got = resized(x.clone(), size, antialiased);
                assert_eq!(got.dims(), [2, size[0], size[1], 4]);
                for pixel in values(got).chunks(4) {
                    for (value, expected) in pixel.iter().zip([1.0, 1.0, 3.0, 3.0]) {
                        assert!((value - expected).abs() < 1e-6, "{pixel:?}");
                    }
                }
            }
        }
    }
}
