//! The cases `byol_*`, `simsiam_*`, `barlow_*` and `vicreg_*` of the folder `losses`.

use burn::tensor::{Device, Tensor};
use vssl::objective::{prediction, redundancy, watch};

use crate::fixtures::Case;

/// Checks the case if it is of one of the families above, and says whether it is.
pub fn check(case: &Case) -> bool {
    match case.name.split('_').next().unwrap_or_default() {
        "barlow" => barlow(case),
        "byol" => byol(case),
        "simsiam" => simsiam(case),
        "vicreg" => vicreg(case),
        _ => return false,
    }
    true
}

fn barlow(case: &Case) {
    assert_eq!(case.number("bn_eps"), redundancy::BARLOW_EPS, "{}: it is fixed", case.name);
    let (z1, z2) = (input(case, "z1"), input(case, "z2"));
    let total = redundancy::barlow(z1.clone(), z2.clone())
        .total(case.number("lamb"), case.number("scale_loss"));
    loss(case, total, &[("z1", z1), ("z2", z2)]);
}

fn vicreg(case: &Case) {
    assert_eq!(case.number("eps"), redundancy::VICREG_EPS, "{}: it is fixed", case.name);
    let (z1, z2) = (input(case, "z1"), input(case, "z2"));
    let terms = redundancy::vicreg(z1.clone(), z2.clone());
    scalar(case, "sim_loss", terms.similarity.clone());
    scalar(case, "var_loss", terms.variance.clone());
    scalar(case, "cov_loss", terms.covariance.clone());
    let [similarity, variance, covariance] =
        ["sim_loss_weight", "var_loss_weight", "cov_loss_weight"].map(|key| case.number(key));
    loss(case, terms.total(similarity, variance, covariance), &[("z1", z1), ("z2", z2)]);
}

fn byol(case: &Case) {
    if case.has("p") {
        let (p, z) = (input(case, "p"), input(case, "z"));
        loss(case, prediction::byol_pair(p.clone(), z.clone()), &[("p", p), ("z", z)]);
        return;
    }
    let predictions = views(case, "p", case.number("num_crops"));
    let targets = views(case, "zm", case.number("num_large_crops"));
    let total = prediction::byol(&plain(&predictions), &plain(&targets));
    let projections = plain(&views(case, "zo", case.number("num_large_crops")));
    scalar(case, "z_std", watch::unit_std(&projections));
    let inputs: Vec<(&str, Tensor<2>)> =
        predictions.iter().chain(&targets).map(|(key, x)| (key.as_str(), x.clone())).collect();
    loss(case, total, &inputs);
}

fn simsiam(case: &Case) {
    if case.has("p") {
        let (p, z) = (input(case, "p"), input(case, "z"));
        loss(case, prediction::simsiam_pair(p.clone(), z.clone()), &[("p", p), ("z", z)]);
        return;
    }
    let [p1, p2, z1, z2] = ["p1", "p2", "z1", "z2"].map(|key| input(case, key));
    let z = [z1.clone(), z2.clone()];
    scalar(case, "z_std", watch::unit_std(&z));
    let total = prediction::simsiam([p1.clone(), p2.clone()], z);
    loss(case, total, &[("p1", p1), ("p2", p2), ("z1", z1), ("z2", z2)]);
}

/// Inputs `<prefix>0`, `<prefix>1`, … under their names.
fn views(case: &Case, prefix: &str, count: f64) -> Vec<(String, Tensor<2>)> {
    let key = |view| format!("{prefix}{view}");
    (0..count as usize).map(|view| (key(view), input(case, &key(view)))).collect()
}

fn plain(views: &[(String, Tensor<2>)]) -> Vec<Tensor<2>> {
    views.iter().map(|(_, x)| x.clone()).collect()
}

fn input(case: &Case, key: &str) -> Tensor<2> {
    case.tensor::<2>(key, &Device::flex().autodiff()).require_grad()
}

/// A result against its stored tensor and its scalar of full precision.
fn scalar(case: &Case, key: &str, got: Tensor<1>) {
    case.check(&format!("out.{key}"), got.clone());
    case.check_scalar(key, f64::from(got.into_scalar::<f32>()));
}

/// The loss, and the gradient of every input: none where none is stored.
fn loss(case: &Case, total: Tensor<1>, inputs: &[(&str, Tensor<2>)]) {
    scalar(case, "loss", total.clone());
    let gradients = total.backward();
    let mut stored = case.names("grad.");
    for (key, tensor) in inputs {
        let gradient = tensor.grad(&gradients);
        let expected = format!("grad.{key}");
        if case.has(&expected) {
            let gradient = gradient.unwrap_or_else(|| panic!("{}: no {expected}", case.name));
            case.check(&expected, gradient);
        } else {
            assert!(gradient.is_none(), "{}: {key} is a target", case.name);
        }
        stored.retain(|name| name != key);
    }
    assert!(stored.is_empty(), "{}: gradients of {stored:?} were not compared", case.name);
}
