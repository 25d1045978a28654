//! `vssl config`, and recipes that are wrong.

use serde_json::Value;

use super::{recipe, run};

const MINIMAL: &str = "method = \"vssl\"\ndata.path = \"images\"\n";

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(run(arguments).succeeded()).unwrap()
}

#[test]
fn a_resolved_recipe_shows_where_each_value_comes_from() {
    let shown = run(&["config", "recipes/quickstart.toml", "--set", "train.epochs=3"]);
    let text = shown.succeeded();
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap();
    assert!(line("epochs = 3 ").ends_with("# --set"), "{text}");
    assert!(line("architecture = ").contains("# recipes/quickstart.toml:"), "{text}");
    assert!(line("kl_weight = 1.0").ends_with("# default"), "{text}");
}

#[test]
fn what_config_prints_is_a_recipe_with_the_same_values() {
    let folder = tempfile::tempdir().unwrap();
    let printed = run(&["config", "recipes/cifar10/vssl.toml"]);
    let path = recipe(folder.path(), printed.succeeded());
    let (was, now) = (
        json(&["config", "recipes/cifar10/vssl.toml", "--json"]),
        json(&["config", &path, "--json"]),
    );
    assert_eq!(now["recipe"], was["recipe"]);
}

#[test]
fn json_has_values_and_origins() {
    let value = json(&["config", "recipes/quickstart.toml", "--json", "--set", "seed=7"]);
    assert_eq!(value["recipe"]["seed"], 7);
    assert_eq!(value["origin"]["seed"], "--set");
    assert_eq!(value["origin"]["knn.temperature"], "default");
}

#[test]
fn a_key_without_a_value_is_removed() {
    let all = json(&["config", "recipes/quickstart.toml", "--json"]);
    let without = ["config", "recipes/quickstart.toml", "--json", "--set", "optimizer.lr="];
    let without = json(&without);
    assert_ne!(without["recipe"]["optimizer"]["lr"], all["recipe"]["optimizer"]["lr"]);
    assert_eq!(without["origin"]["optimizer.lr"], "default");
    let limit = ["train.max_steps=9", "train.max_steps="].map(|text| ["--set", text]).concat();
    let none = json(&[&["config", "recipes/quickstart.toml", "--json"][..], &limit].concat());
    assert!(none["recipe"]["train"].get("max_steps").is_none(), "{none}");
    let refused = |text: &str| run(&["config", "recipes/quickstart.toml", "--set", text]);
    refused("train.max_steps=").refused(2, &["train.max_steps", "is not set"]);
    refused("train.epoch=").refused(2, &["train.epoch", "is not set"]);
    refused("method=").refused(2, &["`method` is required"]);
    refused("data.path=").refused(2, &["data.path is not set"]);
}

#[test]
fn wrong_recipes_are_refused_with_key_line_and_what_was_expected() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&str, &[&str]); 9] = [
        ("[optimiser]\nlr = 1.0", &["a.toml:3: unknown key `optimiser`", "mean `optimizer`?"]),
        (
            "[optimizer]\nlearn = 1",
            &["a.toml:4: unknown key `learn` in [optimizer]", "weight_decay"],
        ),
        ("[optimizer]\nlr = -1", &["a.toml:4: optimizer.lr is -1;", "4 | lr = -1\n", "^^"]),
        ("[train]\nepochs = \"ten\"", &["a.toml:4: train.epochs is the text \"ten\"", "whole"]),
        ("[train]\nbatch = 0", &["a.toml:4: train.batch is 0; expected at least 2"]),
        ("[[views]]\nflip = 2", &["a.toml:4: views.0.flip is 2; expected a number from 0 to 1"]),
        ("[vssl]\nprior = \"projektor\"", &["a.toml:4: vssl.prior", "mean `projector`?"]),
        (
            "[optimizer]\nbeta1 = 0.9",
            &["a.toml:4: optimizer.beta1 is a key of", "name = \"lars\"", "remove `beta1`"],
        ),
        ("[train", &["a.toml:3: "]),
    ];
    for (table, parts) in cases {
        let path = recipe(folder.path(), &format!("{MINIMAL}{table}\n"));
        run(&["config", &path]).refused(2, parts);
        run(&["pretrain", &path]).refused(2, parts);
    }
}

#[test]
fn wrong_overrides_are_named_as_typed() {
    let cases = [
        ("train.epochs", "--set train.epochs: there is no `=`"),
        ("train.epochs=0", "--set train.epochs=0: train.epochs is 0; expected at least 1"),
        ("train.epoch=1", "--set train.epoch=1: unknown key `epoch` in [train]"),
        ("method=nothing", "--set method=nothing: method is \"nothing\"; expected"),
    ];
    for (text, expected) in cases {
        run(&["config", "recipes/quickstart.toml", "--set", text]).refused(2, &[expected]);
    }
}

#[test]
fn a_recipe_that_is_not_there_is_named() {
    run(&["config", "recipes/no.toml"]).refused(2, &["recipe recipes/no.toml: "]);
    run(&["config", "recipes"]).refused(2, &["recipe recipes: "]);
}

#[test]
fn an_unknown_evaluator_is_refused_with_the_list() {
    let unknown = "evaluation.evaluators=[\"knm\"]";
    let refused = run(&["config", "recipes/quickstart.toml", "--set", unknown]);
    refused.refused(2, &["knm", "knn, linear, spectrum"]);
}

#[test]
fn another_choice_on_the_command_line_leaves_out_the_keys_of_the_first_and_says_so() {
    let recipe = "recipes/cifar10/vssl.toml";
    let switched =
        run(&["config", recipe, "--set", "optimizer.name=adamw", "--set", "optimizer.lr=0.001"]);
    let text = switched.succeeded();
    assert!(text.contains("name = \"adamw\"") && !text.contains("\neta"), "{text}");
    assert!(
        switched.error.contains("belong to another name and are left out"),
        "{}",
        switched.error
    );
    let typed =
        run(&["config", recipe, "--set", "optimizer.name=adamw", "--set", "optimizer.eta=0.1"]);
    typed.refused(2, &["--set optimizer.eta=0.1", "eta is a key of lars"]);
}

#[test]
fn a_key_of_another_schedule_is_named_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let text = "method = \"vssl\"\n[data]\npath = \"x\"\n[schedule]\nname = \"steps\"\n\
                milestones = [1]\nmin = 0.5\n";
    let recipe = super::recipe(folder.path(), text);
    run(&["config", &recipe]).refused(
        2,
        &[
            "a.toml:7",
            "schedule.min is a key of warmup-cosine",
            "expected one of name, milestones, gamma",
        ],
    );
}
