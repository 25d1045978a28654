//! Parameter updates in one pass over memory: moving averages, momentum (with LARS), Adam(W).
//!
//! These operations belong to no graph: their results have no gradient, so a trained parameter must be marked
//! again. A tensor without another owner is updated in its own memory.

use burn::backend::autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy};
use burn::backend::tensor::FloatTensor;
use burn::backend::{AutodiffBackend, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

use crate::choice::accelerated;
use crate::layout::{Dense, dense, sizes, vector};
use crate::raw::simd::isa;
use crate::raw::update;
use crate::reference;
use crate::steps::{AdamStep, MomentumStep, TrustRatio};

/// Returns `momentum · average + (1 − momentum) · value`, computed as `average + (1 − momentum) · (value − average)`: an
/// average that equals the value stays as it is, to the last bit.
///
/// # Panics
///
/// If the shapes differ.
pub fn ema<const D: usize>(average: Tensor<D>, value: Tensor<D>, momentum: f64) -> Tensor<D> {
    assert_eq!(average.dims(), value.dims(), "ema: shapes of the average and the value");
    if !(accelerated(&average) && accelerated(&value)) {
        return reference::ema(average, value, momentum);
    }
    Tensor::from_dispatch(<Dispatch as UpdateOps>::kernel_ema(
        average.into_dispatch(),
        value.into_dispatch(),
        momentum,
    ))
}

/// Returns the parameter and the momentum buffer after a step. The buffer is `None` before the first step,
/// and always without momentum.
///
/// # Panics
///
/// If the shapes differ.
pub fn momentum_step<const D: usize>(
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    buffer: Option<Tensor<D>>,
    step: &MomentumStep,
) -> (Tensor<D>, Option<Tensor<D>>) {
    assert_eq!(parameter.dims(), gradient.dims(), "momentum_step: shape of the gradient");
    if let Some(buffer) = &buffer {
        assert_eq!(parameter.dims(), buffer.dims(), "momentum_step: shape of the buffer");
    }
    let all = [Some(&parameter), Some(&gradient), buffer.as_ref()];
    if !all.into_iter().flatten().all(accelerated) {
        return reference::momentum_step(parameter, gradient, buffer, step);
    }
    let dampening = if buffer.is_some() { step.dampening } else { 0.0 };
    let step = MomentumStep { dampening, ..*step };
    let fresh = || Tensor::zeros(gradient.dims(), &gradient.device());
    let buffer = (step.momentum != 0.0).then(|| buffer.unwrap_or_else(fresh));
    let (parameter, gradient) = (parameter.into_dispatch(), gradient.into_dispatch());
    match buffer {
        Some(buffer) => {
            let buffer = buffer.into_dispatch();
            let (parameter, buffer) =
                <Dispatch as UpdateOps>::kernel_momentum(parameter, gradient, buffer, step);
            (Tensor::from_dispatch(parameter), Some(Tensor::from_dispatch(buffer)))
        }
        None => {
            let parameter = <Dispatch as UpdateOps>::kernel_descent(parameter, gradient, step);
            (Tensor::from_dispatch(parameter), None)
        }
    }
}

/// Returns the parameter and its two moments after a step; the moments are `None` before the first step.
///
/// # Panics
///
/// If the shapes differ.
pub fn adam_step<const D: usize>(
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    moments: Option<[Tensor<D>; 2]>,
    step: &AdamStep,
) -> (Tensor<D>, [Tensor<D>; 2]) {
    let zeros = || Tensor::zeros(gradient.dims(), &gradient.device());
    let [first, second] = moments.unwrap_or_else(|| [zeros(), zeros()]);
    for other in [&gradient, &first, &second] {
        assert_eq!(parameter.dims(), other.dims(), "adam_step: shapes");
    }
    if ![&parameter, &gradient, &first, &second].into_iter().all(accelerated) {
        return reference::adam_step(parameter, gradient, [first, second], step);
    }
    let (parameter, first, second) = <Dispatch as UpdateOps>::kernel_adam(
        parameter.into_dispatch(),
        gradient.into_dispatch(),
        first.into_dispatch(),
        second.into_dispatch(),
        *step,
    );
    let moments = [Tensor::from_dispatch(first), Tensor::from_dispatch(second)];
    (Tensor::from_dispatch(parameter), moments)
}

/// Returns the table with other rows in some places.
///
/// # Shapes — `table`: `[m, d]`; `rows`: `[n, d]`; `places`: n different numbers below m.
///
/// # Panics
///
/// If the shapes do not fit each other, or a place is outside the table.
pub fn write_rows(table: Tensor<2>, rows: Tensor<2>, places: &[usize]) -> Tensor<2> {
    let ([length, width], [count, columns]) = (table.dims(), rows.dims());
    assert_eq!((count, columns), (places.len(), width), "write_rows: a row for each place");
    assert!(places.iter().all(|&place| place < length), "write_rows: places in the table");
    let different = places.iter().collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!(different, places.len(), "write_rows: each place once");
    if !(accelerated(&table) && accelerated(&rows)) {
        return reference::write_rows(table, rows, places);
    }
    let (table, rows) = (table.into_dispatch(), rows.into_dispatch());
    let table = <Dispatch as UpdateOps>::kernel_write_rows(table, rows, places.to_vec());
    Tensor::from_dispatch(table)
}

/// Returns the sum of all squares, `[1]`; it is the same for any number of threads.
pub fn sum_of_squares<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    if !accelerated(&x) || x.is_tracked() {
        return x.square().sum();
    }
    Tensor::from_dispatch(<Dispatch as UpdateOps>::kernel_sum_of_squares(x.into_dispatch()))
}

impl MomentumStep {
    /// Returns the factor of the decayed gradient and the decay, from the norms of parameter and gradient.
    fn scaling(&self, norms: impl FnOnce() -> (f64, f64)) -> (f64, f64) {
        let Some(TrustRatio { eta, eps, clip }) = self.trust else {
            return (1.0, self.weight_decay);
        };
        let (parameter, gradient) = norms();
        if parameter <= 0.0 || gradient <= 0.0 {
            return (1.0, 0.0);
        }
        let ratio = eta * parameter / (gradient + self.weight_decay * parameter + eps);
        let ratio = match clip {
            false => ratio,
            true if self.rate == 0.0 => 1.0,
            true => (ratio / self.rate).min(1.0),
        };
        (ratio, self.weight_decay)
    }
}

#[backend_extension(Flex, Autodiff)]
trait UpdateOps: Backend {
    fn kernel_ema(
        average: FloatTensor<Self>,
        value: FloatTensor<Self>,
        momentum: f64,
    ) -> FloatTensor<Self>;

    fn kernel_momentum(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        buffer: FloatTensor<Self>,
        step: MomentumStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    fn kernel_descent(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        step: MomentumStep,
    ) -> FloatTensor<Self>;

    fn kernel_write_rows(
        table: FloatTensor<Self>,
        rows: FloatTensor<Self>,
        places: Vec<usize>,
    ) -> FloatTensor<Self>;

    fn kernel_sum_of_squares(x: FloatTensor<Self>) -> FloatTensor<Self>;

    fn kernel_adam(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        step: AdamStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

type FlexFloat = FloatTensor<Flex>;

/// Returns the part of a step that needs no buffer.
fn descent(parameter: &Dense, gradient: &Dense, step: &MomentumStep) -> update::Descent {
    let norm = |x: &Dense| update::sum_of_squares(isa(), x.floats()).sqrt();
    let (trust, weight_decay) = step.scaling(|| (norm(parameter), norm(gradient)));
    let rate = step.rate as f32;
    update::Descent { rate, weight_decay: weight_decay as f32, trust: trust as f32 }
}

impl UpdateOps for Flex {
    fn kernel_ema(average: FlexFloat, value: FlexFloat, momentum: f64) -> FlexFloat {
        let mut average = dense(average).into_tensor();
        update::ema(isa(), average.storage_mut(), dense(value).floats(), momentum);
        average
    }

    fn kernel_momentum(
        parameter: FlexFloat,
        gradient: FlexFloat,
        buffer: FlexFloat,
        step: MomentumStep,
    ) -> (FlexFloat, FlexFloat) {
        let (parameter, gradient) = (dense(parameter), dense(gradient));
        let by = update::Momentum {
            descent: descent(&parameter, &gradient, &step),
            momentum: step.momentum as f32,
            take: (1.0 - step.dampening) as f32,
            direction: if step.nesterov { (1.0, step.momentum as f32) } else { (0.0, 1.0) },
        };
        let (mut parameter, mut buffer) = (parameter.into_tensor(), dense(buffer).into_tensor());
        let states = (parameter.storage_mut(), buffer.storage_mut());
        update::momentum(isa(), states.0, states.1, gradient.floats(), by);
        (parameter, buffer)
    }

    fn kernel_descent(parameter: FlexFloat, gradient: FlexFloat, step: MomentumStep) -> FlexFloat {
        let (parameter, gradient) = (dense(parameter), dense(gradient));
        let by = descent(&parameter, &gradient, &step);
        let mut parameter = parameter.into_tensor();
        update::descent(isa(), parameter.storage_mut(), gradient.floats(), by);
        parameter
    }

    fn kernel_write_rows(table: FlexFloat, rows: FlexFloat, places: Vec<usize>) -> FlexFloat {
        let width = sizes::<2>(&rows)[1];
        let (mut table, rows) = (dense(table).into_tensor(), dense(rows));
        let floats: &mut [f32] = table.storage_mut();
        for (place, row) in places.into_iter().zip(rows.floats().chunks_exact(width.max(1))) {
            floats[place * width..][..width].copy_from_slice(row);
        }
        table
    }

    fn kernel_sum_of_squares(x: FlexFloat) -> FlexFloat {
        vector(vec![update::sum_of_squares(isa(), dense(x).floats()) as f32])
    }

    fn kernel_adam(
        parameter: FlexFloat,
        gradient: FlexFloat,
        first: FlexFloat,
        second: FlexFloat,
        step: AdamStep,
    ) -> (FlexFloat, FlexFloat, FlexFloat) {
        let [mut parameter, mut first, mut second] =
            [parameter, first, second].map(|tensor| dense(tensor).into_tensor());
        let (beta1, beta2) = step.betas;
        let number = step.number.min(i32::MAX as u64) as i32;
        let (keep, decay) = if step.decoupled {
            (1.0 - step.rate * step.weight_decay, 0.0)
        } else {
            (1.0, step.weight_decay)
        };
        let by = update::Adam {
            rate: (step.rate / (1.0 - beta1.powi(number))) as f32,
            beta1: (beta1 as f32, (1.0 - beta1) as f32),
            beta2: (beta2 as f32, (1.0 - beta2) as f32),
            correction: (1.0 / (1.0 - beta2.powi(number)).sqrt()) as f32,
            eps: step.eps as f32,
            keep: keep as f32,
            weight_decay: decay as f32,
        };
        let moments = [first.storage_mut(), second.storage_mut()];
        update::adam(isa(), parameter.storage_mut(), moments, dense(gradient).floats(), by);
        (parameter, first, second)
    }
}

impl<B: UpdateOps, C: CheckpointStrategy> UpdateOps for Autodiff<B, C> {
    fn kernel_ema(
        average: FloatTensor<Self>,
        value: FloatTensor<Self>,
        momentum: f64,
    ) -> FloatTensor<Self> {
        let (average, value) = (average.into_primitive(), value.into_primitive());
        Self::from_inner(B::kernel_ema(average, value, momentum))
    }

    fn kernel_momentum(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        buffer: FloatTensor<Self>,
        step: MomentumStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (parameter, buffer) = B::kernel_momentum(
            parameter.into_primitive(),
            gradient.into_primitive(),
            buffer.into_primitive(),
            step,
        );
        (Self::from_inner(parameter), Self::from_inner(buffer))
    }

    fn kernel_descent(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        step: MomentumStep,
    ) -> FloatTensor<Self> {
        let (parameter, gradient) = (parameter.into_primitive(), gradient.into_primitive());
        Self::from_inner(B::kernel_descent(parameter, gradient, step))
    }

    fn kernel_write_rows(
        table: FloatTensor<Self>,
        rows: FloatTensor<Self>,
        places: Vec<usize>,
    ) -> FloatTensor<Self> {
        let (table, rows) = (table.into_primitive(), rows.into_primitive());
        Self::from_inner(B::kernel_write_rows(table, rows, places))
    }

    fn kernel_sum_of_squares(x: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::from_inner(B::kernel_sum_of_squares(x.into_primitive()))
    }

    fn kernel_adam(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        step: AdamStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (parameter, first, second) = B::kernel_adam(
            parameter.into_primitive(),
            gradient.into_primitive(),
            first.into_primitive(),
            second.into_primitive(),
            step,
        );
        (Self::from_inner(parameter), Self::from_inner(first), Self::from_inner(second))
    }
}
