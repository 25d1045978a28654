//! The worked example of the book's chapter "Add a method", trained.

use std::path::Path;

#[allow(dead_code, reason = "its main prints what the test reads")]
#[path = "../../examples/own_method.rs"]
pub mod example;

#[test]
fn an_own_method_learns() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut out = Vec::new();
    let top1 = example::run(&root, 40, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    let loss = |line: &str| line.rsplit_once("loss ")?.1.parse::<f32>().ok();
    let losses: Vec<f32> = out.lines().filter_map(loss).collect();
    assert_eq!(losses.len(), 10, "{out}");
    assert!(losses[9] < losses[0] - 0.1, "{out}");
    assert!(top1 > 0.5, "{out}");
}
