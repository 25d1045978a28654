//! Event files and the projector's folder, read back by TensorBoard itself.

use std::{fs, path::Path, process::Command};

use burn::tensor::Device;
use vssl::{
    encoder::Encoder,
    method::learner::Network,
    page::ImageSample,
    run::{events, metrics, stop::Stop},
    train::{Plan, pretrain},
};
use vssl_data::dataset;

use crate::training;

/// Prints each scalar as `tag step value`, and checks the projector's folder as its plugin reads it.
/// Exits with 77 where TensorBoard is missing.
const PEER: &str = r#"
import sys
try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.projector import projector_plugin
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
except ImportError:
    sys.exit(77)
run, projector, rows, dim = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
events = EventAccumulator(run, size_guidance={"scalars": 0, "tensors": 0})
events.Reload()
tags = events.Tags()
for tag in tags["scalars"]:
    for event in events.Scalars(tag):
        assert event.wall_time > 1.6e9, event
        print(tag, event.step, repr(event.value))
assert tags["scalars"], tags
config = text_format.Parse(open(projector + "/projector_config.pbtxt").read(), ProjectorConfig())
embedding, = config.embeddings
tensor = projector_plugin._read_tensor_tsv_file(projector + "/" + embedding.tensor_path)
assert tensor.shape == (rows, dim), tensor.shape
lines = open(projector + "/" + embedding.metadata_path).read().splitlines()
assert lines[0] == "image\tclass" and len(lines) == rows + 1, lines[:2]
assert list(embedding.sprite.single_image_dim) == [32, 32], embedding
assert open(projector + "/" + embedding.sprite.image_path, "rb").read(4) == b"\x89PNG"
"#;

struct StopAt(u64, Stop);

impl events::Observer for StopAt {
    fn event(&mut self, event: &events::Event) {
        if matches!(event, events::Event::Step { step, .. } if *step >= self.0) {
            self.1.request();
        }
    }
}

fn plan(run: &Path, resume: bool) -> Plan {
    let recipe = r#"
        method = "simclr"
        [data]
        format = "idx"
        path = "data/fashion-mnist-tenth"
        limit_train = 64
        limit_validation = 20
        [[views]]
        count = 2
        size = 28
        [backbone]
        width = 2
        [schedule]
        name = "constant"
        [train]
        batch = 16
        epochs = 2
        [checkpoint]
        keep = 4
        [evaluation]
        enabled = false
        [log]
        every_steps = 1
        tensorboard = true
    "#;
    let (recipe, environment) = (training::recipe(recipe), training::environment(Device::flex()));
    match resume {
        true => Plan::resume(recipe, run, "latest", environment).unwrap(),
        false => Plan::new(recipe, run, environment).unwrap(),
    }
}

fn train(run: &Path, resume: bool, until: u64) {
    let stop = Stop::default();
    pretrain(&plan(run, resume), &stop, &mut StopAt(until, stop.clone())).unwrap();
}

fn event_files(run: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.to_string_lossy().contains(".tfevents.")).collect();
    files.sort();
    files
}

#[test]
fn tensorboard_reads_every_figure_once_after_a_resume() {
    let folder = tempfile::tempdir().unwrap();
    let (run, projector) = (folder.path().join("run"), folder.path().join("projector"));
    train(&run, false, 5);
    let latest = run.join("checkpoints/latest");
    let first = fs::read_to_string(&latest).unwrap();
    train(&run, true, 7);
    // As if it had been killed two steps after its checkpoint, in the middle of a write.
    fs::write(&latest, first).unwrap();
    let last = event_files(&run).pop().unwrap();
    let written = fs::read(&last).unwrap();
    fs::write(&last, [&written[..], &written[..written.len() / 2]].concat()).unwrap();
    train(&run, true, 99);
    assert_eq!(event_files(&run).len(), 3, "one file a start");

    let encoder = Encoder::open(&run, "latest", Network::Student, &Device::flex()).unwrap();
    let data = encoder.recipe.as_ref().unwrap().data.source();
    let splits = dataset::open(&data, None).unwrap();
    let sample = ImageSample::of(&encoder, &splits, 20).unwrap();
    sample.project(&data.path, &projector).unwrap();

    let python = std::env::var_os("VSSL_PYTHON").unwrap_or_else(|| "python3".into());
    let dim = encoder.config.dim().to_string();
    let peer = Command::new(python)
        .args(["-c", PEER])
        .args([&run, &projector])
        .args(["20", &dim])
        .output();
    let Some(peer) = peer.ok().filter(|peer| peer.status.code() != Some(77)) else {
        println!("skipped: no Python with tensorboard");
        return;
    };
    assert!(peer.status.success(), "{}", String::from_utf8_lossy(&peer.stderr));
    let mut theirs: Vec<String> =
        String::from_utf8(peer.stdout).unwrap().lines().map(str::to_owned).collect();
    let mut ours: Vec<String> = Vec::new();
    for line in metrics::read(&run).unwrap() {
        let figure = |(name, value): &(String, f64)| {
            format!("{name} {} {:?}", line.step, f64::from(*value as f32))
        };
        ours.extend(line.figures.iter().map(figure));
    }
    // Python writes floats in another way: compare what they are.
    let parsed = |lines: &mut Vec<String>| {
        let mut all: Vec<(String, u64, u64)> = lines
            .iter()
            .map(|line| {
                let mut parts = line.split(' ');
                let tag = parts.next().unwrap().to_owned();
                let step = parts.next().unwrap().parse().unwrap();
                let value = parts.next().unwrap().parse::<f64>().unwrap();
                (tag, step, (value as f32).to_bits().into())
            })
            .collect();
        all.sort();
        all
    };
    let (theirs, ours) = (parsed(&mut theirs), parsed(&mut ours));
    println!("compared {} scalars", ours.len());
    assert!(ours.len() > 80, "{}", ours.len());
    assert_eq!(theirs, ours);
}
