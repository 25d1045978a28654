//! The accuracy by class on the page of a run: which evaluations are shown, and which are not.

use std::fs;

use burn::tensor::Device;
use serde_json::{Value, json};
use vssl::{
    page::RunView,
    run::stop::Stop,
    train::{Plan, pretrain},
};

use super::{
    embedded::pictures,
    training::{Silent, environment, recipe},
};

fn shown(run: &std::path::Path) -> (Vec<Value>, Option<String>) {
    let (views, note) = RunView::read(run).unwrap().classes;
    (views.iter().map(|view| serde_json::to_value(view).unwrap()).collect(), note)
}

#[test]
fn the_page_has_the_classes_of_the_last_step_and_of_evaluations_of_that_step() {
    let folder = tempfile::tempdir().unwrap();
    for split in ["train", "val"] {
        pictures(&folder.path().join("images").join(split));
    }
    let text = format!(
        r#"
        method = "simclr"
        data = {{ format = "folder", path = {:?} }}
        views = [{{ count = 2, size = 16 }}]
        backbone = {{ width = 2, stem = "cifar" }}
        schedule = {{ name = "warmup-cosine", warmup_epochs = 0 }}
        train = {{ epochs = 1, batch = 4 }}
        evaluation = {{ evaluators = ["knn"], untrained = false, pixels = false }}
        "#,
        folder.path().join("images")
    );
    let run = folder.path().join("run");
    let plan = Plan::new(recipe(&text), &run, environment(Device::flex())).unwrap();
    let summary = pretrain(&plan, &Stop::default(), &mut Silent).unwrap();
    let (views, note) = shown(&run);
    assert_eq!((views.len(), note), (1, None));
    assert_eq!(views[0]["top1"], json!(summary.figure("knn_top1")));
    assert_eq!(views[0]["matrix"][0], json!(["cät, \"wild\"", "dog"]));
    assert!(
        fs::read_to_string(run.join("confusion.csv")).unwrap().contains("\"cät, \"\"wild\"\"\"")
    );

    // Evaluations on labels: one of this step with many classes, one of an earlier step.
    let class = |at: usize| json!({ "class": at.to_string(), "images": 4, "right": at % 5, "top1": at % 5 * 25 });
    let many: Vec<Value> = (0..5000).map(class).collect();
    let report = json!({
        "classifier": "linear, lr 1", "images": 20_000, "top1": 50.0, "balanced_top1": 50.0,
        "classes": 5000, "classes_without_images": 0, "unanswered": 0, "per_class": many,
        "most_confused": [{ "class": "3", "taken_for": "4", "images": 4 }], "matrix": null,
    });
    let reports = json!({ "step": 7, "reports": [report] }).to_string();
    for (name, step) in [("linear", summary.steps), ("finetune-10", summary.steps - 1)] {
        let inside = run.join(name);
        fs::create_dir(&inside).unwrap();
        fs::write(inside.join("settings.toml"), "").unwrap();
        fs::write(inside.join("summary.json"), json!({ "encoder_step": step }).to_string())
            .unwrap();
        fs::write(inside.join("classes.json"), &reports).unwrap();
    }
    let (views, note) = shown(&run);
    assert_eq!((views.len(), note), (2, None));
    assert_eq!(views[1]["classifier"], "linear, lr 1");
    let worst = views[1]["worst"].as_array().unwrap();
    assert!(worst.len() == 12 && worst.iter().all(|class| class["top1"] == 0.0), "{worst:?}");
    assert!(views[1]["matrix"].is_null() && views[1]["file"].as_str().unwrap().contains("linear"));

    // A file of an earlier step is not shown, and a damaged one is named.
    let own = fs::read_to_string(run.join("classes.json")).unwrap();
    let step = format!("\"step\":{}", summary.steps);
    fs::write(run.join("classes.json"), own.replace(&step, "\"step\":1")).unwrap();
    fs::write(run.join("linear/classes.json"), "{\"step\":").unwrap();
    let (views, note) = shown(&run);
    assert!(views.is_empty() && note.unwrap().contains("linear/classes.json: EOF"));
}
