//! Balanced soft assignment of rows to clusters by Sinkhorn's iterations (Cuturi 2013,
//! arXiv:1306.0895; as SwAV uses it, Caron et al. 2020, arXiv:2006.09882, section 3.1).
//!
//! The columns (clusters) and then the rows of `Q = exp(scores/ε)` are divided by their sums, again and
//! again. Each row becomes a distribution over clusters, and each cluster gets about as much as any other.
//! Called by `methods::{dinov2, ibot, swav}`.

use burn::tensor::{Tensor, activation};

/// Returns the assignments after `iterations` iterations, whose rows sum to one. With 0 iterations rows and
/// columns are not normalised, and all entries together sum to the number of rows.
///
/// In logarithms each division by sums is a log-softmax along the other axis. The last division cancels the
/// constants by which cluster and row sums differ from 1/clusters and 1/rows. The exponential of a score is
/// never computed, so that scores of any size stay finite.
///
/// # Shapes — `[n, clusters]` to `[n, clusters]`; no gradient flows to the scores.
pub fn sinkhorn(scores: Tensor<2>, epsilon: f64, iterations: usize) -> Tensor<2> {
    let [n, clusters] = scores.dims();
    let mut log = scores.detach() / epsilon;
    if iterations == 0 {
        let all = activation::log_softmax(log.reshape([1, n * clusters]), 1);
        return all.exp().reshape([n, clusters]) * n as f64;
    }
    for _ in 0..iterations {
        log = activation::log_softmax(activation::log_softmax(log, 0), 1);
    }
    log.exp()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn assign(scores: [[f32; 2]; 4], epsilon: f64, iterations: usize) -> Vec<f32> {
        let scores = Tensor::<2>::from_floats(scores, &Device::flex());
        sinkhorn(scores, epsilon, iterations).into_data().try_to_vec().unwrap()
    }

    #[test]
    fn rows_sum_to_one_and_clusters_share_alike() {
        // All rows prefer the first cluster.
        let q = assign([[0.9, 0.1], [0.8, 0.3], [0.7, 0.6], [0.9, 0.8]], 0.05, 200);
        for row in q.chunks(2) {
            assert!((row[0] + row[1] - 1.0).abs() < 1e-5, "{q:?}");
        }
        let first: f32 = q.iter().step_by(2).sum();
        assert!((first - 2.0).abs() < 1e-3, "{q:?}");
    }

    #[test]
    fn scores_far_beyond_the_range_of_the_exponential_stay_finite() {
        let q = assign([[3e4, -3e4], [2e4, 0.0], [1e4, 1e4], [-1e4, 5e4]], 0.04, 3);
        assert!(q.iter().all(|x| (0.0..=1.0 + 1e-5).contains(x)), "{q:?}");
        assert!((q[0] - 1.0).abs() < 1e-5 && (q[7] - 1.0).abs() < 1e-5, "{q:?}");
    }

    #[test]
    fn a_shift_of_all_scores_changes_nothing() {
        let scores = [[0.5, 0.25], [-0.5, 0.75], [0.0, 0.125], [1.0, 0.5]];
        let (q, shifted) =
            (assign(scores, 0.5, 3), assign(scores.map(|r| r.map(|x| x + 8.0)), 0.5, 3));
        for (a, b) in q.iter().zip(&shifted) {
            assert!((a - b).abs() < 1e-5, "{q:?} and {shifted:?}");
        }
    }

    #[test]
    fn without_iterations_only_the_total_is_fixed() {
        let q = assign([[0.9, 0.1], [0.8, 0.3], [0.7, 0.6], [0.9, 0.8]], 0.5, 0);
        assert!((q.iter().sum::<f32>() - 4.0).abs() < 1e-5, "{q:?}");
        assert!((q[0] / q[1] - (0.8_f32 / 0.5).exp()).abs() < 1e-4, "{q:?}");
    }
}
