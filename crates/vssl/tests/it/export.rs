//! An exported encoder, read back here and by torchvision.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use burn::tensor::{Device, Tensor, TensorData};
use vssl::{
    backbone::{Backbone, Pooling},
    encoder::{
        Encoder,
        export::{Form, export, write},
        file::{Imported, import},
        foreign::{self, Request},
        onnx::Pixels,
    },
    layers::Mode,
    method::learner::Network,
    methods::METHODS,
};

use crate::{contract::small, training};

/// Feeds the pixels in `x.f32` to torchvision's network and writes its features to `y.f32`. Exits
/// with 77 where torch or torchvision is missing. Needs no safetensors package: the format is a
/// length, a JSON header and the bytes.
const PEER: &str = r#"
import json, struct, sys
try:
    import torch, torchvision
except ImportError:
    sys.exit(77)
folder, stem, padding = sys.argv[1], sys.argv[2], int(sys.argv[3])
blob = open(folder + "/encoder.safetensors", "rb").read()
length, = struct.unpack("<Q", blob[:8])
header = json.loads(blob[8:8 + length])
header.pop("__metadata__")
def tensor(entry):
    start, end = (8 + length + offset for offset in entry["data_offsets"])
    return torch.frombuffer(bytearray(blob[start:end]), dtype=torch.float32).view(entry["shape"])
net = torchvision.models.resnet18()
if stem == "cifar":
    net.conv1 = torch.nn.Conv2d(3, 64, 3, 1, padding, bias=False)
    net.maxpool = torch.nn.Identity()
net.fc = torch.nn.Identity()
missing, unexpected = net.load_state_dict({k: tensor(v) for k, v in header.items()}, strict=False)
assert not unexpected, unexpected
assert all(name.endswith("num_batches_tracked") for name in missing), missing
x = torch.frombuffer(bytearray(open(folder + "/x.f32", "rb").read()), dtype=torch.float32)
with torch.no_grad():
    y = net.eval()(x.view(4, 3, 32, 32))
open(folder + "/y.f32", "wb").write(y.contiguous().numpy().tobytes())
"#;

/// The same for a Wide ResNet, written out from what its documentation says over the names in the
/// file: torch alone is needed.
const WIDE_PEER: &str = r#"
import json, struct, sys
try:
    import torch
    import torch.nn.functional as F
except ImportError:
    sys.exit(77)
folder = sys.argv[1]
blob = open(folder + "/encoder.safetensors", "rb").read()
length, = struct.unpack("<Q", blob[:8])
header = json.loads(blob[8:8 + length])
header.pop("__metadata__")
unread = set(header)
def tensor(name):
    unread.discard(name)
    start, end = (8 + length + offset for offset in header[name]["data_offsets"])
    values = torch.frombuffer(bytearray(blob[start:end]), dtype=torch.float32)
    return values.view(header[name]["shape"])
def norm(at, x):
    mean, var, weight, bias = (
        tensor(at + part) for part in (".running_mean", ".running_var", ".weight", ".bias"))
    return F.leaky_relu(F.batch_norm(x, mean, var, weight, bias, False, 0.001, 0.001), 0.1)
def conv(at, x, stride, padding):
    return F.conv2d(x, tensor(at + ".weight"), tensor(at + ".bias"), stride, padding)
x = torch.frombuffer(bytearray(open(folder + "/x.f32", "rb").read()), dtype=torch.float32)
x = conv("conv1", x.view(4, 3, 32, 32), 1, 1)
for stage in (1, 2, 3):
    for index in range(4):
        at = f"block{stage}.layer.{index}."
        stride = 2 if stage > 1 and index == 0 else 1
        activated = norm(at + "bn1", x)
        if index > 0:
            shortcut, inner = x, activated
        else:
            inner = activated if stage == 1 else x
            shortcut = conv(at + "convShortcut", inner, stride, 0)
        inner = norm(at + "bn2", conv(at + "conv1", inner, stride, 1))
        x = shortcut + conv(at + "conv2", inner, 1, 1)
y = norm("bn1", x).mean((2, 3))
assert not unread, unread
open(folder + "/y.f32", "wb").write(y.contiguous().numpy().tobytes())
"#;

/// Feeds the pixels in `x.f32` to `encoder.onnx`, all pictures and one alone.
const ONNX_PEER: &str = r#"
import sys
try:
    import numpy, onnx, onnxruntime
except ImportError:
    sys.exit(77)
folder, size = sys.argv[1], int(sys.argv[2])
onnx.checker.check_model(onnx.load(folder + "/encoder.onnx"), full_check=True)
session = onnxruntime.InferenceSession(folder + "/encoder.onnx")
x = numpy.fromfile(folder + "/x.f32", numpy.float32).reshape(4, 3, size, size)
(y,) = session.run(["features"], {"images": x})
(one,) = session.run(["features"], {"images": x[:1]})
assert numpy.allclose(one[0], y[0], rtol=1e-4, atol=1e-5)
y.astype(numpy.float32).tofile(folder + "/y.f32")
"#;

/// A run of two steps on the embedded images.
fn trained(run: &Path, backbone: &str) {
    training::train(run, &recipe("vssl", backbone, "[vssl]\nhidden = 16\ndim = 8"));
}

fn recipe(method: &str, backbone: &str, settings: &str) -> String {
    format!(
        r#"
        method = "{method}"
        [data]
        format = "idx"
        path = "data/fashion-mnist-tenth"
        limit_train = 32
        limit_validation = 16
        [[views]]
        count = 2
        size = 28
        [backbone]
        {backbone}
        {settings}
        [schedule]
        name = "constant"
        [train]
        batch = 16
        epochs = 1
        "#
    )
}

/// Four pictures, channels first.
fn pictures(size: usize) -> Vec<f32> {
    (0..4 * 3 * size * size).map(|i| (i as f32 * 0.37).sin()).collect()
}

fn features(encoder: &Backbone, size: usize) -> Vec<f32> {
    let x = TensorData::new(pictures(size), [4, 3, size, size]);
    let x = Tensor::from_data(x, &Device::flex());
    encoder.forward(x, Mode::Eval).into_data().try_to_vec().unwrap()
}

#[test]
fn an_exported_encoder_is_read_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (run, to) = (folder.path().join("run"), folder.path().join("encoder.safetensors"));
    trained(&run, "stem = \"cifar\"\nwidth = 4");
    let mut found = Vec::new();
    for network in [Network::Student, Network::Teacher] {
        export(&run, "latest", network, &to).unwrap();
        let Imported { config, backbone: encoder, .. } = import(&to, &Device::flex()).unwrap();
        assert_eq!(config.dim(), 32);
        found.push(features(&encoder, 32));
        assert!(found.iter().flatten().all(|x| x.is_finite()));
    }
    assert_ne!(found[0], found[1], "student and teacher are the same");
}

/// The momentum network is the memory of some methods and a part of it in others.
#[test]
fn every_method_with_a_momentum_network_gives_it_and_the_others_say_what_they_have() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut with_teacher = Vec::new();
    for entry in METHODS {
        let (run, to) = (at(entry.name), at("encoder.safetensors"));
        let mut settings = toml::Table::new();
        settings.insert(entry.name.to_owned(), small(entry).into());
        let needs_patches = entry.defaults().check_patches(None).is_err();
        let backbone = match needs_patches {
            true => "architecture = \"vit-tiny\"\nvit = { depth = 1, patch = 4, image_size = 28 }",
            false => "stem = \"cifar\"\nwidth = 2",
        };
        let recipe = recipe(entry.name, backbone, &settings.to_string());
        let recipe = training::teacher_of(entry.name, folder.path()) + &recipe;
        training::train(&run, &recipe);
        export(&run, "latest", Network::Student, &to).unwrap();
        let student = import(&to, &Device::flex()).unwrap().backbone;
        match export(&run, "latest", Network::Teacher, &to) {
            Ok(_) => {
                let teacher = import(&to, &Device::flex()).unwrap().backbone;
                assert_ne!(features(&teacher, 28), features(&student, 28), "{}", entry.name);
                with_teacher.push(entry.name);
            }
            Err(error) => {
                let error = error.to_string();
                assert!(
                    error.contains("no momentum network") && error.contains("student"),
                    "{error}"
                );
            }
        }
        // The files of a checkpoint can be imported like those of other programs.
        let request = Request {
            stem_padding: (!needs_patches).then_some(1),
            heads: needs_patches.then_some(3),
            pooling: needs_patches.then_some(Pooling::Token),
            normalisation: Some(vssl_data::dataset::CIFAR10),
            ..Request::default()
        };
        let file = run.join("checkpoints/step-00000002/student.safetensors");
        let found = foreign::read(&file, &request).unwrap();
        found.check().unwrap_or_else(|error| panic!("{}: {error}", entry.name));
    }
    with_teacher.sort_unstable();
    let expected = [
        "all4one",
        "byol",
        "dino",
        "dinov2",
        "ibot",
        "ijepa",
        "mocov2plus",
        "mocov3",
        "nnbyol",
        "ressl",
        "vssl",
    ];
    assert_eq!(with_teacher, expected);
}

#[test]
fn files_that_are_no_exports_say_what_they_lack() {
    let folder = tempfile::tempdir().unwrap();
    let (run, to) = (folder.path().join("run"), folder.path().join("encoder.safetensors"));
    trained(&run, "stem = \"cifar\"\nwidth = 2");
    let refused = |path: &Path, part: &str| {
        let error = import(path, &Device::flex()).unwrap_err().to_string();
        assert!(error.contains(part), "{part:?} is not in {error}");
    };
    refused(&to, "encoder.safetensors");
    refused(&run.join("checkpoints/step-00000002/student.safetensors"), "vssl export");
    export(&run, "latest", Network::Student, &to).unwrap();
    let bytes = fs::read(&to).unwrap();
    fs::write(&to, &bytes[..bytes.len() / 2]).unwrap();
    refused(&to, "not a whole safetensors file");
}

/// Runs where a Python with torch and torchvision is (`VSSL_PYTHON`, or `python3`).
#[test]
fn torchvision_computes_the_same_features() {
    for (stem, padding) in [("cifar", "1"), ("imagenet", "3")] {
        same_features(&format!("stem = \"{stem}\""), PEER, 32, &[stem, padding]);
    }
}

/// Runs where a Python with torch is.
#[test]
fn torch_computes_the_same_features_of_a_wide_resnet() {
    same_features("architecture = \"wide-resnet28\"", WIDE_PEER, 32, &[]);
}

/// Runs where a Python with onnx and onnxruntime is. The network for other runtimes has one size of
/// image, that of the run.
#[test]
fn onnxruntime_computes_the_same_features_of_a_wide_resnet() {
    same_features("architecture = \"wide-resnet28\"", ONNX_PEER, 28, &["28"]);
}

/// Trains and exports, and compares what `peer` makes of a file with what [`import`] does.
fn same_features(backbone: &str, peer: &str, size: usize, arguments: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let (run, to) = (folder.path().join("run"), folder.path().join("encoder.safetensors"));
    trained(&run, backbone);
    export(&run, "latest", Network::Student, &to).unwrap();
    let encoder = Encoder::open(&run, "latest", Network::Student, &Device::flex()).unwrap();
    let onnx = folder.path().join("encoder.onnx");
    write(&encoder, &onnx, Form::Onnx(Pixels::Normalised)).unwrap();
    let bytes: Vec<u8> = pictures(size).iter().flat_map(|x| x.to_le_bytes()).collect();
    fs::write(folder.path().join("x.f32"), bytes).unwrap();
    let python = std::env::var_os("VSSL_PYTHON").unwrap_or_else(|| "python3".into());
    let peer = Command::new(python)
        .args(["-c", peer])
        .arg(folder.path())
        .args(arguments)
        .stdout(Stdio::null())
        .status();
    if !peer.as_ref().is_ok_and(|status| status.code() != Some(77)) {
        println!("skipped: no Python with what the comparison needs");
        return;
    }
    assert!(peer.unwrap().success(), "{backbone}: the other program refused the file");
    let theirs = fs::read(folder.path().join("y.f32")).unwrap();
    let encoder = import(&to, &Device::flex()).unwrap().backbone;
    let ours = features(&encoder, size);
    assert_eq!(theirs.len(), 4 * ours.len(), "{backbone}");
    let norm = |x: &dyn Fn(usize) -> f32| (0..ours.len()).map(|i| x(i) * x(i)).sum::<f32>();
    let their = |i: usize| f32::from_le_bytes(theirs[4 * i..4 * i + 4].try_into().unwrap());
    let error = (norm(&|i| ours[i] - their(i)) / norm(&their)).sqrt();
    println!("{backbone}: relative difference {error:e}");
    assert!(error < 1e-5, "{backbone}: relative difference {error:e}");
}
