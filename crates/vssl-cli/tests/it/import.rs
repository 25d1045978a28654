//! `vssl import` and `vssl export` against the programs whose files they read and write.
//!
//! The comparison runs where `VSSL_PYTHON` names a Python with `tests/python/requirements.txt`.

use std::{fs, path::Path, process::Command};

use vssl::{
    device::{Backend, DeviceChoice},
    encoder::Encoder,
    method::learner::Network,
};

use super::run;

#[test]
fn what_is_no_state_dict_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, to) = (folder.path().join("a.pth"), folder.path().join("e.safetensors"));
    let (path, to) = (path.to_str().unwrap(), to.to_str().unwrap());
    run(&["import", "no/such.pth", "--to", to]).refused(1, &["no/such.pth"]);
    fs::write(path, "no pickle").unwrap();
    run(&["import", path, "--to", to]).refused(1, &["a.pth", "state_dict"]);
    run(&["import", path, "--to", to, "--normalisation", "1"]).refused(2, &["--normalisation"]);
    run(&["import", path, "--to", to, "--architecture", "vgg"]).refused(2, &["resnet18"]);
    run(&["export", path, "--to", to]).refused(1, &["vssl import"]);
    run(&["export", path, "--to", "a.pth"]).refused(2, &["safetensors"]);
    run(&["export", path, "--to", to, "--with-normalisation", "0-1"]).refused(2, &["ONNX"]);
    assert!(!Path::new(to).exists());
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
        assert!(error < 1e-4, "{name}: {error:e}");
        run(&["export", &to, "--to", &format!("{path}.onnx")]).succeeded();
        let bytes = format!("{path}.0-255.onnx");
        run(&["export", &to, "--to", &bytes, "--with-normalisation", "0-255"]).succeeded();
        let record = format!("{path}.bpk");
        run(&["export", &to, "--to", &record]).succeeded();
    }
    assert!(peer(&python, "check", folder.path()));
}
