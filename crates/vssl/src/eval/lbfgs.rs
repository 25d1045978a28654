//! Limited-memory BFGS (Liu and Nocedal 1989) for smooth convex functions, deterministic.
//!
//! Steps are shortened until the Armijo condition holds; a convex function then needs no second
//! Wolfe condition, updates without positive curvature (rounding) are left out.

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

/// Pairs of step and change of gradient that are remembered.
const MEMORY: usize = 10;
/// Share of the promised decrease that a step has to deliver.
const ARMIJO: f64 = 1e-4;
/// Halvings (at least) before a direction is given up.
const SHORTENINGS: usize = 30;
/// Relative decrease below which values in single precision are equal.
const FLAT: f64 = 1e-8;

/// A step that was taken: change of the point, change of the gradient, their product.
struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    curvature: f64,
}

/// Minimises `function`, which gives the value and the gradient at a point.
pub(super) fn minimise(
    function: impl Fn(&[f64]) -> (f64, Vec<f64>),
    start: Vec<f64>,
    limits: Limits,
) -> Minimum {
    let mut point = start;
    let (mut value, mut gradient) = function(&point);
    let mut pairs: Vec<Pair> = Vec::new();
    for iterations in 0..limits.iterations {
        if largest(&gradient) <= limits.gradient {
            return Minimum { point, iterations, stop: Stop::Gradient };
        }
        let mut found = None;
        let mut direction = descent(&gradient, &pairs);
        if dot(&direction, &gradient) < 0.0 {
            found = search(&function, &point, value, &gradient, &direction);
        }
        if found.is_none() && !pairs.is_empty() {
            // What is remembered misleads: begin anew from the gradient.
            pairs.clear();
            direction = descent(&gradient, &pairs);
            found = search(&function, &point, value, &gradient, &direction);
        }
        let Some((next, next_value, next_gradient)) = found else {
            return Minimum { point, iterations, stop: Stop::Precision };
        };
        let step: Vec<f64> = difference(&next, &point);
        let change = difference(&next_gradient, &gradient);
        let curvature = dot(&step, &change);
        if curvature > f64::EPSILON * dot(&change, &change) {
            if pairs.len() == MEMORY {
                pairs.remove(0);
            }
            pairs.push(Pair { step, change, curvature });
        }
        let is_flat = value - next_value <= FLAT * value.abs();
        (point, value, gradient) = (next, next_value, next_gradient);
        if is_flat {
            let is_small = largest(&gradient) <= limits.gradient;
            let stop = if is_small { Stop::Gradient } else { Stop::Precision };
            return Minimum { point, iterations: iterations + 1, stop };
        }
    }
    let stop =
        if largest(&gradient) <= limits.gradient { Stop::Gradient } else { Stop::Iterations };
    Minimum { point, iterations: limits.iterations, stop }
}

/// Minus the inverse Hessian's estimate times the gradient (two-loop recursion); without a memory,
/// the gradient's direction with a length of at most 1.
fn descent(gradient: &[f64], pairs: &[Pair]) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let Some(last) = pairs.last() else {
        let norm = dot(gradient, gradient).sqrt().max(1.0);
        direction.iter_mut().for_each(|d| *d /= norm);
        return direction;
    };
    let mut weights = Vec::with_capacity(pairs.len());
    for pair in pairs.iter().rev() {
        let weight = dot(&pair.step, &direction) / pair.curvature;
        add(&mut direction, -weight, &pair.change);
        weights.push(weight);
    }
    let scale = last.curvature / dot(&last.change, &last.change);
    direction.iter_mut().for_each(|d| *d *= scale);
    for (pair, weight) in pairs.iter().zip(weights.into_iter().rev()) {
        let correction = weight - dot(&pair.change, &direction) / pair.curvature;
        add(&mut direction, correction, &pair.step);
    }
    direction
}

/// The first point along `direction` that is low enough, with its value and gradient.
fn search(
    function: impl Fn(&[f64]) -> (f64, Vec<f64>),
    point: &[f64],
    value: f64,
    gradient: &[f64],
    direction: &[f64],
) -> Option<(Vec<f64>, f64, Vec<f64>)> {
    let slope = dot(direction, gradient);
    let mut length = 1.0;
    for _ in 0..SHORTENINGS {
        let mut next = point.to_vec();
        add(&mut next, length, direction);
        let (next_value, next_gradient) = function(&next);
        if next_value <= value + ARMIJO * length * slope {
            return Some((next, next_value, next_gradient));
        }
        // Minimum of the parabola through what is known, kept within a tenth and a half.
        let parabola = -slope * length / (2.0 * ((next_value - value) / length - slope));
        length = if parabola.is_finite() {
            parabola.clamp(0.1 * length, 0.5 * length)
        } else {
            0.1 * length
        };
    }
    None
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], factor: f64, what: &[f64]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += factor * what);
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |largest, x| x.abs().max(largest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { gradient: 1e-8, iterations: 500 };

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
        let got = minimise(bowl, vec![9.0; 5], LIMITS);
        for (i, x) in got.point.iter().enumerate() {
            assert!((x - i as f64).abs() < 1e-5, "{:?} after {}", got.point, got.iterations);
        }
        assert!(got.iterations < 200, "{}", got.iterations);
    }

    #[test]
    fn a_start_at_the_minimum_takes_no_iteration() {
        let got = minimise(bowl, vec![0.0, 1.0, 2.0], LIMITS);
        assert_eq!((got.iterations, got.stop), (0, Stop::Gradient));
    }

    #[test]
    fn iterations_are_limited() {
        let got = minimise(bowl, vec![9.0; 5], Limits { iterations: 3, ..LIMITS });
        assert_eq!((got.iterations, got.stop), (3, Stop::Iterations));
    }

    #[test]
    fn a_function_that_never_falls_ends_with_precision() {
        let got = minimise(|_| (1.0, vec![1.0, 1.0]), vec![0.0, 0.0], LIMITS);
        assert_eq!((got.point, got.stop), (vec![0.0, 0.0], Stop::Precision));
    }

    #[test]
    fn steps_into_infinity_are_shortened() {
        // −ln(1 − x) is infinite from x = 1 on.
        let barrier = |x: &[f64]| {
            let value = if x[0] < 1.0 { -(1.0 - x[0]).ln() - 50.0 * x[0] } else { f64::INFINITY };
            (value, vec![1.0 / (1.0 - x[0]) - 50.0])
        };
        let got = minimise(barrier, vec![0.0], LIMITS);
        assert!((got.point[0] - 0.98).abs() < 1e-6, "{got:?}");
    }
}
