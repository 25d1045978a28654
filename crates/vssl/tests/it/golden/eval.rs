//! Folder `eval`: nearest neighbours, top-k accuracy, cross entropy.

use burn::tensor::Device;
use serde_json::Value;
use vssl::{
    eval::{
        knn::grid,
        neighbours::{Distance, neighbours},
        topk::top_k_percent,
    },
    features::Features,
    objective::cross_entropy,
};

use crate::fixtures::{Case, for_each_case, list_of_numbers};

#[test]
fn evaluations_agree_with_the_reference() {
    for_each_case("eval", |case| {
        let name = case.name.as_str();
        if name.starts_with("knn_") {
            nearest_neighbours(case);
        } else if name.starts_with("topk_") {
            top_k(case);
        } else if name.starts_with("cross_entropy_") {
            entropy(case);
        } else {
            panic!("unknown case {name}");
        }
    });
}

fn scalar(case: &Case, key: &str) -> f64 {
    case.json["expected_scalars_f64"][key].as_f64().unwrap()
}

fn features(case: &Case, set: &str) -> Features {
    let key = format!("{set}_features");
    let &[rows, dim] = case.shape(&key) else { panic!("{}: {key} is no matrix", case.name) };
    let labels = Some(case.i64(&format!("{set}_targets")).to_vec());
    Features { rows, dim, values: case.f32(&key).to_vec(), labels }
}

fn nearest_neighbours(case: &Case) {
    let name = &case.name;
    let (train, test) = (features(case, "train"), features(case, "test"));
    let distance = match case.param("distance").and_then(Value::as_str) {
        Some("cosine") => Distance::Cosine,
        Some("euclidean") => Distance::Euclidean,
        other => panic!("{name}: unknown distance {other:?}"),
    };
    let k = case.number("k") as usize;
    let temperature = case.param("temperature").map_or(1.0, |t| t.as_f64().unwrap());
    let classes = case.number("num_classes") as usize;

    let found = neighbours(&train, &test, distance, k).unwrap();
    let width = case.shape("out.neighbours")[1];
    let labels: Vec<_> =
        train.labels.iter().flatten().map(|&label| usize::try_from(label).unwrap()).collect();
    let mut votes = Vec::new();
    for row in 0..test.rows {
        let sorted = |mut indices: Vec<i64>| {
            indices.sort_unstable();
            indices
        };
        let got = sorted(found.of(row).iter().map(|n| i64::from(n.index)).collect());
        let expected = case.i64("out.neighbours")[row * width..(row + 1) * width].to_vec();
        assert_eq!(got, sorted(expected), "{name}: neighbours of row {row}");
        let row = found.votes(row, &labels, classes, k, temperature);
        let largest = row.iter().copied().fold(0.0, f64::max);
        votes.extend(row.iter().map(|vote| (vote / largest) as f32));
    }
    case.check_values("out.votes", &votes);

    // Other settings beside the one that is checked: one search serves them all.
    let all = grid(&train, &test, &[distance], &[1, k], &[temperature, 3.0]).unwrap();
    let got = all.iter().find(|got| got.k == k && got.temperature == temperature).unwrap().accuracy;
    let tolerance = case.json["tolerance"]["top1_percent"].as_f64().unwrap();
    let top1 = scalar(case, "top1_percent");
    assert!((got.top1 - top1).abs() <= tolerance, "{name}: top-1 {} for {top1}", got.top1);
    let top5 = scalar(case, "top5_percent_with_stable_class_order");
    assert!((got.top5 - top5).abs() <= tolerance, "{name}: top-5 {} for {top5}", got.top5);
    let bound = |side: &str| scalar(case, &format!("top5_percent_{side}_bound_under_ties"));
    assert!(bound("lower") - tolerance <= got.top5 && got.top5 <= bound("upper") + tolerance);
}

fn top_k(case: &Case) {
    let classes = case.shape("logits")[1];
    let expected = |key: &str| list_of_numbers(&case.json["expected_scalars_f64"][key]);
    let by_index = expected("percent_if_ties_go_to_lower_index");
    let (lower, upper) = (expected("lower_bound_percent"), expected("upper_bound_percent"));
    for (i, k) in case.numbers("k").into_iter().enumerate() {
        let (logits, targets) = (case.f32("logits"), case.i64("targets"));
        let got = top_k_percent(logits, classes, targets, k as usize).unwrap().unwrap();
        let place = format!("{}: top-{k}", case.name);
        assert!((got - by_index[i]).abs() < 1e-4, "{place}: {got} for {}", by_index[i]);
        assert!(lower[i] - 1e-4 <= got && got <= upper[i] + 1e-4, "{place}: {got}");
    }
    order(case, classes);
}

/// The j-th class of the stored order is among the best j + 1 and not among the best j; rows with
/// equal scores are left out, their order is the reference's accident.
fn order(case: &Case, classes: usize) {
    let stored = case.i64("out.topk_indices").chunks(case.shape("out.topk_indices")[1]);
    for (row, (scores, stored)) in case.f32("logits").chunks(classes).zip(stored).enumerate() {
        let mut sorted = scores.to_vec();
        sorted.sort_by(f32::total_cmp);
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            continue;
        }
        for (j, &class) in stored.iter().enumerate() {
            let within = |k| top_k_percent(scores, classes, &[class], k).unwrap();
            let place = (within(j), within(j + 1));
            assert_eq!(place, (Some(0.0), Some(100.0)), "{}: row {row}, place {j}", case.name);
        }
    }
}

fn entropy(case: &Case) {
    assert_eq!(case.number("ignore_index"), -1.0, "{}: what is left out", case.name);
    let device = Device::flex().autodiff();
    let logits = case.tensor::<2>("logits", &device).require_grad();
    let loss = cross_entropy(logits.clone(), case.ints::<1>("targets", &device));
    case.check("out.loss", loss.clone());
    case.check_scalar("loss", f64::from(loss.clone().into_scalar::<f32>()));
    case.check("grad.logits", logits.grad(&loss.backward()).unwrap());
}
