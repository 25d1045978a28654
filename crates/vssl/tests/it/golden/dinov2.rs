//! Folder `dinov2`: KoLeo, Sinkhorn's assignments, the losses of class tokens and of masked patches, and their centres.

use burn::tensor::{Int, Tensor, TensorData};
use serde_json::Value;
use vssl::objective::{
    centring::{centred_softmax, next_center},
    koleo::{koleo, nearest_others},
    self_distillation::{class_loss, patch_losses, share, terms},
    sinkhorn,
};

use crate::fixtures::{Case, INDEXES, at_step, device, floats, for_each_case_of};

/// Iterations of the reference where the case does not say.
const ITERATIONS: usize = 3;

#[test]
fn dinov2_and_its_parts_agree_with_the_reference() {
    for_each_case_of(INDEXES[1], "dinov2", |case| {
        let (family, _) = case.name.rsplit_once('_').expect("a family and a number");
        match family {
            "dino" => class_tokens(case),
            "ibot" => patches(case),
            "koleo" => regulariser(case),
            "sinkhorn" => assignments(case),
            name => panic!("{}: unknown family {name}", case.name),
        }
    });
}

fn count(case: &Case, key: &str) -> usize {
    case.number(key) as usize
}

/// How a case makes targets, and the centre that some of them use.
struct Targets {
    center: Tensor<2>,
    is_centred: bool,
    temperature: f64,
    momentum: f64,
}

impl Targets {
    fn of(case: &Case) -> Self {
        let is_centred = match case.param("centering").and_then(Value::as_str) {
            Some("centering") => true,
            Some("sinkhorn_knopp") => false,
            other => panic!("{}: unknown centring {other:?}", case.name),
        };
        let (temperature, momentum) = (case.number("teacher_temp"), case.number("center_momentum"));
        let center = case.f32("center0").to_vec();
        let center = TensorData::new(center, [1, count(case, "prototypes")]);
        Self { center: Tensor::from_data(center, &device()), is_centred, temperature, momentum }
    }

    /// The targets of these rows, by the centre of the steps before.
    fn next(&mut self, teacher: Tensor<2>) -> Tensor<2> {
        if !self.is_centred {
            return sinkhorn(teacher, self.temperature, ITERATIONS);
        }
        let targets = centred_softmax(teacher.clone(), self.center.clone(), self.temperature);
        self.center = next_center(self.center.clone(), teacher, self.momentum);
        targets
    }
}

fn class_tokens(case: &Case) {
    let (locals, temperature) = (count(case, "local_crops"), case.number("student_temp"));
    assert_eq!(terms(locals), count(case, "loss_terms"), "{}", case.name);
    let global = case.input::<3>("student_global");
    let local = (locals > 0).then(|| case.input::<3>("student_local"));
    let teacher = case.input::<3>("teacher");
    let mut targets = Targets::of(case);
    let (mut globals, mut local_losses) = (Vec::new(), Vec::new());
    let two = |x: Tensor<2>| -> [Tensor<2>; 2] {
        x.chunk(2, 0).try_into().unwrap_or_else(|_| panic!("{}: two crops", case.name))
    };
    for t in 0..count(case, "steps") {
        let [of_a, of_b] = two(targets.next(at_step(&teacher, t)));
        case.check_at("out.targets", t, &floats(Tensor::cat(vec![of_b.clone(), of_a.clone()], 0)));
        case.check_at("out.center", t, &floats(targets.center.clone()));
        let crops = local.as_ref().map_or(Vec::new(), |local| at_step(local, t).chunk(locals, 0));
        let loss = class_loss(two(at_step(&global, t)), &crops, [of_a, of_b], temperature);
        globals.push(loss.global);
        local_losses.push(loss.local);
    }
    let [globals, local_losses] = [globals, local_losses].map(|losses| Tensor::cat(losses, 0));
    case.check("out.global_loss", globals.clone());
    case.check("out.local_loss", local_losses.clone());
    let inputs = [("student_global", global), ("teacher", teacher)].into_iter();
    let inputs: Vec<_> = inputs.chain(local.map(|local| ("student_local", local))).collect();
    case.check_with_gradients("loss_total", (globals + local_losses).sum(), &inputs);
}

fn patches(case: &Case) {
    let (images, of_image) = (count(case, "images"), count(case, "patches"));
    let masks = case.i64("masks");
    let masked: Vec<usize> = (0..masks.len()).filter(|&patch| masks[patch] == 1).collect();
    assert_eq!(masked.len(), count(case, "masked"), "{}", case.name);
    let in_image =
        |patch: usize| masked.iter().filter(|&other| other / of_image == patch / of_image).count();
    let shares: Vec<f32> = masked.iter().map(|&patch| share(in_image(patch), images)).collect();
    let shares = Tensor::<1>::from_floats(shares.as_slice(), &device());
    let places: Vec<i64> = masked.iter().map(|&patch| patch as i64).collect();
    let places = Tensor::<1, Int>::from_data(TensorData::new(places, [masked.len()]), &device());
    let [student, teacher] = ["student", "teacher"].map(|name| case.input::<4>(name));
    let rows = |x: &Tensor<4>, t: usize| -> Tensor<2> {
        let all = x.clone().narrow(0, t, 1).reshape([images * of_image, x.dims()[3]]);
        all.select(0, places.clone())
    };
    let mut targets = Targets::of(case);
    let losses = (0..count(case, "steps")).map(|t| {
        let target = targets.next(rows(&teacher, t));
        case.check_at("out.targets", t, &floats(target.clone()));
        case.check_at("out.center", t, &floats(targets.center.clone()));
        let temperature = case.number("student_temp");
        patch_losses(rows(&student, t), target, shares.clone(), temperature).sum()
    });
    let losses = Tensor::cat(losses.collect(), 0);
    case.check("out.loss_steps", losses.clone());
    case.check("out.loss_full_grid", losses.clone());
    case.check_with_gradients(
        "loss_total",
        losses.sum(),
        &[("student", student), ("teacher", teacher)],
    );
}

fn regulariser(case: &Case) {
    let x = case.input::<2>("x");
    let found: Vec<i64> = nearest_others(x.clone()).into_data().iter::<i64>().collect();
    assert_eq!(found, case.i64("out.neighbour"), "{}: out.neighbour", case.name);
    let loss = koleo(x.clone());
    if case.has("grad.x") {
        case.check_with_gradients("loss", loss, &[("x", x)]);
    } else {
        // Rows that are parallel: rounding makes the gradient, and the reference lists none.
        case.check_quantity("loss", loss);
    }
}

fn assignments(case: &Case) {
    let (epsilon, iterations) = (case.number("teacher_temp"), count(case, "iterations"));
    let found = sinkhorn(case.tensor("teacher", &device()), epsilon, iterations);
    case.check("out.assignments", found);
}
