//! Folder `uncertainty`: distributions on the sphere and the losses of their draws, heads that predict losses, and the
//! figures of retrieval.

use burn::tensor::{Int, Tensor};
use vssl::{
    features::Features,
    layers::{Init, LossHead},
    objective::{
        loss_prediction,
        probabilistic::{self, OwnEntry, cross_entropy_rows, expected_likelihood},
        unit_rows,
        von_mises_fisher::{Draws, FittedNormaliser, Heights, Samples, log_normaliser, sample},
    },
    optim::Gradients,
    tensors::state::{self, Tensors},
    uncertainty::{correct_retrievals, nearest_others, retrieval_auroc},
};

use crate::fixtures::{Case, INDEXES, device, for_each_case_of};

#[test]
fn uncertainties_and_their_figures_agree_with_the_references() {
    for_each_case_of(INDEXES[1], "uncertainty", |case| {
        let (family, _) = case.name.rsplit_once('_').expect("a family and a number");
        match family {
            "elk" => elk(case),
            "entropy_jsd" => entropy_jsd(case),
            "head" => head(case),
            "hib" => hib(case),
            "infonce" | "mcinfonce" => info_nce(case, family == "mcinfonce"),
            "losspred_mse" | "losspred_order" => loss_prediction(case),
            "retrieval" => retrieval(case),
            "vmf_lognorm" => normaliser(case),
            name => panic!("{}: unknown family {name}", case.name),
        }
    });
}

fn elk(case: &Case) {
    let [features, classes] = ["features", "classes"].map(|key| case.input::<2>(key));
    let unc = case.input::<1>("unc");
    let concentration = unc.clone().recip();
    let fit = FittedNormaliser::of(case.number("dim") as usize).expect("a dimension with a fit");
    case.check("out.log_norm", fit.log(concentration.clone()));
    let scale = case.number("inv_temp");
    let similarity =
        expected_likelihood(features.clone(), concentration, classes.clone(), scale, &fit);
    case.check("out.similarity", similarity.clone());
    let loss = cross_entropy_rows(similarity, case.ints("targets", &device())).mean();
    check_gradients(case, loss, &[("features", features), ("classes", classes)], &[("unc", unc)]);
}

fn entropy_jsd(case: &Case) {
    let logits = case.input::<3>("logits");
    let found = probabilistic::disagreement(logits.clone());
    case.check("out.jsd", found.divergence.clone());
    case.check("out.log_mean_prob", found.log_probabilities);
    let [_, n] = found.entropies.dims();
    case.check("out.entropy_first", found.entropies.narrow(0, 0, 1).reshape([n]));
    case.check_with_gradients("loss", found.divergence.sum(), &[("logits", logits)]);
}

fn head(case: &Case) {
    let [input, width, depth] = ["in", "width", "depth"].map(|key| case.number(key) as usize);
    let device = device();
    let names: Vec<String> = case.names("w.");
    // Layer i of the reference's sequence is the linear layer i/2 of the head.
    let ours = |name: &str| {
        let (number, rest) = name.split_once('.').expect("a number and a name");
        format!("layers.{}.{rest}", number.parse::<usize>().unwrap() / 2)
    };
    let weights: Tensors = names
        .iter()
        .map(|name| {
            let key = format!("w.{name}");
            let data = match case.shape(&key).len() {
                1 => case.tensor::<1>(&key, &device).into_data(),
                _ => case.tensor::<2>(&key, &device).into_data(),
            };
            (ours(name), data)
        })
        .collect();
    let head = LossHead::new(input, &vec![width; depth], &Init::new(&device, 1));
    let head = state::restore(head, weights).unwrap();
    let x = case.input::<2>("x");
    let unc = head.forward(x.clone()) * case.number("scaler");
    case.check("out.unc", unc.clone());
    let loss = case.check_quantity("loss", (unc * case.tensor::<1>("c", &device)).sum());
    let gradients = loss.backward();
    case.check("grad.x", x.grad(&gradients).unwrap());
    let gradients = Gradients::collect(gradients, &head);
    let mut left = case.names("grad.w.");
    for name in &names {
        let gradient = gradients.0[&ours(name)].clone();
        case.check_values(&format!("grad.w.{name}"), &gradient.into_data().try_to_vec().unwrap());
        left.retain(|other| other != name);
    }
    assert!(left.is_empty(), "{}: gradients of {left:?} were not compared", case.name);
}

/// The draws of a case, compared with the stored ones.
fn drawn(case: &Case, features: Tensor<2>, unc: Tensor<1>) -> Samples {
    let device = device();
    let heights = match case.has("e") {
        true => Heights::Rejection {
            proposals: case.tensor("e", &device),
            uniforms: case.tensor("u", &device),
        },
        false => Heights::Inversion(case.tensor("u", &device)),
    };
    let draws = Draws { heights, normals: case.tensor("v", &device) };
    let samples = sample(features, unc.recip(), &draws);
    case.check("out.w", samples.heights.clone());
    case.check("out.samples", samples.points.clone());
    match &samples.rounds {
        Some(rounds) => {
            let found: Vec<i64> = rounds.clone().into_data().iter::<i64>().collect();
            assert_eq!(found, case.i64("out.accepted_round"), "{}: rounds", case.name);
        }
        None => assert!(!case.has("out.accepted_round"), "{}: rounds", case.name),
    }
    samples
}

/// What makes rows positives: equal labels, or the image whose crops lie beside each other.
fn numbers(case: &Case) -> Vec<usize> {
    let targets = case.i64("targets").iter().map(|&label| label as usize);
    match case.flag("supervised") {
        true => targets.collect(),
        false => (0..case.number("batch") as usize).map(|row| row / 2).collect(),
    }
}

fn info_nce(case: &Case, draws: bool) {
    let (features, unc) = (case.input::<2>("features"), case.input::<1>("unc"));
    let kappa = case.input::<1>("kappa");
    let points = match draws {
        true => drawn(case, features.clone(), unc.clone()).points,
        false => unit_rows(features.clone()).unsqueeze_dim(0),
    };
    let loss = |own| {
        let rows = probabilistic::mc_info_nce(points.clone(), &numbers(case), kappa.clone(), own);
        rows.mean()
    };
    let without = f64::from(loss(OwnEntry::Absent).into_scalar::<f32>());
    let expected = &case.json["expected_scalars_f64"]["loss_without_self_entries"];
    let expected = expected.as_f64().expect("a number");
    let bound = 1e-5 * expected.abs().max(1.0);
    assert!((without - expected).abs() <= bound, "{}: {without}, not {expected}", case.name);
    check_gradients(
        case,
        loss(OwnEntry::One),
        &[("features", features)],
        &[("unc", unc), ("kappa", kappa)],
    );
}

fn hib(case: &Case) {
    let (features, unc) = (case.input::<2>("features"), case.input::<1>("unc"));
    let [kappa, b] = ["kappa", "b"].map(|key| case.input::<1>(key));
    let points = drawn(case, features.clone(), unc.clone()).points;
    let loss = probabilistic::hib(points, &numbers(case), kappa.clone(), b.clone());
    let rows = [("unc", unc), ("kappa", kappa), ("b", b)];
    check_gradients(case, loss, &[("features", features)], &rows);
}

fn loss_prediction(case: &Case) {
    let (logits, unc) = (case.input::<2>("logits"), case.input::<1>("unc"));
    let targets: Tensor<1, Int> = case.ints("targets", &device());
    let rows = cross_entropy_rows(logits.clone() * case.number("inv_temp"), targets);
    case.check("out.task_loss_rows", rows.clone());
    let truth = if case.flag("detach") { rows.clone().detach() } else { rows.clone() };
    let head = match case.param("mode").and_then(|mode| mode.as_str()) {
        Some("mse") => loss_prediction::squared(unc.clone(), truth),
        Some("order") => {
            let (margin, leeway) = (case.number("gap"), case.number("leeway_rho"));
            loss_prediction::order(unc.clone(), truth, margin, leeway)
        }
        mode => panic!("{}: unknown mode {mode:?}", case.name),
    };
    let head = case.check_quantity("unc_loss", head);
    let weight = if case.flag("ignore_ce_loss") { 0.0 } else { 1.0 };
    let loss = rows.mean() * weight + head * case.number("lambda");
    check_gradients(case, loss, &[("logits", logits)], &[("unc", unc)]);
}

/// Compares the loss and the gradients of its inputs: an input without a stored gradient is not compared, because the
/// reference has none that is a number.
fn check_gradients(
    case: &Case,
    loss: Tensor<1>,
    matrices: &[(&str, Tensor<2>)],
    rows: &[(&str, Tensor<1>)],
) {
    let gradients = case.check_quantity("loss", loss).backward();
    let mut left = case.names("grad.");
    let mut compared = |key: &str, found: Option<Vec<f32>>| {
        let name = format!("grad.{key}");
        let found = found.unwrap_or_else(|| vec![0.0; case.f32(key).len()]);
        assert!(found.iter().all(|g| g.is_finite()), "{}: {name} {found:?}", case.name);
        if case.has(&name) {
            case.check_values(&name, &found);
            left.retain(|other| other != key);
        }
    };
    for (key, input) in matrices {
        let gradient = input.grad(&gradients);
        compared(key, gradient.map(|g| g.into_data().try_to_vec().unwrap()));
    }
    for (key, input) in rows {
        let gradient = input.grad(&gradients);
        compared(key, gradient.map(|g| g.into_data().try_to_vec().unwrap()));
    }
    assert!(left.is_empty(), "{}: gradients of {left:?} were not compared", case.name);
}

fn retrieval(case: &Case) {
    let [rows, dim] = case.shape("features").try_into().expect("a matrix");
    let values = case.f32("features").to_vec();
    let features = Features { rows, dim, values, labels: None };
    let nearest: Vec<i64> =
        nearest_others(&features).unwrap().into_iter().map(|n| n as i64).collect();
    assert_eq!(nearest, case.i64("out.neighbour_self_excluded"), "{}: neighbours", case.name);
    let labels: Vec<u32> = case.i64("targets").iter().map(|&label| label as u32).collect();
    let correct = correct_retrievals(&features, &labels).unwrap();
    let stored = |key: &str| case.i64(key).iter().map(|&x| x == 1).collect::<Vec<bool>>();
    assert_eq!(correct, stored("out.correct_self_excluded"), "{}: correct", case.name);

    // The reference also finds the image itself, and takes the second hit: that is the image itself where another one
    // points in the very same direction and comes first.
    let reference = stored("out.correct_faiss");
    let twins = twins(&features);
    for row in 0..rows {
        let itself = reference[row] && twins[row];
        assert!(itself || reference[row] == correct[row], "{}: row {row}", case.name);
    }

    let unc: Vec<f64> = case.f32("unc").iter().map(|&x| f64::from(x)).collect();
    let share = |correct: &[bool]| correct.iter().filter(|&&c| c).count() as f64 / rows as f64;
    let (ours, theirs) = (retrieval_auroc(&unc, &correct), retrieval_auroc(&unc, &reference));
    let figures = [
        ("recall_at_1_self_excluded", "recall", share(&correct)),
        ("recall_at_1_faiss", "recall", share(&reference)),
        ("auroc_exact_ranks_self_excluded", "auroc", ours.r_auroc),
        ("auroc_exact_ranks_same_correctness", "auroc", theirs.r_auroc),
        ("auroc_reference", "auroc", theirs.r_auroc_reference),
    ];
    for (name, kind, got) in figures {
        let expected = case.json["expected_scalars_f64"][name].as_f64().expect("a number");
        let bound = case.json["scalar_tolerance"][kind].as_f64().expect("a number");
        assert!((got - expected).abs() <= bound, "{}: {name} {got}, not {expected}", case.name);
    }
}

/// Which rows have another row in the very same direction.
fn twins(features: &Features) -> Vec<bool> {
    let unit = |row: usize| {
        let row = &features.values[row * features.dim..(row + 1) * features.dim];
        let length = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        row.iter().map(|&x| f64::from(x) / length).collect::<Vec<_>>()
    };
    let near = |a: usize, b: usize| {
        let gap = unit(a).iter().zip(unit(b)).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        gap.sqrt() < 1e-6
    };
    let rows = 0..features.rows;
    rows.clone().map(|a| rows.clone().any(|b| a != b && near(a, b))).collect()
}

fn normaliser(case: &Case) {
    let dim = case.number("dim") as usize;
    let found = case.f32("kappa").iter().map(|&kappa| log_normaliser(f64::from(kappa), dim));
    let (values, slopes): (Vec<f32>, Vec<f32>) =
        found.map(|found| (found.value as f32, found.slope as f32)).unzip();
    case.check_values("out.log_norm", &values);
    case.check_values("out.dlog_norm", &slopes);
}
