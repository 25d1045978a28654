//! Figures of a run that are logged and not minimised: spread, agreement and use of the outputs.

use burn::tensor::{Int, Tensor};
use vssl_kernels::linear;

use super::{
    cosine::{cosine_similarity, directions},
    gaussian::Gaussian,
    normalise,
};

/// Returns the standard deviation over the batch of L2-normalised rows, averaged over the d dimensions and
/// multiplied by √d: about 1 for random directions, 0 when all rows point the same way.
///
/// # Shapes — `[n, d]` to `[1]`.
pub fn spread(x: Tensor<2>) -> Tensor<1> {
    let [n, d] = x.dims();
    let x = directions(x);
    let centred = x.clone() - x.mean_dim(0); // [n, d] − [1, d]
    let variance = centred.square().sum_dim(0) / n as f64;
    variance.sqrt().mean() * (d as f64).sqrt()
}

/// Returns the standard deviation over the batch (unbiased) of L2-normalised rows, averaged over the d
/// dimensions and over the views: `1/√d` for random directions, 0 for rows that all point the same way.
/// solo-learn logs this figure as `z_std`.
///
/// # Shapes — each view `[n, d]`, n at least 2; returns `[1]`.
///
/// # Panics
/// There is no view.
pub fn unit_std(views: &[Tensor<2>]) -> Tensor<1> {
    let stds = views.iter().map(|x| {
        let x = normalise::unit_rows(x.clone());
        x.var(0).sqrt().mean() // [n, d] -> [1, d] -> [1]
    });
    let sum = stds.reduce(|a, b| a + b).expect("there is a view at least");
    sum / views.len() as f64
}

/// Compares two views whose rows belong together. `positive_cosine` is the mean cosine of a row with its own
/// partner, `negative_cosine` the mean cosine with the other rows. `retrieval` is the share of rows of `a` to
/// which no row of `b` is nearer than their partner.
///
/// # Shapes — `a`, `b`: `[n, d]`, n at least 2; returns `[1]` each.
pub fn pair(a: &Tensor<2>, b: &Tensor<2>) -> [(&'static str, Tensor<1>); 3] {
    let n = a.dims()[0];
    let own = cosine_similarity(a.clone(), b.clone()).mean();
    let all = directions(a.clone()).matmul(directions(b.clone()).transpose()); // [n, n]
    let others = (all.clone().mean() * n as f64 - own.clone()) / (n - 1) as f64;
    let nearest: Tensor<1, Int> = all.argmax(1).reshape([n]);
    let hit = nearest.equal(Tensor::arange(0..n as i64, &a.device()));
    [("positive_cosine", own), ("negative_cosine", others), ("retrieval", hit.float().mean())]
}

/// Compares unit-length queries with their own keys and with a queue of other keys: the mean cosines, and the
/// share of queries to which no key of the queue is nearer than their own key.
///
/// # Shapes — `queries`, `keys`: `[n, dim]`; `queue`: `[length, dim]`; returns `[1]` each.
pub fn with_queue(
    queries: Tensor<2>,
    keys: Tensor<2>,
    queue: Tensor<2>,
) -> [(&'static str, Tensor<1>); 3] {
    let own = (queries.clone() * keys).sum_dim(1); // [n, dim] -> [n, 1]
    let others = linear(queries, queue, None); // [n, length]
    let retrieval = own.clone().greater(others.clone().max_dim(1)).float().mean();
    [("positive_cosine", own.mean()), ("negative_cosine", others.mean()), ("retrieval", retrieval)]
}

/// Returns figures of a view's posterior and the priors of all global views, which show whether the heads
/// stay spread and the norms stay constant. The loss does not show this.
///
/// # Panics
/// There is no prior.
pub fn gaussians(q: &Gaussian, priors: &[Gaussian]) -> Vec<(&'static str, Tensor<1>)> {
    let (p, other) = (&priors[0], priors.last().expect("there is a global view"));
    let cosine = |a: &Tensor<2>, b: &Tensor<2>| cosine_similarity(a.clone(), b.clone()).mean();
    let positive = q.variance.clone().greater_elem(0.0).float().mean();
    vec![
        ("cosine_mean", cosine(&q.mean, &other.mean)),
        ("cosine_variance", cosine(&q.variance, &other.variance)),
        ("norm_mean", mean_norm(q.mean.clone())),
        ("norm_variance", mean_norm(q.variance.clone())),
        ("variance_mean", q.variance.clone().mean()),
        ("variance_deviation", deviation(q.variance.clone())),
        ("positive_variance", positive),
        ("prior_mean_spread", spread(p.mean.clone())),
        ("prior_mean_cosine", cosine(&p.mean, &other.mean)),
        ("prior_variance_spread", spread(p.variance.clone())),
        ("prior_variance_cosine", cosine(&p.variance, &other.variance)),
    ]
}

/// Returns the mean entropy of rows that each sum to one, in nats: 0 for one-hot rows, `ln c` for uniform
/// rows.
///
/// # Shapes — `[n, c]` to `[1]`.
pub fn entropy(rows: Tensor<2>) -> Tensor<1> {
    entropies(rows).mean()
}

/// Returns the entropy of each row, as [`entropy`] takes it.
///
/// # Shapes — `[n, c]` to `[n, 1]`.
pub fn entropies(rows: Tensor<2>) -> Tensor<2> {
    // 0·log 0 is 0. The bound is of the order of the smallest normal number, far below any share that counts.
    let log = rows.clone().clamp_min(1e-37).log();
    -(rows * log).sum_dim(1)
}

/// Returns the share of the c columns that the rows use together, where each row sums to one: the exponential
/// of the entropy of the rows' mean, divided by c. It is 1 when all columns are used alike, and 1/c when all
/// rows use the same column only.
///
/// # Shapes — `[n, c]` to `[1]`.
pub fn usage(rows: Tensor<2>) -> Tensor<1> {
    let c = rows.dims()[1];
    entropy(rows.mean_dim(0)).exp() / c as f64
}

/// Returns the mean Euclidean norm of the rows.
///
/// # Shapes — `[n, d]` to `[1]`.
pub fn mean_norm(x: Tensor<2>) -> Tensor<1> {
    x.square().sum_dim(1).sqrt().mean()
}

/// Returns the standard deviation of all numbers.
///
/// # Shapes — `[n, d]` to `[1]`.
pub fn deviation(x: Tensor<2>) -> Tensor<1> {
    let mean = x.clone().mean();
    (x.square().mean() - mean.square()).clamp_min(0.0).sqrt()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn entropy_is_of_rows_and_usage_of_their_mean() {
        let rows = |values: [[f32; 4]; 2]| Tensor::<2>::from_floats(values, &Device::flex());
        let value = |x: Tensor<1>| x.into_scalar::<f32>();
        let apart = rows([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]);
        assert_eq!(value(entropy(apart.clone())), 0.0);
        assert!((value(usage(apart)) - 0.5).abs() < 1e-6);
        let uniform = rows([[0.25; 4]; 2]);
        assert!((value(entropy(uniform.clone())) - 4.0_f32.ln()).abs() < 1e-6);
        assert!((value(usage(uniform)) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_pair_tells_own_rows_from_others() {
        let rows = |values: [[f32; 2]; 3]| Tensor::<2>::from_floats(values, &Device::flex());
        let a = rows([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]]);
        // The first row's nearest is its own, the other two have been exchanged.
        let b = rows([[1.0, 0.0], [-4.0, 0.0], [0.0, 0.5]]);
        let [positive, negative, retrieval] =
            pair(&a, &b).map(|(_, figure)| figure.into_scalar::<f32>());
        assert!((positive - 1.0 / 3.0).abs() < 1e-6, "{positive}");
        // −1, 0; 0, 1; −1, 1 over the six pairs of different rows.
        assert!(negative.abs() < 1e-6, "{negative}");
        assert!((retrieval - 1.0 / 3.0).abs() < 1e-6, "{retrieval}");
    }
}
