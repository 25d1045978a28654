//! Folder `vssl`: values and gradients of the objectives.

use burn::tensor::Tensor;
use vssl::objective::{cosine, gaussian};

use crate::fixtures::{Case, for_each_case};

#[test]
fn objectives_agree_with_the_reference_in_value_and_gradient() {
    for_each_case("vssl", |case| {
        let name = case.name.as_str();
        if name.starts_with("softplus_") {
            softplus(case);
        } else if name.starts_with("s_beta_") {
            gap(case);
        } else {
            divergence(case);
        }
    });
}

fn softplus(case: &Case) {
    let x = case.input::<1>("x");
    let y = gaussian::softplus(x.clone(), case.number("beta"));
    case.check("out.y", y.clone());
    loss(case, y.sum(), &[("x", x)]);
}

fn gap(case: &Case) {
    let (a, b) = (case.input::<2>("a"), case.input::<2>("b"));
    let rows = gaussian::cosine_gap(a.clone(), b.clone(), case.number("beta"));
    case.check("out.cos", cosine::cosine_similarity(a.clone(), b.clone()));
    case.check("out.rows", rows.clone());
    loss(case, rows.mean(), &[("a", a), ("b", b)]);
}

fn divergence(case: &Case) {
    let [m1, v1, m2, v2] = ["m1", "v1", "m2", "v2"].map(|key| case.input::<2>(key));
    let first = gaussian::Gaussian { mean: m1.clone(), variance: v1.clone() };
    let second = gaussian::Gaussian { mean: m2.clone(), variance: v2.clone() };
    let batch_mean = |beta| {
        let mean = gaussian::cosine_gap(m1.clone(), m2.clone(), beta).mean();
        let variance = gaussian::cosine_gap(v1.clone(), v2.clone(), beta).mean();
        (mean, variance)
    };
    let name = case.name.as_str();
    let rows = if name.contains("_batchmean") {
        let (formula, beta): (fn(Tensor<1>, Tensor<1>) -> Tensor<1>, _) = match name {
            _ if name.starts_with("cosine_kl_") => (gaussian::cosine_kl_of_gaps, 3.0),
            _ if name.starts_with("cosine_ell_") => (gaussian::cosine_nll_of_gaps, 1.0),
            _ => panic!("unknown case {name}"),
        };
        let (mean, variance) = batch_mean(beta);
        formula(mean, variance)
    } else if name.starts_with("cosine_kl_") {
        gaussian::cosine_kl(&first, &second)
    } else if name.starts_with("cosine_ell_") {
        gaussian::cosine_nll(&first, &second)
    } else if name.starts_with("gaussian_kl_") {
        gaussian::gaussian_kl(&first, &second)
    } else if name.starts_with("gaussian_ell_") {
        gaussian::gaussian_ell(&first, &second)
    } else {
        panic!("unknown case {name}")
    };
    if case.has("out.rows") {
        case.check("out.rows", rows.clone());
    }
    loss(case, rows.mean(), &[("m1", m1), ("v1", v1), ("m2", m2), ("v2", v2)]);
}

/// The loss, its scalar of full precision, and the gradient of each input; where none is stored it
/// must still be finite.
fn loss<const D: usize>(case: &Case, loss: Tensor<1>, inputs: &[(&str, Tensor<D>)]) {
    let gradients = case.check_quantity("loss", loss).backward();
    for (key, tensor) in inputs {
        let gradient = tensor.grad(&gradients).expect("the loss depends on every input");
        let expected = format!("grad.{key}");
        if case.has(&expected) {
            case.check(&expected, gradient);
        } else {
            let values: Vec<f32> = gradient.into_data().try_to_vec().unwrap();
            assert!(values.iter().all(|g| g.is_finite()), "{}: {key}: {values:?}", case.name);
        }
    }
}
