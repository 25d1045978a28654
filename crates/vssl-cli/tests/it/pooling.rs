//! `--pooling`: the feature of a transformer that commands evaluate.

use std::{fs, path::Path};

use serde_json::Value;

use super::{embed::photographs, recipe, run};

const VIT: &str = r#"
method = "simclr"
simclr = { projector_hidden = 16, dim = 8 }
[data]
format = "idx"
path = "data/fashion-mnist-tenth"
limit_train = 64
limit_validation = 40
[[views]]
count = 2
size = 28
[backbone]
architecture = "vit-tiny"
vit = { width = 12, depth = 2, patch = 7, image_size = 28 }
[optimizer]
name = "adamw"
lr = 1e-3
[schedule]
name = "constant"
[train]
epochs = 1
batch = 16
[evaluation]
pixels = false
untrained = false
"#;

fn trained(folder: &Path, name: &str, more: &str) -> String {
    let out = folder.join(name).to_str().unwrap().to_owned();
    run(&["pretrain", &recipe(folder, &format!("{VIT}{more}")), "--out", &out, "--quiet"])
        .succeeded();
    out
}

fn events(arguments: &[&str]) -> Vec<Value> {
    let done = run(arguments);
    done.succeeded().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn summary(folder: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(Path::new(folder).join("summary.json")).unwrap())
        .unwrap()
}

#[test]
fn the_feature_that_was_asked_for_is_evaluated_and_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", "");
    let of_mean = trained(folder.path(), "mean", "pooling = \"mean\"\n");
    for (pooling, dim) in [("token", 12), ("mean", 12), ("token-mean", 24)] {
        let name = pooling.replace('-', "_");
        let knn = events(&["knn", &out, "--pooling", pooling, "--json"]);
        assert!(
            knn[..knn.len() - 1]
                .iter()
                .all(|cell| cell["dim"] == dim && cell["pooling"] == name.as_str())
        );
        let evaluated = &events(&["evaluate", &out, "--pooling", pooling, "--json"])[0];
        assert_eq!(
            (&evaluated["dim"], &evaluated["pooling"]),
            (&dim.into(), &name.as_str().into())
        );
        if pooling == "mean" {
            let told = &summary(&of_mean);
            for figure in ["knn_top1", "linear_top1"] {
                assert_eq!(evaluated["figures"][figure], told[figure], "{figure}");
            }
            // Without the option, the recipe of a run says it.
            let by_recipe = &events(&["evaluate", &of_mean, "--json"])[0];
            assert_eq!(by_recipe["figures"], evaluated["figures"]);
        }
    }
    // Results on another feature have a folder of their own.
    run(&["linear", &out, "--cached"]).succeeded();
    let done = run(&["linear", &out, "--cached", "--pooling", "mean"]);
    assert!(done.succeeded().contains("the feature is the mean of the patches"), "{}", done.out);
    assert!(done.error.contains("the mean of the patches (--pooling)"), "{}", done.error);
    run(&["linear", &of_mean, "--cached"]).succeeded();
    let [own, mean, by_recipe] = [
        format!("{out}/linear-cached"),
        format!("{out}/linear-cached-mean"),
        format!("{of_mean}/linear-cached"),
    ]
    .map(|folder| summary(&folder));
    assert_eq!(
        [&own["pooling"], &mean["pooling"], &by_recipe["pooling"]],
        ["token", "mean", "mean"]
    );
    assert_eq!(mean["top1"], by_recipe["top1"]);
}

#[test]
fn an_evaluation_goes_on_only_with_the_feature_that_it_began_with() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", "");
    let to = folder.path().join("linear").to_str().unwrap().to_owned();
    let set = ["--set", "train.epochs=1", "--set", "rates=[0.3]"];
    let linear = ["linear", &out, "--out", &to, "--pooling", "token-mean"];
    run(&[&linear[..], &set].concat()).succeeded();
    assert_eq!(summary(&to)["pooling"], "token_mean");
    let longer = ["--resume", "--set", "train.epochs=2"];
    run(&[&linear[..4], &longer].concat()).refused(2, &["pooling"]);
    run(&[&linear[..], &longer].concat()).succeeded();
    run(&["finetune", &out, "--pooling", "token-mean"])
        .refused(2, &["token_mean", "expected token or mean"]);
}

#[test]
fn an_index_remembers_its_feature() {
    let folder = tempfile::tempdir().unwrap();
    let out = trained(folder.path(), "run", "");
    let photos = photographs(folder.path());
    let photos = photos.to_str().unwrap();
    let index = folder.path().join("index.parquet");
    let index = index.to_str().unwrap();
    let embed =
        ["embed", &out, "--images", photos, "--to", index, "--pooling", "token-mean", "--json"];
    let done = events(&embed);
    assert_eq!((&done[0]["dim"], &done[0]["pooling"]), (&24.into(), &"token_mean".into()));
    let query = format!("{photos}/light/08.bmp");
    let found = &events(&["search", index, &query, "--json"])[0]["nearest"][0];
    assert_eq!(found["path"], "light/08.bmp");
    assert!(found["similarity"].as_f64().unwrap() > 0.999_99);
    // An exported file has no recipe and the same tokens.
    let file = folder.path().join("encoder.safetensors");
    let file = file.to_str().unwrap();
    run(&["export", &out, "--to", file]).succeeded();
    let ranked = run(&["rank", file, &out, "--images", photos, "--pooling", "mean"]);
    assert!(ranked.succeeded().contains("12"), "{}", ranked.out);
    assert!(ranked.error.contains("the feature is the mean of the patches"), "{}", ranked.error);
}

#[test]
fn a_network_without_tokens_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let resnet = VIT
        .replace("vit-tiny", "resnet18")
        .replace("vit = { width = 12, depth = 2, patch = 7, image_size = 28 }", "width = 2");
    let text = format!("{resnet}pooling = \"mean\"\n");
    run(&["config", &recipe(folder.path(), &text)])
        .refused(2, &["evaluation.pooling", "resnet18", "only transformers"]);
    let out = folder.path().join("run").to_str().unwrap().to_owned();
    run(&["pretrain", &recipe(folder.path(), &resnet), "--out", &out, "--quiet"]).succeeded();
    run(&["knn", &out, "--pooling", "token"]).refused(2, &["resnet18", "only transformers"]);
}
