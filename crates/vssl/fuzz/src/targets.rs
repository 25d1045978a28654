//! What is fuzzed: every reader of files and texts that a user or another program may have written.
//!
//! A target reads its bytes in every way in which the program would. It must come back, without a panic and with little
//! memory; that a file is refused is as good as that it is read. `tests/it/corpora.rs` runs the stored
//! inputs through the same functions.

#[path = "../../../vssl-data/fuzz/src/folder.rs"]
mod folder;

use std::{fs, path::Path};

use vssl::{
    DeviceChoice, Recipe,
    embed::{Index, LabelledRows},
    encoder::{
        file,
        foreign::{self, Request},
    },
    features::{self, Source},
    methods::METHODS,
    page::RunView,
    recipe,
    run::{checkpoint::Store, history, metrics},
    supervised::FinetuneSettings,
};

use folder::folder;

/// Calls `read` with a file of this name and content, which is in memory.
fn with_file(name: &str, bytes: &[u8], read: impl FnOnce(&Path)) {
    let folder = folder();
    let file = folder.path().join(name);
    fs::write(&file, bytes).expect("the file is written");
    read(&file);
}

/// The text before the first line `---`, and the lines behind it.
fn text_and_overrides(bytes: &[u8]) -> Option<(&str, Vec<String>)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (text, overrides) = text.split_once("\n---\n").unwrap_or((text, ""));
    Some((text, overrides.lines().map(str::to_owned).collect()))
}

/// A recipe, and behind a line `---` one `--set` a line. A recipe that is accepted is written and read to the same.
pub fn recipe(bytes: &[u8]) {
    let Some((text, overrides)) = text_and_overrides(bytes) else { return };
    match Recipe::parse(text, "fuzzed.toml", &overrides, METHODS) {
        Ok((recipe, provenance)) => {
            let written = recipe.to_toml();
            let again = Recipe::parse(&written, "written.toml", &[], METHODS);
            let (again, _) = again.unwrap_or_else(|error| panic!("{error}\n{written}"));
            assert_eq!(again.to_toml(), written);
            assert!(!recipe.annotated(&provenance).is_empty());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Settings of a training on labels, in the form of [`recipe()`].
pub fn settings(bytes: &[u8]) {
    let Some((text, overrides)) = text_and_overrides(bytes) else { return };
    if let Err(error) = recipe::settings::<FinetuneSettings>(text, "fuzzed.toml", &overrides) {
        assert!(!error.to_string().is_empty());
    }
}

/// A file of tensors: as features, as an index of images, as an encoder of ours and of another program.
pub fn safetensors(bytes: &[u8]) {
    with_file("fuzzed.safetensors", bytes, |file| {
        stored_features(file);
        index(file);
        let _ = LabelledRows::open(file, None);
        let device = "cpu"
            .parse::<DeviceChoice>()
            .expect("the CPU has a name")
            .resolve()
            .expect("a computer has a CPU");
        let _ = file::import(file, &device);
        foreign_weights(file);
    });
}

/// An array of numpy: as features, and as labels.
pub fn npy(bytes: &[u8]) {
    with_file("fuzzed.npy", bytes, |file| {
        stored_features(file);
        let _ = features::open(file, Some(file));
        let _ = LabelledRows::open(file, Some(file));
    });
}

/// A pickle of PyTorch, in an archive or not.
pub fn pickle(bytes: &[u8]) {
    with_file("fuzzed.pth", bytes, foreign_weights);
}

/// A table that `vssl embed` wrote: as an index of images, and as features with labels.
pub fn parquet(bytes: &[u8]) {
    with_file("fuzzed.parquet", bytes, |file| {
        index(file);
        let _ = LabelledRows::open(file, None);
    });
    // The same bytes as a table of text.
    with_file("fuzzed.csv", bytes, |file| {
        let _ = LabelledRows::open(file, None);
    });
}

/// Lines of metrics and of events, and the page of a run that has them.
pub fn metrics(bytes: &[u8]) {
    let folder = folder();
    let recipe = include_str!("../../../../recipes/quickstart.toml");
    fs::write(folder.path().join("recipe.toml"), recipe).expect("the file is written");
    for name in ["metrics.jsonl", "events.jsonl", "summary.json"] {
        fs::write(folder.path().join(name), bytes).expect("the file is written");
    }
    let _ = metrics::read(folder.path());
    let _ = history::read(folder.path());
    let _ = RunView::read(folder.path());
}

/// The manifest of a checkpoint, and the file that names the checkpoint.
pub fn checkpoint(bytes: &[u8]) {
    let folder = folder();
    let checkpoints = folder.path().join("checkpoints");
    let step = checkpoints.join(Store::name(4));
    fs::create_dir_all(&step).expect("the folder is made");
    fs::write(step.join("checkpoint.json"), bytes).expect("the file is written");
    fs::write(step.join("student.safetensors"), bytes).expect("the file is written");
    let store = Store::of(folder.path());
    for pointer in [Store::name(4).as_bytes(), bytes] {
        fs::write(checkpoints.join("latest"), pointer).expect("the file is written");
        let _ = store.load("latest");
        let _ = store.stand_in();
    }
}

/// Opens stored features and reads the first row and the last row.
fn stored_features(file: &Path) {
    const LONGEST: usize = 1 << 20;
    if let Ok(rows) = features::open(file, None)
        && rows.dim() < LONGEST
    {
        let mut row = vec![0.0; rows.dim()];
        for number in [0, rows.rows() - 1] {
            let _ = rows.read(number, &mut row);
        }
    }
}

fn index(file: &Path) {
    if let Ok(index) = Index::open(file) {
        for row in 0..index.rows().min(3) {
            let _ = index.entry(row);
        }
    }
}

fn foreign_weights(file: &Path) {
    let _ = foreign::read(file, &Request { size: Some(32), ..Request::default() });
}
