//! Folder `lejepa`: SIGReg in its published forms, and the losses that are built on it.

use burn::tensor::Tensor;
use serde_json::Value;
use vssl::objective::sigreg::{Quadrature, Sketch, Total, invariance};

use crate::fixtures::{Case, INDEXES, at_step, device, for_each_case_of};

#[test]
fn sigreg_and_its_losses_agree_with_the_references() {
    for_each_case_of(INDEXES[1], "lejepa", |case| {
        let (family, _) = case.name.rsplit_once('_').expect("a family and a number");
        match family {
            "sigreg" | "fullrange" => statistic(case, family == "fullrange"),
            "slicing" => slicing(case),
            "eb_jepa" => eb_jepa(case),
            "loss" | "loss_pooled" => loss(case, family == "loss_pooled"),
            name => panic!("{}: unknown family {name}", case.name),
        }
    });
}

fn sketch(case: &Case, full: bool) -> Sketch {
    let (end, knots) = (case.number("t_max"), case.number("knots") as usize);
    let quadrature = match full {
        true => Quadrature::full_range(end, knots),
        false => Quadrature::half_range(end, knots),
    };
    Sketch { quadrature, times_rows: true, pooled: false }
}

/// The views of a tensor `[views, n, d]`.
fn views(x: &Tensor<3>) -> Vec<Tensor<2>> {
    (0..x.dims()[0]).map(|view| at_step(x, view)).collect()
}

fn statistic(case: &Case, full: bool) {
    let x = case.input::<3>("x");
    let directions = case.tensor("directions", &device());
    let found = sketch(case, full).statistics(&views(&x), directions);
    case.check("out.statistic", found.clone());
    case.check_with_gradients("loss", found.mean(), &[("x", x)]);
}

/// The package's options: what becomes of the statistics, and which count as none.
fn slicing(case: &Case) {
    let x = case.input::<3>("x");
    let found = sketch(case, false).statistics(&views(&x), case.tensor("directions", &device()));
    let found = match case.param("clip_value").and_then(Value::as_f64) {
        Some(least) => vssl::objective::sigreg::clipped(found, least),
        None => found,
    };
    let loss = match case.param("reduction").and_then(Value::as_str) {
        Some("mean") => found.mean(),
        Some("sum") => found.sum(),
        None => {
            case.check("out.y", found.clone());
            found.sum()
        }
        Some(other) => panic!("{}: unknown reduction {other}", case.name),
    };
    if case.param("reduction").is_some() {
        case.check("out.y", loss.clone());
    }
    case.check_with_gradients("loss", loss, &[("x", x)]);
}

fn eb_jepa(case: &Case) {
    let z = ["z1", "z2"].map(|key| case.input::<2>(key));
    let (start, end) = (case.number("t_min"), case.number("t_max"));
    assert_eq!(start, -end, "{}: the range is not symmetric", case.name);
    let sketch = Sketch { times_rows: false, ..sketch(case, true) };
    let found = sketch.statistics(&z, case.tensor("directions", &device()));
    case.check("out.statistic", found.clone());
    let sigreg = case.check_quantity("bcs_loss", found.mean());
    let [z1, z2] = z.clone();
    // The distance of two views, four times that from their centre.
    let distance = case.check_quantity("invariance", invariance(&[z1, z2], &[]) * 4.0);
    let loss = Total::Sum.of(sigreg, distance, case.number("lambda"));
    case.check_with_gradients("loss", loss, &["z1", "z2"].into_iter().zip(z).collect::<Vec<_>>());
}

fn loss(case: &Case, pooled: bool) {
    let names = ["global_proj", "local_proj"];
    let inputs = names.map(|name| case.input::<3>(name));
    let [global, local] = inputs.each_ref().map(views);
    let sketch = Sketch { pooled, ..sketch(case, false) };
    let all = [global.clone(), local.clone()].concat();
    let found = sketch.statistics(&all, case.tensor("directions", &device()));
    let sigreg = case.check_quantity("sigreg", found.mean());
    let distance = case.check_quantity("invariance", invariance(&global, &local));
    let total = if pooled { Total::Sum } else { Total::Mixture };
    let loss = total.of(sigreg, distance, case.number("lambda"));
    case.check_with_gradients("loss", loss, &names.into_iter().zip(inputs).collect::<Vec<_>>());
}
