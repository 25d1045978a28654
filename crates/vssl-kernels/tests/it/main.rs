//! Every operation through the fast path and the reference: values and gradients, for each
//! instruction set of this machine, and the same bits for any number of threads.
//!
//! Errors are relative to the largest value of the reference. Sums of products in another order
//! differ by some 10⁻⁶ of it; Winograd's transforms amplify that tenfold. What counts is
//! stated at each table.

mod conv;
mod half;
mod inference;
mod linear;
mod loss;
mod newer;
mod norm;
mod pooling;
mod properties;
mod rows;
mod transformer;
mod update;

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::{Device, Tensor};
use vssl_kernels::{Isa, choose, isa, set_threads};

static PROCESS: Mutex<()> = Mutex::new(());

/// Runs `body` with each instruction set of this machine. One test at a time: the choice is the
/// process's.
pub fn for_each_isa(mut body: impl FnMut(Isa)) {
    let _one: MutexGuard<'_, ()> = PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
    let before = isa();
    for isa in Isa::all_available() {
        assert!(choose(isa));
        body(isa);
    }
    assert!(choose(before));
}

/// Runs `body` with 1, 2 and 3 threads and compares what it returns, bit for bit.
pub fn same_for_any_threads(body: impl Fn() -> Vec<Vec<f32>>) {
    for_each_isa(|isa| {
        let mut first: Option<Vec<Vec<f32>>> = None;
        for threads in [1, 2, 3] {
            set_threads(threads);
            let result = body();
            let first = first.get_or_insert_with(|| result.clone());
            for (index, (a, b)) in first.iter().zip(&result).enumerate() {
                let same = a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{isa:?}: result {index} differs with {threads} threads");
            }
        }
        set_threads(0);
    });
}

/// The CPU, with gradients.
pub fn device() -> Device {
    Device::flex().autodiff()
}

/// Values between −1 and 1, the same in every run.
pub fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::from_data(burn::tensor::TensorData::new(values, shape), &device())
}

/// The values in the order of the axes.
pub fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().expect("floats")
}

/// # Panics
///
/// If a value of `got` is further than `tolerance` times the largest expected value from its own
/// (or times a hundredth, where all are smaller: the tests put in values of about one).
pub fn assert_close<const D: usize>(
    got: Tensor<D>,
    expected: Tensor<D>,
    tolerance: f32,
    what: &str,
) {
    assert_eq!(got.dims(), expected.dims(), "{what}: shape");
    let (got, expected) = (floats(got), floats(expected));
    let largest = expected.iter().fold(1e-2f32, |largest, value| largest.max(value.abs()));
    for (index, (got, expected)) in got.iter().zip(&expected).enumerate() {
        assert!(
            (got - expected).abs() <= tolerance * largest,
            "{what}: element {index} is {got}, expected {expected} (largest {largest})"
        );
    }
}

/// The gradients of `Σ y · weights` with respect to `inputs`, for fixed weights.
pub fn gradients<const D: usize, const E: usize>(
    y: Tensor<D>,
    inputs: &[&Tensor<E>],
) -> Vec<Tensor<E>> {
    gradients_of_both::<D, E, 1>(y, inputs, &[]).0
}

/// The same with respect to inputs of two numbers of axes: a graph can be run back only once.
pub fn gradients_of_both<const D: usize, const E: usize, const F: usize>(
    y: Tensor<D>,
    first: &[&Tensor<E>],
    second: &[&Tensor<F>],
) -> (Vec<Tensor<E>>, Vec<Tensor<F>>) {
    let weights = random(y.dims(), 99);
    let gradients = (y * weights).sum().backward();
    (
        first.iter().map(|input| input.grad(&gradients).expect("a gradient")).collect(),
        second.iter().map(|input| input.grad(&gradients).expect("a gradient")).collect(),
    )
}

/// The same values, but neither in the order of the axes nor channels-last in memory.
pub fn scattered(tensor: Tensor<4>) -> Tensor<4> {
    tensor.permute([2, 0, 3, 1]).mul_scalar(1.0).permute([1, 3, 0, 2])
}
