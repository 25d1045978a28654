//! Help, and arguments that make no sense.

use super::run;

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
