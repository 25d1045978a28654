//! What a run is refused for before its first step, when it saves, and what its result is told with.

use std::{fs, path::Path, time::Duration};

use burn::tensor::Device;
use vssl::{
    collective::{Group, Threads},
    run::{
        checkpoint::Store,
        events::{Event, Observer},
        stop::Stop,
    },
    train::{Environment, Plan, pretrain},
};

use super::{
    embedded::pictures,
    training::{self, Silent, environment, recipe},
};

/// Four epochs of four steps.
fn text(method: &str, train: &str, more: &str) -> String {
    training::text(method, &format!("epochs = 4\n{train}\n[{method}]\n{more}"))
}

fn cpu() -> Environment {
    environment(Device::flex())
}

fn refused(text: &str, environment: Environment) -> String {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    Plan::new(recipe(text), &run, environment).err().expect("it is refused").to_string()
}

#[test]
fn the_disk_has_to_hold_the_checkpoints_that_will_be_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let keep_all = "[checkpoint]\nevery_steps = 1\nkeep = 1000000000000\n";
    let text = format!("{}\n{keep_all}", text("simclr", "", ""));
    let plan = Plan::new(recipe(&text), folder.path(), cpu()).unwrap();
    // Sixteen steps make sixteen checkpoints, however many a recipe would keep.
    plan.check_space(1000, 0).unwrap();
    let huge = 1 << 42;
    plan.check_space(1000, huge).unwrap_err();
    let error = plan.check_space(huge, 0).unwrap_err().to_string();
    assert!(error.contains("MiB free") && error.contains("checkpoint.keep"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_that_goes_on_is_not_asked_for_the_space_of_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan::new(recipe(&text("simclr", "", "")), folder.path(), cpu()).unwrap();
    let numbers = 1 << 38; // three terabytes
    plan.check_space(numbers, 0).unwrap_err();
    let checkpoint = folder.path().join("checkpoints/step-00000004");
    fs::create_dir_all(&checkpoint).unwrap();
    // A file with a hole takes nothing.
    let file = fs::File::create(checkpoint.join("student.safetensors")).unwrap();
    file.set_len(5 << 40).unwrap();
    plan.check_space(numbers, 0).unwrap();
}

#[test]
fn one_image_for_each_process_is_refused_where_its_statistics_stay_its_own() {
    let of_four = |sync: bool| {
        let rank = Threads::new(4, Duration::from_secs(1)).into_iter().next().unwrap();
        let train = format!("batch = 4\nsync_batchnorm = {sync}");
        let text = text("simclr", "", "").replace("batch = 16", &train);
        (text, Environment { group: Group::new(rank), ..cpu() })
    };
    let (text, environment) = of_four(false);
    let error = refused(&text, environment);
    for part in ["train.batch is 4", "4 processes", "at least 8", "train.sync_batchnorm = true"] {
        assert!(error.contains(part), "{error}");
    }
    let (text, environment) = of_four(true);
    let folder = tempfile::tempdir().unwrap();
    Plan::new(recipe(&text), &folder.path().join("run"), environment).unwrap();
}

/// 64 images are one step of 48 in three parts, so 48 have embeddings.
#[test]
fn clusters_have_to_be_fewer_than_the_images_of_whole_batches() {
    let with = |prototypes: usize| {
        let text = text("deepclusterv2", "accumulate = 3", &format!("prototypes = [{prototypes}]"));
        text.replace("batch = 16", "batch = 48")
    };
    let error = refused(&with(49), cpu());
    assert!(error.contains("has 49") && error.contains("48 images"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    Plan::new(recipe(&with(48)), &folder.path().join("run"), cpu()).unwrap();
}

/// Also of methods that remember every image, or many.
#[test]
fn the_numbers_of_a_checkpoint_are_known_before_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for (method, optimizer, more) in [
        ("deepclusterv2", "adamw", "prototypes = [8]\nprojector_hidden = 8\ndim = 512"),
        ("mocov2plus", "sgd", "queue = 4096"),
        ("vssl", "lars", ""),
    ] {
        let run = folder.path().join(method);
        let text = text(method, "", more).replace("\"adamw\"", &format!("{optimizer:?}"));
        let text = text.replace("epochs = 4", "epochs = 1");
        let plan = Plan::new(recipe(&text), &run, cpu()).unwrap();
        let (learner, probe) = (plan.learner().unwrap(), plan.probe());
        let optimizer = plan.optimizer(learner.as_ref()).unwrap();
        let known = plan.numbers_saved(learner.as_ref(), &optimizer, probe.as_ref(), None);
        pretrain(&plan, &Stop::default(), &mut Silent).unwrap();
        let saved = Store::of(&run).load("latest").unwrap().unwrap().tensors;
        // Counts of updates are no floats.
        let floats = saved.values().flatten().filter(|(name, _)| !name.starts_with("updates."));
        let saved: usize = floats.map(|(_, tensor)| tensor.num_elements()).sum();
        assert_eq!(known, saved as u64, "{method}");
    }
}

fn trained(run: &Path, text: &str) -> vssl::run::events::Summary {
    let plan = Plan::new(recipe(text), run, cpu()).unwrap();
    pretrain(&plan, &Stop::default(), &mut Silent).unwrap()
}

#[test]
fn a_run_that_does_not_keep_its_best_saves_at_its_own_times_only() {
    let folder = tempfile::tempdir().unwrap();
    for (best, at_least) in [(false, 2), (true, 3)] {
        let run = folder.path().join(best.to_string());
        let text = format!(
            "{}\n[knn]\nevery_epochs = 1\n[checkpoint]\nevery_epochs = 2\nkeep = 9\nbest = {best}\n",
            text("simclr", "", "")
        );
        trained(&run, &text);
        let names = Store::of(&run).list().unwrap();
        assert_eq!(run.join("checkpoints/best").exists(), best);
        // The first evaluation is the best so far, and no time to save.
        assert!(names.len() >= at_least && (best || names.len() == 2), "{names:?}");
    }
}

#[test]
fn images_that_an_evaluation_is_without_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    for split in ["train", "val"] {
        pictures(&images.join(split));
    }
    fs::write(images.join("val/dog/03.png"), "no picture").unwrap();
    let text = text("simclr", "", "")
        .replace("format = \"idx\"", "format = \"folder\"\non_bad_image = \"skip\"")
        .replace("data/fashion-mnist-tenth", images.to_str().unwrap())
        .replace("limit_train = 64", "")
        .replace("enabled = false", "enabled = true")
        .replace("epochs = 4", "epochs = 1");
    let summary = trained(&folder.path().join("run"), &text);
    let expected = "1 image could not be read: accuracies are of the others (data.on_bad_image)";
    assert!(summary.notes.iter().any(|note| note == expected), "{:?}", summary.notes);
}

/// Keeps the warnings.
#[derive(Default)]
struct Warnings(Vec<String>);

impl Observer for Warnings {
    fn event(&mut self, event: &Event) {
        if let Event::Warning { message, .. } = event {
            self.0.push(message.clone());
        }
    }
}

#[test]
fn bad_images_are_warned_of_once_an_epoch_and_counted_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let (images, run) = (folder.path().join("images"), folder.path().join("run"));
    pictures(&images.join("train"));
    // With nineteen pictures these are six whole batches: an epoch asks for each image once.
    for at in 0..5 {
        fs::write(images.join(format!("train/dog/bad{at}.png")), "no picture").unwrap();
    }
    let text = text("simclr", "", "")
        .replace("format = \"idx\"", "format = \"folder\"\non_bad_image = \"skip\"")
        .replace("data/fashion-mnist-tenth", images.to_str().unwrap())
        .replace("limit_train = 64", "")
        .replace("batch = 16", "batch = 4");
    let plan = Plan::new(recipe(&text), &run, cpu()).unwrap();
    let mut warnings = Warnings::default();
    let summary = pretrain(&plan, &Stop::default(), &mut warnings).unwrap();
    assert_eq!((summary.steps, summary.replaced_images), (24, 20));
    let of_bad = warnings.0.iter().filter(|text| text.contains("replaced unreadable images"));
    assert_eq!(of_bad.count(), 4, "{:?}", warnings.0);
    // Those who want to know all of them find them in the history.
    let history = fs::read_to_string(run.join("events.jsonl")).unwrap();
    assert_eq!(history.matches("dog/bad").count(), 20, "{history}");
}
