//! Runs that learn from features which a frozen teacher made once: what they learn, keep and tell, how they go on, and what
//! is refused.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use burn::tensor::{Device, Tensor};
use tempfile::TempDir;
use vssl::{
    backbone::{BackboneConfig, Pooling, ResnetConfig},
    collective::{Group, Threads},
    embed::{Form, Job, Origin, Split, embed},
    encoder::{Encoder, Reading},
    features::Features,
    method::{FrozenTeacher, learner::Network},
    run::{folder, metrics, stop::Stop},
    train::{Environment, Plan, TrainError, pretrain},
};
use vssl_data::{
    DataConfig, DataError, Dataset, Image,
    dataset::{self, Format},
};

use super::{
    start::{StopEvery, World},
    training::{Silent, environment, recipe, train},
};

/// Embeds the training images of a set by an encoder.
fn embedded(encoder: &Path, images: &DataConfig, to: &Path, pooling: Option<Pooling>) {
    let set = dataset::open(images, None).unwrap().train;
    embedded_as(encoder, (images, set), to, pooling, |origin| origin);
}

/// Embeds images by an encoder and tells another origin of them.
fn embedded_as(
    encoder: &Path,
    (images, set): (&DataConfig, Arc<dyn Dataset>),
    to: &Path,
    pooling: Option<Pooling>,
    told: impl Fn(Origin) -> Origin,
) {
    let encoder = Encoder::open(encoder, "latest", Network::Student, &Device::flex()).unwrap();
    let encoder = match pooling {
        Some(pooling) => encoder.with_pooling(pooling).unwrap(),
        None => encoder,
    };
    let job = Job {
        posteriors: None,
        network: Network::Student,
        origin: told(Origin::new(&encoder, "latest", Network::Student, images, Split::Train)),
        images: set,
        encoder: &encoder,
        reading: Reading::default(),
        batch: None,
        tokens: false,
        stop: Stop::default(),
    };
    embed(&job, to, Form::of(to).unwrap(), &mut |_, _| {}).unwrap();
}

fn pictures(world: &World) -> DataConfig {
    DataConfig { format: Format::Folder, path: world.at("images"), ..DataConfig::default() }
}

/// A world with the features of its first run's encoder.
fn world(to: &str) -> (World, PathBuf) {
    let world = World::new();
    let to = world.at(to);
    embedded(&world.at("first"), &pictures(&world), &to, None);
    (world, to)
}

fn distilled(world: &World, features: &Path, settings: &str) -> String {
    world.text(
        "distill",
        &format!(
            "backbone = {{ width = 3, stem = \"cifar\" }}\nteacher = {{ from = {:?}, features = {features:?} }}\n\
             distill = {{ {settings} }}",
            world.at("first")
        ),
    )
}

#[test]
fn rows_are_those_of_the_images_of_a_batch() {
    let config: BackboneConfig = ResnetConfig { width: 2, ..ResnetConfig::default() }.into();
    let device = Device::flex().autodiff();
    let values: Vec<f32> = (0..3 * 16).map(|at| at as f32).collect();
    let features = Features { rows: 3, dim: 16, values, labels: None };
    let teacher = FrozenTeacher::untrained((&config, 3), &device).with_features(features);
    let views = Tensor::<4>::zeros([2, 3, 16, 16], &device);
    let found = teacher.features_of(&[2, 0], &views, None);
    assert!(teacher.has_stored() && !found.is_tracked());
    let found: Vec<f32> = found.into_data().try_into_vec().unwrap();
    let expected: Vec<f32> = (32..48).chain(0..16).map(|at| at as f32).collect();
    assert_eq!(found, expected);
}

/// Without augmentation a view is the whole image.
#[test]
fn views_that_are_whole_images_have_the_loss_that_they_have_on_the_fly() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let text = |method: &str, more: &str| {
        format!(
            r#"
            method = "{method}"
            data = {{ format = "idx", path = "data/fashion-mnist-tenth", limit_train = 64, limit_validation = 16 }}
            optimizer = {{ name = "adamw", lr = 1e-3 }}
            schedule.name = "constant"
            train = {{ epochs = 2, batch = 16 }}
            log.every_steps = 1
            evaluation.enabled = false
            {more}
            "#
        )
    };
    let whole = "crop_scale = [1, 1], crop_ratio = [1, 1], jitter = 0, grayscale = 0, flip = 0";
    train(
        &at("teacher"),
        &text("simclr", "backbone.width = 2\nviews = [{ count = 2, size = 28 }]\nsimclr.dim = 8"),
    );
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/fashion-mnist-tenth");
    let images = DataConfig {
        format: Format::Idx,
        path: root,
        limit_train: Some(64),
        ..DataConfig::default()
    };
    for name in ["features.parquet", "features.safetensors"] {
        embedded(&at("teacher"), &images, &at(name), None);
        let run = |name: &str, features: &str| {
            let from = at("teacher");
            let more = format!(
                "backbone.width = 3\nviews = [{{ count = 1, size = 28, {whole} }}]\n\
                 teacher = {{ from = {from:?}{features} }}\ndistill.queue = 20"
            );
            train(&at(name), &text("distill", &more));
            let lines = metrics::read(&at(name)).unwrap();
            lines.iter().filter_map(|line| line.figure("loss")).collect::<Vec<f64>>()
        };
        let views = run(&format!("views-{name}"), "");
        let stored = run(&format!("stored-{name}"), &format!(", features = {:?}", at(name)));
        assert_eq!((views.len(), stored.len()), (8, 8));
        for (views, stored) in views.iter().zip(&stored) {
            assert!((views - stored).abs() < 1e-4 * views.abs().max(0.01), "{views}, {stored}");
        }
    }
}

#[test]
fn a_run_tells_which_features_it_learns_from_and_goes_on_with_them_bit_for_bit() {
    for (settings, name) in
        [("queue = 10", "a.parquet"), ("objective = \"seed\", queue = 10", "a.safetensors")]
    {
        let (world, features) = world(name);
        let text = distilled(&world, &features, settings);
        let plan = world.plan("whole", &text).unwrap();
        let told = plan.notes.join("\n");
        assert!(
            told.contains("whole and without augmentation") && told.contains("of 19 images"),
            "{told}"
        );
        let whole = pretrain(&plan, &Stop::default(), &mut Silent).unwrap();
        let teacher = whole.teacher.clone().unwrap();
        let digest = teacher.features_digest.unwrap();
        assert_eq!((teacher.features, digest.len()), (Some(features.canonicalize().unwrap()), 64));
        assert!(told.contains(&digest));
        assert!(folder::recipe_of(&world.at("whole")).unwrap().contains(&digest));
        let plan = world.plan("parts", &text).unwrap();
        let stop = Stop::default();
        let observer = &mut StopEvery { stop: stop.clone(), every: 3 };
        let mut summary = pretrain(&plan, &stop, observer).unwrap();
        let mut stops = 0;
        while summary.interrupted {
            stops += 1;
            let stop = Stop::default();
            let observer = &mut StopEvery { stop: stop.clone(), every: 5 };
            summary = pretrain(&world.resumed("parts", &text).unwrap(), &stop, observer).unwrap();
        }
        assert!(stops > 1, "{stops}");
        assert_eq!(world.state("parts"), world.state("whole"));
        assert_eq!((summary.figures, summary.teacher), (whole.figures, whole.teacher));
        // Other features of the same images are not those that the run began with.
        let mut bytes = fs::read(&features).unwrap();
        bytes.push(0);
        fs::write(&features, bytes).unwrap();
        let error = world.resumed("parts", &text).err().unwrap().to_string();
        assert!(error.contains("teacher.features_digest"), "{error}");
    }
}

#[test]
fn two_ranks_learn_from_stored_features_as_one_process() {
    let (world, features) = world("a.parquet");
    let text = distilled(&world, &features, "queue = 10");
    world.train("alone", &text);
    thread::scope(|scope| {
        for rank in Threads::new(2, Duration::from_secs(60)) {
            let (text, joint) = (&text, world.at("joint"));
            scope.spawn(move || {
                let group = Group::new(rank);
                let environment = Environment { group, ..environment(Device::flex()) };
                let plan = Plan::new(recipe(text), &joint, environment).unwrap();
                pretrain(&plan, &Stop::default(), &mut Silent).unwrap();
            });
        }
    });
    let losses = |run: &str| {
        let lines = metrics::read(&world.at(run)).unwrap();
        lines.iter().filter_map(|line| line.figure("loss")).collect::<Vec<f64>>()
    };
    let (alone, joint) = (losses("alone"), losses("joint"));
    assert_eq!(alone.len(), joint.len());
    for (a, b) in alone.iter().zip(&joint) {
        assert!((a - b).abs() < 1e-3 * a.abs().max(0.1), "{alone:?} and {joint:?}");
    }
}

#[test]
fn features_that_are_not_the_teachers_of_all_images_are_refused_by_what_they_are() {
    let (world, features) = world("a.parquet");
    let refused = |features: &Path, settings: &str, parts: &[&str]| {
        let error = world.refused(&distilled(&world, features, settings));
        parts.iter().for_each(|part| assert!(error.contains(part), "{part:?} is not in {error}"));
    };
    let local = "objective = \"queue-kl-local\"";
    refused(&features, local, &["queue-kl-local", "places", "queue-kl"]);
    refused(
        &features,
        "teacher_size = 16",
        &["distill.teacher_size is 16", "expected no such key"],
    );
    refused(
        &world.at("none.parquet"),
        "",
        &["none.parquet", "there is no such file", "vssl embed"],
    );
    fs::write(world.at("a.npy"), "no array").unwrap();
    refused(&world.at("a.npy"), "", &["a.npy", ".parquet or .safetensors"]);
    // Another encoder of the same width.
    let other = world.text("simclr", "seed = 9\nbackbone = { width = 2, stem = \"cifar\" }");
    world.train("other", &other);
    embedded(&world.at("other"), &pictures(&world), &world.at("other.parquet"), None);
    refused(&world.at("other.parquet"), "", &["after step 12", "are not those of the teacher"]);
    // Two images that came later, and a row of one that is gone.
    let train = world.at("images/train/dog");
    for name in ["new-1.png", "new-2.png"] {
        fs::copy(train.join("00.png"), train.join(name)).unwrap();
    }
    fs::remove_file(train.join("00.png")).unwrap();
    refused(
        &features,
        "",
        &["no features of 2 of the 20 training images", "new-1.png", "19 images"],
    );
    ["new-1.png", "new-2.png"].iter().for_each(|name| fs::remove_file(train.join(name)).unwrap());
    let plan = world.plan("fewer", &distilled(&world, &features, "")).unwrap();
    let told = plan.notes.join("\n");
    assert!(told.contains("1 row of another image is not used"), "{told}");
    // An image that nobody can read has no row and needs none where it is skipped.
    fs::write(train.join("bad.png"), "no picture").unwrap();
    refused(&features, "", &["no features of 1 of the 19 training images", "bad.png"]);
    let skips = distilled(&world, &features, "")
        .replace("format = \"folder\"", "format = \"folder\", on_bad_image = \"skip\"");
    assert!(world.plan("skips", &skips).is_ok());
    let init = world
        .text("simclr", &format!("init = {{ from = {:?}, features = \"a\" }}", world.at("first")));
    let error = vssl::recipe::Recipe::parse(&init, "a.toml", &[], vssl::methods::METHODS);
    assert!(error.err().unwrap().to_string().contains("init.features"));
}

#[test]
fn another_feature_of_the_teacher_is_refused_by_its_name() {
    let world = World::new();
    let vit = "[backbone]\narchitecture = \"vit-tiny\"\nvit = { width = 12, depth = 1, patch = 4, image_size = 16 }";
    world.train("vit", &world.text("simclr", vit));
    let features = world.at("mean.parquet");
    embedded(&world.at("vit"), &pictures(&world), &features, Some(Pooling::Mean));
    let text = distilled(&world, &features, "").replace(
        &format!("from = {:?}", world.at("first")),
        &format!("from = {:?}", world.at("vit")),
    );
    let error = world.refused(&text);
    assert!(
        error.contains("the mean of the patches") && error.contains("--pooling token"),
        "{error}"
    );
}

#[test]
fn features_of_other_settings_of_the_same_weights_are_refused_and_an_older_file_is_told() {
    let world = World::new();
    let images = pictures(&world);
    let set = || dataset::open(&images, None).unwrap().train;
    let written = |name: &str, told: fn(Origin) -> Origin| {
        let to = world.at(name);
        embedded_as(&world.at("first"), (&images, set()), &to, None, told);
        distilled(&world, &to, "")
    };
    let other = written("other.parquet", |mut origin| {
        let table = origin.backbone.as_mut().unwrap();
        assert!(table.insert("stem_padding".to_owned(), toml::Value::Integer(7)).is_some());
        origin
    });
    let error = world.refused(&other);
    assert!(error.contains("stem_padding: 7 ->") && error.contains("settings"), "{error}");
    let older = written("older.safetensors", |origin| Origin {
        backbone: None,
        split: Split::Test,
        ..origin
    });
    let told = world.plan("older", &older).unwrap().notes.join("\n");
    assert!(told.contains("an earlier version wrote it"), "{told}");
    assert!(told.contains("features are of the test images of"), "{told}");
}

/// The images of a set, with the classes in another order of their labels.
struct Relabelled(Arc<dyn Dataset>, Vec<u32>);

impl Dataset for Relabelled {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn image(&self, index: usize) -> Result<Image, DataError> {
        self.0.image(index)
    }

    fn labels(&self) -> Option<&[u32]> {
        Some(&self.1)
    }

    fn classes(&self) -> &[String] {
        self.0.classes()
    }

    fn name(&self, index: usize) -> String {
        self.0.name(index)
    }
}

#[test]
fn features_of_images_of_the_same_names_and_other_classes_are_refused() {
    for name in ["a.parquet", "a.safetensors"] {
        let world = World::new();
        let (images, to) = (pictures(&world), world.at(name));
        let set = dataset::open(&images, None).unwrap().train;
        let classes = set.classes().len() as u32;
        let mut labels = set.labels().unwrap().to_vec();
        let (last, was) = (labels.len() - 1, labels[labels.len() - 1]);
        labels[last] = (was + 1) % classes;
        let (of_file, of_set) = (labels[last] as usize, was as usize);
        let names =
            [&set.classes()[of_file], &set.classes()[of_set], &set.name(last)].map(Clone::clone);
        let set = Arc::new(Relabelled(set, labels));
        embedded_as(&world.at("first"), (&images, set), &to, None, |origin| origin);
        let error = world.refused(&distilled(&world, &to, ""));
        let [file, now, image] = &names;
        assert!(error.contains(&format!("is of class {file:?}")), "{error}");
        assert!(error.contains(&format!("image is of class {now:?}")), "{error}");
        assert!(error.contains(image.rsplit('/').next().unwrap()), "{error}");
    }
}

#[test]
fn a_file_that_was_moved_is_known_by_its_digest_and_one_that_is_gone_is_no_mistake_of_settings() {
    let (world, features) = world("a.parquet");
    world.train("run", &distilled(&world, &features, "queue = 10"));
    let moved = world.at("moved.parquet");
    fs::rename(&features, &moved).unwrap();
    let gone = world.resumed("run", &distilled(&world, &features, "queue = 10")).err().unwrap();
    assert!(matches!(gone, TrainError::TeacherFeatures(_)) && !gone.is_usage(), "{gone}");
    assert!(gone.to_string().contains("there is no such file"), "{gone}");
    let text = distilled(&world, &moved, "queue = 10");
    let plan = world.resumed("run", &text).unwrap();
    assert_eq!(plan.recipe.teacher.as_ref().unwrap().features, Some(moved.canonicalize().unwrap()));
    fs::write(&moved, "other").unwrap();
    let changed = world.resumed("run", &text).err().unwrap();
    assert!(changed.to_string().contains("the recipe expects") && !changed.is_usage(), "{changed}");
    // Images that are others now are told, not the features that they lack.
    let dog = world.at("images/train/dog");
    fs::copy(dog.join("00.png"), dog.join("new.png")).unwrap();
    let other = world.resumed("run", &text).err().unwrap();
    assert!(matches!(other, TrainError::OtherImages { .. }), "{other}");
}
