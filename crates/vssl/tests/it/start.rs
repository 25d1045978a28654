//! Runs that start from an encoder: what every method takes over, what is frozen and what is refused.

use std::{collections::BTreeMap, fs, path::PathBuf};

use burn::tensor::{Device, TensorData};
use tempfile::TempDir;
use vssl::{
    backbone::{Backbone, BackboneConfig, ResnetConfig, Stem, VitConfig},
    encoder::{Encoder, export},
    layers::Init,
    method::learner::{Initial, Learner, Network},
    methods::METHODS,
    optim::{Optimizer, OptimizerConfig, layer_factors},
    recipe::Entry,
    run::{
        checkpoint::Store,
        events::{Event, Observer, Summary},
        folder, metrics,
        stop::Stop,
    },
    tensors::{
        file,
        state::{self, Tensors},
    },
    train::{Plan, TrainError, pretrain},
};
use vssl_data::dataset::IMAGENET;

use super::{
    contract::{
        device, first_batch, gradients, loss, network, optimizer, sizes, small, step, views,
    },
    embedded::pictures,
    training::{Silent, environment, recipe},
};

fn resnet(width: usize) -> BackboneConfig {
    ResnetConfig { width, stem: Stem::Cifar, ..Default::default() }.into()
}

/// Weights that no random initialisation has: running statistics as after a training.
fn weights(config: &BackboneConfig) -> Tensors {
    let network = Backbone::new(config, &Init::new(&Device::flex(), 99));
    let mut tensors = state::collect(&network);
    for (name, tensor) in &mut tensors {
        // Activations neither die nor explode.
        let (factor, more) = match name.rsplit('.').next() {
            Some("running_mean") => (1.0, 0.01),
            Some("running_var") => (0.25, 0.0),
            _ => continue,
        };
        let values: Vec<f32> = tensor.iter::<f32>().map(|value| value * factor + more).collect();
        *tensor = TensorData::new(values, tensor.shape().clone());
    }
    tensors
}

fn learner(entry: &Entry, initial: Initial) -> Box<dyn Learner> {
    let method = entry.with(&small(entry)).unwrap();
    let made = method.learner_from(initial, &network(entry, 4), &sizes(), &device(), 7);
    let mut learner = made.unwrap();
    learner.before_epoch(&step(0));
    learner
}

/// The tensors of the backbone in `all`, by their names in it.
fn backbone(all: &Tensors) -> Tensors {
    let own = |name: &str| name.split_once("backbone.").map(|(_, rest)| rest.to_owned());
    all.iter().filter_map(|(name, tensor)| Some((own(name)?, tensor.clone()))).collect()
}

#[test]
fn every_method_starts_both_backbones_there_and_its_heads_as_ever() {
    for entry in METHODS {
        let start = weights(&network(entry, 4));
        let initial =
            Initial { weights: Some(start.clone()), freeze_epochs: 0, ..Initial::default() };
        let (from, fresh) = (learner(entry, initial), learner(entry, Initial::default()));
        let (student, memory) = (from.student(), from.memory());
        assert_eq!(backbone(&student), start, "{}", entry.name);
        let teacher = backbone(&memory);
        assert!(teacher.is_empty() || teacher == start, "{}: the teacher", entry.name);
        for (name, tensor) in fresh.student() {
            let same = student[&name] == tensor;
            assert!(same || name.starts_with("backbone."), "{}: {name}", entry.name);
        }
        assert_ne!(backbone(&fresh.student()), start, "{}", entry.name);
    }
}

#[test]
fn a_frozen_backbone_keeps_every_bit_and_then_trains() {
    for entry in METHODS {
        let start = weights(&network(entry, 4));
        let name = entry.name;
        let initial =
            Initial { weights: Some(start.clone()), freeze_epochs: 1, ..Initial::default() };
        let mut learner = learner(entry, initial);
        let (heads, mut optimizer) = (learner.student(), optimizer());
        let views = views(&mut first_batch());
        let mut train = |learner: &mut dyn Learner, index: u64| {
            let at = step(index);
            assert!(loss(learner, &views, &at).is_finite(), "{name}");
            let gradients = gradients(learner);
            let backbone = |path: &String| path.starts_with("backbone.");
            assert_eq!(gradients.0.keys().any(backbone), at.epoch > 0, "{name}");
            learner.update(&mut optimizer, gradients, &|base| base, &at).unwrap();
        };
        (0..3).for_each(|index| train(learner.as_mut(), index));
        let (student, memory) = (learner.student(), learner.memory());
        assert_eq!(backbone(&student), start, "{name}");
        let teacher = backbone(&memory);
        assert!(teacher.is_empty() || teacher == start, "{name}: the teacher");
        let moved = |(path, tensor): (&String, &TensorData)| {
            !path.starts_with("backbone.") && heads[path] != *tensor
        };
        assert!(student.iter().any(moved), "{name}: no head has learnt");
        let at = step(4);
        learner.before_epoch(&at);
        train(learner.as_mut(), at.index);
        let trained = backbone(&learner.student());
        let of_resnet = ["layer4.1.conv2.weight", "bn1.weight", "bn1.running_mean"];
        let of_transformer = ["blocks.1.attn.qkv.weight", "norm.weight", "patch_embed.proj.bias"];
        let is_resnet = entry.defaults().check_patches(None).is_ok();
        for path in if is_resnet { of_resnet } else { of_transformer } {
            assert_ne!(trained[path], start[path], "{name}: {path}");
        }
    }
}

#[test]
fn features_of_a_frozen_backbone_are_those_of_the_encoder() {
    let config = resnet(4);
    let start = weights(&config);
    let entry = vssl::methods::find("simclr").unwrap();
    let initial = Initial { weights: Some(start.clone()), freeze_epochs: 1, ..Initial::default() };
    let (mut learner, views) = (learner(entry, initial), views(&mut first_batch()));
    let outcome = learner.forward_backward(&views, 1.0, &step(0));
    let fresh = Backbone::new(&config, &Init::new(&Device::flex(), 0));
    let encoder = state::restore(fresh, start).unwrap().for_inference();
    let expected = encoder.forward(views.global[0].clone().inner()).into_data();
    let got = outcome.features[0].clone().into_data();
    assert!(got.num_elements() > 0);
    for (got, expected) in got.iter::<f32>().zip(expected.iter::<f32>()) {
        assert!((got - expected).abs() <= 1e-4 * expected.abs().max(1.0), "{got} and {expected}");
    }
}

#[test]
fn weights_of_another_width_are_refused_by_name_and_with_both_shapes() {
    let method = METHODS[0].with(&small(&METHODS[0])).unwrap();
    let initial =
        Initial { weights: Some(weights(&resnet(8))), freeze_epochs: 0, ..Initial::default() };
    let error = method.learner_from(initial, &resnet(4), &sizes(), &device(), 7).err().unwrap();
    let error = error.to_string();
    assert!(error.contains("\"conv1.weight\"") || error.contains("\"bn1.weight\""), "{error}");
    assert!(error.contains("[8") && error.contains("[4"), "{error}");
}

/// One step of plain SGD at rate 1 moves each parameter by its gradient times the factor of its block.
#[test]
fn each_block_moves_at_the_rate_that_was_computed_by_hand() {
    let half = |power: i32| 0.5_f64.powi(power);
    let vit = VitConfig { patch: 8, image_size: 16, ..VitConfig::default() };
    // ResNet-18 has 8 blocks, ViT-Tiny 12.
    for (config, expected) in [
        (
            resnet(4),
            vec![
                ("projector.", 1.0),
                ("backbone.layer4.1.", half(1)),
                ("backbone.layer4.0.", half(2)),
                ("backbone.layer3.1.", half(3)),
                ("backbone.layer1.0.", half(8)),
                ("backbone.conv1.", half(9)),
                ("backbone.bn1.", half(9)),
            ],
        ),
        (
            vit.into(),
            vec![
                ("projector.", 1.0),
                ("backbone.norm.", 1.0),
                ("backbone.blocks.11.", half(1)),
                ("backbone.blocks.0.", half(12)),
                ("backbone.patch_embed.", half(13)),
                ("backbone.cls_token", half(13)),
                ("backbone.pos_embed", half(13)),
            ],
        ),
    ] {
        let entry = vssl::methods::find("simclr").unwrap();
        let method = entry.with(&small(entry)).unwrap();
        let mut learner = method.learner(&config, &sizes(), &device(), 7);
        let parameters = learner.parameters();
        let json = r#"{ "name": "sgd", "lr": 1.0, "scale_lr": false, "weight_decay": 0.0, "momentum": 0.0,
                        "layer_decay": 0.5 }"#;
        let settings: OptimizerConfig = serde_json::from_str(json).unwrap();
        let mut optimizer = Optimizer::of(settings, 16, &parameters).unwrap();
        loss(learner.as_mut(), &views(&mut first_batch()), &step(0));
        let (before, moves) = (learner.student(), gradients(learner.as_mut()));
        learner.update(&mut optimizer, moves.clone(), &|base| base, &step(0)).unwrap();
        let after = learner.student();
        for (start, factor) in expected {
            let mut seen = 0;
            for (path, gradient) in moves.0.iter().filter(|(path, _)| path.starts_with(start)) {
                let values = |all: &Tensors| all[path].iter::<f64>().collect::<Vec<f64>>();
                let gradient: Vec<f64> = gradient.to_data().iter::<f64>().collect();
                for ((was, is), gradient) in
                    values(&before).iter().zip(values(&after)).zip(gradient)
                {
                    let expected = was - factor * gradient;
                    let close = (is - expected).abs() <= 1e-6 * (1.0 + expected.abs());
                    assert!(close, "{path}: {was} - {factor} * {gradient} is not {is}");
                }
                seen += 1;
            }
            assert!(seen > 0, "{start}");
        }
        // Nothing but the blocks below the top is in the list.
        let factors = layer_factors(&parameters, 0.5).unwrap();
        assert!(factors.keys().all(|path| path.starts_with("backbone.")));
    }
}

/// Asks for a stop at every `every`-th logged step.
pub(super) struct StopEvery {
    pub(super) stop: Stop,
    pub(super) every: u64,
}

impl Observer for StopEvery {
    fn event(&mut self, event: &Event) {
        if let Event::Step { step, .. } = event
            && step % self.every == 0
        {
            self.stop.request();
        }
    }
}

/// Pictures, and a run of SimCLR on them.
pub(super) struct World(TempDir);

impl World {
    pub(super) fn new() -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        ["train", "val"].iter().for_each(|split| pictures(&world.at("images").join(split)));
        world.train("first", &world.text("simclr", "backbone = { width = 2, stem = \"cifar\" }"));
        world
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn text(&self, method: &str, more: &str) -> String {
        format!(
            r#"
            method = "{method}"
            data = {{ format = "folder", path = {:?} }}
            views = [{{ count = 2, size = 16 }}]
            schedule = {{ name = "warmup-cosine", warmup_epochs = 0 }}
            optimizer = {{ name = "adamw", lr = 1e-3, scale_lr = false }}
            train = {{ epochs = 3, batch = 4 }}
            log = {{ every_steps = 1 }}
            evaluation = {{ evaluators = ["knn"], pixels = false }}
            {more}
            "#,
            self.at("images")
        )
    }

    /// A run from the first one's encoder, whose heads train alone in the first epoch.
    pub(super) fn going_on_from_first(&self, method: &str) -> String {
        let init = format!("init = {{ from = {:?}, freeze_epochs = 1 }}", self.at("first"));
        self.text(method, &init)
    }

    pub(super) fn plan(&self, run: &str, text: &str) -> Result<Plan, TrainError> {
        Plan::new(recipe(text), &self.at(run), environment(Device::flex()))
    }

    pub(super) fn resumed(&self, run: &str, text: &str) -> Result<Plan, TrainError> {
        Plan::resume(recipe(text), &self.at(run), "latest", environment(Device::flex()))
    }

    pub(super) fn train(&self, run: &str, text: &str) -> Summary {
        let plan = self.plan(run, text).unwrap();
        pretrain(&plan, &Stop::default(), &mut Silent).unwrap()
    }

    pub(super) fn refused(&self, text: &str) -> String {
        let error = self.plan("refused", text).err().unwrap().to_string();
        assert!(!self.at("refused").exists());
        error
    }

    pub(super) fn state(&self, run: &str) -> BTreeMap<String, Tensors> {
        Store::of(&self.at(run)).load("latest").unwrap().unwrap().tensors
    }
}

#[test]
fn a_run_from_a_run_tells_where_it_started_and_measures_what_was_before() {
    let world = World::new();
    let first: Summary = folder::summary_of(&world.at("first")).unwrap().unwrap();
    let plan = world.plan("second", &world.going_on_from_first("byol")).unwrap();
    let told = plan.notes.join("\n");
    for part in [
        "starts from",
        "the student after step 12",
        "[backbone] is that of the encoder",
        "width = 2",
    ] {
        assert!(told.contains(part), "{part:?} is not in {told}");
    }
    let second = pretrain(&plan, &Stop::default(), &mut Silent).unwrap();
    assert_eq!(second.figure("before_knn_top1"), first.figure("knn_top1"));
    assert!(second.figure("before_knn_top1").is_some() && second.figure("knn_top1").is_some());
    assert!(!second.figures.contains_key("untrained_knn_top1"));
    let init = second.init.unwrap();
    assert_eq!((&init.from, init.network), (&world.at("first"), Network::Student));
    assert_eq!(init.checkpoint.as_deref(), Some("step-12"));
    let checkpoint = Store::of(&world.at("second")).load("latest").unwrap().unwrap();
    let digest = init.digest.unwrap();
    assert!(checkpoint.recipe.contains(&digest) && digest.len() == 64, "{}", checkpoint.recipe);
    // The digest is that of the file with the student.
    let student = Store::of(&world.at("first")).folder_of(12).join("student.safetensors");
    let manifest = fs::read_to_string(student.with_file_name("checkpoint.json")).unwrap();
    assert!(manifest.contains(&digest), "{manifest}");
    // What it started from is an encoder for every command.
    let kept = world.at("second").join(folder::START);
    let kept = Encoder::open(&kept, "latest", Network::Student, &Device::flex()).unwrap();
    assert_eq!(state::collect(&*kept.backbone), backbone(&world.state("first")["student"]));
}

#[test]
fn a_run_that_is_stopped_again_and_again_ends_as_one_that_was_not_without_the_encoder() {
    for method in ["byol", "mocov2plus", "vicreg"] {
        let world = World::new();
        let text = world.going_on_from_first(method);
        let whole = world.train("whole", &text);
        let plan = world.plan("parts", &text).unwrap();
        let stop = Stop::default();
        // Two stops while the backbone is frozen, the others after that.
        let mut summary =
            pretrain(&plan, &stop, &mut StopEvery { stop: stop.clone(), every: 1 }).unwrap();
        fs::remove_dir_all(world.at("first")).unwrap();
        let mut stops = 0;
        while summary.interrupted {
            stops += 1;
            let stop = Stop::default();
            let observer = &mut StopEvery { stop: stop.clone(), every: 3 };
            summary = pretrain(&world.resumed("parts", &text).unwrap(), &stop, observer).unwrap();
        }
        assert!(stops > 2, "{method}: {stops}");
        assert_eq!(world.state("parts"), world.state("whole"), "{method}");
        assert_eq!(summary.figures, whole.figures, "{method}");
        assert_eq!(summary.init, whole.init, "{method}");
        let evaluations = |run: &str| -> Vec<(u64, Option<f64>)> {
            let lines = metrics::read(&world.at(run)).unwrap();
            let own = lines.into_iter().filter(|line| line.evaluation);
            own.map(|line| (line.step, line.figure("evaluation/knn_top1"))).collect()
        };
        assert_eq!(evaluations("parts"), evaluations("whole"), "{method}");
        assert_eq!(evaluations("whole")[0], (0, whole.figure("before_knn_top1")), "{method}");
    }
}

#[test]
fn a_run_that_was_stopped_before_its_first_checkpoint_starts_from_its_own_copy() {
    let world = World::new();
    let text = world.going_on_from_first("simsiam");
    let whole = world.train("whole", &text);
    world.train("again", &text);
    fs::remove_dir_all(world.at("again/checkpoints")).unwrap();
    fs::remove_file(world.at("again/summary.json")).unwrap();
    let other = world.resumed("again", &text.replace("freeze_epochs = 1", "freeze_epochs = 2"));
    let error = other.err().unwrap().to_string();
    assert!(error.contains("init.freeze_epochs: 1 -> 2"), "{error}");
    let (copy, aside) = (world.at("again").join(folder::START), world.at("aside"));
    fs::copy(&copy, &aside).unwrap();
    let (mut changed, other) = (fs::read(&copy).unwrap(), world.at("first.safetensors"));
    let end = changed.len() - 1;
    changed[end] ^= 1;
    export::export(&world.at("again"), "latest", Network::Student, &other).unwrap_err();
    export::export(&world.at("whole"), "latest", Network::Student, &other).unwrap();
    for bytes in [b"damaged".to_vec(), changed, fs::read(&other).unwrap()] {
        fs::write(&copy, bytes).unwrap();
        let plan = world.resumed("again", &text).unwrap();
        assert!(plan.notes.iter().any(|note| note.contains("is read again")), "{:?}", plan.notes);
    }
    fs::remove_dir_all(world.at("first")).unwrap();
    assert!(world.resumed("again", &text).is_err(), "neither the copy nor the encoder is whole");
    fs::copy(&aside, &copy).unwrap();
    let plan = world.resumed("again", &text);
    let again = pretrain(&plan.unwrap(), &Stop::default(), &mut Silent).unwrap();
    assert_eq!(world.state("again"), world.state("whole"));
    assert_eq!(again.figures, whole.figures);
    // Without the copy and without the encoder there is nothing to compare with, which is said.
    fs::write(&copy, "damaged").unwrap();
    let changed = text.replace("[\"knn\"]", "[\"knn\", \"spectrum\"]");
    let plan = world.resumed("again", &changed).unwrap();
    let last = pretrain(&plan, &Stop::default(), &mut Silent).unwrap();
    assert!(last.notes.iter().any(|note| note.contains("is not evaluated")), "{:?}", last.notes);
}

#[test]
fn weights_that_are_no_numbers_are_refused_and_heads_that_train_alone_told_of() {
    let world = World::new();
    let file = world.at("own.safetensors");
    export::export(&world.at("first"), "latest", Network::Student, &file).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let end = bytes.len() - 4;
    bytes[end..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&file, bytes).unwrap();
    let error = world.refused(&world.text("simclr", &format!("init = {{ from = {file:?} }}")));
    assert!(
        error.contains("own.safetensors: of the")
            && error.contains("1 is infinite or not a number"),
        "{error}"
    );
    // Heads that train alone are told of, also where the run ends before the encoder joins in.
    let text = world.going_on_from_first("simclr");
    let short = text.replace("epochs = 3,", "epochs = 3, max_steps = 4,");
    for (text, part) in [(&text, "in the first 4 of 12 steps"), (&short, "in all 4 steps")] {
        let notes = world.plan("frozen", text).unwrap().notes;
        assert!(notes.iter().any(|note| note.contains(part)), "{part:?} is not in {notes:?}");
    }
}

#[test]
fn another_encoder_is_refused_where_a_run_goes_on() {
    let world = World::new();
    let text = world.going_on_from_first("simclr");
    world.train("second", &text);
    let error = world.resumed("second", &text.replace("first\"", "whole\"")).err().unwrap();
    assert!(error.to_string().contains("init.from") && error.is_usage(), "{error}");
    let error = world.resumed("second", &text.replace("epochs = 1", "epochs = 2")).err().unwrap();
    assert!(error.to_string().contains("init.freeze_epochs: 1 -> 2"), "{error}");
    let plain = world.text("simclr", "backbone = { width = 2, stem = \"cifar\" }");
    let error = world.resumed("second", &plain).err().unwrap().to_string();
    assert!(error.contains("init."), "{error}");
    // The resolved recipe names the file itself: another one under its name is refused.
    let resolved = folder::recipe_of(&world.at("second")).unwrap();
    let other = world.at("other.safetensors");
    export::export(&world.at("second"), "latest", Network::Student, &other).unwrap();
    let error = world
        .refused(&resolved.replace(world.at("first").to_str().unwrap(), other.to_str().unwrap()));
    assert!(error.contains("init.digest") && error.contains("SHA-256"), "{error}");
}

#[test]
fn a_file_of_another_program_is_taken_whole_or_refused_by_the_names_of_its_tensors() {
    let world = World::new();
    let config = resnet(2);
    let path = world.at("foreign.safetensors");
    let write =
        |tensors: &Tensors| fs::write(&path, file::bytes(&path, tensors, &[]).unwrap()).unwrap();
    // Without this, the padding of its stem and the normalisation of small images are unknown.
    let told = "stem_padding = 1, normalisation = \"imagenet\"";
    let init = |more: &str| format!("init = {{ from = {path:?}, {told}{more} }}");
    let text = |more: &str| world.text("simclr", &init(more));
    let whole = weights(&config);
    write(&whole);
    let plan = world.plan("foreign", &text("")).unwrap();
    assert_eq!(plan.recipe.backbone, config);
    assert_eq!(plan.recipe.data.normalisation, Some(IMAGENET));
    assert!(plan.notes.iter().any(|note| note.contains("taken for granted")), "{:?}", plan.notes);
    assert_eq!(backbone(&plan.learner().unwrap().student()), whole);
    let error = world.refused(&text(", architecture = \"resnet50\""));
    assert!(error.contains("foreign.safetensors") && error.contains("resnet50"), "{error}");

    let mut wrong = whole.clone();
    wrong.insert("layer2.0.bn1.bias".to_owned(), TensorData::new(vec![0.0_f32; 3], [3]));
    wrong.remove("layer3.1.bn2.weight");
    write(&wrong);
    let error = world.refused(&text(""));
    for part in ["2 tensors do not fit", "layer2.0.bn1.bias: [3] in the file, the network has [4]"]
    {
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
    assert!(
        error.contains("layer3.1.bn2.weight: the file lacks it, the network has [8]"),
        "{error}"
    );
}

#[test]
fn a_recipe_that_contradicts_its_encoder_or_names_none_is_refused() {
    let world = World::new();
    let init = format!("init = {{ from = {:?} }}", world.at("first"));
    let error =
        world.refused(&world.text("simclr", &format!("{init}\nbackbone = {{ width = 4 }}")));
    assert!(error.contains("backbone.width: 2 -> 4") && error.contains("disagree"), "{error}");
    let missing = world.refused(&world.text("simclr", "init = { from = \"no/such\" }"));
    assert!(missing.contains("no/such") && missing.contains("vssl export"), "{missing}");
    let init = format!("init = {{ from = {:?}, heads = 3 }}", world.at("first"));
    let error = world.refused(&world.text("simclr", &init));
    assert!(error.contains("init.heads"), "{error}");
    let init = format!("init = {{ from = {:?}, network = \"teacher\" }}", world.at("first"));
    let error = world.refused(&world.text("simclr", &init));
    assert!(error.contains("no momentum network"), "{error}");
}

#[test]
fn the_teacher_of_a_run_is_another_start_than_its_student() {
    let world = World::new();
    world.train("taught", &world.text("byol", "backbone = { width = 2, stem = \"cifar\" }"));
    let start = |network: &str| {
        let init = format!("init = {{ from = {:?}, network = {network:?} }}", world.at("taught"));
        let plan = world.plan(network, &world.text("simclr", &init)).unwrap();
        backbone(&plan.learner().unwrap().student())
    };
    let state = world.state("taught");
    assert_eq!(start("teacher"), backbone(&state["memory"]));
    assert_eq!(start("student"), backbone(&state["student"]));
    assert_ne!(start("teacher"), start("student"));
}
