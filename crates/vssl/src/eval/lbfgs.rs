//! Limited-memory BFGS (Liu and Nocedal 1989) for smooth convex functions, deterministic.
//!
//! Steps are shortened until the Armijo condition holds; a convex function then needs no second
//! Wolfe condition, updates without positive curvature (rounding) are left out. The function may know its
//! curvature roughly ([`Function::precondition`]), which saves iterations. The point is in double precision,
//! directions and gradients are in single precision, products of vectors are summed in double precision.

use super::vectors::{add, add_to_point, difference, dot, largest};

/// Why the iteration ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The largest entry of the gradient is below the tolerance.
    Gradient,
    /// No step lowers the value any more in the precision at hand.
    Precision,
    /// The largest number of iterations was done.
    Iterations,
}

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) gradient: f64,
    pub(super) iterations: usize,
}

/// Where the iteration ended.
#[derive(Clone, Debug)]
pub(super) struct Minimum {
    pub(super) point: Vec<f64>,
    pub(super) iterations: usize,
    pub(super) stop: Stop,
}

/// What is minimised.
pub(super) trait Function {
    /// Returns the value at a point and writes the gradient.
    fn value(&mut self, point: &[f64], gradient: &mut [f32]) -> f64;

    /// Hears that the iteration goes on from the point that was evaluated last.
    fn accept(&mut self) {}

    /// Multiplies a direction by a rough inverse of the matrix of second derivatives, which has to be symmetric
    /// and positive definite.
    fn precondition(&mut self, _direction: &mut Vec<f32>) {}

    /// A good length of the first step along `direction`, before anything is remembered.
    fn first_length(&mut self, _point: &[f64], direction: &[f32]) -> f64 {
        1.0 / dot(direction, direction).sqrt().max(1.0)
    }
}

/// Pairs of step and change of gradient that are remembered, at most.
const MEMORY: usize = 10;
/// The pairs that are remembered however large they are.
const LEAST_MEMORY: usize = 3;
/// The bytes that all pairs together may take, if there are more than [`LEAST_MEMORY`]: fewer pairs cost some
/// iterations, not the result.
const MEMORY_BYTES: usize = 1 << 30;
/// Share of the promised decrease that a step has to deliver.
const ARMIJO: f64 = 1e-4;
/// Shortenings before a direction is given up.
const SHORTENINGS: usize = 30;
/// A step is shortened to a share of itself within these bounds.
const SHORTER: [f64; 2] = [0.05, 0.6];
/// Relative decrease below which values in single precision are equal.
const FLAT: f64 = 1e-8;
/// Relative decrease below which a step is not tried: rounding decides what comes out.
const HOPELESS: f64 = 1e-11;

/// A step that was taken: change of the point, change of the gradient, their product.
struct Pair {
    step: Vec<f32>,
    change: Vec<f32>,
    curvature: f64,
}

/// Where the iteration is.
struct State {
    point: Vec<f64>,
    value: f64,
    gradient: Vec<f32>,
    pairs: Vec<Pair>,
}

/// Minimises `function`, starting from `start`.
pub(super) fn minimise(function: &mut impl Function, start: Vec<f64>, limits: Limits) -> Minimum {
    let mut gradient = vec![0.0; start.len()];
    let value = function.value(&start, &mut gradient);
    function.accept();
    let mut state = State { point: start, value, gradient, pairs: Vec::new() };
    let room = (MEMORY_BYTES / (8 * state.point.len()).max(1)).clamp(LEAST_MEMORY, MEMORY);
    let mut next_gradient = vec![0.0; state.point.len()];
    for iterations in 0..limits.iterations {
        if largest(&state.gradient) <= limits.gradient {
            return Minimum { point: state.point, iterations, stop: Stop::Gradient };
        }
        let before = state.value;
        if !state.advance(function, &mut next_gradient, room) {
            return Minimum { point: state.point, iterations, stop: Stop::Precision };
        }
        if before - state.value <= FLAT * before.abs() {
            let is_small = largest(&state.gradient) <= limits.gradient;
            let stop = if is_small { Stop::Gradient } else { Stop::Precision };
            return Minimum { point: state.point, iterations: iterations + 1, stop };
        }
    }
    let is_small = largest(&state.gradient) <= limits.gradient;
    let stop = if is_small { Stop::Gradient } else { Stop::Iterations };
    Minimum { point: state.point, iterations: limits.iterations, stop }
}

impl State {
    /// Goes to a lower point, and remembers the step among at most `room` pairs. Returns whether there is one.
    /// `next_gradient` is memory.
    fn advance(
        &mut self,
        function: &mut impl Function,
        next_gradient: &mut Vec<f32>,
        room: usize,
    ) -> bool {
        let mut direction = self.descent(function);
        let mut found = self.search(function, &direction, next_gradient);
        if found.is_none() && !self.pairs.is_empty() {
            // What is remembered misleads: begin anew from the gradient.
            self.pairs.clear();
            direction = self.descent(function);
            found = self.search(function, &direction, next_gradient);
        }
        let Some((length, value)) = found else { return false };
        function.accept();
        add_to_point(&mut self.point, length, &direction);
        let mut step = direction;
        step.iter_mut().for_each(|x| *x = (f64::from(*x) * length) as f32);
        difference(next_gradient, &mut self.gradient); // the change, in place
        std::mem::swap(&mut self.gradient, next_gradient);
        self.value = value;
        let curvature = dot(&step, next_gradient);
        if curvature > f64::EPSILON * dot(next_gradient, next_gradient) {
            let reused = match self.pairs.len() >= room {
                true => self.pairs.remove(0).change,
                false => vec![0.0; step.len()],
            };
            let change = std::mem::replace(next_gradient, reused);
            self.pairs.push(Pair { step, change, curvature });
        }
        true
    }

    /// Minus the inverse Hessian's estimate times the gradient (two-loop recursion, the estimate's first matrix
    /// being the preconditioner times `sᵀy / yᵀPy`).
    fn descent(&self, function: &mut impl Function) -> Vec<f32> {
        let mut direction: Vec<f32> = self.gradient.iter().map(|g| -g).collect();
        let mut weights = Vec::with_capacity(self.pairs.len());
        for pair in self.pairs.iter().rev() {
            let weight = dot(&pair.step, &direction) / pair.curvature;
            add(&mut direction, -weight, &pair.change);
            weights.push(weight);
        }
        function.precondition(&mut direction);
        if let Some(last) = self.pairs.last() {
            let mut change = last.change.clone();
            function.precondition(&mut change);
            let scale = last.curvature / dot(&last.change, &change);
            direction.iter_mut().for_each(|d| *d = (f64::from(*d) * scale) as f32);
        }
        for (pair, weight) in self.pairs.iter().zip(weights.into_iter().rev()) {
            let correction = weight - dot(&pair.change, &direction) / pair.curvature;
            add(&mut direction, correction, &pair.step);
        }
        if self.pairs.is_empty() && !is_descent(dot(&direction, &self.gradient)) {
            // The preconditioner misleads, and nothing else is known.
            direction.clear();
            direction.extend(self.gradient.iter().map(|g| -g));
        }
        direction
    }

    /// The length of a step along `direction` that is low enough, with the value there; the gradient there is
    /// in `next_gradient`.
    fn search(
        &self,
        function: &mut impl Function,
        direction: &[f32],
        next_gradient: &mut [f32],
    ) -> Option<(f64, f64)> {
        let slope = dot(direction, &self.gradient);
        if !is_descent(slope) {
            return None;
        }
        let mut length = match self.pairs.is_empty() {
            true => function.first_length(&self.point, direction),
            false => 1.0,
        };
        let mut next = vec![0.0; self.point.len()];
        for _ in 0..SHORTENINGS {
            if -length * slope <= HOPELESS * self.value.abs() {
                return None;
            }
            next.copy_from_slice(&self.point);
            add_to_point(&mut next, length, direction);
            let value = function.value(&next, next_gradient);
            if value <= self.value + ARMIJO * length * slope {
                return Some((length, value));
            }
            let end = dot(direction, next_gradient);
            length *= shorter([self.value, value], [slope * length, end * length]);
        }
        None
    }
}

/// Whether the function falls along a direction with this slope; a slope that is not a number says nothing.
fn is_descent(slope: f64) -> bool {
    slope < 0.0
}

/// The share of a step at which the cubic through the values and slopes at its two ends is lowest, within
/// bounds (Nocedal and Wright 2006, eq. 3.59).
fn shorter(values: [f64; 2], slopes: [f64; 2]) -> f64 {
    let first = slopes[0] + slopes[1] - 3.0 * (values[1] - values[0]);
    let second = (first * first - slopes[0] * slopes[1]).sqrt();
    let share = 1.0 - (slopes[1] + second - first) / (slopes[1] - slopes[0] + 2.0 * second);
    if share.is_finite() { share.clamp(SHORTER[0], SHORTER[1]) } else { SHORTER[0] }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { gradient: 1e-8, iterations: 500 };

    /// A closure that returns the value and the gradient, and the diagonal of a preconditioner.
    struct Plain<F>(F, Option<Vec<f32>>);

    impl<F: Fn(&[f64]) -> (f64, Vec<f64>)> Function for Plain<F> {
        fn value(&mut self, point: &[f64], gradient: &mut [f32]) -> f64 {
            let (value, exact) = (self.0)(point);
            gradient.iter_mut().zip(exact).for_each(|(to, x)| *to = x as f32);
            value
        }

        fn precondition(&mut self, direction: &mut Vec<f32>) {
            let diagonal = self.1.iter().flatten();
            direction.iter_mut().zip(diagonal).for_each(|(d, inverse)| *d *= inverse);
        }
    }

    fn run(f: impl Fn(&[f64]) -> (f64, Vec<f64>), start: Vec<f64>, limits: Limits) -> Minimum {
        minimise(&mut Plain(f, None), start, limits)
    }

    /// A badly conditioned bowl: `Σ 10^i·(x_i − i)² / 2`, with a quartic part.
    fn bowl(x: &[f64]) -> (f64, Vec<f64>) {
        let mut value = 0.0;
        let gradient = x.iter().enumerate().map(|(i, x)| {
            let (stiffness, off) = (10_f64.powi(i as i32), x - i as f64);
            value += 0.5 * stiffness * off * off + 0.25 * off.powi(4);
            stiffness * off + off.powi(3)
        });
        let gradient = gradient.collect();
        (value, gradient)
    }

    #[test]
    fn the_minimum_of_a_stiff_bowl_is_found() {
        let got = run(bowl, vec![9.0; 5], LIMITS);
        for (i, x) in got.point.iter().enumerate() {
            assert!((x - i as f64).abs() < 1e-5, "{:?} after {}", got.point, got.iterations);
        }
        assert!(got.iterations < 200, "{}", got.iterations);
    }

    #[test]
    fn a_known_curvature_saves_iterations_and_keeps_the_minimum() {
        let inverse = (0..5).map(|i| 0.1_f32.powi(i)).collect();
        let got = minimise(&mut Plain(bowl, Some(inverse)), vec![9.0; 5], LIMITS);
        for (i, x) in got.point.iter().enumerate() {
            assert!((x - i as f64).abs() < 1e-5, "{:?} after {}", got.point, got.iterations);
        }
        let without = run(bowl, vec![9.0; 5], LIMITS).iterations;
        assert!(got.iterations < without, "{} and {without}", got.iterations);
    }

    #[test]
    fn a_preconditioner_that_leads_upwards_or_nowhere_is_left_out() {
        let round = |x: &[f64]| {
            let off: Vec<f64> = x.iter().enumerate().map(|(i, x)| x - i as f64).collect();
            (off.iter().map(|off| 0.5 * off * off).sum(), off)
        };
        for inverse in [-1.0, 0.0, f32::NAN] {
            let got = minimise(&mut Plain(round, Some(vec![inverse; 5])), vec![9.0; 5], LIMITS);
            for (i, x) in got.point.iter().enumerate() {
                assert!((x - i as f64).abs() < 1e-4, "{inverse}: {got:?}");
            }
        }
    }

    #[test]
    fn a_start_at_the_minimum_takes_no_iteration() {
        let got = run(bowl, vec![0.0, 1.0, 2.0], LIMITS);
        assert_eq!((got.iterations, got.stop), (0, Stop::Gradient));
    }

    #[test]
    fn iterations_are_limited() {
        let got = run(bowl, vec![9.0; 5], Limits { iterations: 3, ..LIMITS });
        assert_eq!((got.iterations, got.stop), (3, Stop::Iterations));
    }

    #[test]
    fn a_function_that_never_falls_ends_with_precision() {
        let got = run(|_| (1.0, vec![1.0, 1.0]), vec![0.0, 0.0], LIMITS);
        assert_eq!((got.point, got.stop), (vec![0.0, 0.0], Stop::Precision));
        let got = run(|_| (f64::NAN, vec![1.0, 1.0]), vec![0.0, 0.0], LIMITS);
        assert_eq!((got.point, got.stop), (vec![0.0, 0.0], Stop::Precision));
    }

    #[test]
    fn steps_into_infinity_are_shortened() {
        // −ln(1 − x) is infinite from x = 1 on.
        let barrier = |x: &[f64]| {
            let value = if x[0] < 1.0 { -(1.0 - x[0]).ln() - 50.0 * x[0] } else { f64::INFINITY };
            (value, vec![1.0 / (1.0 - x[0]) - 50.0])
        };
        let got = run(barrier, vec![0.0], LIMITS);
        assert!((got.point[0] - 0.98).abs() < 1e-6, "{got:?}");
    }

    #[test]
    fn a_shorter_step_ends_at_the_minimum_of_the_cubic() {
        // x³ − x² − x + 1 falls from 0 to its minimum at 1; the step was 2.
        let share = shorter([1.0, 3.0], [-2.0, 14.0]);
        assert!((share - 0.5).abs() < 1e-12, "{share}");
        assert_eq!(shorter([1.0, f64::NAN], [-1.0, 1.0]), SHORTER[0]);
        assert_eq!(shorter([1.0, f64::INFINITY], [-1.0, 1.0]), SHORTER[0]);
    }
}
