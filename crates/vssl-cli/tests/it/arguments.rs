//! Help, and arguments that make no sense.

use std::fs;

use serde_json::Value;

use super::{done, report::trained, run, vssl};

#[test]
fn every_command_helps_with_an_example() {
    let commands = [
        "",
        "pretrain",
        "config",
        "data",
        "data fetch",
        "data check",
        "export",
        "bench",
        "bench step",
        "bench kernels",
        "bench data",
    ];
    for command in commands {
        let mut arguments: Vec<&str> = command.split_whitespace().collect();
        arguments.push("--help");
        let help = run(&arguments);
        assert!(help.succeeded().contains("\n  vssl "), "{command:?}:\n{}", help.out);
    }
}

#[test]
fn wrong_arguments_end_with_2() {
    let cases: [(&[&str], &str); 8] = [
        (&["pretran"], "pretrain"),
        (&["pretrain"], "required"),
        (&["pretrain", "a.toml", "--resume", "runs/a"], "cannot be used with"),
        (&["pretrain", "a.toml", "--frobnicate"], "--frobnicate"),
        (&["config", "a.toml", "--threads", "0"], "0"),
        (&["config", "a.toml", "--quiet", "--json"], "cannot be used with"),
        (&["data", "fetch", "imagenet"], "cifar10, cifar100, fashion-mnist"),
        (&["export", "runs/a", "--to", "a", "--checkpoint", "step-x"], "step-1000"),
    ];
    for (arguments, part) in cases {
        run(arguments).refused(2, &[part]);
    }
}

#[test]
fn an_unknown_device_lists_the_known_ones() {
    let refused = run(&["pretrain", "recipes/quickstart.toml", "--device", "gpu"]);
    refused.refused(2, &["gpu", "cpu", "cuda:1", "vulkan", "metal", "webgpu"]);
}

#[test]
fn half_precision_on_the_cpu_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let told = ["device cpu", "single precision", "expected f32", "--device"];
    for (flag, value) in [("--precision", "bf16"), ("--set", "train.precision=f16")] {
        let recipe = "recipes/quickstart.toml";
        let out = out.to_str().unwrap();
        run(&["pretrain", recipe, "--out", out, flag, value]).refused(2, &told);
    }
    assert!(!out.exists());
    run(&["bench", "step", "--precision", "f16"]).refused(2, &told);
    let unknown = run(&["pretrain", "recipes/quickstart.toml", "--precision", "fp8"]);
    unknown.refused(2, &["fp8", "f32, bf16, f16"]);
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_device_that_was_not_built_names_its_feature() {
    let refused = run(&["pretrain", "recipes/quickstart.toml", "--device", "cuda:1"]);
    refused.refused(2, &["cuda:1", "cargo build --release --features cuda"]);
}

#[test]
fn what_the_system_refuses_is_told_with_the_place_and_what_it_means() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let recipe = "recipes/quickstart.toml";
    fs::write(at("file"), "text").unwrap();
    fs::create_dir(at("folder")).unwrap();
    std::os::unix::fs::symlink("nowhere", at("link")).unwrap();
    let file = at("file");
    run(&["pretrain", "--resume", recipe])
        .refused(1, &["quickstart.toml: a file; expected a run folder", "vssl pretrain recipes/"]);
    run(&["pretrain", "--resume", &file]).refused(1, &["file: a file; expected a run folder"]);
    run(&["config", &at("folder")])
        .refused(2, &["folder: this is a folder; expected a file (.toml)"]);
    run(&["config", &at("link")])
        .refused(2, &["link: this is a link to nowhere, which does not exist"]);
    run(&["pretrain", recipe, "--out", &file])
        .refused(1, &["file: this is a file; expected a folder"]);
    run(&["table", &at("none")]).refused(1, &["none: does not exist"]);
    let new = ["new-recipe", "byol", "--data", "data/fashion-mnist-tenth", "--out"];
    let out = at("no/such/a.toml");
    run(&[&new[..], &[&out]].concat())
        .refused(1, &["no/such does not exist", "make the folder first"]);
    run(&[&new[..], &[&out, "--force"]].concat())
        .refused(1, &["no/such does not exist; make it first"]);
    let refused = run(&["config", &at("no/such/recipe.toml")]);
    refused.refused(2, &["no/such does not exist"]);
    assert!(!refused.error.contains("make it"), "{}", refused.error);
    let missing = at("no/such/x.npy");
    let refused = run(&["knn", "--features", &missing, "--queries", &file]);
    refused.refused(1, &["no/such does not exist"]);
    assert!(!refused.error.contains("make it"), "{}", refused.error);
    let linear = ["linear", "no/such/run", "--config", &at("folder")];
    run(&linear).refused(1, &["no/such/run: does not exist"]);
}

#[test]
fn values_that_make_no_sense_are_refused_with_what_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", &[]);
    let out = out.to_str().unwrap();
    run(&["finetune", out, "--labels", "10%"]).refused(2, &["--labels 0.1", "percent"]);
    run(&["config", "recipes/quickstart.toml", "--set", "data.workers=100000"])
        .refused(2, &["data.workers", "at most 1024"]);
    run(&["linear", out, "--set", "data.workers=100000"]).refused(2, &["at most 1024"]);
    run(&["knn", out, "--confusion", "conf.txt"]).refused(2, &["conf.txt", "ends in .csv"]);
    run(&["knn", out, "--k", "-1"]).refused(2, &["invalid value '-1'", "--k"]);
    let k = run(&["knn", out]);
    k.succeeded();
    assert!(!k.error.contains("--k 200"), "nobody gave it: {}", k.error);
    assert!(run(&["knn", out, "--k", "100"]).error.contains("--k 100: only 64 images"));
    let plain = trained(folder.path(), "plain", &["checkpoint.best=false"]);
    let to = folder.path().join("a.onnx");
    let export = ["export", plain.to_str().unwrap(), "--to", to.to_str().unwrap()];
    let best = run(&[&export[..], &["--checkpoint", "best"]].concat());
    best.refused(1, &["no checkpoint best", "checkpoint.best = true"]);
}

#[test]
fn quiet_prints_the_result_alone_and_json_is_json() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", &[]);
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (out, to) = (out.to_str().unwrap(), at("encoder.safetensors"));
    let exported = run(&["export", out, "--to", &to, "--quiet"]);
    assert_eq!((exported.succeeded(), exported.error.as_str()), (format!("{to}\n").as_str(), ""));
    let again = at("again.safetensors");
    let imported = run(&["import", &to, "--to", &again, "--quiet"]);
    assert_eq!(
        (imported.succeeded(), imported.error.as_str()),
        (format!("{again}\n").as_str(), "")
    );
    let linear =
        run(&["linear", out, "--set", "train.epochs=1", "--set", "train.batch=16", "--quiet"]);
    assert!(linear.succeeded().trim().parse::<f64>().is_ok(), "{}", linear.out);
    assert_eq!(linear.error, "");
    for command in [&["completions", "bash"][..], &["--version"]] {
        let value: Value =
            serde_json::from_str(run(&[command, &["--json"]].concat()).succeeded()).unwrap();
        assert!(value["event"].is_string() && value.as_object().unwrap().len() > 2, "{value}");
    }
}

#[test]
fn a_note_of_the_start_is_not_told_again_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", &[]);
    let mut command = vssl(&["pretrain", "--resume"]);
    command.arg(&out).args(["--set", "train.max_steps=5"]);
    let longer = done(command.output().unwrap());
    let said = longer.succeeded();
    assert_eq!(said.matches("prefetched views take at most").count(), 1, "{said}");
}
