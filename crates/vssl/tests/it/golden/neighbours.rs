//! The cases `all4one_*`, `all4one_encoder_*`, `nnbyol_*`, `nnsiam_*` and `supcon_*` of the folder `losses`, second set.
//!
//! Cases with several training steps start from a stored queue and go through the functions that the methods call at
//! each step. Labels and image numbers go through queues of their own, as rows of width 1: the methods keep none.

use burn::tensor::{Int, Tensor, TensorData};
use vssl::{
    layers::{Init, PostNormEncoder},
    memory::Queue,
    methods::{All4One, summarised},
    objective::{contrastive, figures, prediction, unit_rows},
    optim::Gradients,
    tensors::state::{self, Tensors},
};

use crate::fixtures::{Case, at_step, device, floats};

/// Checks the case if it is of one of the families above, and says whether it is.
pub fn check(case: &Case) -> bool {
    match case.name.split('_').next().unwrap_or_default() {
        "all4one" if case.name.starts_with("all4one_encoder") => encoder_alone(case),
        "all4one" => all4one(case),
        "nnbyol" => to_neighbours(case, ["g1", "g2"], |predictions, neighbours| {
            prediction::byol(&predictions, &neighbours)
        }),
        "nnsiam" => to_neighbours(case, ["h1", "h2"], prediction::simsiam),
        "supcon" => supcon(case),
        _ => return false,
    }
    true
}

fn supcon(case: &Case) {
    let z = case.input::<2>("z");
    let targets: Vec<usize> = case.i64("targets").iter().map(|&label| label as usize).collect();
    let labels = targets.repeat(case.number("views") as usize);
    let temperature = case.number("temperature");
    case.check_quantity(
        "loss_paper_out",
        contrastive::supcon_outside(z.clone().detach(), &labels, temperature),
    );
    let loss = contrastive::nt_xent(z.clone(), &labels, temperature);
    case.check_with_gradients("loss", loss, &[("z", z)]);
}

/// The queue of a case, and one of width 1 beside it for what the reference stores with each row.
struct Queues {
    rows: Queue,
    beside: Vec<(&'static str, &'static str, Queue)>,
}

impl Queues {
    /// `beside` names what each step brings and the output that holds it.
    fn of(case: &Case, beside: &[(&'static str, &'static str)]) -> Self {
        let length = case.shape("queue0")[0];
        let empty = || Queue::new(Tensor::full([length, 1], -1.0, &device()));
        let beside = beside.iter().map(|&(brings, holds)| (brings, holds, empty())).collect();
        Self { rows: Queue::new(case.tensor::<2>("queue0", &device())), beside }
    }

    /// The share of the first view's neighbours that have the label of their image.
    fn accuracy(&self, case: &Case, t: usize, nearest: Tensor<1, Int>) -> f32 {
        let (_, _, labels) = &self.beside[0];
        let same = labels.take(nearest).equal(brought(case, "targets", t));
        same.float().mean().into_scalar::<f32>()
    }

    /// Pushes what step `t` brings, and compares the queues with the stored ones.
    fn push(self, case: &Case, t: usize, keys: Tensor<2>) -> Self {
        let batch = keys.dims()[0];
        let rows = self.rows.push(keys, t as u64);
        case.check_at("out.queue", t, &floats(rows.rows()));
        assert_eq!(rows.position(batch, t as u64 + 1) as i64, case.i64("out.ptr")[t]);
        let beside = self.beside.into_iter().map(|(brings, holds, queue)| {
            let queue = queue.push(brought(case, brings, t), t as u64);
            let stored: Vec<i64> = floats(queue.rows()).iter().map(|&x| x as i64).collect();
            let length = stored.len();
            let expected = &case.i64(holds)[t * length..(t + 1) * length];
            assert_eq!(stored, expected, "{}: {holds}", case.name);
            (brings, holds, queue)
        });
        Self { rows, beside: beside.collect() }
    }
}

/// The integers of step `t`, as rows of width 1.
fn brought(case: &Case, key: &str, t: usize) -> Tensor<2> {
    let batch = case.shape(key)[1];
    let values = &case.i64(key)[t * batch..(t + 1) * batch];
    let values: Vec<f32> = values.iter().map(|&x| x as f32).collect();
    Tensor::from_data(TensorData::new(values, [batch, 1]), &device())
}

/// Compares the numbers of found rows, `[n]` each, with those of step `t`.
fn check_found(case: &Case, key: &str, t: usize, found: &[Tensor<1, Int>]) {
    let columns: Vec<Vec<i64>> = found
        .iter()
        .map(|x| x.clone().into_data().convert::<i64>().try_to_vec().unwrap())
        .collect();
    let rows: Vec<i64> =
        (0..columns[0].len()).flat_map(|row| columns.iter().map(move |c| c[row])).collect();
    let length = rows.len();
    assert_eq!(rows, case.i64(key)[t * length..(t + 1) * length], "{}: {key}", case.name);
}

/// NNBYOL and NNSiam: `keys` names what neighbours are looked for of.
fn to_neighbours(
    case: &Case,
    keys: [&str; 2],
    loss: impl Fn([Tensor<2>; 2], [Tensor<2>; 2]) -> Tensor<1>,
) {
    let (names, keys) = (["p1", "p2"], keys.map(|key| case.tensor::<3>(key, &device())));
    let inputs = names.map(|name| case.input::<3>(name));
    let online = ["h1", "h2"].map(|key| case.tensor::<3>(key, &device()));
    let mut queues = Queues::of(case, &[("targets", "out.queue_y")]);
    let (mut losses, mut accuracies, mut spreads) = (Vec::new(), Vec::new(), Vec::new());
    for t in 0..case.shape("p1")[0] {
        let keys = keys.each_ref().map(|keys| unit_rows(at_step(keys, t)));
        let nearest = keys.each_ref().map(|keys| queues.rows.nearest(keys.clone()));
        for (nearest, key) in nearest.iter().zip(["out.idx1", "out.idx2"]) {
            check_found(case, key, t, std::slice::from_ref(nearest));
        }
        let neighbours = nearest.each_ref().map(|nearest| queues.rows.take(nearest.clone()));
        losses.push(loss(inputs.each_ref().map(|p| at_step(p, t)), neighbours));
        let online = online.each_ref().map(|h| at_step(h, t));
        spreads.push(figures::unit_std(&online).into_scalar::<f32>());
        let [first, _] = nearest;
        accuracies.push(queues.accuracy(case, t, first));
        let [first, _] = keys;
        queues = queues.push(case, t, first);
    }
    case.check_values("out.nn_acc", &accuracies);
    case.check_values("out.z_std", &spreads);
    let losses = Tensor::cat(losses, 0);
    case.check("out.loss_steps", losses.clone());
    case.check_with_gradients(
        "loss_total",
        losses.sum(),
        &names.into_iter().zip(inputs).collect::<Vec<_>>(),
    );
}

/// The transformer with the weights of the case.
fn encoder(case: &Case) -> PostNormEncoder {
    let weight = |name: &String| {
        let key = format!("w.{name}");
        (name.clone(), TensorData::new(case.f32(&key).to_vec(), case.shape(&key).to_vec()))
    };
    let weights: Tensors = case.names("w.").iter().map(weight).collect();
    let width = case.shape("w.layers.0.linear2.weight")[0];
    let hidden = case.shape("w.layers.0.linear1.weight")[0];
    let [layers, heads] = ["layers", "heads"].map(|key| case.number(key) as usize);
    let sizes = [layers, heads, width, hidden];
    let network = PostNormEncoder::new(sizes, &Init::new(&device(), 0));
    state::restore(network, weights).unwrap_or_else(|error| panic!("{}: {error}", case.name))
}

/// Compares the stored gradients of weights.
fn check_weights(case: &Case, gradients: &Gradients) {
    for name in case.names("grad.w.") {
        let gradient = gradients.0[&name].clone().into_data().try_into_vec::<f32>().unwrap();
        case.check_values(&format!("grad.w.{name}"), &gradient);
    }
}

fn encoder_alone(case: &Case) {
    let (network, x) = (encoder(case), case.input::<3>("x"));
    let [n, tokens, dim] = x.dims();
    let positioned = x.clone() + vssl::methods::all4one_positions(tokens, dim, &device());
    case.check("out.with_position", positioned.clone());
    let y = network.forward(positioned.reshape([n * tokens, dim]), tokens);
    let y = y.reshape([n, tokens, dim]);
    case.check("out.y", y.clone());
    let first = y.narrow(1, 0, 1).reshape([n, dim]);
    let loss = (first * case.tensor::<2>("c", &device())).sum();
    let gradients = case.check_quantity("loss", loss).backward();
    case.check("grad.x", x.grad(&gradients).expect("the tokens have a gradient"));
    check_weights(case, &Gradients::collect(gradients, &network));
}

fn all4one(case: &Case) {
    let names = ["z1", "z2", "p1", "p2", "t1", "t2"];
    let inputs = names.map(|name| case.input::<3>(name));
    let [g1, g2] = ["g1", "g2"].map(|key| case.tensor::<3>(key, &device()));
    let count = case.number("neighbours") as usize;
    let method = All4One { temperature: case.number("temperature"), ..All4One::default() };
    let network = encoder(case);
    let mut queues = Queues::of(case, &[("targets", "out.queue_y"), ("img", "out.queue_index")]);
    let (mut losses, mut accuracies) = (Vec::new(), Vec::new());
    let mut terms = [Vec::new(), Vec::new(), Vec::new()];
    for t in 0..case.shape("z1")[0] {
        let keys = [&g1, &g2].map(|g| unit_rows(at_step(g, t)));
        let found = keys.each_ref().map(|keys| queues.rows.nearest_several(keys.clone(), count));
        for (found, key) in found.iter().zip(["out.idx1", "out.idx2"]) {
            check_found(case, key, t, found);
        }
        let neighbours = found.each_ref().map(|found| -> Vec<Tensor<2>> {
            found.iter().map(|nearest| queues.rows.take(nearest.clone())).collect()
        });
        let [z1, z2, p1, p2, t1, t2] = inputs.each_ref().map(|x| at_step(x, t));
        let width = case.shape("g1")[2];
        let positions = vssl::methods::all4one_positions(count, width, &device());
        let summaries =
            neighbours.each_ref().map(|tokens| summarised(&network, tokens.clone(), &positions));
        let [nn1, nn2] = neighbours.each_ref();
        let shifted = [(t1, nn1), (t2, nn2)].map(|(prediction, neighbours)| {
            let tokens = [&[prediction], &neighbours[..count - 1]].concat();
            summarised(&network, tokens, &positions)
        });
        case.check_at("out.rich1", t, &floats(summaries[0].clone()));
        case.check_at("out.shifted1", t, &floats(shifted[0].clone()));
        let nearest = neighbours.each_ref().map(|rows| rows[0].clone());
        let of_step =
            method.terms((keys.clone(), nearest), ([z1, z2], [p1, p2]), (summaries, shifted));
        losses.push(of_step.clone().into_iter().reduce(|a, b| a + b).unwrap() * 0.5);
        for (into, term) in terms.iter_mut().zip(of_step) {
            into.push(term.into_scalar::<f32>());
        }
        accuracies.push(queues.accuracy(case, t, found[0][0].clone()));
        let [first, _] = keys;
        queues = queues.push(case, t, first);
    }
    for (key, term) in ["out.nn_loss", "out.att_loss", "out.feature_loss"].into_iter().zip(terms) {
        case.check_values(key, &term);
    }
    case.check_values("out.nn_acc", &accuracies);
    let losses = Tensor::cat(losses, 0);
    case.check("out.loss_steps", losses.clone());
    let gradients = case.check_quantity("loss_total", losses.sum()).backward();
    for (name, input) in names.into_iter().zip(inputs) {
        case.check(&format!("grad.{name}"), input.grad(&gradients).expect("a gradient"));
    }
    check_weights(case, &Gradients::collect(gradients, &network));
}
