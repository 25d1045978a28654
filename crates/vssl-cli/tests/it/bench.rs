//! `vssl bench`, with as little work as there can be: what it prints, not how fast it is.

use super::{root, run};

/// The JSON object on the last line.
#[track_caller]
fn object(arguments: &[&str]) -> serde_json::Value {
    let done = run(&[arguments, &["--threads", "1", "--json"]].concat());
    let last = done.succeeded().lines().last().unwrap();
    serde_json::from_str(last).unwrap()
}

#[track_caller]
fn positive(value: &serde_json::Value, keys: &[&str]) {
    for key in keys {
        assert!(value[key].as_f64().is_some_and(|number| number > 0.0), "{key} in {value}");
    }
}

const TINY_STEP: [&str; 14] = [
    "bench", "step", "--width", "4", "--size", "8", "--batch", "4", "--steps", "2", "--warmup",
    "1", "--method", "vssl",
];

#[test]
fn a_step_is_timed_under_the_names_of_the_peer() {
    let value = object(&[TINY_STEP.as_slice(), &["--hidden", "16", "--dim", "8"]].concat());
    positive(&value, &["step_s_median", "step_s_min", "images_per_s", "peak_rss_mib"]);
    assert!(value["loss"].is_number(), "{value}");
    let expected = [("width", 4), ("size", 8), ("batch", 4), ("threads", 1)];
    for (key, number) in expected {
        assert_eq!(value[key], number, "{value}");
    }
    assert_eq!(value["method"], "vssl");
    assert!(value["isa"].is_string(), "{value}");
}

#[test]
fn a_step_of_other_networks_is_timed() {
    let small =
        ["bench", "step", "--method", "simclr", "--hidden", "16", "--batch", "4", "--steps", "1"];
    let network = |words: &[&str]| object(&[small.as_slice(), words].concat());
    let value = network(&["--backbone", "resnet50", "--width", "4", "--size", "8"]);
    assert_eq!((&value["backbone"], &value["width"]), (&"resnet50".into(), &4.into()), "{value}");
    positive(&value, &["images_per_s", "first_step_s"]);
    let value = network(&["--backbone", "vit-tiny", "--patch", "4", "--size", "8"]);
    assert_eq!(value["backbone"], "vit-tiny", "{value}");
    assert!(value["width"].is_null() && value["device_mib"].is_null(), "{value}");
}

#[test]
fn a_step_with_the_imagenet_stem_prints_a_table_for_people() {
    let table = run(&[
        "bench", "step", "--width", "4", "--size", "33", "--batch", "4", "--steps", "1", "--stem",
        "imagenet", "--hidden", "16",
    ]);
    for part in ["33×33", "images/s", "peak memory", "loss"] {
        assert!(table.succeeded().contains(part), "{}", table.out);
    }
}

#[test]
fn a_search_is_timed_under_the_names_of_the_peer() {
    let command = [
        "bench",
        "knn",
        "--train",
        "700",
        "--queries",
        "300",
        "--dim",
        "33",
        "--k",
        "20",
        "--classes",
        "5",
    ];
    let value = object(&command);
    positive(&value, &["seconds", "queries_per_s", "product_gflops"]);
    for (key, number) in [("train", 700), ("queries", 300), ("dim", 33), ("k", 20), ("threads", 1)]
    {
        assert_eq!(value[key], number, "{value}");
    }
    // Five centres, chance is 20 %.
    assert!(value["top1"].as_f64().unwrap() > 40.0, "{value}");
    let people = run(&command);
    assert!(people.succeeded().contains("GFLOP/s"), "{}", people.out);
}

#[test]
fn a_regression_is_timed_and_its_loss_falls() {
    let command =
        ["bench", "logistic", "--images", "300", "--dim", "17", "--classes", "5", "--l2", "1e-3"];
    let value = object(&command);
    positive(&value, &["seconds", "evaluations", "iterations", "loss"]);
    for (key, number) in [("images", 300), ("dim", 17), ("classes", 5), ("threads", 1)] {
        assert_eq!(value[key], number, "{value}");
    }
    let trace = value["trace"].as_array().unwrap();
    let (first, loss) = (trace[0][1].as_f64().unwrap(), value["loss"].as_f64().unwrap());
    assert!((first - 5.0_f64.ln()).abs() < 1e-6 && loss < first, "{value}");
    let end = run(&command).succeeded().to_owned();
    // Which of both comes first is a matter of the last bits.
    let ends =
        ["end: the gradient is within the tolerance", "end: no step lowers the loss any more"];
    assert!(ends.iter().any(|words| end.contains(words)), "{end}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }";
    let header = format!("{header:<117}\n");
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(header.bytes());
    bytes.extend([1.0_f32, 2.0].iter().flat_map(|x| x.to_le_bytes()));
    std::fs::write(&path, bytes).unwrap();
    let path = path.to_str().unwrap();
    run(&["bench", "logistic", "--features", path]).refused(1, &["no labels", "--labels"]);
    for wrong in [["--l2", "-1"], ["--l2", "nan"], ["--l2", "inf"], ["--tolerance", "-1"]] {
        let told = [wrong[0], "finite number that is not negative"];
        run(&[&["bench", "logistic"][..], &wrong].concat()).refused(2, &told);
    }
    let large = ["--images", "4000000000", "--dim", "1048576"];
    run(&[&["bench", "logistic"][..], &large].concat()).refused(2, &["--images", "memory"]);
    run(&["bench", "logistic", "--labels", path]).refused(2, &["--features"]);
}

#[test]
fn every_layer_is_measured_in_all_three_passes() {
    let value = object(&[
        "bench", "kernels", "--width", "4", "--size", "8", "--batch", "1", "--budget", "0",
    ]);
    let layers = value["layers"].as_array().unwrap();
    assert!(layers.len() > 20, "{value}");
    for layer in layers {
        assert!(layer["layer"].is_string() && layer["network"].is_string(), "{layer}");
        positive(layer, &["forward_gflops", "input_gradient_gflops", "weight_gradient_gflops"]);
        positive(layer, &["product_gflops"]);
    }
}

#[test]
fn the_pipeline_is_timed_with_and_without_decoding() {
    let value = object(&["bench", "data", "--size", "8", "--images", "64"]);
    positive(&value, &["images_per_s_per_core"]);
    assert_eq!((&value["size"], &value["decode"]), (&8.into(), &false.into()));
    let photographs = root().join("crates/vssl-data/tests/images");
    let folder = tempfile::tempdir().unwrap();
    for name in ["jpeg_420.jpg", "png_rgb.png"] {
        std::fs::copy(photographs.join(name), folder.path().join(name)).unwrap();
    }
    let folder = folder.path().to_str().unwrap();
    let value = object(&["bench", "data", "--size", "40", "--images", "4", "--root", folder]);
    positive(&value, &["images_per_s_per_core"]);
    assert_eq!((&value["images"], &value["decode"]), (&4.into(), &true.into()));
}

#[test]
fn the_way_from_files_to_features_is_timed() {
    let value = object(&["bench", "embed", "--width", "4", "--size", "16", "--images", "70"]);
    positive(&value, &["images_per_s", "seconds", "batch", "peak_rss_mib", "threads"]);
    assert_eq!((&value["images"], &value["decode"]), (&70.into(), &false.into()), "{value}");
    assert_eq!((&value["stem"], &value["dim"]), (&"cifar".into(), &32.into()), "{value}");
    let photographs = root().join("crates/vssl-data/tests/images");
    let folder = tempfile::tempdir().unwrap();
    for name in ["jpeg_420.jpg", "png_rgb.png"] {
        std::fs::copy(photographs.join(name), folder.path().join(name)).unwrap();
    }
    let folder = folder.path().to_str().unwrap();
    let value = object(&[
        "bench",
        "embed",
        "--backbone",
        "vit-tiny",
        "--size",
        "32",
        "--root",
        folder,
        "--images",
        "5",
        "--batch",
        "2",
        "--workers",
        "0",
    ]);
    positive(&value, &["images_per_s"]);
    assert_eq!((&value["images"], &value["decode"]), (&5.into(), &true.into()), "{value}");
    assert_eq!((&value["batch"], &value["workers"]), (&2.into(), &0.into()), "{value}");
    let one = ["bench", "embed", "--width", "4", "--size", "8", "--images", "1", "--threads", "1"];
    for part in [", 1 image of 8×8", "with 1 thread and", "1 image in a forward pass"] {
        assert!(run(&one).succeeded().contains(part), "{part}");
    }
    let table = run(&["bench", "embed", "--width", "4", "--size", "70", "--images", "2"]);
    for part in ["70×70", "images/s", "in a forward pass", "peak memory"] {
        assert!(table.succeeded().contains(part), "{}", table.out);
    }
    let few =
        ["bench", "embed", "--width", "4", "--size", "8", "--images", "2", "--batch", "65536"];
    assert_eq!(object(&few)["batch"], 2);
}

#[test]
fn benchmarks_that_make_no_sense_end_with_2() {
    let cases: [(&[&str], &str); 18] = [
        (&["bench"], "Usage"),
        (&["bench", "step", "--method", "pca"], "expected one of"),
        (&["bench", "step", "--steps", "0"], "0 is not in"),
        (&["bench", "step", "--stem", "vit"], "imagenet"),
        (&["bench", "step", "--size", "2", "--stem-padding", "0"], "at least 3"),
        (&["bench", "step", "--backbone", "vit-tiny", "--size", "40"], "multiple of the patch"),
        (
            &["bench", "step", "--backbone", "vit-tiny", "--size", "48", "--local-views", "2"],
            "--local-size 24, by default half of --size: expected a multiple of the patch",
        ),
        (
            &["bench", "step", "--backbone", "vit-tiny", "--size", "24", "--local-views", "2"],
            "--size 24: expected a multiple of the patch",
        ),
        (&["bench", "logistic", "--images", "50"], "at least as many images as --classes, 100"),
        (&["bench", "step", "--patch", "8"], "--patch"),
        (&["bench", "knn", "--dim", "0"], "0 is not in"),
        (&["bench", "kernels", "--batch", "0"], "0 is not in"),
        (&["bench", "data", "--blur", "1.5"], "blur"),
        (&["bench", "data", "--size", "0"], "0 is not in"),
        (&["bench", "embed", "--batch", "0"], "0 is not in"),
        (&["bench", "embed", "--backbone", "vit-tiny", "--size", "40"], "multiple of the patch"),
        (&["bench", "embed", "--backbone", "vit-tiny", "--stem", "cifar"], "--stem"),
        (&["bench", "embed", "--width", "1025"], "1025 is not in"),
    ];
    for (arguments, part) in cases {
        let done = run(arguments);
        assert_eq!(done.code, Some(2), "{arguments:?}: {}{}", done.out, done.error);
        assert!(done.error.contains(part), "{arguments:?}: {}", done.error);
    }
    let missing = run(&["bench", "data", "--root", "no/such/folder"]);
    missing.refused(1, &["no/such/folder"]);
}

#[test]
fn small_crops_and_another_optimizer_take_part() {
    let dino = ["--method", "dino", "--local-views", "3", "--optimizer", "adamw", "--dim", "8"];
    let small = &TINY_STEP[..TINY_STEP.len() - 2];
    let value = object(&[small, &dino].concat());
    assert_eq!((&value["views"], &value["method"]), (&5.into(), &"dino".into()), "{value}");
    let done = run(&[small, &["--method", "byol", "--local-size", "4"]].concat());
    done.refused(2, &["--local-views"]);
}

#[test]
fn the_parts_of_a_step_are_shown() {
    let value = object(&[TINY_STEP.as_slice(), &["--breakdown"]].concat());
    for part in ["teacher", "backbone", "heads", "loss", "optimizer", "memory"] {
        assert!(value["parts_s"][part][0].as_f64().is_some_and(|seconds| seconds > 0.0), "{value}");
    }
    positive(&value, &["step_by_networks"]);
    let table = run(&[TINY_STEP.as_slice(), &["--breakdown"]].concat());
    for part in ["part          forward   backward", "backbone", "times as long as the passes"] {
        assert!(table.succeeded().contains(part), "{}", table.out);
    }
}

#[test]
fn a_step_of_a_recipe_is_that_of_its_run() {
    let recipe = root().join("recipes/quickstart.toml");
    let recipe = recipe.to_str().unwrap();
    let bench = ["bench", "step", "--recipe", recipe, "--steps", "1", "--warmup", "1"];
    let small = ["--set", "backbone.width=4", "--set", "train.batch=16", "--set", "vssl.dim=8"];
    let value = object(&[bench.as_slice(), &small, &["--breakdown"]].concat());
    assert_eq!((&value["batch"], &value["width"]), (&16.into(), &4.into()), "{value}");
    assert!(value["parts_s"]["loader"][0].as_f64().is_some_and(|seconds| seconds > 0.0), "{value}");
    let other = object(&[bench.as_slice(), &small, &["--set", "seed=7"]].concat());
    assert_ne!(value["loss"], other["loss"]);
    // Checkpoints for which no disk has room are not written.
    let checkpoints =
        ["--set", "checkpoint.every_steps=1", "--set", "checkpoint.keep=1000000000000"];
    let long = ["--set", "train.epochs=1000000000"];
    let value = object(&[bench.as_slice(), &small, &checkpoints, &long].concat());
    assert_eq!(value["batch"], 16, "{value}");
    let done = run(&[bench.as_slice(), &["--batch", "16"]].concat());
    done.refused(2, &["--recipe", "--batch"]);
    let done = run(&[bench.as_slice(), &small, &["--set", "train.max_steps=1"]].concat());
    done.refused(2, &["the recipe makes 1 step,", "--warmup", "raise train.max_steps"]);
}

/// The folder that a benchmark names as its run's is none that holds a teacher or an encoder to start from.
#[test]
fn a_step_of_a_recipe_with_a_teacher_is_timed() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = folder.path().join("teacher");
    let recipe = root().join("recipes/quickstart.toml");
    let small = ["--set", "backbone.width=4", "--set", "train.batch=16", "--set", "vssl.dim=8"];
    let short = ["--set", "train.max_steps=1", "--set", "evaluation.enabled=false"];
    let pretrain = ["pretrain", recipe.to_str().unwrap(), "--out", teacher.to_str().unwrap()];
    run(&[pretrain.as_slice(), &small, &short].concat()).succeeded();
    let distill = root().join("recipes/cifar10-small/distill.toml");
    let from = format!("teacher.from={}", teacher.display());
    let data = ["data.format=idx", "data.path=data/fashion-mnist-tenth", &from, "train.batch=16"];
    let bench = ["bench", "step", "--recipe", distill.to_str().unwrap(), "--steps", "1"];
    let settings: Vec<&str> = data.iter().flat_map(|setting| ["--set", setting]).collect();
    let value = object(&[bench.as_slice(), &settings].concat());
    assert_eq!((&value["method"], &value["batch"]), (&"distill".into(), &16.into()), "{value}");
}
