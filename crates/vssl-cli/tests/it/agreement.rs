//! `vssl bench agreement`: what it says of a device that computes the same numbers, of numbers that
//! are not the same, and of files that are none.

use std::{
    fs,
    path::{Path, PathBuf},
};

use safetensors::SafeTensors;
use vssl::recipe::Entry;

use super::{Done, run};

const SMALL: [&str; 8] = ["bench", "agreement", "--width", "4", "--size", "8", "--batch", "16"];

/// A file with the numbers of two methods.
fn stored(folder: &Path) -> PathBuf {
    let file = folder.join("cpu.safetensors");
    let store = ["--method", "byol", "--method", "nnclr", "--store", file.to_str().unwrap()];
    let done = run(&[&SMALL, store.as_slice()].concat());
    assert!(done.succeeded().contains("2 methods"), "{}", done.out);
    file
}

fn against(file: &Path, more: &[&str]) -> Done {
    run(&[&["bench", "agreement", "--against", file.to_str().unwrap()], more].concat())
}

fn objects(done: &Done) -> Vec<serde_json::Value> {
    done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_cpu_agrees_with_itself_in_every_method() {
    let done = run(&[SMALL.as_slice(), &["--json"]].concat());
    done.succeeded();
    let objects = objects(&done);
    let methods = vssl::methods::METHODS.iter();
    let (fit, others): (Vec<&Entry>, Vec<&Entry>) =
        methods.partition(|entry| entry.defaults().check_patches(None).is_ok());
    assert_eq!(objects.len(), fit.len(), "{}", done.out);
    assert!(others.iter().all(|entry| done.error.contains(entry.name)), "{}", done.error);
    for object in objects {
        assert_eq!(object["agrees"], true, "{object}");
        assert_eq!(object["weights"]["distance"], 0.0, "{object}");
        assert_eq!(object["losses"], object["expected_losses"], "{object}");
        assert_eq!(object["next_loss_after_reload_equal"], true, "{object}");
        let allowed = object["weights"]["allowed"].as_f64().unwrap();
        assert!(allowed > 0.0 && allowed < 1.0, "{object}");
    }
}

#[test]
fn a_transformer_is_compared_too() {
    for (method, size) in [("simclr", "8"), ("mae", "8"), ("ijepa", "16")] {
        let network = ["--backbone", "vit-tiny", "--patch", "4", "--method", method];
        let sizes = ["bench", "agreement", "--size", size, "--batch", "4"];
        let done = run(&[sizes.as_slice(), &network].concat());
        assert!(done.succeeded().contains(&format!("{method:<14} agrees")), "{}", done.out);
    }
    let done = run(&["bench", "agreement", "--size", "8", "--method", "mae"]);
    done.refused(2, &["mae hides patches", "vit-tiny"]);
}

#[test]
fn a_file_is_compared_with_method_by_method() {
    let folder = tempfile::tempdir().unwrap();
    let file = stored(folder.path());
    let done = against(&file, &["--json"]);
    done.succeeded();
    let methods: Vec<_> =
        objects(&done).into_iter().map(|object| object["method"].clone()).collect();
    assert_eq!(methods, ["byol", "nnclr"]);
    let one = against(&file, &["--method", "nnclr"]);
    assert_eq!(one.succeeded().lines().count(), 1, "{}", one.out);
    against(&file, &["--method", "dino"]).refused(2, &["dino", "it has byol, nnclr"]);
}

/// Puts `value` in place of the first number of the tensor of `file` whose name begins and ends so. Returns
/// the path of the tensor.
fn tamper(file: &Path, begin: &str, end: &str, value: f32) -> String {
    let mut bytes = fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let is_it = |name: &&String| name.starts_with(begin) && name.ends_with(end);
    let names = tensors.names();
    let name = names.into_iter().map(|name| name.to_string()).find(|name| is_it(&name)).unwrap();
    let data = tensors.tensor(&name).unwrap().data();
    let at = data.as_ptr() as usize - bytes.as_ptr() as usize;
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    fs::write(file, bytes).unwrap();
    name.rsplit_once('/').unwrap().1.to_owned()
}

#[test]
fn a_tensor_of_student_or_memory_that_is_another_is_named_and_ends_with_1() {
    // Rounding alone moves single tensors of so small a network by more than half of their way, so a wrong
    // number in memory or running statistics only shows where it is not a number.
    for (begin, end, value) in [
        ("byol/end/student.", "layer3.0.conv1.weight", 9.0),
        ("byol/end/memory.", "layer3.0.conv1.weight", f32::NAN),
        ("byol/end/student.", "layer2.0.bn1.running_mean", f32::NAN),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = stored(folder.path());
        let path = tamper(&file, begin, end, value);
        let done = against(&file, &[]);
        done.refused(1, &["1 of 2 methods", "byol: ", &path]);
        assert!(done.out.contains("byol           DIFFERS"), "{}", done.out);
        assert!(done.out.contains("nnclr          agrees"), "{}", done.out);
    }
}

#[test]
fn files_that_are_none_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.safetensors");
    against(&missing, &[]).refused(1, &["missing.safetensors", "No such file"]);
    let file = stored(folder.path());
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 100]).unwrap();
    against(&file, &[]).refused(1, &["cpu.safetensors", "not a whole safetensors file"]);
    let other = folder.path().join("other.safetensors");
    let nothing: [(&str, safetensors::tensor::TensorView); 0] = [];
    fs::write(&other, safetensors::serialize(nothing, None).unwrap()).unwrap();
    against(&other, &[]).refused(1, &["other.safetensors", "agreement --store"]);
}

#[test]
fn requests_that_make_no_sense_end_with_2() {
    let cases: [(&[&str], &str); 6] = [
        (&["--method", "pca"], "expected one of"),
        (&["--store", "a", "--against", "b"], "cannot be used with"),
        (&["--against", "b", "--width", "8"], "cannot be used with"),
        (&["--store", "a", "--device", "cpu"], "cannot be used with"),
        (&["--backbone", "vit-tiny", "--width", "8"], "--width"),
        (&["--backbone", "vit-tiny", "--size", "24"], "multiple of the patch"),
    ];
    for (arguments, part) in cases {
        let done = run(&[&["bench", "agreement"], arguments].concat());
        assert_eq!(done.code, Some(2), "{arguments:?}: {}{}", done.out, done.error);
        assert!(done.error.contains(part), "{arguments:?}: {}", done.error);
    }
}
