//! Puts the commit, the features, the target and the compiler into the binary, so that every result says which
//! code made it, and `--version` how it was built.

use std::{env, process::Command};

fn main() {
    let output = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let git = |arguments: &[&str]| output("git", arguments);
    // A build from a published crate or an archive has no repository; summaries then have no commit. Where
    // the archive lies in another repository, this file is not tracked there.
    if git(&["ls-files", "--error-unmatch", "build.rs"]).is_some() {
        if let Some(commit) = git(&["rev-parse", "HEAD"]) {
            println!("cargo::rustc-env=VSSL_COMMIT={commit}");
        }
        if let Some(folder) = git(&["rev-parse", "--absolute-git-dir"]) {
            println!("cargo::rerun-if-changed={folder}/HEAD");
            println!("cargo::rerun-if-changed={folder}/logs/HEAD");
        }
    }
    let mut features: Vec<String> = env::vars()
        .filter_map(|(name, _)| Some(name.strip_prefix("CARGO_FEATURE_")?.to_lowercase()))
        .collect();
    features.sort();
    println!("cargo::rustc-env=VSSL_FEATURES={}", features.join(", "));
    let known = |name: &str| env::var(name).ok();
    let compiler = known("RUSTC").and_then(|rustc| output(&rustc, &["--version"]));
    for (name, value) in [("VSSL_TARGET", known("TARGET")), ("VSSL_RUSTC", compiler)] {
        if let Some(value) = value {
            println!("cargo::rustc-env={name}={value}");
        }
    }
    println!("cargo::rerun-if-changed=build.rs");
}
