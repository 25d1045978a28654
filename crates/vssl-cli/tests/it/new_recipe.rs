//! `vssl new-recipe`: what it writes is what `vssl pretrain` takes.

use std::{fs, path::Path};

use serde_json::Value;

use super::{Done, done, run, vssl};

/// A 24-bit BMP of one colour with a few dots.
fn picture(path: &Path, side: usize, seed: usize, grey: bool) {
    let row = (side * 3).div_ceil(4) * 4;
    let mut bytes = b"BM".to_vec();
    let words = |bytes: &mut Vec<u8>, words: &[usize]| {
        words.iter().for_each(|&word| bytes.extend((word as u32).to_le_bytes()));
    };
    words(&mut bytes, &[54 + row * side, 0, 54, 40, side, side]);
    bytes.extend([1, 0, 24, 0]);
    words(&mut bytes, &[0, row * side, 2835, 2835, 0, 0]);
    for i in 0..row * side {
        let place = if grey { i % row / 3 } else { i };
        bytes.push(((place * (seed + 3) + i / row * 7) % 251) as u8);
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// `count` pictures in `folder`, in as many class folders as `classes` says; 0 is none.
fn pictures(folder: &Path, count: usize, classes: usize, side: usize, grey: bool) {
    for index in 0..count {
        let class = match classes {
            0 => String::new(),
            classes => format!("class{}", index % classes),
        };
        picture(&folder.join(class).join(format!("{index:03}.bmp")), side, index, grey);
    }
}

fn new_recipe(method: &str, data: &Path, out: &Path) -> Done {
    let mut command = vssl(&["new-recipe", method, "--data"]);
    done(command.arg(data).arg("--out").arg(out).output().unwrap())
}

fn resolved(path: &Path) -> Value {
    let shown = run(&["config", path.to_str().unwrap(), "--json"]);
    serde_json::from_str::<Value>(shown.succeeded()).unwrap()
}

#[test]
fn every_method_trains_two_steps_by_its_new_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("photos of mine");
    pictures(&data.join("train"), 24, 2, 16, false);
    pictures(&data.join("val"), 6, 2, 16, false);
    for method in run(&["methods", "--quiet"]).succeeded().lines() {
        let path = folder.path().join(format!("{method}.toml"));
        if method == "distill" {
            // An encoder that an earlier method has trained is its teacher.
            new_recipe(method, &data, &path).refused(2, &["--teacher ENCODER"]);
            let teacher = folder.path().join("byol");
            let mut command = vssl(&["new-recipe", method, "--data"]);
            command.arg(&data).arg("--out").arg(&path).arg("--teacher").arg(teacher);
            done(command.output().unwrap()).succeeded();
        } else {
            new_recipe(method, &data, &path).succeeded();
        }
        let out = folder.path().join(method);
        // The recipe as it is; only the length of the run and the width of its networks are less.
        let mut command = vssl(&["pretrain", path.to_str().unwrap(), "--quiet", "--out"]);
        let is_transformer = resolved(&path)["recipe"]["backbone"]["vit"].is_object();
        let narrow = if is_transformer { "backbone.vit.depth=1" } else { "backbone.width=4" };
        command.arg(&out).args(["--set", "train.max_steps=2", "--set", narrow]);
        for key in ["projector_hidden", "predictor_hidden", "hidden"] {
            if resolved(&path)["recipe"][method][key].is_number() {
                command.args(["--set", &format!("{method}.{key}=32")]);
            }
        }
        let finished = done(command.output().unwrap());
        assert!(finished.succeeded().contains("trained encoder"), "{method}: {}", finished.out);
        let metrics = fs::read_to_string(out.join("summary.json")).unwrap();
        let summary: Value = serde_json::from_str(&metrics).unwrap();
        assert_eq!(summary["steps"], 2, "{method}");
    }
}

#[test]
fn a_new_recipe_runs_with_no_setting_changed_but_its_length() {
    let folder = tempfile::tempdir().unwrap();
    let (data, path) = (folder.path().join("flat"), folder.path().join("a.toml"));
    pictures(&data, 9, 0, 20, false);
    let written = new_recipe("barlow", &data, &path);
    assert!(written.succeeded().contains("9 colour images"), "{}", written.out);
    let mut command = vssl(&["pretrain", path.to_str().unwrap(), "--quiet", "--out"]);
    command.arg(folder.path().join("run")).args(["--set", "train.max_steps=2"]);
    let finished = done(command.output().unwrap());
    assert!(finished.succeeded().contains("no labels"), "{}", finished.out);
}

#[test]
fn every_key_of_a_recipe_is_written_and_commented() {
    let folder = tempfile::tempdir().unwrap();
    let (data, path) = (folder.path().join("data"), folder.path().join("a.toml"));
    pictures(&data, 40, 0, 40, false);
    new_recipe("byol", &data, &path).succeeded();
    let origins = resolved(&path)["origin"].to_string();
    assert!(!origins.contains("default"), "keys that are not in the file: {origins}");
    let text = fs::read_to_string(&path).unwrap();
    for line in text.lines().filter(|line| line.contains(" = ")) {
        assert!(line.contains('#') || line.starts_with("normalisation"), "{line}");
    }
}

#[test]
fn a_recipe_from_an_encoder_runs_and_has_its_architecture() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (data, path) = (at("data"), at("a.toml"));
    pictures(&data, 40, 8, 40, false);
    let settings = ["train.max_steps=1", "backbone.width=4", "simclr.projector_hidden=32"];
    let pretrain = |recipe: &Path, out: &str, settings: &[&str]| {
        let mut command = vssl(&["pretrain", recipe.to_str().unwrap(), "--quiet", "--out"]);
        command.arg(at(out));
        for text in settings {
            command.args(["--set", text]);
        }
        done(command.output().unwrap())
    };
    new_recipe("simclr", &data, &path).succeeded();
    pretrain(&path, "first", &settings).succeeded();

    let (second, first) = (at("b.toml"), at("first"));
    let asked = ["new-recipe", "simclr", "--data", data.to_str().unwrap(), "--out"];
    let asked = [&asked[..], &[second.to_str().unwrap(), "--from"]].concat();
    run(&[&asked[..], &["no/such"]].concat()).refused(2, &["no/such", "not found"]);
    run(&[&asked[..], &[first.to_str().unwrap()]].concat()).succeeded();
    let text = fs::read_to_string(&second).unwrap();
    for part in ["freeze_epochs = 1", "[backbone]", "width = 4", "as the encoder knows them"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let junk = at("junk.pth");
    fs::write(&junk, "no weights").unwrap();
    let again = [&asked[..], &[junk.to_str().unwrap(), "--force"]].concat();
    run(&again).refused(1, &["junk.pth", "torch.save"]);
    assert_eq!(fs::read_to_string(&second).unwrap(), text);
    pretrain(&second, "second", &[settings[0], settings[2]]).succeeded();
    let resolved = fs::read_to_string(at("second/recipe.toml")).unwrap();
    for part in ["width = 4", "lr = 0.12", "checkpoint = \"step-1\""] {
        assert!(resolved.contains(part), "{part:?} is not in {resolved}");
    }
}

#[test]
fn settings_follow_the_images() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    let cases = [(40, 28, true, 28, "cifar", 8), (9, 200, false, 224, "imagenet", 2)];
    for (count, side, grey, view, stem, batch) in cases {
        let data = folder.path().join(format!("{side}"));
        pictures(&data, count, 0, side, grey);
        let _ = fs::remove_file(&path);
        new_recipe("vssl", &data, &path).succeeded();
        let recipe = &resolved(&path)["recipe"];
        assert_eq!(recipe["views"][0]["size"], view);
        assert_eq!(recipe["views"][0]["hue"].as_f64() == Some(0.0), grey);
        assert_eq!(recipe["backbone"]["stem"], stem);
        assert_eq!(recipe["train"]["batch"], batch);
    }
    let _ = fs::remove_file(&path);
    let idx = new_recipe("simsiam", Path::new("data/fashion-mnist-tenth"), &path);
    let expected = "10000 grey images of about 28 pixels, 10 classes, 2000 validation images";
    assert!(idx.succeeded().contains(expected), "{}", idx.out);
    let recipe = &resolved(&path)["recipe"];
    assert_eq!(
        (&recipe["data"]["format"], &recipe["train"]["batch"]),
        (&"idx".into(), &256.into())
    );
    assert_eq!(recipe["optimizer"]["groups"][0]["pattern"], "predictor.*");
}

#[test]
fn a_file_that_is_there_is_only_replaced_by_force() {
    let folder = tempfile::tempdir().unwrap();
    let (data, path) = (folder.path().join("data"), folder.path().join("a.toml"));
    pictures(&data, 4, 0, 16, false);
    fs::write(&path, "mine").unwrap();
    new_recipe("byol", &data, &path).refused(2, &["a.toml", "--out", "--force"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    let mut command = vssl(&["new-recipe", "byol", "--force", "--data"]);
    done(command.arg(&data).arg("--out").arg(&path).output().unwrap()).succeeded();
    assert_ne!(fs::read_to_string(&path).unwrap(), "mine");

    let mut command = vssl(&["new-recipe", "byol", "--data"]);
    let default = done(command.arg(&data).current_dir(folder.path()).output().unwrap());
    default.succeeded();
    assert!(folder.path().join("byol.toml").exists());
}

#[test]
fn what_is_no_set_of_images_is_named_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    new_recipe("byol", Path::new("no/such"), &path).refused(1, &["no/such"]);
    let data = folder.path().join("texts");
    fs::create_dir(&data).unwrap();
    new_recipe("byol", &data, &path).refused(1, &["texts", "no images"]);
    fs::write(data.join("a.jpg"), "a text").unwrap();
    new_recipe("byol", &data, &path).refused(1, &["texts", "at least 2"]);
    fs::write(data.join("b.jpg"), "a text").unwrap();
    new_recipe("byol", &data, &path).refused(1, &["a.jpg"]);
    new_recipe("bjol", &data, &path).refused(2, &["bjol", "byol"]);
    assert!(!path.exists());
}
