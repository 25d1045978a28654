//! Updates of parameters in one pass: momentum with layer-wise scaling, Adam, moving averages.
//!
//! The formulas are those of PyTorch 2 (`torch.optim.SGD`, `AdamW`) and of LARS (You et al. 2017,
//! arXiv:1708.03888) as self-supervised trainings use it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::pool::{Shared, parallel_for};
use super::simd::{Isa, Kernel, Simd};

/// The number of floats of a task.
const CHUNK: usize = 1 << 15;

/// An update of `STATES` arrays by one further array that is only read, element by element.
trait Update<const STATES: usize>: Copy + Sync {
    fn step(&self, state: [f32; STATES], given: f32) -> [f32; STATES];
}

struct Chunk<'a, U, const STATES: usize> {
    update: U,
    states: [&'a mut [f32]; STATES],
    given: &'a [f32],
}

impl<U: Update<STATES>, const STATES: usize> Kernel for Chunk<'_, U, STATES> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut states = self.states.map(|state| &mut state[..self.given.len()]);
        for (index, given) in self.given.iter().enumerate() {
            let old: [f32; STATES] = std::array::from_fn(|state| states[state][index]);
            let new = self.update.step(old, *given);
            for (state, new) in states.iter_mut().zip(new) {
                state[index] = new;
            }
        }
    }
}

fn run<U: Update<STATES>, const STATES: usize>(
    isa: Isa,
    update: U,
    states: [&mut [f32]; STATES],
    given: &[f32],
) {
    assert!(states.iter().all(|state| state.len() == given.len()), "arrays of one size");
    let states = states.map(Shared::new);
    parallel_for(given.len().div_ceil(CHUNK), |task| {
        let first = task * CHUNK;
        let given = &given[first..given.len().min(first + CHUNK)];
        // SAFETY: each task has its own chunk of each array.
        unsafe {
            let states = states.map(|state| state.slice(first, given.len()));
            isa.run(Chunk { update, states, given });
        }
    });
}

#[derive(Clone, Copy)]
struct Ema {
    take: f32,
}

impl Update<1> for Ema {
    #[inline(always)]
    fn step(&self, [average]: [f32; 1], value: f32) -> [f32; 1] {
        // An average that equals the value stays as it is, to the last bit.
        [average + self.take * (value - average)]
    }
}

/// Computes `average ← average + (1 − momentum) · (value − average)`.
pub fn ema(isa: Isa, average: &mut [f32], value: &[f32], momentum: f64) {
    let update = Ema { take: (1.0 - momentum) as f32 };
    run(isa, update, [average], value);
}

#[derive(Clone, Copy)]
struct Sum;

impl Update<1> for Sum {
    #[inline(always)]
    fn step(&self, [sum]: [f32; 1], value: f32) -> [f32; 1] {
        [sum + value]
    }
}

/// Computes `sum ← sum + value`.
pub fn add(isa: Isa, sum: &mut [f32], value: &[f32]) {
    run(isa, Sum, [sum], value);
}

/// The factors of [`descent`].
#[derive(Clone, Copy, Debug)]
pub struct Descent {
    /// The learning rate.
    pub rate: f32,
    /// The factor of the parameter that is added to the gradient.
    pub weight_decay: f32,
    /// The factor of the gradient with its decay: the trust ratio of LARS, else one.
    pub trust: f32,
}

impl Descent {
    #[inline(always)]
    fn gradient(&self, parameter: f32, gradient: f32) -> f32 {
        self.trust * (gradient + self.weight_decay * parameter)
    }
}

impl Update<1> for Descent {
    #[inline(always)]
    fn step(&self, [parameter]: [f32; 1], gradient: f32) -> [f32; 1] {
        [parameter - self.rate * self.gradient(parameter, gradient)]
    }
}

/// Computes `p ← p − rate · trust · (g + decay · p)`.
pub fn descent(isa: Isa, parameter: &mut [f32], gradient: &[f32], by: Descent) {
    run(isa, by, [parameter], gradient);
}

/// The factors of [`momentum`].
#[derive(Clone, Copy, Debug)]
pub struct Momentum {
    /// The rate, decay and trust ratio.
    pub descent: Descent,
    /// The share of the buffer that is kept.
    pub momentum: f32,
    /// The share of the gradient that the buffer takes in.
    pub take: f32,
    /// The shares of gradient and buffer in the direction: (0, 1), or (1, momentum) after Nesterov.
    pub direction: (f32, f32),
}

impl Update<2> for Momentum {
    #[inline(always)]
    fn step(&self, [parameter, buffer]: [f32; 2], gradient: f32) -> [f32; 2] {
        let gradient = self.descent.gradient(parameter, gradient);
        let buffer = self.momentum * buffer + self.take * gradient;
        let direction = self.direction.0 * gradient + self.direction.1 * buffer;
        [parameter - self.descent.rate * direction, buffer]
    }
}

/// Computes, with `g' = trust · (g + decay · p)`, `b ← momentum · b + take · g'` and
/// `p ← p − rate · direction`.
pub fn momentum(
    isa: Isa,
    parameter: &mut [f32],
    buffer: &mut [f32],
    gradient: &[f32],
    by: Momentum,
) {
    run(isa, by, [parameter, buffer], gradient);
}

/// The factors of [`adam`].
#[derive(Clone, Copy, Debug)]
pub struct Adam {
    /// The learning rate divided by the correction of the first moment, `rate / (1 − β₁ᵗ)`.
    pub rate: f32,
    /// The factors β₁ and `1 − β₁`; both are given, because the difference would lose digits in `f32`.
    pub beta1: (f32, f32),
    /// The factors β₂ and `1 − β₂`.
    pub beta2: (f32, f32),
    /// The correction of the second moment, `1 / √(1 − β₂ᵗ)`.
    pub correction: f32,
    /// The ε that is added to the root.
    pub eps: f32,
    /// The factor of the parameter before the step: `1 − rate · decay` (AdamW), or one.
    pub keep: f32,
    /// The factor of the parameter that is added to the gradient (Adam's L2), or zero.
    pub weight_decay: f32,
}

impl Update<3> for Adam {
    #[inline(always)]
    fn step(&self, [parameter, first, second]: [f32; 3], gradient: f32) -> [f32; 3] {
        let gradient = gradient + self.weight_decay * parameter;
        let first = self.beta1.0 * first + self.beta1.1 * gradient;
        let second = self.beta2.0 * second + self.beta2.1 * gradient * gradient;
        let root = second.sqrt() * self.correction + self.eps;
        [self.keep * parameter - self.rate * first / root, first, second]
    }
}

/// Makes one step of Adam or AdamW on a parameter and its two moments.
pub fn adam(isa: Isa, parameter: &mut [f32], moments: [&mut [f32]; 2], gradient: &[f32], by: Adam) {
    let [first, second] = moments;
    run(isa, by, [parameter, first, second], gradient);
}

/// Returns the sum of squares: over pieces of 4096 in `f32` lanes, over the pieces of a task in `f64`, and
/// over the tasks in order. The division depends on the length alone.
pub fn sum_of_squares(isa: Isa, values: &[f32]) -> f64 {
    const LANES: usize = 16;
    const PIECE: usize = LANES * 256;
    struct Squares<'a>(&'a [f32]);
    impl Kernel for Squares<'_> {
        type Output = f64;
        #[inline(always)]
        unsafe fn run<S: Simd>(self) -> f64 {
            let mut sums = [0.0f32; LANES];
            let (whole, rest) = self.0.as_chunks::<LANES>();
            for values in whole {
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum += value * value;
                }
            }
            let rest: f64 = rest.iter().map(|value| f64::from(*value).powi(2)).sum();
            sums.iter().map(|sum| f64::from(*sum)).sum::<f64>() + rest
        }
    }
    let of_task = |task: usize| {
        let first = task * CHUNK;
        let values = &values[first..values.len().min(first + CHUNK)];
        // SAFETY: the kernel reads its slice only.
        values.chunks(PIECE).map(|piece| unsafe { isa.run(Squares(piece)) }).sum::<f64>()
    };
    let sums: Vec<AtomicU64> =
        (0..values.len().div_ceil(CHUNK)).map(|_| AtomicU64::new(0)).collect();
    parallel_for(sums.len(), |task| {
        sums[task].store(of_task(task).to_bits(), Ordering::Relaxed);
    });
    sums.into_iter().map(|sum| f64::from_bits(sum.into_inner())).sum()
}
