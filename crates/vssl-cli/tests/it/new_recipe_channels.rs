//! `vssl new-recipe` on images of other channels than three, and with a frozen teacher.

use std::{fs, path::Path};

use serde_json::Value;
use vssl::{
    backbone::{Backbone, ResnetConfig, Stem},
    device::{Backend, DeviceChoice},
    layers::Init,
    tensors::{file, state},
};

use super::{
    Done, done,
    own_images::{picture, pictures as rgb, text},
    run, vssl,
};

const SIDE: u32 = 16;

/// A TIFF of so many channels of 8 bits, or of floating-point numbers.
pub(super) fn tiff(file: &Path, channels: u32, is_float: bool, number: u8) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let mut bytes = b"II*\0\x08\0\0\0".to_vec();
    let bytes_a_sample = if is_float { 4 } else { 1 };
    // Behind the directory of ten entries: the bits, the formats, then the numbers.
    let (bits, formats) = (8 + 2 + 10 * 12 + 4, 8 + 2 + 10 * 12 + 4 + 2 * channels);
    let start = formats + 2 * channels;
    let size = SIDE * SIDE * channels * bytes_a_sample;
    let (bit, format) = if is_float { (32_u16, 3_u16) } else { (8, 1) };
    // One or two numbers stand in the entry itself.
    let place = |at: u32, value: u16| match channels {
        1 => value.into(),
        2 => u32::from(value) << 16 | u32::from(value),
        _ => at,
    };
    let entries: [(u16, u16, u32, u32); 10] = [
        (256, 3, 1, SIDE),
        (257, 3, 1, SIDE),
        (258, 3, channels, place(bits, bit)),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, start),
        (277, 3, 1, channels),
        (278, 3, 1, SIDE),
        (279, 4, 1, size),
        (339, 3, channels, place(formats, format)),
    ];
    bytes.extend((entries.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in entries {
        bytes.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
        bytes.extend([count.to_le_bytes(), value.to_le_bytes()].concat());
    }
    bytes.extend([0; 4]);
    bytes.extend(bit.to_le_bytes().repeat(channels as usize));
    bytes.extend(format.to_le_bytes().repeat(channels as usize));
    assert_eq!(bytes.len(), start as usize);
    for at in 0..SIDE * SIDE * channels {
        let value = (at.wrapping_mul(97 + u32::from(number) * 2) >> 3) as u8;
        match is_float {
            true => bytes.extend((f32::from(value) / 100.0 - 1.0).to_le_bytes()),
            false => bytes.push(value),
        }
    }
    fs::write(file, bytes).unwrap();
}

fn tiffs(folder: &Path, channels: u32, count: u8) {
    for number in 0..count {
        tiff(&folder.join(format!("{channels}-{number:02}.tif")), channels, false, number);
    }
}

fn new_recipe(method: &str, data: &Path, out: &Path, more: &[&str]) -> Done {
    let arguments = ["new-recipe", method, "--json", "--force", "--data", text(data), "--out"];
    run(&[&arguments[..], &[text(out)], more].concat())
}

/// What the command answers, and the recipe that it wrote.
fn written(method: &str, data: &Path, out: &Path, more: &[&str]) -> (Value, Value) {
    let answer = serde_json::from_str(new_recipe(method, data, out, more).succeeded()).unwrap();
    let shown = run(&["config", text(out), "--json"]);
    let shown: Value = serde_json::from_str(shown.succeeded()).unwrap();
    (answer, shown["recipe"].clone())
}

/// Two steps of the recipe as it is, with narrow networks.
fn trains(recipe: &Path, out: &Path, settings: &[&str]) {
    let mut command = vssl(&["pretrain", text(recipe), "--quiet", "--out", text(out)]);
    command.args(["--set", "train.max_steps=2"]);
    for setting in settings {
        command.args(["--set", setting]);
    }
    done(command.output().unwrap()).succeeded();
    let summary = fs::read_to_string(out.join("summary.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&summary).unwrap()["steps"], 2);
}

#[test]
fn the_channels_are_counted_and_the_recipe_trains() {
    let folder = tempfile::tempdir().unwrap();
    let (path, narrow) = (folder.path().join("a.toml"), "backbone.width=4");
    for (method, channels, more, narrow) in [
        ("simclr", 1, "simclr.projector_hidden=32", narrow),
        ("byol", 2, "byol.projector_hidden=32", narrow),
        ("mae", 5, "mae.decoder_depth=1", "backbone.vit.depth=1"),
    ] {
        let data = folder.path().join(method);
        tiffs(&data, channels, 9);
        let (answer, recipe) = written(method, &data, &path, &[]);
        assert_eq!((&answer["channels"], &answer["images"]), (&channels.into(), &9.into()));
        assert_eq!(answer["grey"], channels == 1);
        let s = if channels == 1 { "" } else { "s" };
        assert_eq!(answer["stored_channels"], format!("9 have {channels} channel{s}"));
        assert_eq!(recipe["data"]["channels"], channels);
        let mean = recipe["data"]["normalisation"]["mean"].as_array().unwrap();
        assert_eq!(mean.len(), channels as usize);
        let measured = run(&[
            "data",
            "statistics",
            text(&data),
            "--channels",
            &channels.to_string(),
            "--json",
        ]);
        let measured: Value = serde_json::from_str(measured.succeeded()).unwrap();
        for (mean, measured) in mean.iter().zip(measured["mean"].as_array().unwrap()) {
            let (mean, measured) = (mean.as_f64().unwrap(), measured.as_f64().unwrap());
            assert!((mean - measured).abs() < 1e-4, "{mean} {measured}");
        }
        for view in recipe["views"].as_array().unwrap() {
            for key in ["saturation", "hue", "grayscale"] {
                assert_eq!(view[key], 0.0, "{method} {key}");
            }
        }
        let written = fs::read_to_string(&path).unwrap();
        let line = written.lines().find(|line| line.starts_with("channels = ")).unwrap();
        assert!(line.contains('#'), "{line}");
        trains(&path, &folder.path().join(format!("run-{method}")), &[narrow, more]);
    }
}

#[test]
fn what_other_channels_leave_out_is_counted_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let (data, path) = (folder.path().join("mixed"), folder.path().join("a.toml"));
    tiffs(&data, 4, 6);
    tiffs(&data, 1, 2);
    (0..3).for_each(|number| picture(&data.join(format!("x{number}.bmp")), number * 9));
    let (answer, _) = written("simclr", &data, &path, &[]);
    assert_eq!(answer["channels"], 4);
    assert_eq!(answer["unreadable"], 5);
    let notes = answer["notes"].to_string();
    for part in [
        "of 11 images that were looked at, 6 have 4 channels, 3 have 3 channels, 2 have 1 channel; the recipe has \
         data.channels = 4, so that 5 images cannot be read",
        "5 of the 11 images that were looked at cannot be read",
        "data.on_bad_image",
        "a.toml names all such images",
    ] {
        assert!(notes.contains(part), "{part:?} is not in {notes}");
    }
    let (answer, recipe) = written("simclr", &data, &path, &["--channels", "3"]);
    assert_eq!((&answer["channels"], &answer["unreadable"]), (&3.into(), &6.into()));
    assert!(recipe["data"].get("channels").is_none_or(|channels| channels == 3));
    assert!(recipe["views"][0]["hue"].as_f64().unwrap() > 0.0);
    new_recipe("simclr", &data, &path, &["--channels", "7"]).refused(
        2,
        &["no image can be decoded with 7 channels", "6 have 4 channels", "expected 7"],
    );
    new_recipe("simclr", &data, &path, &["--channels", "0"]).refused(2, &["1..=64"]);
}

#[test]
fn numbers_without_a_black_and_white_get_percentiles() {
    let folder = tempfile::tempdir().unwrap();
    let (data, path) = (folder.path().join("float"), folder.path().join("a.toml"));
    for number in 0..4 {
        tiff(&data.join(format!("{number}.tif")), 6, true, number);
    }
    let (answer, recipe) = written("simclr", &data, &path, &[]);
    assert_eq!((&answer["channels"], &answer["unreadable"]), (&6.into(), &0.into()));
    assert_eq!(recipe["data"]["range"], "percentiles");
    assert!(answer["notes"].to_string().contains("data.range"), "{answer}");
    let small = ["backbone.width=4", "simclr.projector_hidden=32"];
    trains(&path, &folder.path().join("run"), &small);
}

#[test]
fn a_teacher_is_read_and_found_from_any_folder() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (data, grey) = (at("data"), at("grey"));
    rgb(&data, &["."], &["a", "b"], 6);
    tiffs(&grey, 1, 8);
    new_recipe("simclr", &data, &at("first.toml"), &[]).succeeded();
    let small = ["backbone.width=4", "simclr.projector_hidden=32"];
    trains(&at("first.toml"), &at("teacher"), &small);

    // The paths are relative to the folder in which the command runs, not to that of the recipe.
    fs::create_dir(at("sub")).unwrap();
    let inside =
        |arguments: &[&str], at: &Path| done(vssl(arguments).current_dir(at).output().unwrap());
    let asked = ["new-recipe", "distill", "--data", "data", "--force", "--out", "sub/x.toml"];
    let with =
        |teacher: &str| inside(&[&asked[..], &["--teacher", teacher]].concat(), folder.path());
    with("teacher").succeeded();
    let text_of = fs::read_to_string(at("sub/x.toml")).unwrap();
    for part in ["[teacher]", "resnet18, trained on images of 16 pixels"] {
        assert!(text_of.contains(part), "{part:?} is not in {text_of}");
    }
    let train = ["pretrain", "x.toml", "--quiet", "--out", "run", "--set", "train.max_steps=1"];
    inside(&[&train[..], &["--set", "backbone.width=2"]].concat(), &at("sub")).succeeded();
    assert!(at("sub/run/teacher.safetensors").exists());

    // Without the encoder and with a damaged copy the run cannot go on, which is no wrong usage.
    let copy = at("sub/run/teacher.safetensors");
    let whole = fs::read(&copy).unwrap();
    fs::rename(at("teacher"), at("moved")).unwrap();
    let resume = ["pretrain", "--resume", "sub/run", "--set", "train.max_steps=2"];
    fs::write(&copy, &whole[..whole.len() / 2]).unwrap();
    inside(&resume, folder.path())
        .refused(1, &["teacher.safetensors: this copy is damaged", "bring this copy back"]);
    fs::remove_file(&copy).unwrap();
    inside(&resume, folder.path()).refused(1, &["this copy of the encoder is missing"]);
    fs::rename(at("moved"), at("teacher")).unwrap();

    // What is no encoder is refused, as is one that sees other channels.
    fs::write(at("junk.pth"), "no weights").unwrap();
    with("junk.pth").refused(1, &["junk.pth", "torch.save"]);
    with("data").refused(1, &["data", "run"]);
    with("nowhere").refused(2, &["--teacher nowhere", "not found"]);
    tiffs(&at("four"), 4, 8);
    let teacher = at("teacher");
    let four = ["--teacher", text(&teacher)];
    let four = [&["--channels", "4"][..], &four].concat();
    new_recipe("distill", &at("four"), &at("b.toml"), &four)
        .refused(2, &["--teacher takes images of 3 channels", "4 channels"]);
    // Grey images are repeated for a teacher of three channels.
    let (answer, _) = written("distill", &grey, &at("b.toml"), &four[2..]);
    assert_eq!(answer["channels"], 3);
}

#[test]
fn an_encoder_of_rgb_images_starts_on_more_channels_with_another_stem() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    rgb(&at("rgb"), &["."], &["a", "b"], 6);
    tiffs(&at("four"), 4, 8);
    let small = ["backbone.width=4", "simclr.projector_hidden=32"];
    new_recipe("simclr", &at("rgb"), &at("a.toml"), &[]).succeeded();
    trains(&at("a.toml"), &at("first"), &small);
    let first = at("first");
    let from = ["--from", text(&first)];
    let (answer, recipe) = written("simclr", &at("four"), &at("b.toml"), &from);
    assert_eq!(
        (&answer["channels"], &recipe["init"]["stem_channels"]),
        (&4.into(), &"mean".into())
    );
    assert!(answer["notes"].to_string().contains("the encoder takes images of 3 channels"));
    assert_eq!(recipe["data"]["normalisation"]["mean"].as_array().unwrap().len(), 4);
    trains(&at("b.toml"), &at("second"), &small[1..]);
}

#[test]
fn an_encoder_whose_file_does_not_tell_all_tells_its_channels() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // No weights tell the padding of this stem, nor the normalisation of small images.
    let config = ResnetConfig { width: 2, stem: Stem::Cifar, ..ResnetConfig::default() }.into();
    let device = DeviceChoice { backend: Backend::Cpu, index: None }.resolve().unwrap();
    let tensors = state::collect(&Backbone::new(&config, &Init::new(&device, 7)));
    let encoder = at("other.safetensors");
    fs::write(&encoder, file::bytes(&encoder, &tensors, &[]).unwrap()).unwrap();
    let settings =
        ["init.stem_padding=1", "init.normalisation=cifar10", "simclr.projector_hidden=32"];
    // Grey is repeated; four channels get another stem, and a normalisation that was measured.
    for (stored, channels, part) in
        [(1, 3, "takes that of the encoder"), (4, 4, "stem_channels = \"mean\"")]
    {
        let (data, path) = (at(&format!("{stored}")), at(&format!("{stored}.toml")));
        tiffs(&data, stored, 8);
        let done = new_recipe("simclr", &data, &path, &["--from", text(&encoder)]);
        let answer: Value = serde_json::from_str(done.succeeded()).unwrap();
        assert_eq!(answer["channels"], channels);
        let written = fs::read_to_string(&path).unwrap();
        assert!(written.contains(part), "{part:?} is not in {written}");
        assert_eq!(written.contains("\nstem_channels"), channels == 4);
        assert_eq!(written.contains("\nnormalisation = {"), channels == 4);
        trains(&path, &at(&format!("run-{stored}")), &settings);
    }
    // A teacher of three channels cannot see the fourth.
    new_recipe("distill", &at("4"), &at("b.toml"), &["--teacher", text(&encoder)])
        .refused(2, &["--teacher takes images of 3 channels", "4 channels"]);
}
