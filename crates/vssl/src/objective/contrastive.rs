//! Losses that tell an image from others: NT-Xent (SimCLR: Chen et al. 2020, arXiv:2002.05709,
//! eq. 1).
//!
//! All of them are a cross entropy over rows of similarities, divided by a temperature. Called by
//! the methods of the same names.

use burn::tensor::{Bool, Int, Tensor, activation};
use vssl_kernels::linear;

use super::normalise::unit_rows;

/// Stands for a similarity that does not count: its exponential is 0 next to any cosine's.
const ABSENT: f64 = -1e30;

/// NT-Xent over any number of views. With `s_ij = exp(cos(zᵢ, zⱼ)/temperature)`, P(i) the other rows
/// of the image of row i and Q(i) the rows of other images:
///
/// `−mean_i log( Σ_P s_ij / (Σ_P s_ij + Σ_Q s_ij) )`
///
/// All positives are summed inside the logarithm, which matters from three views on. Row i itself is
/// in neither sum. Every row needs a positive: without one its logarithm has no value.
///
/// # Shapes — `z`: `[m, d]`, all views of all images in any order; `images`: which image each row is
/// of, `m` numbers; returns `[1]`.
///
/// # Panics
/// If there is not one image number for each row.
pub fn nt_xent(z: Tensor<2>, images: &[usize], temperature: f64) -> Tensor<1> {
    let (m, device) = (z.dims()[0], z.device());
    assert_eq!(images.len(), m, "nt_xent: one image number for each row");
    let images: Vec<i64> = images.iter().map(|&image| image as i64).collect();
    let itself = equal_pairs(Tensor::arange(0..m as i64, &device));
    let same_image = equal_pairs(Tensor::from_data(images.as_slice(), &device));
    let positive = same_image.bool_and(itself.clone().bool_not());

    let z = unit_rows(z);
    let logits = linear(z.clone(), z, None) / temperature; // [m, d] · [d, m] -> [m, m]
    let log_share = activation::log_softmax(logits.mask_fill(itself, ABSENT), 1);
    -log_sum_exp(log_share.mask_fill(positive.bool_not(), ABSENT)).mean()
}

/// Which entries of the vector equal each other, `[m]` to `[m, m]`.
fn equal_pairs(x: Tensor<1, Int>) -> Tensor<2, Bool> {
    let m = x.dims()[0];
    let columns = x.clone().reshape([m, 1]).expand([m, m]);
    columns.equal(x.reshape([1, m]).expand([m, m]))
}

/// `log Σ_j exp(x_ij)` of each row, `[n, m]` to `[n]`.
fn log_sum_exp(x: Tensor<2>) -> Tensor<1> {
    let n = x.dims()[0];
    let largest = x.clone().detach().max_dim(1); // [n, m] -> [n, 1]
    let sum = (x - largest.clone()).exp().sum_dim(1);
    (sum.log() + largest).reshape([n])
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn rows<const N: usize>(values: [[f32; 2]; N]) -> Tensor<2> {
        Tensor::from_floats(values, &Device::flex().autodiff()).require_grad()
    }

    fn value(loss: Tensor<1>) -> f32 {
        loss.into_scalar()
    }

    #[test]
    fn nt_xent_of_equal_rows_is_the_logarithm_of_a_share() {
        // Four rows all alike: of the three others one is the positive.
        let z = || rows([[0.6, 0.8]; 4]);
        assert!((value(nt_xent(z(), &[5, 9, 5, 9], 0.5)) - 3.0_f32.ln()).abs() < 1e-6);
        // Two of three views are positives, summed inside the logarithm.
        let z = rows([[0.6, 0.8]; 6]);
        let loss = value(nt_xent(z, &[5, 9, 5, 9, 5, 9], 0.5));
        assert!((loss - (5.0_f32 / 2.0).ln()).abs() < 1e-6, "{loss}");
    }

    #[test]
    fn nt_xent_depends_on_image_numbers_and_not_on_the_order_of_rows() {
        let (a, b, c, d) = ([1.0, 0.2], [0.1, -1.0], [0.9, 0.4], [-0.3, 0.7]);
        let straight = value(nt_xent(rows([a, b, c, d]), &[0, 1, 0, 1], 0.2));
        let shuffled = value(nt_xent(rows([d, c, a, b]), &[70, 3, 3, 70], 0.2));
        assert!((straight - shuffled).abs() < 1e-6, "{straight} and {shuffled}");
    }

    #[test]
    fn nt_xent_stays_finite_where_the_exponential_of_a_positive_vanishes() {
        // exp(−2/0.01) is 0 in single precision; the loss is 2/0.01 for both rows' positives.
        let z = rows([[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]]);
        let loss = nt_xent(z.clone(), &[0, 1, 0, 1], 0.01);
        assert!((value(loss.clone()) - 200.0).abs() < 1e-2);
        let gradients = loss.backward();
        let gradient: Vec<f32> = z.grad(&gradients).unwrap().into_data().try_to_vec().unwrap();
        assert!(gradient.iter().all(|g| g.is_finite()), "{gradient:?}");
    }
}
