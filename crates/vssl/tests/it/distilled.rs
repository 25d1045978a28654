//! Runs that learn from a frozen teacher: what they tell of it, what they keep, how they go on, and what is refused.

use std::{fs, path::Path};

use burn::tensor::Device;
use vssl::{
    backbone::{BackboneConfig, ResnetConfig, Stem, VitConfig},
    encoder::{Encoder, export},
    method::learner::Network,
    page::RunView,
    run::{events::Summary, folder, metrics, stop::Stop},
    tensors::state,
    train::pretrain,
};

use super::{
    start::{StopEvery, World},
    training::{Silent, weights_of},
};

const OBJECTIVES: [&str; 7] = [
    "objective = \"mse\"",
    "objective = \"cosine\", projector_hidden = 8",
    "objective = \"seed\", queue = 10",
    "objective = \"compress-1q\", queue = 10",
    "objective = \"compress-2q\", queue = 10",
    "queue = 10",
    "objective = \"queue-kl-local\", queue = 10",
];

/// What a file of a ResNet does not tell.
const RESNET: &str = ", stem_padding = 1, normalisation = \"cifar10\"";

/// A student that is wider than the first run's encoder, which is its teacher.
fn distilled(world: &World, settings: &str) -> String {
    by(world, &world.at("first"), "", settings)
}

fn by(world: &World, teacher: &Path, keys: &str, settings: &str) -> String {
    world.text(
        "distill",
        &format!(
            "backbone = {{ width = 3, stem = \"cifar\" }}\nteacher = {{ from = {teacher:?}{keys} }}\n\
             distill = {{ {settings} }}"
        ),
    )
}

fn vit() -> BackboneConfig {
    VitConfig { patch: 8, image_size: 32, ..VitConfig::default() }.into()
}

#[test]
fn a_run_tells_who_its_teacher_was_and_keeps_it_beside_the_checkpoints() {
    let world = World::new();
    let plan = world.plan("run", &distilled(&world, "")).unwrap();
    let told = plan.notes.join("\n");
    assert!(told.contains("learns from") && told.contains("the student after step 12"), "{told}");
    assert!(!told.contains("the teacher sees the views"), "{told}");
    let summary = pretrain(&plan, &Stop::default(), &mut Silent).unwrap();
    let teacher = summary.teacher.clone().unwrap();
    assert_eq!((&teacher.from, teacher.network), (&world.at("first"), Network::Student));
    assert_eq!(teacher.checkpoint.as_deref(), Some("step-12"));
    assert!(summary.init.is_none());
    for figure in ["knn_top1", "untrained_knn_top1"] {
        assert!(summary.figure(figure).is_some(), "{figure}");
    }
    let stored: Summary = folder::summary_of(&world.at("run")).unwrap().unwrap();
    assert_eq!(stored.teacher, summary.teacher);
    assert_eq!(
        RunView::read(&world.at("run")).unwrap().teacher.as_ref(),
        summary.teacher.as_deref()
    );
    let recipe = folder::recipe_of(&world.at("run")).unwrap();
    assert!(recipe.contains(&teacher.digest.unwrap()) && !recipe.contains("freeze_epochs"));
    // The checkpoint has no weight of the teacher: a student of width 3 has features of 24 numbers, the teacher of 16.
    let state = world.state("run");
    assert!(state["memory"].keys().all(|path| path.starts_with("recent")), "{:?}", state["memory"]);
    assert_eq!(state["student"]["projector.output.weight"].shape().as_slice(), [16, 24]);
    // What the run folder keeps is an encoder for every command, and the encoder of the first run.
    let open = |path: &Path| {
        let encoder = Encoder::open(path, "latest", Network::Student, &Device::flex()).unwrap();
        state::collect(&*encoder.backbone)
    };
    let kept = world.at("run").join(folder::TEACHER);
    assert_eq!(open(&kept), open(&world.at("first")));
    // The loss that the student was trained with has become less.
    let losses: Vec<f64> = metrics::read(&world.at("run"))
        .unwrap()
        .iter()
        .filter_map(|line| line.figure("loss"))
        .collect();
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    assert!(mean(&losses[losses.len() - 4..]) < mean(&losses[..4]), "{losses:?}");
}

#[test]
fn the_frozen_teacher_is_no_network_of_the_run() {
    let world = World::new();
    world.train("run", &distilled(&world, ""));
    let (run, to) = (world.at("run"), world.at("e.safetensors"));
    let error = export::export(&run, "latest", Network::Teacher, &to).unwrap_err().to_string();
    assert!(
        error.contains("is frozen and lies in") && error.contains("teacher.safetensors"),
        "{error}"
    );
    let opened = Encoder::open(&run, "latest", Network::Teacher, &Device::flex());
    assert!(opened.err().unwrap().to_string().contains("teacher.safetensors"));
}

#[test]
fn a_run_that_is_stopped_again_and_again_ends_as_one_that_was_not_without_the_teacher() {
    for settings in OBJECTIVES {
        let world = World::new();
        let text = distilled(&world, settings);
        let whole = world.train("whole", &text);
        let plan = world.plan("parts", &text).unwrap();
        let stop = Stop::default();
        let observer = &mut StopEvery { stop: stop.clone(), every: 3 };
        let mut summary = pretrain(&plan, &stop, observer).unwrap();
        fs::remove_dir_all(world.at("first")).unwrap();
        let mut stops = 0;
        while summary.interrupted {
            stops += 1;
            let stop = Stop::default();
            let observer = &mut StopEvery { stop: stop.clone(), every: 5 };
            let plan = world.resumed("parts", &text).unwrap();
            assert!(plan.notes.iter().any(|note| note.contains("the copy of")), "{:?}", plan.notes);
            summary = pretrain(&plan, &stop, observer).unwrap();
        }
        assert!(stops > 1, "{settings}: {stops}");
        assert_eq!(world.state("parts"), world.state("whole"), "{settings}");
        assert_eq!(summary.figures, whole.figures, "{settings}");
        assert_eq!(summary.teacher, whole.teacher, "{settings}");
    }
}

#[test]
fn a_teacher_of_another_program_size_and_normalisation_teaches_by_every_objective() {
    let world = World::new();
    let file = world.at("vit.safetensors");
    weights_of(&vit(), &file);
    let keys = ", heads = 3, size = 32, pooling = \"token\", normalisation = \"0.5,0.25\"";
    for (number, settings) in OBJECTIVES.into_iter().enumerate() {
        let text = by(&world, &file, keys, settings);
        let plan = world.plan(&format!("run-{number}"), &text).unwrap();
        let told = plan.notes.join("\n");
        assert!(told.contains("resized from 16 to 32 pixels and in its own"), "{told}");
        pretrain(&plan, &Stop::default(), &mut Silent).unwrap();
    }
    let smaller = by(&world, &file, keys, "teacher_size = 16");
    let plan = world.plan("small", &smaller).unwrap();
    assert!(!plan.notes.join("\n").contains("resized"), "{:?}", plan.notes);
    let odd = by(&world, &file, keys, "teacher_size = 20");
    let error = world.refused(&odd);
    assert!(
        error.contains("distill.teacher_size is 20") && error.contains("which is 8"),
        "{error}"
    );
}

#[test]
fn another_teacher_than_that_of_the_run_is_refused_by_name() {
    let world = World::new();
    let resnet =
        |width: usize| ResnetConfig { width, stem: Stem::Cifar, ..Default::default() }.into();
    let (file, other) = (world.at("a.safetensors"), world.at("b.safetensors"));
    weights_of(&resnet(2), &file);
    weights_of(&resnet(2), &other);
    let text = by(&world, &file, RESNET, "");
    let plan = world.plan("run", &text).unwrap();
    let stop = Stop::default();
    pretrain(&plan, &stop, &mut StopEvery { stop: stop.clone(), every: 2 }).unwrap();
    let error = world.resumed("run", &by(&world, &other, RESNET, "")).err().unwrap().to_string();
    assert!(error.contains("teacher.from") && error.contains("b.safetensors"), "{error}");
    // The copy is damaged: the file is read again, and only the same one.
    let copy = world.at("run").join(folder::TEACHER);
    fs::write(&copy, "damaged").unwrap();
    let plan = world.resumed("run", &text).unwrap();
    assert!(plan.notes.iter().any(|note| note.contains("is read again")), "{:?}", plan.notes);
    weights_of(&resnet(4), &file);
    let error = world.resumed("run", &text).err().unwrap().to_string();
    assert!(error.contains("teacher.digest") && error.contains("a.safetensors"), "{error}");
    fs::remove_file(&file).unwrap();
    // Neither a damaged copy nor a missing one is a mistake in the settings.
    for problem in ["this copy is damaged", "this copy of the encoder is missing"] {
        let error = world.resumed("run", &text).err().unwrap();
        assert!(!error.is_usage());
        let error = error.to_string();
        for part in
            ["teacher.safetensors", problem, "teacher.from", "bring this copy back", "--out"]
        {
            assert!(error.contains(part), "{part:?} is not in {error}");
        }
        let _ = fs::remove_file(&copy);
    }
}

#[test]
fn a_run_that_reads_its_teacher_again_keeps_it_again() {
    let world = World::new();
    let text = distilled(&world, "");
    let whole = world.train("whole", &text);
    let plan = world.plan("run", &text).unwrap();
    let stop = Stop::default();
    pretrain(&plan, &stop, &mut StopEvery { stop: stop.clone(), every: 4 }).unwrap();
    let copy = world.at("run").join(folder::TEACHER);
    let kept = fs::read(&copy).unwrap();
    fs::remove_file(&copy).unwrap();
    let plan = world.resumed("run", &text).unwrap();
    let summary = pretrain(&plan, &Stop::default(), &mut Silent).unwrap();
    assert_eq!(summary.figures, whole.figures);
    assert_eq!(fs::read(&copy).unwrap(), kept);
}

#[test]
fn what_is_no_teacher_is_refused_before_a_file_is_written() {
    let world = World::new();
    let error = world.refused(&by(&world, &world.at("nowhere"), "", ""));
    assert!(error.contains("teacher.from") && error.contains("not found"), "{error}");
    let error = world.refused(&by(&world, &world.at("first"), ", heads = 3", ""));
    assert!(error.contains("teacher.heads is given"), "{error}");
    let error = world.refused(&by(&world, &world.at("first"), ", network = \"teacher\"", ""));
    assert!(error.contains("no momentum network"), "{error}");
    let mut tensors = state::collect(&vssl::backbone::Backbone::new(
        &vit(),
        &vssl::layers::Init::new(&Device::flex(), 1),
    ));
    tensors.remove("blocks.3.mlp.fc1.weight");
    let file = world.at("part.safetensors");
    fs::write(&file, vssl::tensors::file::bytes(&file, &tensors, &[]).unwrap()).unwrap();
    let error = world.refused(&by(
        &world,
        &file,
        ", heads = 3, pooling = \"token\", normalisation = \"0.5,0.25\"",
        "",
    ));
    assert!(error.contains("blocks.3.mlp.fc1.weight"), "{error}");
    let error = world.refused(&by(&world, &file, ", checkpoint = \"best\"", ""));
    assert!(error.contains("teacher.checkpoint") && error.contains("is a file"), "{error}");
    // What a file does not tell is asked for by the keys of the table.
    let error = world.refused(&by(&world, &file, "", ""));
    assert!(error.contains("teacher.heads") && !error.contains("--heads"), "{error}");
}
