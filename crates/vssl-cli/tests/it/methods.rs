//! `vssl methods`.

use serde_json::Value;

use super::run;

#[test]
fn every_method_has_a_line_with_its_paper() {
    let shown = run(&["methods"]);
    let lines: Vec<&str> = shown.succeeded().lines().collect();
    let names = run(&["methods", "--quiet"]);
    let names: Vec<&str> = names.succeeded().lines().collect();
    assert!(names.contains(&"byol") && names.contains(&"vssl"), "{names:?}");
    assert_eq!(lines.len(), names.len());
    for (line, name) in lines.iter().zip(&names) {
        assert!(line.starts_with(&format!("{name} ")) && line.contains("arXiv:"), "{line}");
    }
    let json = run(&["methods", "--json"]);
    for (line, name) in json.succeeded().lines().zip(&names) {
        let value: Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["method"], *name);
        assert!(value["settings"].is_object() && value["paper"].is_string(), "{line}");
    }
}
