//! Operations on half-precision images, on the back end that every machine has: the type of what
//! comes out, its distance from single precision on the same (rounded) inputs, and gradients of the
//! factors in single precision.

use burn::tensor::{DType, Tensor, TensorData};
use vssl_kernels::{
    Normalised, batch_norm_eval, batch_norm_train, conv2d, global_average_pool, linear, max_pool2d,
};

use crate::{assert_close, device, gradients, gradients_of_both, random};

/// Types and the distance of 1 to the next number in them.
const HALVES: [(DType, f32); 2] = [(DType::BF16, 1.0 / 128.0), (DType::F16, 1.0 / 1024.0)];
/// Half-precision inputs are products' only rounding but for the output's; a gradient is rounded
/// on its way in, too.
const ROUNDINGS: f32 = 3.0;
const EPS: f64 = 1e-5;

/// `x` rounded to `half`, and the rounded values in single precision.
fn rounded<const D: usize>(x: Tensor<D>, half: DType) -> (Tensor<D>, Tensor<D>) {
    let half = x.cast(half).detach();
    (half.clone(), half.cast(DType::F32).detach())
}

fn single<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.cast(DType::F32)
}

#[test]
fn a_convolution_is_in_half_precision_and_its_weight_learns_in_single() {
    let shapes = [([2, 3, 8, 8], [4, 3, 3, 3], 1, 1), ([2, 5, 9, 7], [6, 5, 1, 1], 2, 0)];
    for ((half, epsilon), (shape, filter, stride, padding)) in
        HALVES.into_iter().flat_map(|half| shapes.map(|shape| (half, shape)))
    {
        let (x, rounded_x) = rounded(random(shape, 1), half);
        let (_, weight) = rounded(random(filter, 2), half);
        let weight = weight.require_grad();
        let y = conv2d(x, weight.clone(), stride, padding);
        assert_eq!(y.dtype(), half);
        let slow = conv2d(rounded_x, weight.clone(), stride, padding);
        assert_close(single(y.clone()), slow.clone(), ROUNDINGS * epsilon, "values");
        let [got] = gradients(single(y), &[&weight]).try_into().unwrap();
        assert_eq!(got.dtype(), DType::F32);
        let [expected] = gradients(slow, &[&weight]).try_into().unwrap();
        assert_close(got, expected, ROUNDINGS * epsilon, "gradient of the weight");
    }
}

#[test]
fn a_linear_layer_is_in_half_precision_and_learns_in_single() {
    for (half, epsilon) in HALVES {
        let (x, rounded_x) = rounded(random([7, 19], 1), half);
        let weight = rounded(random([5, 19], 2), half).1.require_grad();
        let bias = rounded(random([5], 3), half).1.require_grad();
        let y = linear(x, weight.clone(), Some(bias.clone()));
        assert_eq!(y.dtype(), half);
        let slow = linear(rounded_x, weight.clone(), Some(bias.clone()));
        assert_close(single(y.clone()), slow.clone(), ROUNDINGS * epsilon, "values");
        let (got, got_bias) = gradients_of_both(single(y), &[&weight], &[&bias]);
        assert_eq!((got[0].dtype(), got_bias[0].dtype()), (DType::F32, DType::F32));
        let (expected, expected_bias) = gradients_of_both(slow, &[&weight], &[&bias]);
        assert_close(got[0].clone(), expected[0].clone(), ROUNDINGS * epsilon, "weight");
        assert_close(got_bias[0].clone(), expected_bias[0].clone(), ROUNDINGS * epsilon, "bias");
    }
}

#[test]
fn batch_norm_takes_its_statistics_in_single_precision() {
    for (half, epsilon) in HALVES {
        // A mean that is far from zero: in half precision little of the variance would be left.
        let (x, rounded_x) = rounded(random([4, 3, 5, 6], 1) + 8.0, half);
        let (residual, rounded_residual) = rounded(random([4, 3, 5, 6], 2), half);
        let gamma = (random([3], 3) + 1.5).detach().require_grad();
        let beta = random([3], 4).require_grad();
        let (x, rounded_x) = (x.require_grad(), rounded_x.require_grad());
        let norm = |x: &Tensor<4>, residual| {
            batch_norm_train(x.clone(), gamma.clone(), beta.clone(), Some(residual), true, EPS)
        };
        let (got, expected) = (norm(&x, residual), norm(&rounded_x, rounded_residual));
        assert_eq!(got.output.dtype(), half);
        assert_eq!((got.mean.dtype(), got.variance.dtype()), (DType::F32, DType::F32));
        assert_close(got.mean, expected.mean, 1e-5, "mean");
        assert_close(got.variance, expected.variance, 1e-5, "variance");
        let (got, expected) = (single(got.output), expected.output);
        assert_close(got.clone(), expected.clone(), ROUNDINGS * epsilon, "values");
        let (dx, factors) = gradients_of_both(got, &[&x], &[&gamma, &beta]);
        let (slow, slow_factors) = gradients_of_both(expected, &[&rounded_x], &[&gamma, &beta]);
        assert_eq!(dx[0].dtype(), half);
        assert_eq!((factors[0].dtype(), factors[1].dtype()), (DType::F32, DType::F32));
        // A ReLU turns where rounding moves its input over zero; one such pixel is less than this.
        let tolerance = 2.0 * ROUNDINGS * epsilon;
        for (got, expected) in factors.into_iter().zip(slow_factors) {
            assert_close(got, expected, tolerance, "gradient of a factor");
        }
        let error: f32 = (single(dx[0].clone()) - slow[0].clone()).square().sum().into_scalar();
        let size: f32 = slow[0].clone().square().sum().into_scalar();
        assert!((error / size).sqrt() < 4.0 * tolerance, "{half:?}: {}", (error / size).sqrt());
    }
}

#[test]
fn evaluating_batch_norm_rounds_only_what_it_puts_out() {
    for (half, epsilon) in HALVES {
        let (x, rounded_x) = rounded(random([2, 3, 4, 4], 1) + 8.0, half);
        let factor = |seed| random([3], seed) + 1.5;
        let norm = |x| {
            batch_norm_eval(x, factor(2), factor(3), factor(4) * 5.0, factor(5), None, false, EPS)
        };
        let got = norm(x);
        assert_eq!(got.dtype(), half);
        assert_close(single(got), norm(rounded_x), epsilon, "values");
    }
}

#[test]
fn pooling_follows_the_image_and_averages_come_out_in_single_precision() {
    for (half, _) in HALVES {
        let (x, rounded_x) = rounded(random([2, 3, 9, 7], 1), half);
        let pooled = max_pool2d(x.clone(), 3, 2, 1);
        assert_eq!(pooled.dtype(), half);
        assert_close(single(pooled), max_pool2d(rounded_x.clone(), 3, 2, 1), 0.0, "largest");
        let mean = global_average_pool(x);
        assert_eq!(mean.dtype(), DType::F32);
        assert_close(mean, global_average_pool(rounded_x), 1e-6, "mean");
    }
}

#[test]
fn a_weight_in_another_precision_than_its_image_takes_the_reference() {
    for (half, epsilon) in HALVES {
        let (x, rows) = (random([2, 3, 8, 8], 1), random([7, 19], 1));
        let (filter, rounded_filter) = rounded(random([4, 3, 3, 3], 2), half);
        let (weight, rounded_weight) = rounded(random([5, 19], 2), half);
        let got = conv2d(x.clone(), filter, 1, 1);
        assert_close(got, conv2d(x, rounded_filter, 1, 1), epsilon, "convolution");
        let got = linear(rows.clone(), weight, None);
        assert_close(got, linear(rows, rounded_weight, None), epsilon, "linear layer");
    }
}

#[test]
fn double_precision_stays_double() {
    let values = |count: usize| (0..count).map(|i| 1.0 + 1e-12 * i as f64).collect::<Vec<_>>();
    let x = TensorData::new(values(2 * 3 * 4 * 4), [2, 3, 4, 4]);
    let x = Tensor::<4>::from_data(x, (&device(), DType::F64));
    let factor = || Tensor::<1>::ones([3], (&device(), DType::F64));
    let Normalised { output, mean, variance } =
        batch_norm_train(x.clone(), factor(), factor(), None, false, EPS);
    let weight = Tensor::<4>::ones([2, 3, 1, 1], (&device(), DType::F64));
    let pooled = global_average_pool(conv2d(x.clone(), weight, 1, 0));
    for got in [output.dtype(), mean.dtype(), variance.dtype(), pooled.dtype()] {
        assert_eq!(got, DType::F64);
    }
    let mean = global_average_pool(x).into_data().try_to_vec::<f64>().unwrap();
    // In single precision all of them would be 1.
    assert!(mean.windows(2).all(|pair| pair[1] > pair[0]), "{mean:?}");
}
