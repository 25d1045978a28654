//! The cases `deepclusterv2_*`, `dino_*` and `swav_*` of the folder `losses`, and the folder `cluster`.
//!
//! Cases with several training steps go through the functions that the methods call at each step.

use burn::tensor::{Int, Tensor};
use vssl::{
    layers::Init,
    memory::{Clusters, Embeddings, Recent, spherical_kmeans},
    methods::{Dino, Swav},
    objective::{
        centring::{centred_softmax, next_center},
        clustering, sinkhorn, unit_rows,
    },
    schedule::Step,
};

use crate::fixtures::{Case, at_step, device, floats, for_each_case};

/// Checks the case if it is of one of the families above, and says whether it is.
pub fn check(case: &Case) -> bool {
    match case.name.split('_').next().unwrap_or_default() {
        "deepclusterv2" => numbered(case),
        "dino" => dino_steps(case),
        "swav" if case.has("pred0") => swapped(case),
        "swav" => swav_steps(case),
        _ => return false,
    }
    true
}

#[test]
fn clusters_agree_with_the_reference() {
    for_each_case("cluster", |case| {
        let name = case.name.as_str();
        if name.starts_with("sinkhorn_swav_") {
            balanced(case, case.number("epsilon"));
        } else if name.starts_with("sinkhorn_dino_") {
            balanced(case, case.number("teacher_temperature"));
        } else if name.starts_with("center_softmax_dino_") {
            centring(case);
        } else if name.starts_with("kmeans_") {
            kmeans(case);
        } else {
            panic!("unknown case {name}");
        }
    });
}

fn balanced(case: &Case, epsilon: f64) {
    let q = sinkhorn(case.tensor("scores", &device()), epsilon, count(case, "iters"));
    case.check("out.q", q);
}

fn centring(case: &Case) {
    let [scores, center] = ["scores", "center"].map(|key| case.tensor::<2>(key, &device()));
    let temperature = case.number("teacher_temperature");
    case.check("out.q", centred_softmax(scores.clone(), center.clone(), temperature));
    let next = next_center(center, scores, case.number("center_momentum"));
    case.check("out.center_next", next);
}

/// Each head on its own, all iterations; then all heads together, as they are used.
fn kmeans(case: &Case) {
    let (iterations, memory) = (count(case, "iters"), case.tensor::<3>("memory", &device()));
    let [views, images, dim] = memory.dims();
    let view = |view| memory.clone().narrow(0, view, 1).reshape([images, dim]);
    let clusters: Vec<usize> = case.numbers("clusters").iter().map(|&n| n as usize).collect();
    let start = |head: usize| case.tensor::<2>(&format!("init_centroids.{head}"), &device());
    for (head, of_head) in case.numbers("view_of_head").into_iter().enumerate() {
        assert_eq!(of_head as usize, head % views, "{}: view of head {head}", case.name);
        let (mut centroids, mut labels) = (Vec::new(), Vec::new());
        for rounds in 0..=iterations {
            let found = spherical_kmeans(view(head % views), start(head), rounds);
            if rounds > 0 {
                centroids.extend(floats(found.centroids));
            }
            labels.extend(found.labels.iter().map(|&label| label as i64));
        }
        case.check_values(&format!("out.centroids.{head}"), &centroids);
        let key = format!("out.local_assignments.{head}");
        assert_eq!(labels, case.i64(&key), "{}: {key}", case.name);
    }
    if !case.has("out.assignments") {
        return;
    }
    let size = count(case, "dataset_size");
    let index: Vec<usize> = case.i64("index").iter().map(|&i| i.try_into().unwrap()).collect();
    let embeddings = Embeddings::empty(views, size, dim, &device());
    let embeddings = embeddings.write(&index, (0..views).map(view).collect());
    let none = Clusters::unassigned(&clusters, size, dim, &Init::new(&device(), 0));
    let renewed = none.renew(&embeddings, iterations, |head, _, _| start(head));
    let all: Vec<usize> = (0..size).collect();
    let assigned: Vec<i64> = (0..renewed.heads())
        .flat_map(|head| renewed.of(head, &all).into_data().iter::<i64>().collect::<Vec<_>>())
        .collect();
    assert_eq!(assigned, case.i64("out.assignments"), "{}: out.assignments", case.name);
    let last = iterations * dim;
    for (head, &clusters) in clusters.iter().enumerate() {
        let stored = case.f32(&format!("out.centroids.{head}"));
        let stored = &stored[(last - dim) * clusters..last * clusters];
        for (got, expected) in floats(renewed.centroids(head)).iter().zip(stored) {
            assert!((got - expected).abs() < 1e-5, "{}: centroids of head {head}", case.name);
        }
    }
}

/// Where the reference's loss is not a number, because a head has no target, ours is one.
fn numbered(case: &Case) {
    let outputs = case.input::<4>("outputs");
    let [heads, views, n, clusters] = outputs.dims();
    let assignments = case.ints::<2>("assignments", &device());
    let scores: Vec<Tensor<2>> = (0..heads)
        .map(|head| outputs.clone().narrow(0, head, 1).reshape([views * n, clusters]))
        .collect();
    let targets: Vec<Tensor<1, Int>> =
        (0..heads).map(|head| assignments.clone().narrow(0, head, 1).reshape([n])).collect();
    let loss = clustering::numbered(&scores, &targets, case.number("temperature"));
    if !case.f32("out.loss")[0].is_nan() {
        return case.check_with_gradients("loss", loss, &[("outputs", outputs)]);
    }
    let value = loss.clone().into_scalar::<f32>();
    assert!(value.is_finite(), "{}: {value}", case.name);
    if case.i64("assignments").iter().all(|&target| target == -1) {
        assert_eq!(value, 0.0, "{}", case.name);
    }
    let gradients = loss.backward();
    case.check("grad.outputs", outputs.grad(&gradients).expect("the loss depends on them"));
}

fn dino_steps(case: &Case) {
    let views = count(case, "views");
    let method = Dino {
        student_temperature: case.number("student_temp"),
        teacher_temperature: case.number("teacher_temp"),
        warmup_teacher_temperature: case.number("warmup_teacher_temp"),
        warmup_teacher_epochs: count(case, "warmup_teacher_temp_epochs") as u64,
        center_momentum: case.number("center_momentum"),
        ..Dino::default()
    };
    let at = |epochs: &[f64]| -> Vec<f32> {
        epochs.iter().map(|&epoch| method.teacher_temperature_at(epoch as u64) as f32).collect()
    };
    let all: Vec<f64> = (0..count(case, "num_epochs")).map(|epoch| epoch as f64).collect();
    case.check_values("out.teacher_temp_schedule", &at(&all));
    let epochs = case.numbers("epoch_of_step");
    case.check_values("out.teacher_temp", &at(&epochs));

    let (student, teacher) = (case.input::<3>("student"), case.input::<3>("teacher"));
    let mut center = Tensor::zeros([1, count(case, "num_prototypes")], &device());
    let mut losses = Vec::new();
    for (t, &epoch) in epochs.iter().enumerate() {
        let [student, teacher] = [&student, &teacher].map(|x| at_step(x, t).chunk(views, 0));
        let (loss, _) = method.distil(&student, &teacher, center.clone(), epoch as u64);
        losses.push(loss);
        center = next_center(center, Tensor::cat(teacher, 0), method.center_momentum);
        case.check_at("out.center", t, &floats(center.clone()));
    }
    let losses = Tensor::cat(losses, 0);
    case.check("out.loss_steps", losses.clone());
    let inputs = [("student", student), ("teacher", teacher)];
    case.check_with_gradients("loss_total", losses.sum(), &inputs);
}

fn swapped(case: &Case) {
    let names = |kind: &str, count| (0..count).map(|view| format!("{kind}{view}")).collect();
    let crops: Vec<String> = names("pred", count(case, "num_crops"));
    let large: Vec<String> = names("assign", count(case, "num_large_crops"));
    let [predictions, targets] =
        [&crops, &large].map(|names| names.iter().map(|name| case.input(name)).collect::<Vec<_>>());
    let loss = clustering::swapped(&predictions, &targets, case.number("temperature"));
    let inputs = crops.into_iter().chain(large).zip(predictions.into_iter().chain(targets));
    let inputs: Vec<(String, Tensor<2>)> = inputs.collect();
    case.check_with_gradients("loss", loss, &inputs);
}

fn swav_steps(case: &Case) {
    let (views, globals) = (count(case, "num_crops"), count(case, "num_large_crops"));
    let method = Swav {
        temperature: case.number("temperature"),
        epsilon: case.number("sk_epsilon"),
        sinkhorn_iterations: count(case, "sk_iters"),
        queue: count(case, "queue_size"),
        queue_starts_epoch: count(case, "epoch_queue_starts") as u64,
        ..Swav::default()
    };
    let names: Vec<String> = (0..views).map(|view| format!("h{view}")).collect();
    let h: Vec<Tensor<3>> = names.iter().map(|name| case.input(name)).collect();
    let prototypes = case.input::<2>("prototypes");
    let dim = prototypes.dims()[1];
    let mut queue =
        (method.queue > 0).then(|| Recent::empty(globals, method.queue, dim, &device()));
    let (mut losses, mut assignments) = (Vec::new(), Vec::new());
    for (t, epoch) in case.numbers("epoch_of_step").into_iter().enumerate() {
        let at = Step { index: t as u64, epoch: epoch as u64, ..Step::default() };
        let mut z: Vec<Tensor<2>> = h.iter().map(|h| unit_rows(at_step(h, t))).collect();
        let weight = unit_rows(prototypes.clone());
        let scores =
            z.iter().map(|z| vssl_kernels::linear(z.clone(), weight.clone(), None)).collect();
        let swap = method.swap(scores, globals, &weight, queue.as_ref(), &at);
        assert_eq!(i64::from(method.uses_queue(&at)), case.i64("out.queue_used")[t]);
        losses.push(swap.loss);
        assignments.extend(swap.assignments.into_iter().flat_map(floats));
        z.truncate(globals);
        queue = queue.map(|queue| queue.push(z));
        if let Some(queue) = &queue {
            let rows: Vec<f32> = (0..globals).flat_map(|view| floats(queue.rows(view))).collect();
            case.check_at("out.queue", t, &rows);
        }
    }
    assert_eq!(queue.is_some(), case.has("out.queue"), "{}", case.name);
    case.check_values("out.assignments", &assignments);
    let losses = Tensor::cat(losses, 0);
    case.check("out.loss_steps", losses.clone());
    // Of two ranks: both are looked up flat.
    let mut inputs: Vec<(String, Tensor<3>)> = names.into_iter().zip(h).collect();
    let gradients = case.check_quantity("loss_total", losses.sum()).backward();
    case.check("grad.prototypes", prototypes.grad(&gradients).expect("the loss depends on it"));
    for (name, h) in inputs.drain(..) {
        case.check(&format!("grad.{name}"), h.grad(&gradients).expect("the loss depends on it"));
    }
    assert_eq!(case.names("grad.").len(), views + 1, "{}: gradients", case.name);
}

fn count(case: &Case, key: &str) -> usize {
    case.number(key) as usize
}
