//! SIGReg, sketched isotropic Gaussian regularisation, and the loss of LeJEPA (Balestriero and LeCun 2025,
//! arXiv:2511.08544, section 4). Called by `methods::lejepa`.
//!
//! The rows of an embedding are projected on random directions. On each direction the characteristic function of
//! the n projected numbers y is compared with that of the standard normal distribution, `φ(t) = exp(−t²/2)`, at
//! knots t, with φ as window (the test of Epps and Pulley 1983):
//!
//! `T = n · Σ_k w_k φ(t_k) [ (mean cos(t_k y) − φ(t_k))² + (mean sin(t_k y))² ]`
//!
//! Published programs differ in the knots, in the factor n, in whether views are pooled, and in how T meets the
//! distance between views: [`Quadrature`], [`Sketch`] and [`Total`] name the forms.

use burn::tensor::Tensor;

/// The knots and weights of the integral.
#[derive(Clone, Debug, PartialEq)]
pub struct Quadrature {
    /// The places t.
    knots: Vec<f64>,
    /// The weights of the trapezoid rule.
    weights: Vec<f64>,
}

impl Quadrature {
    /// Knots evenly on 0 to `end`, which stand for −`end` to `end` because the integrand is even: the form of the
    /// package lejepa, of lightly and of stable-pretraining.
    ///
    /// # Panics
    /// There are fewer than two knots.
    pub fn half_range(end: f64, count: usize) -> Self {
        assert!(count >= 2, "a quadrature has two knots at least");
        let width = end / (count - 1) as f64;
        let at_end = |k: usize| k == 0 || k == count - 1;
        Self {
            knots: (0..count).map(|k| width * k as f64).collect(),
            weights: (0..count).map(|k| if at_end(k) { width } else { 2.0 * width }).collect(),
        }
    }

    /// Knots evenly on −`end` to `end`, both included: the form of the paper's listing.
    ///
    /// # Panics
    /// There are fewer than two knots.
    pub fn full_range(end: f64, count: usize) -> Self {
        let Self { knots, weights } = Self::half_range(2.0 * end, count);
        Self {
            knots: knots.into_iter().map(|t| t - end).collect(),
            weights: weights.into_iter().map(|weight| weight / 2.0).collect(),
        }
    }
}

/// How the rows of several views become one number for each direction.
#[derive(Clone, Debug, PartialEq)]
pub struct Sketch {
    /// Where the characteristic functions are compared.
    pub quadrature: Quadrature,
    /// Whether the statistic has the factor n. eb_jepa leaves it out.
    pub times_rows: bool,
    /// Whether the rows of all views are one sample (stable-pretraining), and not a sample each.
    pub pooled: bool,
}

impl Sketch {
    /// Returns the statistic of each sample and direction.
    ///
    /// # Shapes — each view: `[n, d]`; `directions`: `[d, slices]`, of which each column is brought to length 1;
    /// returns `[samples, slices]`.
    pub fn statistics(&self, views: &[Tensor<2>], directions: Tensor<2>) -> Tensor<2> {
        let norms = directions.clone().square().sum_dim(0).sqrt(); // [1, slices]
        let directions = (directions / norms).detach();
        let of = |x: Tensor<2>| self.statistic(x.matmul(directions.clone()));
        if self.pooled {
            return of(Tensor::cat(views.to_vec(), 0));
        }
        Tensor::cat(views.iter().map(|view| of(view.clone())).collect(), 0)
    }

    /// Returns the statistic of projected rows, `[n, slices]` to `[1, slices]`.
    fn statistic(&self, y: Tensor<2>) -> Tensor<2> {
        let n = if self.times_rows { y.dims()[0] as f64 } else { 1.0 };
        let Quadrature { knots, weights } = &self.quadrature;
        let terms = knots.iter().zip(weights).map(|(&t, weight)| {
            let normal = (-0.5 * t * t).exp();
            let angle = y.clone() * t;
            let real = angle.clone().cos().mean_dim(0) - normal; // [n, slices] -> [1, slices]
            let imaginary = angle.sin().mean_dim(0);
            (real.square() + imaginary.square()) * (weight * normal * n)
        });
        terms.reduce(|sum, term| sum + term).expect("a quadrature has knots")
    }
}

/// Returns the statistics, of which those below `least` are 0 and have no gradient: an option of the package lejepa.
///
/// # Shapes — `[samples, slices]` to the same.
pub fn clipped(statistics: Tensor<2>, least: f64) -> Tensor<2> {
    let small = statistics.clone().lower_elem(least);
    statistics.mask_fill(small, 0.0)
}

/// How SIGReg and the distance between views are added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Total {
    /// `λ·sigreg + (1 − λ)·invariance`: lightly, and the paper's minimal script.
    #[default]
    Mixture,
    /// `invariance + λ·sigreg`: stable-pretraining and eb_jepa.
    Sum,
}

/// Returns the mean over all rows, columns and views of the squared distance from the centre, which is the mean of
/// the global views of the same image. Gradients flow to the centre, too.
///
/// # Shapes — each view: `[n, d]`; returns `[1]`.
///
/// # Panics
/// There is no global view.
pub fn invariance(global: &[Tensor<2>], local: &[Tensor<2>]) -> Tensor<1> {
    let sum = global.iter().cloned().reduce(|sum, view| sum + view);
    let centre = sum.expect("there is a global view") / global.len() as f64;
    let views = global.iter().chain(local);
    let distances = views.map(|view| (view.clone() - centre.clone()).square().mean());
    let sum = distances.reduce(|sum, distance| sum + distance).expect("there is a global view");
    sum / (global.len() + local.len()) as f64
}

impl Total {
    /// Returns the loss, `[1]`.
    pub fn of(self, sigreg: Tensor<1>, invariance: Tensor<1>, lambda: f64) -> Tensor<1> {
        match self {
            Self::Mixture => sigreg * lambda + invariance * (1.0 - lambda),
            Self::Sum => invariance + sigreg * lambda,
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    /// `n` values at the quantiles of a normal distribution of this deviation, in two columns of other orders.
    fn normal(n: usize, deviation: f64) -> Tensor<2> {
        let quantile = |i: usize| -> f64 {
            // A logistic distribution of the same deviation is near enough for a test of order.
            let p = (i as f64 + 0.5) / n as f64;
            (p / (1.0 - p)).ln() * deviation * 3.0_f64.sqrt() / std::f64::consts::PI
        };
        let values: Vec<f32> =
            (0..n).flat_map(|i| [quantile(i) as f32, quantile(i * 7 % n) as f32]).collect();
        Tensor::from_data(TensorData::new(values, [n, 2]), &Device::flex())
    }

    fn mean(deviation: f64, quadrature: Quadrature) -> f32 {
        let directions = Tensor::from_floats([[1.0, 0.0], [0.0, 2.0]], &Device::flex());
        let sketch = Sketch { quadrature, times_rows: true, pooled: false };
        sketch.statistics(&[normal(101, deviation)], directions).mean().into_scalar()
    }

    #[test]
    fn normal_numbers_have_the_smallest_statistic() {
        for quadrature in [Quadrature::half_range(3.0, 17), Quadrature::full_range(5.0, 17)] {
            let [narrow, right, wide] =
                [0.2, 1.0, 4.0].map(|deviation| mean(deviation, quadrature.clone()));
            assert!(10.0 * right < narrow && 10.0 * right < wide, "{narrow} {right} {wide}");
        }
    }

    #[test]
    fn half_the_range_stands_for_the_whole() {
        let half = mean(0.7, Quadrature::half_range(3.0, 9));
        let whole = mean(0.7, Quadrature::full_range(3.0, 17));
        assert!((half - whole).abs() < 1e-5 * whole, "{half} {whole}");
    }

    #[test]
    fn equal_views_have_no_distance_and_local_views_are_measured_from_the_global_centre() {
        let x = || normal(9, 1.0);
        let value = |loss: Tensor<1>| loss.into_scalar::<f32>();
        assert_eq!(value(invariance(&[x(), x()], &[x()])), 0.0);
        let moved = value(invariance(&[x()], &[x() + 3.0]));
        assert!((moved - 4.5).abs() < 1e-5, "{moved}: half of 9");
    }
}
