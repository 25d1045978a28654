//! `vssl import` and `vssl export` against the programs whose files they read and write.
//!
//! The comparison runs where `VSSL_PYTHON` names a Python with `tests/python/requirements.txt`.

use std::{fs, path::Path, process::Command};

use vssl::{
    backbone::{Backbone, Positions, ResnetConfig},
    device::{Backend, DeviceChoice},
    encoder::Encoder,
    layers::Init,
    method::learner::Network,
    tensors::{file, state},
};

use super::run;

#[test]
fn what_is_no_state_dict_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, to) = (folder.path().join("a.pth"), folder.path().join("e.safetensors"));
    let (path, to) = (path.to_str().unwrap(), to.to_str().unwrap());
    run(&["import", "no/such.pth", "--to", to]).refused(1, &["no/such.pth"]);
    fs::write(path, "no pickle").unwrap();
    run(&["import", path, "--to", to]).refused(1, &["a.pth", "state dict"]);
    fs::write(path, b"PK\x03\x04\x00\x00 an archive that was cut").unwrap();
    let cut = run(&["import", path, "--to", to]);
    cut.refused(1, &["a.pth", "was the file cut short?"]);
    fs::write(path, b"\x80\x02}.").unwrap();
    run(&["import", path, "--to", to]).refused(1, &["the file holds no tensor"]);
    fs::write(path, float8(&["conv1.weight", "layer1.0.conv1.weight"])).unwrap();
    let float8 = run(&["import", path, "--to", to]);
    float8.refused(1, &["its stages have"]);
    assert!(!float8.error.contains("shape []"), "{}", float8.error);
    run(&["import", path, "--to", to, "--normalisation", "1"]).refused(2, &["--normalisation"]);
    run(&["import", path, "--to", to, "--architecture", "vgg"]).refused(2, &["resnet18"]);
    run(&["export", path, "--to", to]).refused(1, &["vssl import"]);
    run(&["export", path, "--to", "a.pth"]).refused(2, &["safetensors"]);
    run(&["export", path, "--to", to, "--with-normalisation", "0-1"]).refused(2, &["ONNX"]);
    assert!(!Path::new(to).exists());
}

/// A pickle with tensors of floats of 8 bits, of the shape of a first layer.
fn float8(names: &[&str]) -> Vec<u8> {
    let text =
        |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let storage = [
        b"(",
        &text("storage")[..],
        b"ctorch\nFloat8_e4m3fnStorage\n",
        &text("0"),
        &text("cpu"),
        b"M\x26\x01tQ",
    ]
    .concat();
    let (shape, strides) = (b"(K\x02K\x03K\x07K\x07t", b"(K\x93K\x31K\x07K\x01t");
    let call = b"ctorch._utils\n_rebuild_tensor_v2\n(";
    let tensor = [&call[..], &storage, b"K\x00", shape, strides, b"\x89}tRs"].concat();
    let tensors = names.iter().map(|name| [text(name), tensor.clone()].concat());
    [b"\x80\x02}", &tensors.collect::<Vec<_>>().concat()[..], b"."].concat()
}

#[test]
fn a_partial_import_does_without_the_first_layer_of_a_stage() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (file, to) = (at("a.safetensors"), at("encoder.safetensors"));
    let import = ["import", &file, "--to", &to];
    for name in ["layer1.0.conv1.weight", "layer3.0.conv1.weight"] {
        renamed(file.as_ref(), name, "other.weight");
        run(&import).refused(1, &["1 tensor is missing", name, "--allow-partial"]);
        let done = run(&[&import[..], &["--allow-partial"]].concat());
        done.succeeded();
        let expected = format!("keep initial values, which are noise: {name}");
        assert!(done.error.contains(&expected), "{}", done.error);
    }
    let small = run(&[&import[..], &["--allow-partial", "--resize", "100"]].concat());
    small.refused(1, &["--resize 100", "at least 224"]);
}

#[test]
fn networks_that_are_not_ours_are_refused_by_what_makes_them_others() {
    let Some(python) = std::env::var_os("VSSL_PYTHON") else {
        println!("skipped: VSSL_PYTHON names no Python");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    if !peer(&python, "foreign", folder.path()) {
        println!("skipped: a package of tests/python/requirements.txt is missing");
        return;
    }
    let to = folder.path().join("encoder.safetensors");
    let index = fs::read_to_string(folder.path().join("foreign.txt")).unwrap();
    for line in index.lines() {
        let mut parts = line.split('\t');
        let path = folder.path().join(parts.next().unwrap());
        let count = parts.next().unwrap().parse().unwrap();
        let rest: Vec<&str> = parts.collect();
        let (arguments, words) = rest.split_at(count);
        let import = ["import", path.to_str().unwrap(), "--to", to.to_str().unwrap(), "--quiet"];
        run(&[&import[..], arguments].concat()).refused(1, words);
        assert!(!to.exists(), "{line}");
    }
    println!("{} networks refused", index.lines().count());
}

/// A ResNet-18 of width 2 as a safetensors file, with one tensor renamed.
fn renamed(path: &Path, from: &str, to: &str) {
    let config = ResnetConfig { width: 2, ..ResnetConfig::default() }.into();
    let device = DeviceChoice { backend: Backend::Cpu, index: None }.resolve().unwrap();
    let network = Backbone::new(&config, &Init::new(&device, 7));
    let mut tensors = state::collect(&network);
    let tensor = tensors.remove(from).unwrap();
    tensors.insert(to.to_owned(), tensor);
    fs::write(path, file::bytes(path, &tensors, &[]).unwrap()).unwrap();
}

#[test]
fn an_import_says_what_it_assumes_how_to_verify_it_and_what_it_leaves_out() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (file, to) = (at("a.safetensors"), at("encoder.safetensors"));
    renamed(file.as_ref(), "conv1.weight", "conv1.weight");
    let done = run(&["import", &file, "--to", &to]);
    for part in [
        "taken for granted",
        "output_stride 32",
        "scaled to 256 pixels before the centre of 224 is cut out",
        "torch.arange(3 * 224 * 224)",
        "vssl: [",
    ] {
        assert!(done.succeeded().contains(part), "{part:?} is not in\n{}", done.out);
    }
    assert_eq!(run(&["import", &file, "--to", &to, "--quiet"]).succeeded().lines().count(), 1);
    let size = ["--size", "64", "--normalisation", "0.5,0.25"];
    run(&[&["import", &file, "--to", &to][..], &size].concat()).succeeded();
    let again = run(&["import", &to, "--to", &at("again.safetensors")]);
    assert!(
        again.succeeded().contains("64 pixels, mean [0.5, 0.5, 0.5], std [0.25"),
        "{}",
        again.out
    );
    renamed(file.as_ref(), "layer2.0.bn1.bias", "layer2.0.gate.bias");
    run(&["import", &file, "--to", &to]).refused(1, &["layer2.0.bn1.bias", "layer2.0.gate.bias"]);
    let done = run(&["import", &file, "--to", &to, "--allow-partial", "--quiet"]);
    done.succeeded();
    for part in ["keep initial values, which are noise: layer2.0.bn1.bias", "layer2.0.gate.bias"] {
        assert!(done.error.contains(part), "{part:?} is not in\n{}", done.error);
    }
}

#[test]
fn an_import_keeps_its_input_and_the_ending_of_its_output_is_true() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let file = at("a.safetensors");
    renamed(&file, "conv1.weight", "conv1.weight");
    let bytes = fs::read(&file).unwrap();
    fs::hard_link(&file, at("hard.safetensors")).unwrap();
    std::os::unix::fs::symlink(&file, at("soft.safetensors")).unwrap();
    let import = |to: &Path| run(&["import", file.to_str().unwrap(), "--to", to.to_str().unwrap()]);
    for name in ["a.safetensors", "hard.safetensors", "soft.safetensors"] {
        import(&at(name)).refused(2, &[name, "the command reads this file"]);
    }
    for name in ["a.onnx", "a.bpk", "a.pth", "a"] {
        import(&at(name)).refused(2, &[name, ".safetensors", "vssl export"]);
        assert!(!at(name).exists());
    }
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let encoder = text(&at("encoder.safetensors"));
    import(encoder.as_ref()).succeeded();
    run(&["export", &encoder, "--to", &encoder]).refused(2, &["the command reads this file"]);
    let onnx = text(&at("b.onnx"));
    run(&["export", &encoder, "--to", &onnx, "--format", "burn"])
        .refused(2, &["--format", "b.onnx"]);
    run(&["export", &encoder, "--to", &text(&at("a.xyz"))]).refused(2, &["a.xyz", "--format"]);
    assert_eq!(fs::read(&file).unwrap(), bytes);
}

fn floats(path: &str) -> Vec<f32> {
    let bytes = fs::read(path).unwrap();
    bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

/// Runs `peers.py`; `false` where there is no Python with what it needs.
fn peer(python: &std::ffi::OsStr, what: &str, folder: &Path) -> bool {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/peers.py");
    let output = Command::new(python).arg(script).arg(what).arg(folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 77)), "peers.py {what}: {complained}");
    output.status.success()
}

#[test]
fn other_programs_encoders_come_in_and_go_out_with_the_same_features() {
    let Some(python) = std::env::var_os("VSSL_PYTHON") else {
        println!("skipped: VSSL_PYTHON names no Python");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    if !peer(&python, "write", folder.path()) {
        println!("skipped: a package of tests/python/requirements.txt is missing");
        return;
    }
    let device = DeviceChoice { backend: Backend::Cpu, index: None }.resolve().unwrap();
    let index = fs::read_to_string(folder.path().join("index.txt")).unwrap();
    for line in index.lines() {
        let parts: Vec<&str> = line.split('\t').collect();
        let [name, size, _, arguments @ ..] = parts.as_slice() else { panic!("{line}") };
        let path = folder.path().join(name).to_str().unwrap().to_owned();
        let to = format!("{path}.encoder.safetensors");
        let import = ["import", path.as_str(), "--to", to.as_str(), "--size", size];
        let said = run(&[&import[..], arguments].concat());
        assert!(said.succeeded().contains(" 0 missing, 0 other shape, 0 unexpected"), "{name}");
        let encoder = Encoder::open(to.as_ref(), "latest", Network::Student, &device).unwrap();
        let ours = encoder.embed(floats(&format!("{path}.images.f32")), 3).values;
        let theirs = floats(&format!("{path}.features.f32"));
        assert_eq!(ours.len(), theirs.len(), "{name}");
        let norm =
            |values: &mut dyn Iterator<Item = f32>| values.map(|x| x * x).sum::<f32>().sqrt();
        let error = norm(&mut ours.iter().zip(&theirs).map(|(a, b)| a - b))
            / norm(&mut theirs.iter().copied());
        println!("{name}: vssl against torch {error:.1e}");
        assert!(error < 1e-5, "{name}: {error:e}");
        run(&["export", &to, "--to", &format!("{path}.onnx")]).succeeded();
        let bytes = format!("{path}.0-255.onnx");
        run(&["export", &to, "--to", &bytes, "--with-normalisation", "0-255"]).succeeded();
        run(&["export", &to, "--to", &format!("{path}.half.onnx"), "--half"]).succeeded();
        let any = format!("{path}.any.onnx");
        let any = run(&["export", &to, "--to", &any, "--any-size"]);
        match encoder.config.vit() {
            Some(vit) if vit.positions != Positions::Rotary => {
                any.refused(1, &["images of one size"]);
            }
            _ => _ = any.succeeded(),
        }
        let record = format!("{path}.bpk");
        run(&["export", &to, "--to", &record]).succeeded();
        fs::remove_file(&record).unwrap();
    }
    assert!(peer(&python, "check", folder.path()));
}
