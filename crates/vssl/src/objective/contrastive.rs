//! Losses that compare an image with others: SimCLR (Chen et al. 2020, arXiv:2002.05709, eq. 1),
//! MoCo V2 (He et al. 2020, arXiv:1911.05722, eq. 1), MoCo V3 (Chen, Xie and He 2021,
//! arXiv:2104.02057, eq. 1), NNCLR (Dwibedi et al. 2021, arXiv:2104.14548) and ReSSL (Zheng et al.
//! 2021, arXiv:2107.09282).
//!
//! Each is a cross entropy over rows of similarities, divided by a temperature T. `CE(logits, t)` is
//! the mean over rows of `logsumexp(logits) − logits[t]`. Called by the methods of the same names.

use burn::tensor::{Bool, Device, Int, Tensor, activation};
use vssl_kernels::{cross_entropy, linear, log_sum_exp, softmax};

use super::normalise::unit_rows;

/// The value of a similarity that does not count: its exponential is 0 next to any cosine's.
const ABSENT: f64 = -1e30;

/// NT-Xent over any number of views. With `s_ij = exp(cos(zᵢ, zⱼ)/temperature)`, P(i) the other rows
/// of the image of row i and Q(i) the rows of other images:
///
/// `−mean_i log( Σ_P s_ij / (Σ_P s_ij + Σ_Q s_ij) )`
///
/// All positives are summed inside the logarithm, which matters from three views on. Row i itself is in
/// neither sum. Every row needs a positive, because the logarithm of 0 has no value.
///
/// # Shapes — `z`: `[m, d]`, all views of all images in any order; `images`: which image each row is
/// of, `m` numbers; returns `[1]`.
///
/// # Panics
/// The number of image numbers is not the number of rows.
pub fn nt_xent(z: Tensor<2>, images: &[usize], temperature: f64) -> Tensor<1> {
    nt_xent_rows(z, images, temperature).mean()
}

/// The loss [`nt_xent`] of each row, `[m]`.
///
/// # Panics
/// The number of image numbers is not the number of rows.
pub fn nt_xent_rows(z: Tensor<2>, images: &[usize], temperature: f64) -> Tensor<1> {
    let (cosines, itself, positive) = compared(z, images);
    let others = log_sum_exp(cosines.clone().mask_fill(itself, ABSENT), 1.0 / temperature);
    let positives = cosines.mask_fill(positive.bool_not(), ABSENT);
    others - log_sum_exp(positives, 1.0 / temperature)
}

/// The loss of SupCon with the positives averaged outside the logarithm (Khosla et al. 2020, arXiv:2004.11362, eq. 2),
/// without its factor temperature / base temperature:
///
/// `−mean_i mean_{j in P(i)} [ cos(zᵢ, zⱼ)/T − log Σ_{k≠i} exp(cos(zᵢ, z_k)/T) ]`
///
/// [`nt_xent`] with labels as image numbers is the form with the sum inside. Every row needs a positive.
///
/// # Shapes — `z`: `[m, d]`; `labels`: `m` numbers; returns `[1]`.
///
/// # Panics
/// The number of labels is not the number of rows.
pub fn supcon_outside(z: Tensor<2>, labels: &[usize], temperature: f64) -> Tensor<1> {
    supcon_outside_rows(z, labels, temperature).mean()
}

/// The loss [`supcon_outside`] of each row, `[m]`.
///
/// # Panics
/// The number of labels is not the number of rows.
pub fn supcon_outside_rows(z: Tensor<2>, labels: &[usize], temperature: f64) -> Tensor<1> {
    let (cosines, itself, positive) = compared(z, labels);
    let others = log_sum_exp(cosines.clone().mask_fill(itself, ABSENT), 1.0 / temperature);
    let count = positive.clone().float().sum_dim(1); // [m, m] -> [m, 1]
    let sum = cosines.mask_fill(positive.bool_not(), 0.0).sum_dim(1);
    let own = (sum / count).squeeze_dim::<1>(1) / temperature; // [m, 1] -> [m]
    others - own
}

/// Returns the cosines of all pairs of rows, which entries are rows with themselves, and which are other rows of the
/// same number, each `[m, m]`.
fn compared(z: Tensor<2>, numbers: &[usize]) -> (Tensor<2>, Tensor<2, Bool>, Tensor<2, Bool>) {
    let Compared { itself, positive } = compared_rows(numbers, z.dims()[0], &z.device());
    let z = unit_rows(z);
    (linear(z.clone(), z, None), itself, positive) // [m, d] · [d, m] -> [m, m]
}

/// What the entries of a matrix of all pairs of rows compare, both `[m, m]`.
pub(super) struct Compared {
    /// Rows with themselves.
    pub itself: Tensor<2, Bool>,
    /// Rows with other rows of the same number.
    pub positive: Tensor<2, Bool>,
}

/// Says what the pairs of `m` rows compare that have these numbers.
pub(super) fn compared_rows(numbers: &[usize], m: usize, device: &Device) -> Compared {
    assert_eq!(numbers.len(), m, "one number for each row");
    let numbers: Vec<i64> = numbers.iter().map(|&number| number as i64).collect();
    let itself = equal_pairs(Tensor::arange(0..m as i64, device));
    let same = equal_pairs(Tensor::from_data(numbers.as_slice(), device));
    let positive = same.bool_and(itself.clone().bool_not());
    Compared { itself, positive }
}

/// MoCo in one direction: a query's own key among those of the queue,
/// `CE([q·k, q·queueᵀ]/T, 0)`. Nothing is normalised here.
///
/// # Shapes — `query`, `key`: `[n, d]`; `queue`: `[length, d]`; returns `[1]`. No gradient flows to
/// `key` and `queue`.
pub fn moco(query: Tensor<2>, key: Tensor<2>, queue: Tensor<2>, temperature: f64) -> Tensor<1> {
    moco_rows(query, key, queue, temperature).mean()
}

/// The loss [`moco`] of each query, `[n]`.
fn moco_rows(query: Tensor<2>, key: Tensor<2>, queue: Tensor<2>, temperature: f64) -> Tensor<1> {
    let n = query.dims()[0];
    let positive = (query.clone() * key.detach()).sum_dim(1) / temperature; // [n, d] -> [n, 1]
    let negative = linear(query, queue.detach(), None); // [n, length]
    // The sum over the queue is one logit beside the positive one.
    let negative = log_sum_exp(negative, 1.0 / temperature).reshape([n, 1]);
    let logits = Tensor::cat(vec![positive, negative], 1);
    -activation::log_softmax(logits, 1).narrow(1, 0, 1).reshape([n]) // [n, 1] -> [n]
}

/// Returns `loss(a₁, b₂) + loss(a₂, b₁)`: each view with the other view of the same images.
fn both_ways<A, B>(
    [a1, a2]: [A; 2],
    [b1, b2]: [B; 2],
    loss: impl Fn(A, B) -> Tensor<1>,
) -> Tensor<1> {
    loss(a1, b2) + loss(a2, b1)
}

/// Puts the keys of each view beside its queue.
fn beside<A, B>([k1, k2]: [A; 2], [queue1, queue2]: [B; 2]) -> [(A, B); 2] {
    [(k1, queue1), (k2, queue2)]
}

/// MoCo V2+: [`moco`] in both directions, `½·[moco(q₁, k₂, queue₂) + moco(q₂, k₁, queue₁)]`. The
/// keys of view v meet the queue that holds earlier keys of view v.
///
/// # Shapes — queries and keys: `[n, d]`; queues: `[length, d]`; returns `[1]`. No gradient flows to
/// keys and queues.
pub fn mocov2plus(
    queries: [Tensor<2>; 2],
    keys: [Tensor<2>; 2],
    queues: [Tensor<2>; 2],
    temperature: f64,
) -> Tensor<1> {
    let (moco, others) = (|q, (k, queue)| moco(q, k, queue, temperature), beside(keys, queues));
    both_ways(queries, others, moco) * 0.5
}

/// The loss [`mocov2plus`] of each image, `[n]`.
pub fn mocov2plus_rows(
    queries: [Tensor<2>; 2],
    keys: [Tensor<2>; 2],
    queues: [Tensor<2>; 2],
    temperature: f64,
) -> Tensor<1> {
    let (moco, others) =
        (|q, (k, queue)| moco_rows(q, k, queue, temperature), beside(keys, queues));
    both_ways(queries, others, moco) * 0.5
}

/// MoCo V3 in one direction: `2T·CE(cos(q, kᵀ)/T, i)`, row i belonging to key i.
///
/// # Shapes — `query`, `key`: `[n, d]`; returns `[1]`. No gradient flows to `key`.
pub fn mocov3_pair(query: Tensor<2>, key: Tensor<2>, temperature: f64) -> Tensor<1> {
    own_among_all(query, key.detach(), temperature) * (2.0 * temperature)
}

/// MoCo V3: the sum of both directions, `pair(q₁, k₂) + pair(q₂, k₁)`; see [`mocov3_pair`].
///
/// # Shapes — all `[n, d]`; returns `[1]`. No gradient flows to `keys`.
pub fn mocov3(queries: [Tensor<2>; 2], keys: [Tensor<2>; 2], temperature: f64) -> Tensor<1> {
    both_ways(queries, keys, |q, k| mocov3_pair(q, k, temperature))
}

/// The loss [`mocov3`] of each image, `[n]`.
pub fn mocov3_rows(queries: [Tensor<2>; 2], keys: [Tensor<2>; 2], temperature: f64) -> Tensor<1> {
    let pair = |q, k: Tensor<2>| own_among_all_rows(q, k.detach(), temperature);
    both_ways(queries, keys, pair) * (2.0 * temperature)
}

/// NNCLR in one direction: `CE(cos(nn, pᵀ)/T, i)`. Rows are the neighbours, columns the predictions.
///
/// # Shapes — `neighbours`, `prediction`: `[n, d]`; returns `[1]`. No gradient flows to
/// `neighbours`.
pub fn nnclr_pair(neighbours: Tensor<2>, prediction: Tensor<2>, temperature: f64) -> Tensor<1> {
    own_among_all(neighbours.detach(), prediction, temperature)
}

/// NNCLR: `½·pair(nn₁, p₂) + ½·pair(nn₂, p₁)`; see [`nnclr_pair`].
///
/// # Shapes — all `[n, d]`; returns `[1]`. No gradient flows to `neighbours`.
pub fn nnclr(
    neighbours: [Tensor<2>; 2],
    predictions: [Tensor<2>; 2],
    temperature: f64,
) -> Tensor<1> {
    both_ways(neighbours, predictions, |nn, p| nnclr_pair(nn, p, temperature)) * 0.5
}

/// The loss [`nnclr`] of each image, `[n]`.
pub fn nnclr_rows(
    neighbours: [Tensor<2>; 2],
    predictions: [Tensor<2>; 2],
    temperature: f64,
) -> Tensor<1> {
    let pair = |nn: Tensor<2>, p| own_among_all_rows(nn.detach(), p, temperature);
    both_ways(neighbours, predictions, pair) * 0.5
}

/// ReSSL: `mean_i −Σ_j softmax(k·queueᵀ/T_k)_j · log softmax(q·queueᵀ/T_q)_j`. The pair's own
/// similarity does not appear, and nothing is normalised here.
///
/// # Shapes — `q`, `k`: `[n, d]`; `queue`: `[length, d]`; returns `[1]`. No gradient flows to `k` and
/// `queue`.
pub fn ressl(
    q: Tensor<2>,
    k: Tensor<2>,
    queue: Tensor<2>,
    student_temperature: f64,
    teacher_temperature: f64,
) -> Tensor<1> {
    ressl_rows(q, k, queue, student_temperature, teacher_temperature).mean()
}

/// The loss [`ressl`] of each image, `[n]`.
pub fn ressl_rows(
    q: Tensor<2>,
    k: Tensor<2>,
    queue: Tensor<2>,
    student_temperature: f64,
    teacher_temperature: f64,
) -> Tensor<1> {
    let target = relations(k.detach(), queue.clone(), teacher_temperature);
    let logits = linear(q, queue.detach(), None);
    cross_entropy(logits, target, 1.0 / student_temperature)
}

/// Returns `softmax(x·queueᵀ/T)` of each row: its relations to the rows of the queue.
///
/// # Shapes — `x`: `[n, d]`; `queue`: `[length, d]`; returns `[n, length]`. No gradient flows to
/// `queue`.
pub fn relations(x: Tensor<2>, queue: Tensor<2>, temperature: f64) -> Tensor<2> {
    softmax(linear(x, queue.detach(), None), 1.0 / temperature)
}

/// Returns `CE(cos(a, bᵀ)/T, i)`: row i of `a` belongs to row i of `b`. Gradients flow to both.
///
/// # Shapes — `a`, `b`: `[n, d]`; returns `[1]`.
pub fn own_among_all(a: Tensor<2>, b: Tensor<2>, temperature: f64) -> Tensor<1> {
    own_among_all_rows(a, b, temperature).mean()
}

/// The cross entropy [`own_among_all`] of each row of `a`, `[n]`.
fn own_among_all_rows(a: Tensor<2>, b: Tensor<2>, temperature: f64) -> Tensor<1> {
    let (n, device) = (a.dims()[0], a.device());
    let cosines = linear(unit_rows(a), unit_rows(b), None); // [n, d] · [d, n] -> [n, n]
    let own = Tensor::arange(0..n as i64, &device).reshape([n, 1]);
    let own_cosines = cosines.clone().gather(1, own).reshape([n]); // [n, n] -> [n]
    log_sum_exp(cosines, 1.0 / temperature) - own_cosines / temperature
}

/// Returns which entries of the vector equal each other, `[m]` to `[m, m]`.
fn equal_pairs(x: Tensor<1, Int>) -> Tensor<2, Bool> {
    let m = x.dims()[0];
    let columns = x.clone().reshape([m, 1]).expand([m, m]);
    columns.equal(x.reshape([1, m]).expand([m, m]))
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

    #[test]
    fn targets_get_no_gradient_and_the_other_side_does() {
        let side = || rows([[1.0, 0.5], [0.0, 2.0]]);
        let (q, k, queue) = (side(), side(), side());
        let (qs, ks) = ([q.clone(), q.clone()], [k.clone(), k.clone()]);
        let queues = [queue.clone(), queue.clone()];
        let loss = mocov2plus(qs.clone(), ks.clone(), queues, 0.2)
            + mocov3(qs.clone(), ks.clone(), 0.2)
            + nnclr(ks, qs, 0.2)
            + ressl(q.clone(), k.clone(), queue.clone(), 0.1, 0.04);
        let gradients = loss.backward();
        assert!(q.grad(&gradients).is_some());
        assert!(k.grad(&gradients).is_none() && queue.grad(&gradients).is_none());
    }

    #[test]
    fn each_view_meets_the_other_views_keys_and_queue() {
        let (x, y) = ([1.0, 0.0], [0.0, 1.0]);
        let one = |row: [f32; 2]| rows([row]);
        // q₁ equals k₂ and is orthogonal to queue 2; q₂ equals k₁ and is orthogonal to queue 1.
        let apart = value(mocov2plus([one(x), one(y)], [one(y), one(x)], [one(x), one(y)], 1.0));
        assert!((apart - (1.0 + (-1.0_f32).exp()).ln()).abs() < 1e-6, "{apart}");
        // With the queues exchanged the negatives are as near as the positives.
        let alike = value(mocov2plus([one(x), one(y)], [one(y), one(x)], [one(y), one(x)], 1.0));
        assert!((alike - 2.0_f32.ln()).abs() < 1e-6, "{alike}");
    }

    #[test]
    fn the_scale_of_mocov3_makes_up_for_the_temperature() {
        // All cosines alike: the cross entropy is log 2, in both directions.
        let same = || [rows([[0.6, 0.8]; 2]), rows([[0.6, 0.8]; 2])];
        let loss = value(mocov3(same(), same(), 0.25));
        assert!((loss - 2.0_f32.ln()).abs() < 1e-6, "{loss}");
        assert!((value(nnclr(same(), same(), 0.25)) - 2.0_f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn equal_relations_leave_the_entropy_of_the_target() {
        let queue = rows([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]);
        let loss = value(ressl(rows([[0.6, 0.8]]), rows([[1.0, 0.0]]), queue, 0.1, 0.04));
        assert!((loss - 3.0_f32.ln()).abs() < 1e-6, "{loss}");
    }
}
