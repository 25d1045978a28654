//! The modules of each crate: arrows point downwards in a stated order, and there are no circles.
//!
//! A file points to the file that defines what it names, by an import or by a path in the middle of
//! the code, in macros and attributes as well. Tests beside the code do not count, and neither do
//! methods that are called with a dot: their type was named somewhere. The rules:
//!
//! - The modules at the top of a crate have an order, below. A module names things of modules before
//!   it only. The root, `lib.rs` or `main.rs`, stands above them all.
//! - In every folder, its `mod.rs`, its other files and its subfolders form no circle.
//! - What a folder's `mod.rs` defines for the whole folder, its errors, types, traits and constants,
//!   can be named by everything in the folder without an arrow. Its functions cannot: a `mod.rs` whose
//!   functions put its children together must not be called by a child.
//! - What is re-exported counts for the file that defines it. A `pub use` that the file itself does not
//!   need is no arrow: it only makes a name shorter.
//!
//! [`sizes`] holds the lengths of files and functions.

mod arrows;
mod made_up;
mod sizes;
mod sources;

use std::path::Path;

use super::root;
use arrows::{arrows, circles, upward};
use sources::Crate;

/// Modules of `vssl-data`, lowest first.
const DATA: &[&str] = &[
    "panics",
    "counted",
    "name_text",
    "error",
    "rng",
    "share",
    "sampler",
    "picture",
    "pickle",
    "augment",
    "collage",
    "view_sheet",
    "dataset",
    "shift",
    "loader",
    "fetch",
    "check",
    "pack",
    "statistics",
    "bench",
];

/// Modules of `vssl-kernels`, lowest first.
const KERNELS: &[&str] = &[
    "raw",
    "joint",
    "storage",
    "layout",
    "choice",
    "steps",
    "breakdown",
    "extension",
    "accumulate",
    "recompute",
    "autodiff",
    "moments",
    "mixed",
    "reference",
    "update",
    "transformer",
    "convnext",
    "loss",
    "inference",
    "rows",
    "bench",
];

/// Modules of `vssl`, lowest first.
const VSSL: &[&str] = &[
    "formats",
    "tagged",
    "device",
    "schedule",
    "objective",
    "tensors",
    "features",
    "optim",
    "collective",
    "layers",
    "memory",
    "backbone",
    "method",
    "precision",
    "recipe",
    "methods",
    "run",
    "encoder",
    "eval",
    "stored",
    "train",
    "supervised",
    "posterior",
    "embed",
    "uncertainty",
    "page",
    "comparison",
    "ranking",
    "grid",
];

/// Modules of `vssl-cli`, lowest first.
const CLI: &[&str] = &[
    "arguments",
    "home",
    "notes",
    "signals",
    "program",
    "failure",
    "launcher",
    "output",
    "progress",
    "commands",
];

#[track_caller]
fn keeps_the_order(root_file: &str, order: &[&str]) {
    let text = |path: &Path| std::fs::read_to_string(path).ok();
    let sources = Crate::read(&root().join("crates").join(root_file), &text);
    for top in &sources.modules[&[][..]].children {
        assert!(order.contains(&top.as_str()), "{root_file}: {top} has no place in the order");
    }
    let arrows = arrows(&sources);
    assert!(arrows.len() > 10, "{root_file}: only {} arrows were found", arrows.len());
    let broken = [upward(&arrows, order), circles(&arrows)].concat();
    assert!(broken.is_empty(), "{root_file}:\n{}", broken.join("\n"));
}

#[test]
fn modules_of_vssl_data_keep_their_order() {
    keeps_the_order("vssl-data/src/lib.rs", DATA);
}

#[test]
fn modules_of_vssl_kernels_keep_their_order() {
    keeps_the_order("vssl-kernels/src/lib.rs", KERNELS);
}

#[test]
fn modules_of_vssl_keep_their_order() {
    keeps_the_order("vssl/src/lib.rs", VSSL);
}

#[test]
fn modules_of_vssl_cli_keep_their_order() {
    keeps_the_order("vssl-cli/src/lib.rs", CLI);
}
