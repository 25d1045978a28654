//! The cases `byol_*`, `simsiam_*`, `barlow_*` and `vicreg_*` of the folder `losses`.

use burn::tensor::Tensor;
use vssl::objective::{figures, prediction, redundancy};

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
    let (z1, z2) = (case.input("z1"), case.input("z2"));
    let total = redundancy::barlow(z1.clone(), z2.clone())
        .total(case.number("lamb"), case.number("scale_loss"));
    case.check_with_gradients("loss", total, &[("z1", z1), ("z2", z2)]);
}

fn vicreg(case: &Case) {
    assert_eq!(case.number("eps"), redundancy::VICREG_EPS, "{}: it is fixed", case.name);
    let (z1, z2) = (case.input("z1"), case.input("z2"));
    let terms = redundancy::vicreg(z1.clone(), z2.clone());
    case.check_quantity("sim_loss", terms.similarity.clone());
    case.check_quantity("var_loss", terms.variance.clone());
    case.check_quantity("cov_loss", terms.covariance.clone());
    let [similarity, variance, covariance] =
        ["sim_loss_weight", "var_loss_weight", "cov_loss_weight"].map(|key| case.number(key));
    case.check_with_gradients(
        "loss",
        terms.total(similarity, variance, covariance),
        &[("z1", z1), ("z2", z2)],
    );
}

fn byol(case: &Case) {
    if case.has("p") {
        let (p, z) = (case.input("p"), case.input("z"));
        case.check_with_gradients(
            "loss",
            prediction::byol_pair(p.clone(), z.clone()),
            &[("p", p), ("z", z)],
        );
        return;
    }
    let predictions = views(case, "p", case.number("num_crops"));
    let targets = views(case, "zm", case.number("num_large_crops"));
    let total = prediction::byol(&plain(&predictions), &plain(&targets));
    let projections = plain(&views(case, "zo", case.number("num_large_crops")));
    case.check_quantity("z_std", figures::unit_std(&projections));
    let inputs: Vec<(&str, Tensor<2>)> =
        predictions.iter().chain(&targets).map(|(key, x)| (key.as_str(), x.clone())).collect();
    case.check_with_gradients("loss", total, &inputs);
}

fn simsiam(case: &Case) {
    if case.has("p") {
        let (p, z) = (case.input("p"), case.input("z"));
        case.check_with_gradients(
            "loss",
            prediction::simsiam_pair(p.clone(), z.clone()),
            &[("p", p), ("z", z)],
        );
        return;
    }
    let [p1, p2, z1, z2] = ["p1", "p2", "z1", "z2"].map(|key| case.input(key));
    let z = [z1.clone(), z2.clone()];
    case.check_quantity("z_std", figures::unit_std(&z));
    let total = prediction::simsiam([p1.clone(), p2.clone()], z);
    case.check_with_gradients("loss", total, &[("p1", p1), ("p2", p2), ("z1", z1), ("z2", z2)]);
}

/// Inputs `<prefix>0`, `<prefix>1`, … under their names.
fn views(case: &Case, prefix: &str, count: f64) -> Vec<(String, Tensor<2>)> {
    let key = |view| format!("{prefix}{view}");
    (0..count as usize).map(|view| (key(view), case.input(&key(view)))).collect()
}

fn plain(views: &[(String, Tensor<2>)]) -> Vec<Tensor<2>> {
    views.iter().map(|(_, x)| x.clone()).collect()
}
