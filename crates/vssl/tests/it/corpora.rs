//! The stored inputs of the fuzz targets (`crates/vssl/fuzz/corpus`), each through its target: a reader of files comes back
//! from all of them without a panic.

use std::{fs, path::Path};

#[path = "../../fuzz/src/targets.rs"]
mod targets;

type Target = fn(&[u8]);

const TARGETS: &[(&str, Target)] = &[
    ("checkpoint", targets::checkpoint),
    ("metrics", targets::metrics),
    ("npy", targets::npy),
    ("parquet", targets::parquet),
    ("pickle", targets::pickle),
    ("recipe", targets::recipe),
    ("safetensors", targets::safetensors),
    ("settings", targets::settings),
];

#[test]
fn every_stored_input_comes_back_from_its_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for &(name, target) in TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(corpus.join(name)).unwrap() {
            target(&fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs >= 5, "{name}: {inputs} stored inputs");
    }
}
