//! The integer weights of one pass of a resize; see [`super::resize`] for what they mean.

use super::Interpolation;

/// Number of fractional bits of a weight.
pub(super) const PRECISION: u32 = 22;

/// The weights of one pass: `taps` consecutive inputs for every output of the window.
#[derive(Debug, Default)]
pub(super) struct Weights {
    pub taps: usize,
    /// First input of each output; `start + taps` never exceeds the input's length.
    pub start: Vec<usize>,
    /// `[output, taps]`.
    pub weights: Vec<i32>,
    /// Buffer for the weights of one output before rounding.
    exact: Vec<f64>,
}

impl Weights {
    /// Weights of outputs `first..first + count` when `n` inputs become `m` outputs.
    pub fn set(&mut self, n: usize, m: usize, first: usize, count: usize, filter: Interpolation) {
        let scale = n as f64 / m as f64;
        let stretch = scale.max(1.0);
        let support = filter.support() * stretch;
        let squeeze = 1.0 / stretch;
        let reach = |x: usize| {
            let centre = (x as f64 + 0.5) * scale;
            let from = (centre - support + 0.5).max(0.0) as usize;
            (centre, from, ((centre + support + 0.5) as usize).min(n))
        };
        let longest = (first..first + count).map(|x| reach(x).2 - reach(x).1).max();
        self.taps = longest.unwrap_or(1).max(1);
        self.start.clear();
        self.weights.clear();
        self.weights.resize(count * self.taps, 0);
        for (x, out) in (first..).zip(self.weights.chunks_exact_mut(self.taps)) {
            let (centre, from, to) = reach(x);
            self.exact.clear();
            self.exact
                .extend((from..to).map(|k| filter.kernel((k as f64 - centre + 0.5) * squeeze)));
            let sum: f64 = self.exact.iter().sum();
            // A window of `taps` inputs that contains `from..to` and lies inside the input.
            let start = from.min(n - self.taps);
            for (weight, exact) in out[from - start..].iter_mut().zip(&self.exact) {
                let normalised = if sum == 0.0 { *exact } else { exact / sum };
                let scaled = normalised * f64::from(1 << PRECISION);
                // Rounds halves away from zero without a call into the mathematics library.
                *weight = (scaled + 0.5f64.copysign(scaled)) as i32;
            }
            self.start.push(start);
        }
    }

    /// The range of inputs that the outputs need.
    pub fn reach(&self) -> (usize, usize) {
        let first = self.start.first().copied().unwrap_or(0);
        let last = self.start.last().copied().unwrap_or(0);
        (first, last + self.taps)
    }
}

impl Interpolation {
    fn support(self) -> f64 {
        match self {
            Interpolation::Bicubic => 2.0,
            Interpolation::Bilinear => 1.0,
        }
    }

    fn kernel(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Interpolation::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Interpolation::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Interpolation::Bilinear if x < 1.0 => 1.0 - x,
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_every_output_sum_to_one_and_lie_inside_the_input() {
        let mut weights = Weights::default();
        for filter in [Interpolation::Bicubic, Interpolation::Bilinear] {
            for n in [1, 2, 3, 5, 31, 32, 33, 500] {
                for m in [1, 2, 7, 32, 224, 501] {
                    weights.set(n, m, 0, m, filter);
                    assert_eq!(weights.start.len(), m);
                    for (start, taps) in
                        weights.start.iter().zip(weights.weights.chunks_exact(weights.taps))
                    {
                        assert!(start + weights.taps <= n, "{n} to {m}");
                        let sum: i32 = taps.iter().sum();
                        // Each tap was rounded on its own.
                        assert!(
                            sum.abs_diff(1 << PRECISION) as usize <= weights.taps,
                            "{n} to {m}"
                        );
                    }
                }
            }
        }
    }
}
