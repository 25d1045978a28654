//! Every case of the folder `distill`: the losses over several steps, the queues between them and the gradients.

use burn::tensor::Tensor;
use vssl::{
    memory::{Queue, Recent},
    objective::{distillation, unit_rows},
};

use crate::fixtures::{Case, INDEXES, at_step, device, floats, for_each_case_of};

#[test]
fn every_case_of_distillation() {
    for_each_case_of(INDEXES[1], "distill", |case| {
        let (family, _) = case.name.rsplit_once('_').unwrap();
        match family {
            "mse" | "cosine" => features(case, family),
            "seed" => seed(case),
            "compress_1q" | "compress_2q" => compress(case),
            "queue_kl" | "queue_kl_local" => queue_kl(case),
            _ => panic!("no test knows the case {}", case.name),
        }
    });
}

/// Features of tokens, as rows.
fn features(case: &Case, family: &str) {
    let [student, teacher] = ["student", "teacher"].map(|name| case.input::<3>(name));
    let [n, tokens, d] = student.dims();
    let rows = |x: &Tensor<3>| x.clone().reshape([n * tokens, d]);
    let loss = match family {
        "mse" => distillation::squared_error(student.clone(), teacher.clone()),
        _ => distillation::cosine_distance(rows(&student), rows(&teacher)),
    };
    case.check_with_gradients("loss", loss, &[("student", student), ("teacher", teacher)]);
}

fn steps(case: &Case) -> impl Iterator<Item = usize> {
    0..case.shape("teacher")[0]
}

/// The rows of one step, of unit length.
fn unit_at(x: &Tensor<3>, t: usize) -> Tensor<2> {
    unit_rows(at_step(x, t))
}

fn check_losses(case: &Case, losses: Vec<Tensor<1>>, inputs: &[(&str, Tensor<3>)]) {
    let losses = Tensor::cat(losses, 0);
    case.check("out.loss_steps", losses.clone());
    case.check_with_gradients("loss_total", losses.sum(), inputs);
}

fn seed(case: &Case) {
    let [student, teacher] = ["student", "teacher"].map(|name| case.input::<3>(name));
    let of = |side: &str| case.number(&format!("{side}_temperature"));
    let (own, known) = (of("student"), of("teacher"));
    // Stored as columns.
    let mut queue = Queue::new(case.tensor::<2>("queue0", &device()).transpose());
    let mut losses = Vec::new();
    for t in steps(case) {
        let (s, z) = (unit_at(&student, t), unit_at(&teacher, t));
        let targets = distillation::seed_targets(z.clone(), queue.rows(), known);
        case.check_at("out.targets", t, &floats(targets));
        losses.push(distillation::seed(s, z.clone(), queue.rows(), own, known));
        let batch = z.dims()[0];
        queue = queue.push_around(z, t as u64);
        case.check_at("out.queue", t, &floats(queue.rows().transpose()));
        let next = queue.position_around(batch, t as u64 + 1);
        assert_eq!(next as i64, case.i64("out.ptr")[t], "{}", case.name);
    }
    check_losses(case, losses, &[("student", student), ("teacher", teacher)]);
}

fn compress(case: &Case) {
    let [student, teacher] = ["student", "teacher"].map(|name| case.input::<3>(name));
    let temperature = case.number("temperature");
    let stored = |name: &str| Queue::new(case.tensor::<2>(name, &device()));
    let mut known = stored("memory_teacher0");
    let mut own = case.has("memory_student0").then(|| stored("memory_student0"));
    assert_eq!(case.number("queues"), if own.is_some() { 2.0 } else { 1.0 }, "{}", case.name);
    let mut losses = Vec::new();
    for t in steps(case) {
        let (s, z) = (unit_at(&student, t), unit_at(&teacher, t));
        let of_student = own.as_ref().unwrap_or(&known).rows();
        losses.push(distillation::queue_divergence(
            s.clone(),
            z.clone(),
            of_student,
            known.rows(),
            temperature,
        ));
        let batch = z.dims()[0];
        known = known.push_around(z, t as u64);
        own = own.map(|queue| queue.push_around(s, t as u64));
        case.check_at("out.memory_teacher", t, &floats(known.rows()));
        if let Some(own) = &own {
            case.check_at("out.memory_student", t, &floats(own.rows()));
        }
        let next = known.position_around(batch, t as u64 + 1);
        assert_eq!(next as i64, case.i64("out.index")[t], "{}", case.name);
    }
    check_losses(case, losses, &[("student", student), ("teacher", teacher)]);
}

/// The queue takes the batch first. The local term, where a case has it, is added with its weight.
fn queue_kl(case: &Case) {
    let [student, teacher] = ["student", "teacher"].map(|name| case.input::<3>(name));
    let temperature = case.number("temperature");
    let stored = case.tensor::<2>("queue0", &device());
    assert!(
        !case.flag("queue_starts_with_zeros") || floats(stored.clone()).iter().all(|x| *x == 0.0)
    );
    let mut queue = Recent::of(stored.unsqueeze_dim(0));
    let local = case.has("student_local").then(|| Local::of(case));
    let (mut losses, mut parts) = (Vec::new(), [Vec::new(), Vec::new()]);
    for t in steps(case) {
        let (s, z) = (unit_at(&student, t), unit_at(&teacher, t));
        queue = queue.push(vec![z.clone()]);
        case.check_at("out.queue", t, &floats(queue.rows(0)));
        let rows = queue.rows(0);
        let global = distillation::queue_divergence(s, z, rows.clone(), rows, temperature);
        losses.push(match &local {
            None => global,
            Some(local) => {
                let term = local.term(t);
                parts[0].push(global.clone().detach());
                parts[1].push(term.clone().detach());
                global + term * local.weight
            }
        });
    }
    let Some(Local { student: own, .. }) = local else {
        return check_losses(case, losses, &[("student", student), ("teacher", teacher)]);
    };
    for (name, values) in ["out.global_loss", "out.local_loss"].into_iter().zip(parts) {
        case.check(name, Tensor::cat(values, 0));
    }
    let losses = Tensor::cat(losses, 0);
    case.check("out.loss_steps", losses.clone());
    let gradients = case.check_quantity("loss_total", losses.sum()).backward();
    assert_eq!(case.names("grad."), ["student", "student_local"], "{}", case.name);
    case.check("grad.student", student.grad(&gradients).unwrap());
    case.check("grad.student_local", own.grad(&gradients).unwrap());
    assert!(teacher.grad(&gradients).is_none(), "{}", case.name);
}

/// The tokens of both networks.
struct Local {
    student: Tensor<4>,
    teacher: Tensor<4>,
    temperature: f64,
    weight: f64,
}

impl Local {
    fn of(case: &Case) -> Self {
        Self {
            student: case.input("student_local"),
            teacher: case.input("teacher_local"),
            temperature: case.number("temperature_local"),
            weight: case.number("local_weight"),
        }
    }

    fn term(&self, t: usize) -> Tensor<1> {
        let at = |x: &Tensor<4>| -> Tensor<3> { x.clone().narrow(0, t, 1).squeeze_dim(0) };
        distillation::token_divergence(at(&self.student), at(&self.teacher), self.temperature)
            .mean()
    }
}
