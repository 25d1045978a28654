//! The checker itself, on small made-up crates.

use std::path::Path;

use super::{
    arrows::{arrows, circles, upward},
    sources::Crate,
};

/// What is wrong with a crate of `files`, whose modules from the lowest are `order`.
fn broken(files: &[(&str, &str)], order: &[&str]) -> Vec<String> {
    let text = |path: &Path| {
        let found = files.iter().find(|(name, _)| Path::new("src").join(name) == path);
        found.map(|(_, text)| (*text).to_owned())
    };
    let arrows = arrows(&Crate::read(Path::new("src/lib.rs"), &text));
    [upward(&arrows, order), circles(&arrows)].concat()
}

/// `low` holds `text`, and `high` defines what it may name; `low` stands before `high` in the order.
#[track_caller]
fn assert_low(text: &str, breaks: Option<&str>) {
    let files = [
        ("lib.rs", "mod low;\nmod high;\npub use high::Thing;\npub fn root() {}\npub struct Root;"),
        ("low.rs", text),
        ("high/mod.rs", "mod deep;\npub use deep::Deep;\npub struct Thing;\npub fn thing() {}"),
        ("high/deep.rs", "pub struct Deep;"),
    ];
    let found = broken(&files, &["low", "high"]);
    match breaks {
        None => assert!(found.is_empty(), "{text}\n{found:?}"),
        Some(arrow) => {
            assert!(found.iter().any(|line| line.contains(arrow)), "{text}\n{found:?}");
        }
    }
}

#[test]
fn an_arrow_upwards_is_found_in_every_form_and_named_with_its_line() {
    let to_high = Some("points upwards: src/low.rs:2: low -> high, by `crate::high::Thing`");
    assert_low("\nuse crate::high::Thing;", to_high);
    assert_low("\nuse std::fmt; use crate::{high::{Thing as Other}};", to_high);
    assert_low("fn f(\n_: crate::high::Thing) {}", to_high);
    assert_low("fn f() {\nprintln!(\"{}\", g(&crate::high::Thing)); }", to_high);
    assert_low("#[derive(Debug)]\n#[arg(value_parser = crate::high::Thing)] struct A;", to_high);
    assert_low("use crate::high;\nfn f() { high::thing(); }", Some("low.rs:2: low -> high, by"));
    assert_low("use super::high::*;", Some("low -> high, by `super::high`"));
    assert_low("pub use crate::high::Thing; fn f(_: Thing) {}", Some("low -> high"));
}

#[test]
fn what_is_passed_on_counts_for_the_file_that_defines_it() {
    assert_low("use crate::Thing;", Some("low -> high, by `crate::Thing`"));
    assert_low("use crate::high::Deep;", Some("low -> high::deep, by `crate::high::Deep`"));
    assert_low("fn f(_: crate::high::Deep) {}", Some("low -> high::deep"));
}

#[test]
fn functions_of_the_root_are_above_all_modules_and_its_types_belong_to_all() {
    assert_low("fn f() { crate::root(); }", Some("low -> the root of the crate"));
    assert_low("use crate::Root;", None);
}

#[test]
fn tests_comments_names_that_are_passed_on_and_other_crates_are_no_arrows() {
    assert_low("#[cfg(test)]\nmod tests { use crate::high::Thing; }", None);
    assert_low("#[cfg(test)]\nuse crate::high::Thing;\nfn f() {}", None);
    assert_low("/// Like [`crate::high::Thing`], by `crate::high::thing()`.\nfn f() {}", None);
    assert_low("const TEXT: &str = \"crate::high::Thing\";", None);
    assert_low("pub use crate::high::Thing;", None);
    assert_low("use high::Thing; fn f() { other::high::thing(); }", None);
}

#[test]
fn a_circle_of_siblings_is_found_and_told_step_by_step() {
    let files = [
        ("lib.rs", "mod folder;"),
        ("folder/mod.rs", "mod a; mod b; mod c;"),
        ("folder/a.rs", "use super::b::B; pub struct A;"),
        ("folder/b.rs", "pub struct B(\nsuper::c::C);"),
        ("folder/c.rs", "use crate::folder::{a::A}; pub struct C;"),
    ];
    let expected = "circle in folder:\n  src/folder/a.rs:1: folder::a -> folder::b, by `super::b::B`\n  \
                    src/folder/b.rs:2: folder::b -> folder::c, by `super::c::C`\n  \
                    src/folder/c.rs:1: folder::c -> folder::a, by `crate::folder::a::A`";
    assert_eq!(broken(&files, &["folder"]), [expected]);
}

#[test]
fn a_circle_of_folders_is_found_where_the_files_make_none() {
    let files = [
        ("lib.rs", "mod top;"),
        ("top/mod.rs", "mod x; mod y;"),
        ("top/x/mod.rs", "mod first; mod second;"),
        ("top/x/first.rs", "use crate::top::y::Y;"),
        ("top/x/second.rs", "pub struct Second;"),
        ("top/y.rs", "use super::x::second::Second; pub struct Y;"),
    ];
    let found = broken(&files, &["top"]);
    assert!(found.len() == 1 && found[0].starts_with("circle in top:"), "{found:?}");
}

#[test]
fn a_child_names_types_of_its_folder_but_does_not_call_back() {
    let files = |child| {
        [
            ("lib.rs", "mod folder;"),
            (
                "folder/mod.rs",
                "mod child; pub struct Error; pub fn say() {} fn f() { child::run() }",
            ),
            ("folder/child.rs", child),
        ]
    };
    assert!(broken(&files("use super::Error; pub fn run() {}"), &["folder"]).is_empty());
    let found = broken(&files("use super::{Error, say}; pub fn run() {}"), &["folder"]);
    assert!(found[0].contains("folder::child -> folder, by `super::say`"), "{found:?}");
}

#[test]
fn modules_in_braces_belong_to_their_file() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        (
            "a.rs",
            "mod inner { use super::A; use crate::b::B; } pub struct A; fn f() { inner::g() }",
        ),
        ("b.rs", "pub struct B;"),
    ];
    assert!(broken(&files, &["b", "a"]).is_empty());
    assert!(broken(&files, &["a", "b"])[0].contains("a -> b, by `crate::b::B`"));
}
