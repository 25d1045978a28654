//! Folder `optim`: trajectories of the optimisers, schedules, clipping, the teacher's average.

use std::f64::consts::PI;

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::Value;
use vssl::{
    optim::{Adam, Algorithm, Gradients, GroupRule, Lars, Optimizer, OptimizerConfig, Sgd, ema},
    schedule::{Interval, Momentum, Schedule, Step, WarmupCosine},
};

use crate::{
    fixtures::{Case, for_each_case, list_of_numbers},
    optim::Holder,
};

#[test]
fn optimisers_and_schedules_agree_with_the_reference() {
    for_each_case("optim", |case| {
        let name = case.name.as_str();
        let starts = |prefix: &str| name.starts_with(prefix);
        if starts("sgd_") {
            trajectory(case, "sgd");
        } else if starts("lars_") {
            trajectory(case, "lars");
        } else if starts("adamw_") {
            trajectory(case, "adamw");
        } else if starts("adam_") {
            trajectory(case, "adam");
        } else if starts("clip_per_tensor_") {
            clip(case);
        } else if starts("warmup_cosine_") {
            warmup_cosine(case);
        } else if starts("multistep_") {
            steps(case);
        } else if starts("ema_") {
            average(case);
        } else {
            panic!("unknown case {name}");
        }
    });
}

/// Parameters `prefix*` of a case in a module, and the name of each beside its path.
fn holder(case: &Case, prefix: &str, time: Option<usize>, device: &Device) -> Holder {
    let tensors = case.names(prefix).into_iter().map(|name| {
        let key = format!("{prefix}{name}");
        match time {
            None => (name, case.shape(&key).to_vec(), case.f32(&key).to_vec()),
            Some(t) => (name, case.shape(&key)[1..].to_vec(), case.at(&key, t).to_vec()),
        }
    });
    Holder::new(tensors, device)
}

fn algorithm(case: &Case, name: &str) -> Algorithm {
    let number = |key: &str, default| case.param(key).map_or(default, |_| case.number(key));
    let eps = number("eps", 1e-8);
    let sgd = Sgd {
        momentum: number("momentum", 0.0),
        dampening: number("dampening", 0.0),
        nesterov: case.flag("nesterov"),
    };
    let lars = Lars {
        sgd,
        eta: number("eta", 0.0),
        clip_lr: case.flag("clip_lr"),
        exclude_bias_and_norm: case.flag("exclude_bias_n_norm"),
        eps,
    };
    let betas = case.param("betas").map_or(vec![0.9, 0.999], list_of_numbers);
    let adam = Adam { beta1: betas[0], beta2: betas[1], eps };
    match name {
        "lars" => Algorithm::Lars(lars),
        "sgd" => Algorithm::Sgd(sgd),
        "adam" => Algorithm::Adam(adam),
        "adamw" => Algorithm::Adamw(adam),
        other => panic!("{}: no algorithm {other}", case.name),
    }
}

fn config(case: &Case, name: &str, holder: &Holder) -> OptimizerConfig {
    let mut config = OptimizerConfig {
        algorithm: algorithm(case, name),
        lr: 1.0,
        scale_lr: false,
        weight_decay: 0.0,
        weight_decay_end: None,
        layer_decay: 1.0,
        groups: Vec::new(),
    };
    let decay = case.param("weight_decay").expect("every trajectory has a weight decay");
    if let Some(decay) = decay.as_f64() {
        config.weight_decay = decay;
    }
    // Group g starts from the base rate 1 + g, which the schedule maps to its column.
    let groups = (0..).map_while(|g| case.param(&format!("group{g}")).and_then(Value::as_array));
    for (group, names) in groups.enumerate() {
        for name in names {
            config.groups.push(GroupRule {
                pattern: Some(holder.path(name.as_str().unwrap()).to_owned()),
                lr_factor: Some(1.0 + group as f64),
                weight_decay: decay.as_array().map(|decays| decays[group].as_f64().unwrap()),
                ..GroupRule::default()
            });
        }
    }
    let decays = decay.as_array().map_or(0, Vec::len);
    assert!(decays == 0 || !config.groups.is_empty(), "{}: decays of no groups", case.name);
    config
}

fn trajectory(case: &Case, algorithm: &str) {
    let device = Device::flex().autodiff();
    let mut holder = holder(case, "param0.", None, &device);
    let config = config(case, algorithm, &holder);
    config.cover(&vssl::tensors::parameters(&holder.module)).unwrap();
    let mut optimizer = Optimizer::new(config.clone(), 256).unwrap();
    let rates = case.param("lrs_f64").and_then(Value::as_array).expect("rates of every step");
    for (t, rates) in rates.iter().enumerate() {
        let rates =
            if rates.is_array() { list_of_numbers(rates) } else { vec![rates.as_f64().unwrap()] };
        let slopes = |name: &str| case.at(&format!("step_grad.{name}"), t).to_vec();
        let gradients = holder.gradients(slopes);
        holder.module =
            optimizer.step(holder.module, gradients, |base| rates[base as usize - 1]).unwrap();
        for name in case.names("param0.") {
            case.check_at(&format!("out.param.{name}"), t, &holder.values(&name));
        }
        // Saving and loading in the middle of the run must change nothing.
        let state = optimizer.state();
        optimizer = Optimizer::new(config.clone(), 256).unwrap();
        let parameters = vssl::tensors::parameters(&holder.module);
        optimizer.load_state(state, &parameters, &Device::flex()).unwrap();
    }
    let state = optimizer.state();
    for entry in case.names("out.state.") {
        let (kind, name) = entry.split_once('.').expect("kind and name");
        let kind = if kind == "momentum_buffer" { "momentum" } else { kind };
        let key = format!("{kind}.{}", holder.path(name));
        let got: Vec<f32> = state[&key].try_to_vec().unwrap();
        case.check_values(&format!("out.state.{entry}"), &got);
    }
}

fn clip(case: &Case) {
    let device = Device::flex();
    let inputs = case.names("").into_iter().filter(|name| !name.starts_with("out."));
    let flat = |name: &str| Tensor::<1>::from_floats(case.f32(name), &device);
    let gradients = Gradients(inputs.map(|name| (name.clone(), flat(&name))).collect());
    let limit = case.number("clip");
    for (name, clipped) in gradients.clip_per_tensor(limit).0 {
        case.check_values(
            &format!("out.{name}"),
            &clipped.into_data().try_to_vec::<f32>().unwrap(),
        );
    }
}

fn step(index: usize, epoch: usize, steps_per_epoch: usize, total: usize) -> Step {
    let [index, epoch, steps_per_epoch, total] =
        [index, epoch, steps_per_epoch, total].map(|n| n as u64);
    Step { index, epoch, steps_per_epoch, total, ..Step::default() }
}

fn warmup_cosine(case: &Case) {
    let (warmup, end) = (case.number("warmup"), case.number("max") as usize);
    let bases = case.numbers("base_lr");
    let in_epochs = match case.param("unit").and_then(Value::as_str) {
        Some("epochs") => true,
        Some("optimiser steps") => false,
        other => panic!("{}: unknown unit {other:?}", case.name),
    };
    let per_epoch = case.param("steps_per_epoch").map_or(1, |n| n.as_u64().unwrap() as usize);
    let schedule = Schedule::WarmupCosine(WarmupCosine {
        warmup_epochs: if in_epochs { warmup } else { warmup / per_epoch as f64 },
        start: case.number("warmup_start_lr"),
        min: case.number("min_lr"),
        interval: if in_epochs { Interval::Epoch } else { Interval::Step },
    });
    let at = |t: usize| match in_epochs {
        true => step(3 * t + 1, t, 3, 3 * end),
        false => step(t, t / per_epoch, per_epoch, end),
    };
    let statics = case.param("static_groups").map_or(Vec::new(), list_of_numbers);
    for t in 0..case.shape("out.lr")[0] {
        if warmup.fract() != 0.0 {
            // The reference's recursion overshoots here; we round the warm-up to whole steps.
            let recursion: Vec<_> =
                bases.iter().map(|&base| fractional(case, base, t) as f32).collect();
            case.check_at("out.lr", t, &recursion);
            for &base in &bases {
                let rate = schedule.at(base, &at(t));
                let highest = [base, case.number("min_lr"), case.number("warmup_start_lr")];
                let highest = highest.into_iter().fold(f64::MIN, f64::max);
                assert!(rate <= highest, "{}: {rate} at {t}", case.name);
                let whole = WarmupCosine {
                    warmup_epochs: warmup.round(),
                    start: case.number("warmup_start_lr"),
                    min: case.number("min_lr"),
                    interval: Interval::Step,
                };
                let whole = Schedule::WarmupCosine(whole).at(base, &step(t, t, 1, end));
                assert!((rate - whole).abs() < 1e-12, "{}: {rate} at {t}", case.name);
            }
            continue;
        }
        let rates = rates_in_force(&bases, &statics, |base| schedule.at(base, &at(t)));
        let mut expected_static = rates.clone();
        if t == 0 {
            // In the reference a static group's very first step still runs at the start value.
            for &group in &statics {
                expected_static[group as usize] = schedule.at(bases[group as usize], &at(0)) as f32;
            }
        }
        case.check_at("out.lr", t, &expected_static);
        if case.has("out.lr_closed_form") {
            case.check_at("out.lr_closed_form", t, &rates);
        }
    }
}

/// The rate of each group as the optimiser applies it: what SGD subtracts from zero at slope one.
fn rates_in_force(bases: &[f64], statics: &[f64], schedule: impl Fn(f64) -> f64) -> Vec<f32> {
    let device = Device::flex().autodiff();
    let tensors = (0..bases.len()).map(|g| (format!("g{g:03}"), vec![1], vec![0.0]));
    let mut holder = Holder::new(tensors, &device);
    let groups = bases.iter().enumerate().map(|(g, &base)| {
        let is_static = statics.contains(&(g as f64));
        GroupRule {
            pattern: Some(holder.path(&format!("g{g:03}")).to_owned()),
            lr: is_static.then_some(base),
            lr_factor: (!is_static).then_some(base),
            ..GroupRule::default()
        }
    });
    let config = OptimizerConfig {
        algorithm: Algorithm::Sgd(Sgd { momentum: 0.0, ..Sgd::default() }),
        lr: 1.0,
        scale_lr: false,
        weight_decay: 0.0,
        weight_decay_end: None,
        layer_decay: 1.0,
        groups: groups.collect(),
    };
    let gradients = holder.gradients(|_| vec![1.0]);
    let mut optimizer = Optimizer::new(config, 1).unwrap();
    holder.module = optimizer.step(holder.module, gradients, schedule).unwrap();
    (0..bases.len()).map(|g| -holder.values(&format!("g{g:03}"))[0]).collect()
}

/// The reference's recursion for a warm-up that is not a whole number of steps.
fn fractional(case: &Case, base: f64, t: usize) -> f64 {
    let (warmup, end) = (case.number("warmup"), case.number("max"));
    let (start, min) = (case.number("warmup_start_lr"), case.number("min_lr"));
    (1..=t).fold(start, |rate, t| {
        let t = t as f64;
        let cosine = |t: f64| 1.0 + (PI * (t - warmup) / (end - warmup)).cos();
        if t < warmup {
            rate + (base - start) / (warmup - 1.0)
        } else {
            min + (rate - min) * cosine(t) / cosine(t - 1.0)
        }
    })
}

fn steps(case: &Case) {
    let milestones = case.numbers("milestones").into_iter().map(|epoch| epoch as u64).collect();
    let schedule = Schedule::Steps { milestones, gamma: case.number("gamma") };
    let epochs = case.shape("out.lr")[0];
    let rate =
        |epoch| schedule.at(case.number("base_lr"), &step(2 * epoch + 1, epoch, 2, 2 * epochs));
    let rates: Vec<_> = (0..epochs).map(|epoch| rate(epoch) as f32).collect();
    case.check_values("out.lr", &rates);
}

fn average(case: &Case) {
    let device = Device::flex().autodiff();
    let momentum = Momentum { base: case.number("base_tau"), last: case.number("final_tau") };
    let total = case.number("max_steps") as usize;
    let mut teacher = holder(case, "momentum0.", None, &device).untracked();
    let mut taus = Vec::new();
    for t in 0..case.shape("out.tau")[0] {
        let tau = momentum.at(&step(t, 0, total, total));
        let student = holder(case, "online.", Some(t), &device);
        teacher.module = ema(teacher.module, &student.module, tau).unwrap();
        for name in case.names("momentum0.") {
            case.check_at(&format!("out.momentum.{name}"), t, &teacher.values(&name));
        }
        taus.push(tau as f32);
    }
    case.check_values("out.tau", &taus);
    let stored = case.numbers("tau_f64");
    for (t, (&got, expected)) in taus.iter().zip(stored).enumerate() {
        assert!((f64::from(got) - expected).abs() < 1e-6, "{}: tau[{t}] is {got}", case.name);
    }
    let _: TensorData = teacher.data(); // still readable: nothing was left on a graph
}
