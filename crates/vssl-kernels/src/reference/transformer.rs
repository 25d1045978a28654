//! The references of the operations of transformers; they are part of [`crate::reference`], and what it says
//! of precisions holds here too.

use burn::tensor::{DType, Tensor, activation};

use super::{at_least_single, linear};

/// See [`crate::layer_norm`].
pub fn layer_norm(x: Tensor<2>, gamma: Tensor<1>, beta: Tensor<1>, eps: f64) -> Tensor<2> {
    let centred = x.clone() - x.mean_dim(1); // [n, c] − [n, 1]
    let variance = centred.clone().square().mean_dim(1);
    let normalised = centred / (variance + eps).sqrt();
    normalised * gamma.unsqueeze() + beta.unsqueeze()
}

/// See [`crate::gelu`]. It is composed of simpler operations, because the backward pass of Burn's `gelu` is
/// that of the tanh approximation.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clone() * ((x / std::f64::consts::SQRT_2).erf() + 1.0) * 0.5
}

/// See [`crate::attention`].
pub fn attention(qkv: Tensor<2>, tokens: usize, heads: usize) -> Tensor<2> {
    let ([rows, columns], precision) = (qkv.dims(), qkv.dtype());
    let (n, width) = (rows / tokens, columns / 3);
    let size = width / heads;
    let qkv: Tensor<5> = qkv.reshape([n, tokens, 3, heads, size]);
    let qkv = qkv.permute([2, 0, 3, 1, 4]); // [3, n, heads, tokens, size]
    let part = |index: usize| -> Tensor<4> {
        qkv.clone().narrow(0, index, 1).reshape([n, heads, tokens, size])
    };
    let (q, k, v) = (part(0) / (size as f64).sqrt(), part(1), part(2));
    let logits = q.matmul(k.transpose()).cast(at_least_single(precision));
    let attention = activation::softmax(logits, 3).cast(precision);
    let mixed = attention.matmul(v).permute([0, 2, 1, 3]); // [n, tokens, heads, size]
    mixed.reshape([rows, width])
}

/// See [`crate::rotate`]. The products are computed in at least single precision.
pub fn rotate(qkv: Tensor<2>, angles: Tensor<2>, tokens: usize, heads: usize) -> Tensor<2> {
    let ([rows, columns], precision) = (qkv.dims(), qkv.dtype());
    let ([patches, size], n) = (angles.dims(), rows / tokens);
    let (prefix, half, own) = (tokens - patches, size / 2, at_least_single(precision));
    let qkv: Tensor<5> = qkv.reshape([n, tokens, 3, heads, size]);
    let turned = qkv.clone().narrow(1, prefix, patches);
    let values = turned.clone().narrow(2, 2, 1); // [n, patches, 1, heads, size]
    let turned = turned.narrow(2, 0, 2).cast(own);
    let of = |from| -> Tensor<5> {
        angles.clone().cast(own).narrow(1, from, half).reshape([1, patches, 1, 1, half])
    };
    let (cosines, sines) = (of(0), of(half));
    let (a, b) = (turned.clone().narrow(4, 0, half), turned.narrow(4, half, half));
    let first = a.clone() * cosines.clone() - b.clone() * sines.clone();
    let turned = Tensor::cat(vec![first, b * cosines + a * sines], 4).cast(precision);
    let mut whole = Tensor::cat(vec![turned, values], 2);
    if prefix > 0 {
        whole = Tensor::cat(vec![qkv.narrow(1, 0, prefix), whole], 1);
    }
    whole.reshape([rows, columns])
}

/// See [`crate::norm_linear`].
pub fn norm_linear(
    x: Tensor<2>,
    [gamma, beta]: [Tensor<1>; 2],
    eps: f64,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    precision: DType,
) -> Tensor<2> {
    linear(layer_norm(x, gamma, beta, eps).cast(precision), weight, bias)
}

/// See [`crate::linear_added`].
pub fn linear_added(
    x: Tensor<2>,
    with_gelu: bool,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    residual: Tensor<2>,
) -> Tensor<2> {
    let x = if with_gelu { gelu(x) } else { x };
    let y = linear(x, weight, bias);
    let own = residual.dtype();
    residual + y.cast(own)
}

/// See [`crate::swiglu`].
pub fn swiglu(x: Tensor<2>) -> Tensor<2> {
    let half = x.dims()[1] / 2;
    let (gate, value) = (x.clone().narrow(1, 0, half), x.narrow(1, half, half));
    activation::silu(gate) * value
}
