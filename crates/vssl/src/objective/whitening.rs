//! Whitening by the Cholesky factor of the covariance, and the loss of W-MSE on top of it (Ermolov et al. 2021,
//! arXiv:2007.06346, section 3.1 and eq. 5). Called by `methods::wmse`.
//!
//! With the column means `m`, `c = x − m` and `S = cᵀc / (n − 1)`, the covariance is drawn towards the identity,
//! `S' = (1 − ε)·S + ε·I`, and factored, `S' = L·Lᵀ` with L lower triangular. A whitened row is `L⁻¹` times the row of
//! `c`. The result depends on the order of the columns.

use burn::tensor::{DType, Int, Tensor, TensorData};

use super::cosine::cosine_similarity;

/// Which view of a pair learns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Learns {
    /// The view that comes first in the recipe; the other is a target. solo-learn does this.
    #[default]
    First,
    /// Both views, as in the paper's own code and in lightly.
    Both,
}

/// How [`wmse`] whitens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Whitening {
    /// The number of rows that are whitened together.
    pub size: usize,
    /// The share ε of the identity in the covariance; without it, a group needs more rows than columns.
    pub eps: f64,
    /// Which view of a pair learns.
    pub learns: Learns,
}

/// Whitens the rows of each group by the statistics of the group, in double precision where the device has it: with little
/// more rows than columns a covariance is nearly singular. Gradients flow through the means and the factor.
///
/// # Shapes — `x`: `[groups, n, d]`, n at least 2; returns the same.
pub fn whiten(x: Tensor<3>, eps: f64) -> Tensor<3> {
    let ([_, n, d], given, device) = (x.dims(), x.dtype(), x.device());
    let precision =
        if device.clone().inner().supports_dtype(DType::F64) { DType::F64 } else { given };
    let x = x.cast(precision);
    let centred = x.clone() - x.mean_dim(1); // [groups, n, d] − [groups, 1, d]
    let covariance =
        centred.clone().swap_dims(1, 2).matmul(centred.clone()) / n.saturating_sub(1) as f64;
    let identity = Tensor::<2>::eye(d, &device).cast(precision).unsqueeze::<3>(); // [1, d, d]
    let factor = inverse_factor(covariance * (1.0 - eps) + identity * eps);
    centred.matmul(factor.swap_dims(1, 2)).cast(given) // [groups, n, d] · [groups, d, d]
}

/// Returns `L⁻¹` of each symmetric matrix `L·Lᵀ`, of which it reads the lower triangle only.
///
/// A matrix is cut into four blocks: `L⁻¹` has `A = L₁₁⁻¹` and `B = L₂₂⁻¹` on its diagonal and `−B·L₂₁·A` below, where
/// `L₂₁ = S₂₁·Aᵀ`, and `B` is that of `S₂₂ − L₂₁·L₂₁ᵀ`.
///
/// # Shapes — `[groups, d, d]` to the same.
fn inverse_factor(s: Tensor<3>) -> Tensor<3> {
    let [groups, d, _] = s.dims();
    if d == 1 {
        return s.sqrt().recip();
    }
    let half = d / 2;
    let block = |rows, columns| s.clone().slice([0..groups, rows, columns]);
    let above = inverse_factor(block(0..half, 0..half));
    let beside = block(half..d, 0..half).matmul(above.clone().swap_dims(1, 2));
    let rest = block(half..d, half..d) - beside.clone().matmul(beside.clone().swap_dims(1, 2));
    let below = inverse_factor(rest);
    let corner = -below.clone().matmul(beside).matmul(above.clone());
    let zeros = Tensor::zeros([groups, half, d - half], (&s.device(), s.dtype()));
    Tensor::cat(vec![Tensor::cat(vec![above, zeros], 2), Tensor::cat(vec![corner, below], 2)], 1)
}

/// The loss of W-MSE, and the whitened rows of each view in the last order, `[n, d]`, for figures.
pub struct WhitenedMse {
    /// The loss, `[1]`, from 0 (all pairs aligned) to 4.
    pub loss: Tensor<1>,
    /// The rows of each view, in the order of the batch.
    pub whitened: Vec<Tensor<2>>,
}

/// Returns the mean over orders and pairs of views i < j of `2 − 2·mean cos(yᵢ, yⱼ)`. Each order is cut into groups of
/// consecutive rows; the same groups serve all views, and each group of each view is whitened on its own.
///
/// # Shapes — each view: `[n, d]`, n a multiple of the group's size; each order: the numbers 0 to n − 1.
///
/// # Panics
/// There are fewer than two views, there is no order, or n is not a multiple of the size.
pub fn wmse(views: &[Tensor<2>], orders: &[Vec<usize>], whitening: Whitening) -> WhitenedMse {
    let pairs = views.len() * views.len().saturating_sub(1) / 2;
    assert!(pairs > 0 && !orders.is_empty(), "W-MSE compares pairs of views in an order");
    let mut whitened = Vec::new();
    let mut sum: Option<Tensor<1>> = None;
    for order in orders {
        whitened = in_order(views, order, whitening);
        for (i, first) in whitened.iter().enumerate() {
            for second in &whitened[i + 1..] {
                let second = match whitening.learns {
                    Learns::First => second.clone().detach(),
                    Learns::Both => second.clone(),
                };
                let cosine = cosine_similarity(first.clone(), second).mean();
                sum = Some(match sum {
                    Some(sum) => sum + cosine,
                    None => cosine,
                });
            }
        }
    }
    let mean = sum.expect("checked: there are pairs") / (pairs * orders.len()) as f64;
    WhitenedMse { loss: mean * -2.0 + 2.0, whitened }
}

/// Whitens each view in the groups of one order, and returns the rows in the order of the batch.
fn in_order(views: &[Tensor<2>], order: &[usize], whitening: Whitening) -> Vec<Tensor<2>> {
    let ([n, d], device) = (views[0].dims(), views[0].device());
    let Whitening { size, eps, .. } = whitening;
    assert!(size > 0 && n.is_multiple_of(size), "{n} rows in groups of {size}");
    let numbers = |numbers: Vec<i64>| -> Tensor<1, Int> {
        let count = numbers.len();
        Tensor::from_data(TensorData::new(numbers, [count]), &device)
    };
    let mut back = vec![0; n];
    order.iter().enumerate().for_each(|(place, &row)| back[row] = place as i64);
    let (there, back) = (numbers(order.iter().map(|&row| row as i64).collect()), numbers(back));
    let ordered = views.iter().map(|view| view.clone().select(0, there.clone())).collect();
    let groups = Tensor::cat(ordered, 0).reshape([views.len() * n / size, size, d]);
    let rows = whiten(groups, eps).reshape([views.len() * n, d]);
    let of_view = |view| rows.clone().narrow(0, view * n, n).select(0, back.clone());
    (0..views.len()).map(of_view).collect()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use vssl_data::rng::{Stream, rng, uniform};

    use super::*;

    /// Numbers without a pattern that a matrix of low rank would have.
    fn rows(n: usize, d: usize, salt: u64) -> Tensor<2> {
        let mut rng = rng(salt, Stream::Evaluation, 0, 0);
        let values: Vec<f32> = (0..n * d).map(|_| uniform(&mut rng, -1.0, 1.0) as f32).collect();
        Tensor::from_data(TensorData::new(values, [n, d]), &Device::flex().autodiff())
    }

    #[test]
    fn whitened_rows_have_mean_zero_and_the_identity_as_covariance() {
        for d in [1, 2, 5, 16] {
            let (n, groups) = (40, 3);
            let x = Tensor::stack::<3>((0..groups).map(|g| rows(n, d, g)).collect(), 0);
            let y = whiten(x * 3.0 + 1.0, 0.0);
            let mean = y.clone().mean_dim(1).abs().max().into_scalar::<f32>();
            let covariance = y.clone().swap_dims(1, 2).matmul(y) / (n - 1) as f64;
            let identity = Tensor::<2>::eye(d, &covariance.device()).unsqueeze::<3>();
            let off = (covariance - identity).abs().max().into_scalar::<f32>();
            assert!(mean < 1e-4 && off < 1e-3, "{d} columns: mean {mean}, covariance off by {off}");
        }
    }

    #[test]
    fn only_the_first_view_learns_unless_both_are_to() {
        for (learns, second) in [(Learns::First, false), (Learns::Both, true)] {
            let views = [rows(12, 3, 0).require_grad(), rows(12, 3, 1).require_grad()];
            let order = (0..12).rev().collect();
            let whitening = Whitening { size: 6, eps: 0.0, learns };
            let gradients = wmse(&views, &[order], whitening).loss.backward();
            let moved = |x: &Tensor<2>| {
                x.grad(&gradients).is_some_and(|g| g.abs().max().into_scalar::<f32>() > 1e-6)
            };
            assert!(moved(&views[0]) && moved(&views[1]) == second, "{learns:?}");
        }
    }
}
