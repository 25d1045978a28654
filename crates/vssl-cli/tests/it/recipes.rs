//! The recipes that ship.

use std::{fs, path::Path};

use serde_json::Value;

use super::{root, run};

fn all(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path.to_str().unwrap().to_owned());
        }
    }
}

#[test]
fn every_recipe_loads_and_its_header_has_its_command() {
    let mut paths = Vec::new();
    all(&root().join("recipes"), &mut paths);
    assert!(paths.len() >= 5, "{paths:?}");
    for path in paths {
        run(&["config", &path, "--quiet"]).succeeded();
        let name = &path[path.rfind("recipes/").unwrap()..];
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(&format!("#   vssl pretrain {name}")), "{path}");
    }
}

#[test]
fn the_recipes_of_the_paper_have_its_scale() {
    let cases = [
        ("cifar10", 1000, 1.0, 1e-5, 2),
        ("cifar100", 1000, 1.0, 1e-5, 2),
        ("imagenet100", 400, 0.5, 1e-6, 1),
    ];
    for (dataset, epochs, lr, weight_decay, padding) in cases {
        let shown = run(&["config", &format!("recipes/{dataset}/vssl.toml"), "--json"]);
        let value: Value = serde_json::from_str(shown.succeeded()).unwrap();
        let recipe = &value["recipe"];
        assert_eq!(recipe["train"]["epochs"], epochs);
        assert_eq!(recipe["train"]["batch"], 256);
        assert_eq!(recipe["optimizer"]["name"], "lars");
        assert_eq!(recipe["optimizer"]["lr"], lr);
        assert_eq!(recipe["optimizer"]["weight_decay"], weight_decay);
        assert_eq!(recipe["backbone"]["width"], 64);
        assert_eq!(recipe["backbone"]["stem_padding"], padding);
        assert_eq!(recipe["views"].as_array().unwrap().len(), 2);
        assert_eq!(recipe["views"][0]["solarize"], 0.0);
        assert_eq!(recipe["views"][1]["solarize"], 0.2);
    }
}
