//! The operations of a transformer's blocks, as [`crate`] offers them.

mod autodiff;
mod extension;

use burn::backend::Dispatch;
use burn::tensor::{DType, Tensor};

use crate::choice::{accelerated, in_single};
use crate::reference;
use extension::TransformerOps;

/// Normalises each row over its columns, `γ·(x − mean)/√(var + eps) + β` with the row's own biased variance
/// (Ba et al. 2016, arXiv:1607.06450).
///
/// # Shapes — `x`: `[n, c]`; `gamma`, `beta`: `[c]`; returns `[n, c]`.
///
/// # Panics
///
/// If the shapes do not fit each other.
pub fn layer_norm(x: Tensor<2>, gamma: Tensor<1>, beta: Tensor<1>, eps: f64) -> Tensor<2> {
    check_norm("layer_norm", &x, [&gamma, &beta]);
    if !(accelerated(&x) && in_single(&gamma) && in_single(&beta)) {
        return reference::layer_norm(x, gamma, beta, eps);
    }
    let (x, gamma, beta) = (x.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch());
    let (y, _, _) = <Dispatch as TransformerOps>::kernel_layer_norm(x, gamma, beta, eps);
    Tensor::from_dispatch(y)
}

fn check_norm(operation: &str, x: &Tensor<2>, factors: [&Tensor<1>; 2]) {
    for factor in factors {
        assert_eq!(factor.dims(), [x.dims()[1]], "{operation}: a factor for each column");
    }
}

/// Exact GELU, `x · ½(1 + erf(x/√2))` (Hendrycks and Gimpel 2016, arXiv:1606.08415).
///
/// # Shapes — any, unchanged.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if !accelerated(&x) {
        return reference::gelu(x);
    }
    Tensor::from_dispatch(<Dispatch as TransformerOps>::kernel_gelu(x.into_dispatch()))
}

/// Multi-head attention of each image's tokens to each other, `softmax(q·kᵀ/√size)·v` (Vaswani et al. 2017,
/// arXiv:1706.03762). The fast path keeps nothing of size tokens² (Dao et al. 2022, arXiv:2205.14135).
///
/// # Shapes — `qkv`: `[images · tokens, 3 · heads · size]`, the queries of all heads first, then the keys,
/// then the values; returns `[images · tokens, heads · size]`.
///
/// # Panics
///
/// If the shapes do not fit each other.
pub fn attention(qkv: Tensor<2>, tokens: usize, heads: usize) -> Tensor<2> {
    let [rows, columns] = qkv.dims();
    assert!(
        tokens > 0 && rows.is_multiple_of(tokens),
        "attention: {rows} rows, expected a multiple of {tokens} tokens"
    );
    assert!(
        heads > 0 && columns.is_multiple_of(3 * heads),
        "attention: {columns} columns, expected queries, keys and values of {heads} heads"
    );
    if !accelerated(&qkv) {
        return reference::attention(qkv, tokens, heads);
    }
    let qkv = qkv.into_dispatch();
    let (out, _) = <Dispatch as TransformerOps>::kernel_attention(qkv, tokens, heads);
    Tensor::from_dispatch(out)
}

/// Turns the queries and keys of the patches by their positions (Su et al. 2021, arXiv:2104.09864): the two halves of a
/// query are the real and imaginary parts of numbers that are multiplied by `cos α + i·sin α`. The tokens in front of
/// the patches and all values stay as they are. The fast path works in place.
///
/// # Shapes — `qkv`: `[images · tokens, 3 · heads · size]` as for [`attention`], unchanged; `angles`: `[patches, size]`,
/// the cosines of each patch, then the sines.
///
/// # Panics
///
/// If the shapes do not fit each other.
pub fn rotate(qkv: Tensor<2>, angles: Tensor<2>, tokens: usize, heads: usize) -> Tensor<2> {
    let ([rows, columns], [patches, size]) = (qkv.dims(), angles.dims());
    assert!(
        tokens > 0 && rows.is_multiple_of(tokens) && patches <= tokens,
        "rotate: {rows} rows and angles of {patches} patches, expected images of {tokens} tokens"
    );
    assert!(
        size.is_multiple_of(2) && columns == 3 * heads * size,
        "rotate: {columns} columns, expected queries, keys and values of {heads} heads of {size}"
    );
    if !(accelerated(&qkv) && in_single(&angles)) {
        return reference::rotate(qkv, angles, tokens, heads);
    }
    let (qkv, angles) = (qkv.into_dispatch(), angles.into_dispatch());
    Tensor::from_dispatch(<Dispatch as TransformerOps>::kernel_rotate(
        qkv, angles, tokens, heads, false,
    ))
}

/// The linear layer of normalised rows: [`layer_norm`], then [`crate::linear`] in `precision`.
///
/// # Shapes — `x`: `[n, i]`; `gamma`, `beta`: `[i]`; `weight`: `[o, i]`; `bias`: `[o]`; returns `[n, o]`.
///
/// # Panics
///
/// If the shapes do not fit each other.
pub fn norm_linear(
    x: Tensor<2>,
    [gamma, beta]: [Tensor<1>; 2],
    eps: f64,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    precision: DType,
) -> Tensor<2> {
    check_norm("norm_linear", &x, [&gamma, &beta]);
    check_linear("norm_linear", &x, &weight, bias.as_ref());
    let in_single = [&gamma, &beta].into_iter().all(in_single)
        && in_single(&weight)
        && bias.iter().all(in_single)
        && precision == DType::F32;
    if !(accelerated(&x) && in_single) {
        return reference::norm_linear(x, [gamma, beta], eps, weight, bias, precision);
    }
    let (y, _, _) = <Dispatch as TransformerOps>::kernel_norm_linear(
        x.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        weight.into_dispatch(),
        bias.map(Tensor::into_dispatch).into(),
        eps,
    );
    Tensor::from_dispatch(y)
}

fn check_linear(operation: &str, x: &Tensor<2>, weight: &Tensor<2>, bias: Option<&Tensor<1>>) {
    let ([_, inputs], [outputs, columns]) = (x.dims(), weight.dims());
    assert_eq!(inputs, columns, "{operation}: columns of the input and of the weight");
    if let Some(bias) = bias {
        assert_eq!(bias.dims(), [outputs], "{operation}: one bias for each row of the weight");
    }
}

/// The linear layer that ends a branch of a block: `residual + x · weightᵀ + bias`, or with `with_gelu`
/// `residual + gelu(x) · weightᵀ + bias`. The sum has the type of the residual.
///
/// # Shapes — `x`: `[n, i]`; `weight`: `[o, i]`; `bias`: `[o]`; `residual`: `[n, o]`; returns `[n, o]`.
///
/// # Panics
///
/// If the shapes do not fit each other.
pub fn linear_added(
    x: Tensor<2>,
    with_gelu: bool,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    residual: Tensor<2>,
) -> Tensor<2> {
    check_linear("linear_added", &x, &weight, bias.as_ref());
    let shape = [x.dims()[0], weight.dims()[0]];
    assert_eq!(residual.dims(), shape, "linear_added: shape of the residual");
    let in_single = in_single(&weight) && bias.iter().all(in_single) && in_single(&residual);
    if !(accelerated(&x) && in_single) {
        return reference::linear_added(x, with_gelu, weight, bias, residual);
    }
    Tensor::from_dispatch(<Dispatch as TransformerOps>::kernel_linear_added(
        x.into_dispatch(),
        weight.into_dispatch(),
        residual.into_dispatch(),
        bias.map(Tensor::into_dispatch).into(),
        with_gelu,
    ))
}
