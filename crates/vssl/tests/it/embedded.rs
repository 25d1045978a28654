//! Files of features: written in every form, read back here and by Python's own packages.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use burn::tensor::Device;
use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::{ListAccessor, RowAccessor},
};
use vssl::{
    backbone::{Backbone, BackboneConfig, ResnetConfig},
    embed::{Block, Entry, Form, Index, Job, LabelledRows, Layout, Origin, Split, create, embed},
    encoder::{Encoder, Input, Reading},
    eval::neighbours::{Distance, neighbours},
    features::{self, Features, Source},
    layers::Init,
    method::learner::Network,
    posterior::Posteriors,
    run::stop::Stop,
};
use vssl_data::{
    DataConfig, OnBadImage,
    dataset::{self, Format, IMAGENET},
};

use super::posterior::{numbers, trained};

pub(super) const FORMS: [(Form, &str); 4] = [
    (Form::Parquet, "parquet"),
    (Form::Csv, "csv"),
    (Form::Npy, "npy"),
    (Form::Safetensors, "safetensors"),
];

pub(super) fn encoder(seed: u64) -> Encoder {
    let device = Device::flex();
    let config: BackboneConfig = ResnetConfig { width: 2, ..Default::default() }.into();
    let init = Init::new(&device, seed);
    Encoder {
        backbone: Backbone::new(&config, &init).into(),
        config,
        input: Input { size: 16, resize: Some(16), normalisation: IMAGENET },
        path: PathBuf::from("encoder.safetensors"),
        recipe: None,
        network: None,
        step: Some(7),
        loss_head: None,
        pooling: None,
        device,
    }
}

#[test]
fn labels_of_several_row_groups_come_out_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    // A row group has at most 16,384 rows.
    let (images, dim, to) = (40_000, 2, folder.path().join("a.parquet"));
    let encoder = encoder(1);
    let images_of = source(Path::new("a"));
    let origin = Origin::new(&encoder, "latest", Network::Student, &images_of, Split::Train);
    let origin = Origin { classes: vec!["cat".to_owned(), "dog".to_owned()], ..origin };
    let layout = Layout {
        images,
        path_bytes: 0,
        dim,
        labels: true,
        posterior: None,
        predicted_loss: false,
        tokens: None,
        origin,
    };
    let label = |at: usize| i64::from(at % 7 == 3 || at > 30_000);
    let mut rows = create(&to, Form::Parquet, layout).unwrap();
    for first in (0..images).step_by(1000) {
        let numbers = first..first + 1000;
        let block = Block {
            images: numbers.clone().map(|at| at as i64).collect(),
            paths: numbers.clone().map(|at| at.to_string()).collect(),
            labels: Some(numbers.clone().map(label).collect()),
            features: numbers.flat_map(|at| [at as f32, 1.0]).collect(),
            ..Block::default()
        };
        rows.write(&block).unwrap();
    }
    rows.finish().unwrap();
    let stored = LabelledRows::open(&to, None).unwrap();
    assert_eq!((stored.rows(), stored.dim()), (images, dim));
    assert!(stored.labels().unwrap().iter().copied().eq((0..images).map(label)));
    assert_eq!(stored.classes, ["cat", "dog"]);
    let mut row = [0.0; 4];
    stored.read(16_383, &mut row).unwrap();
    assert_eq!(row, [16_383.0, 1.0, 16_384.0, 1.0]);
}

/// A damaged footer that says 2⁶¹ rows: memory is taken for rows that are there.
#[test]
fn labels_take_no_more_memory_than_the_file_has() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/parquet");
    let file = tempfile::Builder::new().suffix(".parquet").tempfile().unwrap();
    fs::copy(corpus.join("claimed-rows"), file.path()).unwrap();
    let error = LabelledRows::open(file.path(), None).err().unwrap().to_string();
    assert!(error.contains(&file.path().display().to_string()), "{error}");
    assert!(error.contains("labels for 2305843009213693952 rows"), "{error}");
}

/// Nineteen pictures of two classes; one name is not ASCII.
pub(super) fn pictures(root: &Path) {
    for at in 0..19_u32 {
        let class = if at % 3 == 0 { "dog" } else { "cät, \"wild\"" };
        let folder = root.join(class);
        fs::create_dir_all(&folder).unwrap();
        let pixel =
            |x: u32, y: u32| image::Rgb([x * 9 + at, y * 7 + at * 11, x * y + at].map(|v| v as u8));
        let picture = image::RgbImage::from_fn(20, 24, pixel);
        picture.save(folder.join(format!("{at:02}.png"))).unwrap();
    }
}

fn source(root: &Path) -> DataConfig {
    DataConfig { format: Format::Folder, path: root.to_owned(), ..DataConfig::default() }
}

pub(super) fn job<'a>(encoder: &'a Encoder, root: &Path, on_bad_image: OnBadImage) -> Job<'a> {
    let (source, network) = (source(root), Network::Student);
    Job {
        encoder,
        posteriors: None,
        network,
        images: dataset::open(&source, None).unwrap().train,
        origin: Origin::new(encoder, "latest", network, &source, Split::Train),
        reading: Reading { on_bad_image, ..Reading::default() },
        batch: Some(5),
        tokens: false,
        stop: Stop::default(),
    }
}

/// What the encoder itself says, and the paths.
pub(super) fn expected(job: &Job<'_>) -> (Features, Vec<String>) {
    let features = job.encoder.features(&job.images, &job.reading).unwrap();
    let name = |index: usize| job.origin.relative(&*job.images, index);
    (features, (0..job.images.len()).map(name).collect())
}

fn text_rows(path: &Path) -> Vec<csv::StringRecord> {
    csv::Reader::from_path(path).unwrap().records().map(Result::unwrap).collect()
}

#[test]
fn every_form_gives_back_what_the_encoder_said() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("images");
    pictures(&root);
    let encoder = encoder(1);
    let job = job(&encoder, &root, OnBadImage::Stop);
    let (features, paths) = expected(&job);
    let labels = features.labels.clone().unwrap();
    let dim = features.dim;
    for (form, ending) in FORMS {
        let to = folder.path().join(format!("out.{ending}"));
        let mut last = 0;
        let done = embed(&job, &to, form, &mut |done, _| last = done).unwrap();
        assert_eq!((done.rows, done.left_out, done.dim, last), (19, 0, dim, 19));
        assert!(!folder.path().join(format!("out.{ending}.part")).exists());
        match form {
            Form::Npy | Form::Safetensors => {
                let rows = features::open(&to, None).unwrap().load().unwrap();
                assert_eq!(
                    (rows.values, rows.labels),
                    (features.values.clone(), Some(labels.clone()))
                );
            }
            Form::Csv => {
                let rows = text_rows(&to);
                assert_eq!(rows.len(), 19);
                for (row, record) in rows.iter().enumerate() {
                    assert_eq!(record[1], paths[row]);
                    assert_eq!(record[2], labels[row].to_string());
                    let values: Vec<f32> =
                        record.iter().skip(4).map(|x| x.parse().unwrap()).collect();
                    assert_eq!(values, features.values[row * dim..][..dim]);
                }
            }
            Form::Parquet => {
                let reader = SerializedFileReader::new(fs::File::open(&to).unwrap()).unwrap();
                for (row, record) in reader.get_row_iter(None).unwrap().enumerate() {
                    let record = record.unwrap();
                    assert_eq!(record.get_long(0).unwrap(), row as i64);
                    assert_eq!(record.get_string(1).unwrap(), &paths[row]);
                    assert_eq!(record.get_long(2).unwrap(), labels[row]);
                    assert!(paths[row].starts_with(record.get_string(3).unwrap()));
                    let list = record.get_list(4).unwrap();
                    let values: Vec<f32> =
                        (0..list.len()).map(|at| list.get_float(at).unwrap()).collect();
                    assert_eq!(values, features.values[row * dim..][..dim]);
                }
                assert_eq!(reader.metadata().file_metadata().num_rows(), 19);
            }
        }
    }
    let beside = text_rows(&folder.path().join("out.paths.csv"));
    assert_eq!(&beside[3][1], paths[3]);
    for ending in ["parquet", "safetensors"] {
        let index = Index::open(&folder.path().join(format!("out.{ending}"))).unwrap();
        index.check(&encoder).unwrap();
        for row in [0, 7, 18] {
            let entry = Entry { image: row, path: paths[row].clone(), label: Some(labels[row]) };
            assert_eq!(index.entry(row).unwrap(), entry, "{ending}");
        }
        // Every image is its own nearest, and the order is that of a search in memory.
        let found = index.nearest(&features, 6).unwrap();
        let known = neighbours(&features, &features, Distance::Cosine, 6).unwrap();
        for row in 0..19 {
            assert_eq!(found.of(row), known.of(row), "{ending}");
            assert!(found.of(row)[0].closeness > 0.999_999);
        }
    }
}

#[test]
fn the_posterior_of_a_run_is_written_beside_its_features() {
    let folder = tempfile::tempdir().unwrap();
    for (objective, variance) in [("cosine", "variance_direction"), ("gaussian", "variance")] {
        let run = folder.path().join(objective);
        trained(&run, "vssl", &format!("hidden = 16\ndim = 8\nobjective = \"{objective}\""));
        let device = Device::flex();
        let encoder = Encoder::open(&run, "latest", Network::Student, &device).unwrap();
        let posteriors = Posteriors::open(&run, "latest", &device).unwrap().unwrap();
        let source = encoder.recipe.as_ref().unwrap().data.source();
        let origin = Origin::new(&encoder, "latest", Network::Student, &source, Split::Train);
        let images = dataset::open(&source, None).unwrap().train;
        let features = encoder.features(&images, &Reading::default()).unwrap();
        let job = Job {
            encoder: &encoder,
            posteriors: Some(&posteriors),
            network: Network::Student,
            images: images.clone(),
            origin,
            reading: Reading::default(),
            batch: Some(20),
            tokens: false,
            stop: Stop::default(),
        };
        let to = folder.path().join("p.safetensors");
        embed(&job, &to, Form::Safetensors, &mut |_, _| {}).unwrap();
        let bytes = fs::read(&to).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensor = |name: &str| -> Vec<f32> {
            let data = file.tensor(name).unwrap().data().to_vec();
            data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        };
        let close = |a: &[f32], b: &[f32]| {
            assert_eq!(a.len(), b.len());
            let far = a.iter().zip(b).find(|(a, b)| (*a - *b).abs() > 1e-4 * b.abs().max(1.0));
            assert!(far.is_none(), "{far:?}");
        };
        close(&tensor("features"), &features.values);
        let plan = encoder.plan(&Reading::default());
        let batch =
            vssl_data::EvaluationLoader::new(images, plan).unwrap().next().unwrap().unwrap();
        let all = posteriors.of(batch.pixels.into_vec(), batch.indices.len());
        close(&tensor("mean"), &numbers(&all.student.gaussian.mean));
        close(&tensor(variance), &numbers(&all.student.gaussian.variance));
        close(&tensor("uncertainty"), &numbers(&vssl::posterior::score(&all)));
        assert_eq!(tensor("mean").len(), 48 * 8);
    }
}

/// Reads all files with the packages that Python's users read them with. Exits with 77 where one is
/// missing.
const PEER: &str = r#"
import csv, json, sys
try:
    import numpy as np
    import pyarrow.parquet as pq
    from safetensors import safe_open
    from safetensors.numpy import load_file
except ImportError:
    sys.exit(77)
at = sys.argv[1] + "/out."
want = np.fromfile(sys.argv[1] + "/want.f32", dtype="<f4")
paths = open(sys.argv[1] + "/want.paths", encoding="utf-8").read().split("\n")
want = want.reshape(len(paths), -1)
features = np.load(at + "npy", mmap_mode="r")
assert features.dtype == np.float32 and (features == want).all()
labels = np.load(at + "labels.npy")
assert labels.dtype == np.int64
classes = sorted({path.split("/")[0] for path in paths}, key=lambda name: name.encode())
assert [classes[label] for label in labels] == [path.split("/")[0] for path in paths]
rows = list(csv.DictReader(open(at + "paths.csv", encoding="utf-8", newline="")))
assert [row["path"] for row in rows] == paths
table = pq.read_table(at + "parquet")
assert table.column_names == ["image", "path", "label", "class", "features"], table.column_names
assert (np.stack(table["features"].to_numpy()) == want).all()
assert table["path"].to_pylist() == paths and table["label"].to_pylist() == labels.tolist()
assert table["class"].to_pylist() == [classes[label] for label in labels]
about = json.loads(table.schema.metadata[b"vssl"])
assert about["classes"] == classes and len(about["sha256"]) == 64
tensors = load_file(at + "safetensors")
assert (tensors["features"] == want).all() and (tensors["labels"] == labels).all()
blob, ends = tensors["paths"].tobytes(), tensors["path_ends"].tolist()
assert [blob[a:b].decode() for a, b in zip([0] + ends, ends)] == paths
with safe_open(at + "safetensors", "np") as file:
    assert json.loads(file.metadata()["vssl"]) == about
rows = list(csv.DictReader(open(at + "csv", encoding="utf-8", newline="")))
got = [[row[f"feature_{i}"] for i in range(want.shape[1])] for row in rows]
assert (np.array(got, dtype=np.float32) == want).all()
try:
    import torch
    from safetensors.torch import load_file as load_torch
    assert (load_torch(at + "safetensors")["features"].numpy() == want).all()
except ImportError:
    pass
"#;

/// Runs where a Python with numpy, pyarrow and safetensors is (`VSSL_PYTHON`, or `python3`).
#[test]
fn pyarrow_numpy_and_safetensors_read_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("images");
    pictures(&root);
    let encoder = encoder(4);
    let job = job(&encoder, &root, OnBadImage::Stop);
    let (features, paths) = expected(&job);
    for (form, ending) in FORMS {
        let to = folder.path().join(format!("out.{ending}"));
        embed(&job, &to, form, &mut |_, _| {}).unwrap();
    }
    let bytes: Vec<u8> = features.values.iter().flat_map(|x| x.to_le_bytes()).collect();
    fs::write(folder.path().join("want.f32"), bytes).unwrap();
    fs::write(folder.path().join("want.paths"), paths.join("\n")).unwrap();
    let python = std::env::var_os("VSSL_PYTHON").unwrap_or_else(|| "python3".into());
    let peer = Command::new(python).args(["-c", PEER]).arg(folder.path()).status();
    if !peer.as_ref().is_ok_and(|status| status.code() != Some(77)) {
        println!("skipped: no Python with what the comparison needs");
        return;
    }
    assert!(peer.unwrap().success(), "another program read other numbers");
}

/// Writes, and where there is an index searches, in a process of its own.
fn peak_megabytes(form: Form, rows: usize, to: &Path) -> f64 {
    let name = format!("{form:?}");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["embedded::writes_in_a_process_of_its_own", "--exact", "--ignored", "--nocapture"])
        .env("VSSL_TEST_EMBED", format!("{name} {rows} {}", to.display()))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let peak = text.split_once("peak ").and_then(|(_, rest)| rest.split_whitespace().next());
    peak.unwrap_or_else(|| panic!("{text}{output:?}")).parse::<f64>().unwrap() / 1024.0
}

#[test]
#[ignore = "started by the test below"]
fn writes_in_a_process_of_its_own() {
    let Ok(wanted) = std::env::var("VSSL_TEST_EMBED") else { return };
    let parts: Vec<&str> = wanted.splitn(3, ' ').collect();
    let form = FORMS.iter().find(|(form, _)| format!("{form:?}") == parts[0]).unwrap().0;
    let (images, to, dim) = (parts[1].parse::<usize>().unwrap(), Path::new(parts[2]), 2048);
    let encoder = encoder(1);
    let origin =
        Origin::new(&encoder, "latest", Network::Student, &source(Path::new("a")), Split::Train);
    let path = |at: usize| format!("{at:09}.png");
    let path_bytes = 13 * images as u64;
    let layout = Layout {
        images,
        path_bytes,
        dim,
        labels: false,
        posterior: None,
        predicted_loss: false,
        tokens: None,
        origin,
    };
    let mut rows = create(to, form, layout).unwrap();
    for first in (0..images).step_by(250) {
        let numbers = first..first + 250;
        let block = Block {
            images: numbers.clone().map(|at| at as i64).collect(),
            paths: numbers.clone().map(path).collect(),
            features: (first * dim..(first + 250) * dim)
                .map(|at| (at % 9973) as f32 - 5e3)
                .collect(),
            ..Block::default()
        };
        rows.write(&block).unwrap();
    }
    rows.finish().unwrap();
    if let Ok(index) = Index::open(to) {
        let values = (0..dim).map(|at| (at % 9973) as f32 - 5e3).collect();
        let query = Features { rows: 1, dim, values, labels: None };
        let found = index.nearest(&query, 3).unwrap();
        assert_eq!(index.entry(found.of(0)[0].index as usize).unwrap().path, path(0));
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    println!("\npeak {}", line.trim());
}

#[test]
fn memory_does_not_grow_with_the_number_of_images() {
    let folder = tempfile::tempdir().unwrap();
    for (form, ending) in FORMS {
        let to = folder.path().join(format!("out.{ending}"));
        // The larger file holds 131 MB of features, that of CSV 33 MB.
        let [few, many] = if form == Form::Csv { [1000, 4000] } else { [4000, 16_000] };
        let [small, large] = [few, many].map(|rows| peak_megabytes(form, rows, &to));
        println!("{form:?}: {small:.0} MB for {few} images, {large:.0} MB for {many}");
        assert!(large < small + 16.0, "{form:?}: {small} MB for {few} images, {large} for {many}");
        fs::remove_file(&to).unwrap();
    }
}
