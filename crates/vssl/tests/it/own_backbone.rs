//! The worked example of a backbone of one's own, trained, gone on with, exported and read again.

use std::path::Path;

use burn::tensor::Device;
use vssl::{
    Encoder, Network,
    backbone::BackboneConfig,
    encoder::{
        export::{Form, write},
        file,
        onnx::Pixels,
    },
};

#[allow(dead_code, reason = "its main prints what the test reads")]
#[path = "../../examples/own_backbone.rs"]
mod example;

#[test]
fn an_own_backbone_learns_and_everything_that_takes_an_encoder_takes_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let changes = ["train.max_steps=40".to_owned(), "data.limit_train=3000".to_owned()];
    let mut out = Vec::new();
    let summary = example::run(&root, &run, &changes, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    let loss = |line: &str| line.rsplit_once("loss ")?.1.parse::<f32>().ok();
    let losses: Vec<f32> = out.lines().filter_map(loss).collect();
    assert!(losses.last().unwrap() < &(losses[0] - 0.1), "{out}");
    assert!(summary.figure("knn_top1").unwrap() > 50.0, "{out}");
    let encoder = Encoder::open(&run, "latest", Network::Student, &Device::flex()).unwrap();
    assert_eq!(encoder.config.dim(), 64);
    let to = folder.path().join("encoder.safetensors");
    write(&encoder, &to, Form::Safetensors).unwrap();
    let read = file::import(&to, &Device::flex()).unwrap();
    assert_eq!(read.config, encoder.config);
    let refused = write(&encoder, &to.with_extension("onnx"), Form::Onnx(Pixels::Unit));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("\"small\"") && refused.contains("safetensors"), "{refused}");
}

#[test]
fn a_backbone_that_nobody_registered_is_refused_by_its_name() {
    let table: toml::Table = "architecture = \"own\"\nname = \"unheard of\"".parse().unwrap();
    let error = table.try_into::<BackboneConfig>().unwrap_err().to_string();
    assert!(error.contains("\"unheard of\"") && error.contains("register"), "{error}");
}
