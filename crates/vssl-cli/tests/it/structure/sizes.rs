//! The sizes of files and functions: at most 400 and 60 lines. The kernels in `raw` may be longer, for an instruction set or
//! a shape is best read in one piece.

use std::{
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::root;

/// The most lines of a file, and of a function from the line of its `fn` to its closing brace.
const FILE: usize = 400;
const FUNCTION: usize = 60;

/// The folder whose files may be longer.
const RAW: &str = "vssl-kernels/src/raw";

/// What may be longer, and why: a file by its path below `crates`, a function by its file, `::` and its name. An
/// exception that is not needed any more fails.
const EXCEPTIONS: &[(&str, &str)] = &[];

/// A function and its number of lines.
type Sized = (String, usize);

/// Adds the functions in `tokens`, in the order in which they begin, with the functions inside of them.
fn functions(tokens: TokenStream, found: &mut Vec<Sized>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        match (token, tokens.get(at + 1)) {
            (TokenTree::Group(group), _) => functions(group.stream(), found),
            (TokenTree::Ident(word), Some(TokenTree::Ident(name))) if word == "fn" => {
                let first = word.span().start().line;
                if let Some(last) = last_line(&tokens[at..]) {
                    found.push((name.to_string(), last + 1 - first));
                }
            }
            _ => {}
        }
    }
}

/// Returns the line of the closing brace of the function that `tokens` begin with; `None` where it has no body.
fn last_line(tokens: &[TokenTree]) -> Option<usize> {
    tokens.iter().find_map(|token| match token {
        TokenTree::Punct(mark) if mark.as_char() == ';' => Some(None),
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
            Some(Some(group.span_close().end().line))
        }
        _ => None,
    })?
}

/// Returns the names of the file and of the functions in it that are too long, each with its number of lines.
fn oversized(file: &str, text: &str) -> Vec<Sized> {
    let mut found = Vec::new();
    let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{file}: {error}"));
    functions(tokens, &mut found);
    found.retain(|(_, lines)| *lines > FUNCTION);
    let lines = text.lines().count();
    let functions = found.into_iter().map(|(name, lines)| (format!("{file}::{name}"), lines));
    (lines > FILE).then(|| (file.to_owned(), lines)).into_iter().chain(functions).collect()
}

/// Adds the Rust files below `folder`.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn files_and_functions_are_short_enough_to_read() {
    let crates = root().join("crates");
    let mut all = Vec::new();
    for entry in fs::read_dir(&crates).unwrap() {
        let sources = entry.unwrap().path().join("src");
        if sources.is_dir() {
            files(&sources, &mut all);
        }
    }
    assert!(all.len() > 400, "only {} files were found", all.len());
    let mut found = Vec::new();
    for path in all {
        let name = path.strip_prefix(&crates).unwrap().to_str().unwrap().replace('\\', "/");
        if !name.starts_with(RAW) {
            found.extend(oversized(&name, &fs::read_to_string(&path).unwrap()));
        }
    }
    let is_excused = |name: &str| EXCEPTIONS.iter().any(|(excused, _)| *excused == name);
    let is_long = |name: &str| found.iter().any(|(long, _)| long == name);
    let long = found.iter().filter(|(name, _)| !is_excused(name));
    let long = long.map(|(name, lines)| format!("{name} has {lines} lines: split it by noun"));
    let idle = EXCEPTIONS.iter().filter(|(name, _)| !is_long(name));
    let idle = idle.map(|(name, _)| format!("{name} is short enough and needs no exception"));
    let wrong: Vec<String> = long.chain(idle).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn lines_are_counted_from_the_word_fn_to_the_closing_brace() {
    let body = |lines: usize| "    work();\n".repeat(lines);
    let text = format!(
        "/// Words.\n#[inline]\npub fn long(a: [u8; 2]) {{\n{}}}\ntrait T {{\n    fn none(&self);\n}}\n\
         impl T for S {{\n    fn short(&self) {{\n{}    }}\n    fn longer(&self) {{\n{}    }}\n}}\n",
        body(59),
        body(58),
        body(60)
    );
    let expected = [("a.rs::long".to_owned(), 61), ("a.rs::longer".to_owned(), 62)];
    assert_eq!(oversized("a.rs", &text), expected);
    assert_eq!(oversized("a.rs", &"\n".repeat(400)), []);
    assert_eq!(oversized("a.rs", &"\n".repeat(401)), [("a.rs".to_owned(), 401)]);
}
