//! The answer to `--version`: which code this is, how it was built, and what the machine offers.

use std::sync::LazyLock;

use vssl_kernels::Isa;

static LONG: LazyLock<String> = LazyLock::new(|| {
    let or = |value: &Option<&'static str>, none: &'static str| value.unwrap_or(none);
    let features = match option_env!("VSSL_FEATURES") {
        Some("") | None => "none",
        Some(features) => features,
    };
    format!(
        "{}\ncommit: {}\nfeatures: {features}\ntarget: {}\ncompiler: {}\nSIMD: {} (best of this machine)",
        env!("CARGO_PKG_VERSION"),
        or(&COMMIT, "unknown, built outside of its git repository"),
        or(&option_env!("VSSL_TARGET"), "unknown"),
        or(&option_env!("VSSL_RUSTC"), "unknown"),
        Isa::all_available()[0].name(),
    )
});

/// The commit that the program was built from; `None` outside of its repository.
pub const COMMIT: Option<&str> = option_env!("VSSL_COMMIT");

/// Version, commit, features, target, compiler and instruction set, a line each.
pub fn long() -> &'static str {
    &LONG
}
