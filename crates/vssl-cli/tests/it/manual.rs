//! Completions, manual pages and the version.

use std::fs;

use serde_json::Value;

use super::run;

#[test]
fn every_shell_gets_a_script_that_knows_the_commands_and_their_options() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let done = run(&["completions", shell]);
        let script = done.succeeded();
        for part in ["pretrain", "new-recipe", "temperature", "allow-changed-data"] {
            assert!(script.contains(part), "{shell}: {part} is missing");
        }
    }
    run(&["completions", "tcsh"]).refused(2, &["tcsh", "bash", "zsh"]);
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("man/man1");
    let done = run(&["man", to.to_str().unwrap(), "--json"]);
    let told: Value = serde_json::from_str(done.succeeded()).unwrap();
    let pages = told["pages"].as_array().unwrap();
    assert_eq!(fs::read_dir(&to).unwrap().count(), pages.len());
    for (page, parts) in [
        ("vssl.1", ["vssl\\-pretrain(1)", "Exit codes"]),
        ("vssl-pretrain.1", ["train.epochs", "\\-\\-resume"]),
        ("vssl-data-show.1", ["FILE.png", "\\-\\-draws"]),
    ] {
        let text = fs::read_to_string(to.join(page)).unwrap();
        for part in parts {
            assert!(text.contains(part), "{page}: {part} is missing in\n{text}");
        }
    }
    fs::write(folder.path().join("file"), "").unwrap();
    let file = folder.path().join("file");
    run(&["man", file.to_str().unwrap()]).refused(1, &["file", "folder"]);
}

#[test]
fn the_version_tells_commit_features_target_and_instructions() {
    let short = run(&["-V"]);
    assert_eq!(short.succeeded(), format!("vssl {}\n", env!("CARGO_PKG_VERSION")));
    let long = run(&["--version"]);
    let lines: Vec<&str> = long.succeeded().lines().collect();
    let names: Vec<&str> =
        lines.iter().skip(1).filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(lines[0], short.out.trim());
    assert_eq!(names, ["commit", "features", "target", "compiler", "SIMD"], "{}", long.out);
    let value = |at: usize| lines[at].split_once(": ").unwrap().1;
    let commit = value(1);
    let is_commit = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(is_commit || commit.starts_with("unknown"), "{commit}");
    let built: Vec<&str> = value(2).split(", ").collect();
    assert_eq!(built.contains(&"mpi"), cfg!(feature = "mpi"), "{built:?}");
    assert!(value(3).contains(std::env::consts::ARCH), "{}", long.out);
    let known = ["avx512", "avx2", "neon", "portable"];
    assert!(known.iter().any(|name| value(5).starts_with(name)), "{}", long.out);
}
