//! The worked example of the book's chapter "Add a method", trained.

use std::path::Path;

use vssl::{Recipe, method::learner::erase, recipe::Entry, run::folder};

#[allow(dead_code, reason = "its main prints what the test reads")]
#[path = "../../examples/own_method.rs"]
pub mod example;

use example::Uniformity;

#[test]
fn an_own_method_learns_and_its_recipe_can_be_read_again() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let changes = ["train.max_steps=40".to_owned(), "data.limit_train=3000".to_owned()];
    let mut out = Vec::new();
    let summary = example::run(&root, &run, &changes, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    let loss = |line: &str| line.rsplit_once("loss ")?.1.parse::<f32>().ok();
    let losses: Vec<f32> = out.lines().filter_map(loss).collect();
    assert_eq!(losses.len(), 4, "{out}");
    assert!(losses[3] < losses[0] - 0.1, "{out}");
    assert!(summary.figure("knn_top1").unwrap() > 50.0, "{out}");
    assert_eq!((summary.method.as_str(), summary.steps), ("uniformity", 40));

    let text = folder::recipe_of(&run).unwrap();
    assert!(text.contains("[uniformity]\nhidden = 128\ndim = 32"), "{text}");
    let own = [Entry::of::<Uniformity>("uniformity", "on the sphere", "arXiv:2005.10242")];
    let (again, _) = Recipe::parse(&text, "recipe.toml", &[], &own).unwrap();
    let method = Uniformity { hidden: 128, dim: 32, weight: 1.0 };
    assert_eq!(again.method.settings(), erase("uniformity", method).settings());
}
