//! The answer to `--version`: which code this is, how it was built, and what the machine offers.

use std::sync::LazyLock;

use serde_json::{Value, json};
use vssl_kernels::Isa;

static LONG: LazyLock<String> = LazyLock::new(|| {
    let unknown = |value: Option<&'static str>| value.unwrap_or("unknown").to_owned();
    let features = if FEATURES.is_empty() { "none" } else { FEATURES };
    format!(
        "{}\ncommit: {}\nfeatures: {features}\ntarget: {}\ncompiler: {}\nSIMD: {} (best of this machine)",
        env!("CARGO_PKG_VERSION"),
        COMMIT.unwrap_or("unknown, built outside of its git repository"),
        unknown(TARGET),
        unknown(COMPILER),
        Isa::all_available()[0].name(),
    )
});

/// The commit that the program was built from; `None` outside of its repository.
pub const COMMIT: Option<&str> = option_env!("VSSL_COMMIT");
const TARGET: Option<&str> = option_env!("VSSL_TARGET");
const COMPILER: Option<&str> = option_env!("VSSL_RUSTC");
/// The features that the program was built with, separated by commas or spaces; empty for none.
const FEATURES: &str = match option_env!("VSSL_FEATURES") {
    Some(features) => features,
    None => "",
};

/// Version, commit, features, target, compiler and instruction set, a line each.
pub fn long() -> &'static str {
    &LONG
}

/// The same as an object, for programs.
pub fn json() -> Value {
    let features = FEATURES.split([',', ' ']).filter(|name| !name.is_empty());
    json!({
        "event": "version", "version": env!("CARGO_PKG_VERSION"), "commit": COMMIT,
        "features": features.collect::<Vec<_>>(), "target": TARGET, "compiler": COMPILER,
        "simd": Isa::all_available()[0].name(),
    })
}
