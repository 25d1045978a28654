//! Images of four channels from the first look at them to an exported encoder.

use std::{fs, path::Path};

use super::{
    own_images::{pictures, text},
    run,
};

const SIDE: u32 = 16;

/// A TIFF of red, green, blue and infrared, of which infrared tells the classes apart.
fn picture(file: &Path, class: u8, number: u8) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let mut bytes = b"II*\0\x08\0\0\0".to_vec();
    // Width, height, bits (behind the directory), no packing, black is zero, pixels, samples, rows, bytes.
    let size = SIDE * SIDE * 4;
    let entries: [(u16, u16, u32, u32); 9] = [
        (256, 3, 1, SIDE),
        (257, 3, 1, SIDE),
        (258, 3, 4, 122),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 130),
        (277, 3, 1, 4),
        (278, 3, 1, SIDE),
        (279, 4, 1, size),
    ];
    bytes.extend((entries.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in entries {
        bytes.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
        bytes.extend([count.to_le_bytes(), value.to_le_bytes()].concat());
    }
    bytes.extend([0; 4]);
    bytes.extend([8, 0].repeat(4));
    assert_eq!(bytes.len(), 130);
    for at in 0..SIDE * SIDE {
        let (x, y) = ((at % SIDE) as u8, (at / SIDE) as u8);
        bytes.extend([x * 9, y * 7 + number, number * 11, class * 120 + x % (3 + number)]);
    }
    fs::write(file, bytes).unwrap();
}

const RECIPE: &str = r#"
method = "simclr"
views = [{ count = 2, size = 16, saturation = 0, hue = 0, grayscale = 0 }]
backbone = { width = 4, stem = "cifar" }
train = { epochs = 1, batch = 4 }
schedule.name = "constant"
knn.k = 2
evaluation.evaluators = ["knn"]
[data]
workers = 1
"#;

#[test]
fn four_channels_are_measured_trained_on_evaluated_and_exported() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let images = at("images");
    for (split, count) in [("train", 6), ("val", 3)] {
        for class in 0..2 {
            for number in 0..count {
                picture(&images.join(format!("{split}/c{class}/{number}.tif")), class, number);
            }
        }
    }
    let (recipe, out) = (at("recipe.toml"), at("run"));
    let (images, out) = (text(&images), text(&out));
    let four = ["--channels", "4"];
    let checked = run(&[&["data", "check", images][..], &four].concat());
    assert!(checked.succeeded().contains("12 images, 2 classes, 4 channels"), "{}", checked.out);
    run(&[&["data", "check", images][..], &["--channels", "5"]].concat())
        .refused(1, &["images cannot be used"]);
    let keys = run(&[&["data", "statistics", images][..], &four].concat()).succeeded().to_owned();
    assert!(keys.contains("channels = 4\nnormalisation = { mean = ["), "{keys}");
    fs::write(&recipe, format!("{RECIPE}path = {images:?}\n{keys}\n")).unwrap();
    run(&["pretrain", text(&recipe), "--out", out, "--quiet"]).succeeded();

    let knn = run(&["knn", out, "--k", "2", "--json"]);
    knn.succeeded();
    // A folder is read as the encoder needs it.
    run(&["knn", out, "--images", images, "--k", "2"]).succeeded();
    let small = ["--set", "train.epochs=1", "--set", "train.batch=4", "--json"];
    for command in ["linear", "finetune"] {
        run(&[&[command, out][..], &small].concat()).succeeded();
    }
    let features = at("features.npy");
    run(&["embed", out, "--to", text(&features)]).succeeded();
    let exported = at("encoder.safetensors");
    run(&["export", out, "--to", text(&exported)]).succeeded();
    run(&["export", out, "--to", text(&at("encoder.onnx"))]).succeeded();
    let from_file = at("again.npy");
    let exported = text(&exported);
    run(&["embed", exported, "--images", images, "--to", text(&from_file)]).succeeded();
    assert_eq!(fs::read(&features).unwrap(), fs::read(&from_file).unwrap());
    let shown = run(&[
        "data",
        "show",
        &format!("{images}/train/c0/0.tif"),
        "--recipe",
        text(&recipe),
        "--to",
        text(&at("sheet.png")),
    ]);
    assert!(shown.succeeded().contains("4 channels, of which the first three"), "{}", shown.out);
    let packed = at("shards");
    run(&[&["data", "pack", images, "--to", text(&packed)][..], &four].concat()).succeeded();
    run(&["knn", out, "--images", text(&packed), "--k", "2"]).succeeded();

    // Images in RGB are refused with both numbers.
    let rgb = at("rgb");
    pictures(&rgb, &["train", "val"], &["a", "b"], 2);
    run(&["knn", out, "--images", text(&rgb)]).refused(
        1,
        &[
            "has 3 channels; expected 4",
            "the encoder takes images of 4 channels",
            "vssl new-recipe",
            "--from",
        ],
    );

    // Weights of four channels start a training on three, if it is said how.
    let three = at("three.toml");
    fs::write(&three, format!("{RECIPE}path = {:?}\n", text(&rgb))).unwrap();
    let begin = ["pretrain", text(&three), "--from", exported, "--quiet", "--out"];
    let refused = at("refused");
    run(&[&begin[..], &[text(&refused)]].concat())
        .refused(2, &["images of 4 channels", "images of 3 (data.channels)", "init.stem_channels"]);
    for how in ["mean", "repeat"] {
        let setting = format!("init.stem_channels={how:?}");
        let to = at(how);
        let normalisation = "data.normalisation={ mean = [0.5, 0.5, 0.5], std = [0.2, 0.2, 0.2] }";
        run(&[&begin[..], &[text(&to), "--set", &setting, "--set", normalisation]].concat())
            .succeeded();
        assert!(to.join("start.safetensors").exists() && to.join("summary.json").exists());
    }
}

#[test]
fn an_encoder_of_rgb_images_says_what_it_takes_and_what_the_images_have() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (images, rgb) = (at("images"), at("rgb"));
    for split in ["train", "val"] {
        for number in 0..5 {
            let class = number % 2;
            picture(&images.join(format!("{split}/c{class}/{number}.tif")), class, number);
        }
    }
    pictures(&rgb, &["train", "val"], &["a", "b"], 4);
    let out = at("run");
    super::own_images::trained(&rgb, &out, &[]);
    let (out, images) = (text(&out), text(&images));
    let told = [
        "it has 4 channels; expected 3",
        "the encoder takes images of 3 channels",
        "vssl new-recipe METHOD --data DIR",
        "--from",
    ];
    let to = at("features.npy");
    for command in [
        vec!["knn", out, "--images", images, "--k", "1"],
        vec!["embed", out, "--images", images, "--to", text(&to)],
        vec!["linear", out, "--images", images, "--out", text(&at("linear"))],
        vec!["evaluate", out, "--images", images],
    ] {
        let done = run(&command);
        done.refused(1, &told);
        assert!(!done.error.contains("data.channels"), "{}", done.error);
    }
    // Grey images are repeated.
    let grey = at("grey");
    for number in 0..4 {
        let file = grey.join(format!("{number}.tif"));
        super::new_recipe_channels::tiff(&file, 1, false, number);
    }
    run(&["embed", out, "--images", text(&grey), "--to", text(&to)]).succeeded();
    // A run whose recipe reads other channels says the key.
    let recipe = at("four.toml");
    fs::write(&recipe, format!("{RECIPE}path = {images:?}\n")).unwrap();
    run(&["pretrain", text(&recipe), "--out", text(&at("refused")), "--quiet"])
        .refused(1, &["it has 4 channels; expected 3", "data.channels = 4", "vssl new-recipe"]);
}

#[test]
fn files_that_hold_no_weights_are_called_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (rgb, out) = (at("rgb"), at("run"));
    pictures(&rgb, &["train", "val"], &["a", "b"], 4);
    super::own_images::trained(&rgb, &out, &[]);
    for ending in ["onnx", "bpk"] {
        run(&["export", text(&out), "--to", text(&at(&format!("encoder.{ending}")))]).succeeded();
    }
    let features = at("features.npy");
    run(&["embed", text(&out), "--to", text(&features)]).succeeded();
    let recipe = out.with_extension("toml");
    let (rgb, recipe, written) = (text(&rgb), text(&recipe), at("written.safetensors"));
    for (name, what) in [
        ("encoder.onnx", "this is an ONNX model; it is written for other programs"),
        ("encoder.bpk", "this is a Burn record (.bpk); it is written for other programs"),
        (
            "features.npy",
            "this is a numpy array (.npy); these are numbers of images and no encoder",
        ),
    ] {
        let file = at(name);
        let file = text(&file);
        for command in [
            vec!["knn", file, "--images", rgb, "--k", "1"],
            vec!["embed", file, "--images", rgb, "--to", text(&at("again.npy"))],
            vec!["evaluate", file, "--images", rgb],
            vec!["import", file, "--to", text(&written)],
            vec!["pretrain", recipe, "--out", text(&at("other")), "--from", file],
            vec!["config", recipe, "--from", file],
        ] {
            run(&command).refused(1, &[name, what]);
        }
    }
}
