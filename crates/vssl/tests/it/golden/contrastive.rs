//! The cases `mocov2plus_*`, `mocov3_*`, `nnclr_*`, `ressl_*` and `simclr_*` of the folder `losses`.
//!
//! Cases with several training steps start from a stored queue and go through the functions that the
//! methods call at each step.

use burn::tensor::{Int, Tensor};
use vssl::{
    memory::Queue,
    objective::{contrastive, unit_rows},
};

use crate::fixtures::{Case, at_step, device, floats};

/// Checks the case if it is of one of the families above, and says whether it is.
pub fn check(case: &Case) -> bool {
    match case.name.split('_').next().unwrap_or_default() {
        "mocov2plus" if case.has("query") => moco(case),
        "mocov2plus" => mocov2plus_steps(case),
        "mocov3" => mocov3(case),
        "nnclr" if case.has("nn") => nnclr(case),
        "nnclr" => nnclr_steps(case),
        "ressl" if case.has("q") => ressl(case),
        "ressl" => ressl_steps(case),
        "simclr" => simclr(case),
        _ => return false,
    }
    true
}

fn simclr(case: &Case) {
    let z = case.input("z");
    let images: Vec<usize> =
        case.i64("indexes").iter().map(|&image| image.try_into().unwrap()).collect();
    let loss = contrastive::nt_xent(z.clone(), &images, case.number("temperature"));
    case.check_with_gradients("loss", loss, &[("z", z)]);
}

fn moco(case: &Case) {
    let [query, key, queue] = ["query", "key", "queue"].map(|name| case.input::<2>(name));
    let rows = queue.clone().transpose(); // stored as columns
    let loss = contrastive::moco(query.clone(), key.clone(), rows, case.number("temperature"));
    case.check_with_gradients("loss", loss, &[("query", query), ("key", key), ("queue", queue)]);
}

fn mocov2plus_steps(case: &Case) {
    let names = ["h1", "h2", "g1", "g2"];
    let inputs = names.map(|name| case.input::<3>(name));
    let stored = case.tensor::<3>("queue0", &device());
    let [_, dim, length] = stored.dims();
    let mut queues = [0, 1].map(|view: usize| {
        Queue::new(stored.clone().narrow(0, view, 1).reshape([dim, length]).transpose())
    });
    let mut losses = Vec::new();
    for t in 0..case.shape("h1")[0] {
        let [q1, q2, k1, k2] = [0, 1, 2, 3].map(|i: usize| unit_rows(at_step(&inputs[i], t)));
        let batch = k1.dims()[0];
        let rows = [queues[0].rows(), queues[1].rows()];
        let keys = [k1.clone(), k2.clone()];
        losses.push(contrastive::mocov2plus([q1, q2], keys, rows, case.number("temperature")));
        let [first, second] = queues;
        queues = [first.push(k1, t as u64), second.push(k2, t as u64)];
        let columns = queues.each_ref().map(|queue| floats(queue.rows().transpose()));
        case.check_at("out.queue", t, &columns.concat());
        assert_eq!(queues[0].position(batch, t as u64 + 1) as i64, case.i64("out.ptr")[t]);
    }
    check_steps(case, losses, &zip(names, inputs));
}

fn mocov3(case: &Case) {
    let temperature = case.number("temperature");
    if case.has("query") {
        let (query, key) = (case.input::<2>("query"), case.input::<2>("key"));
        let loss = contrastive::mocov3_pair(query.clone(), key.clone(), temperature);
        return case.check_with_gradients("loss", loss, &[("query", query), ("key", key)]);
    }
    let names = ["q1", "q2", "k1", "k2"];
    let inputs = names.map(|name| case.input::<2>(name));
    let [q1, q2, k1, k2] = inputs.clone();
    let loss = contrastive::mocov3([q1, q2], [k1, k2], temperature);
    case.check_with_gradients("loss", loss, &zip(names, inputs));
}

fn nnclr(case: &Case) {
    let (neighbours, p) = (case.input::<2>("nn"), case.input::<2>("p"));
    let temperature = case.number("temperature");
    let loss = contrastive::nnclr_pair(neighbours.clone(), p.clone(), temperature);
    case.check_with_gradients("loss", loss, &[("nn", neighbours), ("p", p)]);
}

/// Labels go through a queue of their own, as rows of width 1: the method keeps none.
fn nnclr_steps(case: &Case) {
    let names = ["h1", "h2", "p1", "p2"];
    let inputs = names.map(|name| case.input::<3>(name));
    let mut queue = Queue::new(case.tensor::<2>("queue0", &device()));
    let length = case.shape("queue0")[0];
    let mut labels = Queue::new(Tensor::full([length, 1], -1.0, &device()));
    let [steps, batch] = case.ints::<2>("targets", &device()).dims();
    let (mut losses, mut accuracies) = (Vec::new(), Vec::new());
    for t in 0..steps {
        let [h1, h2, p1, p2] = [0, 1, 2, 3].map(|i: usize| at_step(&inputs[i], t));
        let z = [unit_rows(h1), unit_rows(h2)];
        let numbers = z.each_ref().map(|z| queue.nearest(z.clone()));
        let neighbours = numbers.each_ref().map(|numbers| queue.take(numbers.clone()));
        losses.push(contrastive::nnclr(neighbours, [p1, p2], case.number("temperature")));

        let of_step = t * batch..(t + 1) * batch;
        for (numbers, key) in numbers.iter().zip(["out.idx1", "out.idx2"]) {
            assert_eq!(integers(numbers.clone()), case.i64(key)[of_step.clone()], "{}", case.name);
        }
        let targets = &case.i64("targets")[of_step];
        let targets: Vec<f32> = targets.iter().map(|&label| label as f32).collect();
        let targets = Tensor::<1>::from_floats(&targets[..], &device()).reshape([batch, 1]);
        let [first, _] = numbers;
        let same = labels.take(first).equal(targets.clone());
        accuracies.push(same.float().mean().into_scalar::<f32>());

        let [z1, _] = z;
        queue = queue.push(z1, t as u64);
        labels = labels.push(targets, t as u64);
        case.check_at("out.queue", t, &floats(queue.rows()));
        let stored: Vec<i64> = floats(labels.rows()).iter().map(|&label| label as i64).collect();
        assert_eq!(stored, case.i64("out.queue_y")[t * length..(t + 1) * length], "{}", case.name);
        assert_eq!(queue.position(batch, t as u64 + 1) as i64, case.i64("out.ptr")[t]);
    }
    case.check_values("out.nn_acc", &accuracies);
    check_steps(case, losses, &zip(names, inputs));
}

fn ressl(case: &Case) {
    let names = ["q", "k", "queue"];
    let inputs = names.map(|name| case.input::<2>(name));
    let [q, k, queue] = inputs.clone();
    let [student, teacher] = ["temperature_q", "temperature_k"].map(|key| case.number(key));
    let loss = contrastive::ressl(q, k, queue, student, teacher);
    case.check_with_gradients("loss", loss, &zip(names, inputs));
}

fn ressl_steps(case: &Case) {
    let names = ["h1", "g2"];
    let inputs = names.map(|name| case.input::<3>(name));
    let [student, teacher] = ["temperature_q", "temperature_k"].map(|key| case.number(key));
    let mut queue = Queue::new(case.tensor::<2>("queue0", &device()));
    let mut losses = Vec::new();
    for t in 0..case.shape("h1")[0] {
        let [q, k] = [0, 1].map(|i: usize| unit_rows(at_step(&inputs[i], t)));
        let batch = k.dims()[0];
        losses.push(contrastive::ressl(q, k.clone(), queue.rows(), student, teacher));
        queue = queue.push(k, t as u64);
        case.check_at("out.queue", t, &floats(queue.rows()));
        assert_eq!(queue.position(batch, t as u64 + 1) as i64, case.i64("out.ptr")[t]);
    }
    check_steps(case, losses, &zip(names, inputs));
}

/// The losses of all steps, their sum, and the gradients of the sum.
fn check_steps(case: &Case, losses: Vec<Tensor<1>>, inputs: &[(&str, Tensor<3>)]) {
    let losses = Tensor::cat(losses, 0);
    case.check("out.loss_steps", losses.clone());
    case.check_with_gradients("loss_total", losses.sum(), inputs);
}

fn zip<const N: usize, const D: usize>(
    names: [&'static str; N],
    inputs: [Tensor<D>; N],
) -> Vec<(&'static str, Tensor<D>)> {
    names.into_iter().zip(inputs).collect()
}

fn integers(x: Tensor<1, Int>) -> Vec<i64> {
    x.into_data().convert::<i64>().try_to_vec().unwrap()
}
