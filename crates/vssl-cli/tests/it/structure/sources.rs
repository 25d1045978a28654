//! A crate as the structure test reads it: what each module declares, imports and names.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The names that lead to a module from the root of its crate; empty for the root itself.
pub type ModulePath = Vec<String>;

/// A path as a file writes it, and the line that it stands in.
#[derive(Clone, Debug)]
pub struct Written {
    pub segments: Vec<String>,
    pub line: usize,
}

/// One import.
#[derive(Clone, Debug)]
pub struct Import {
    pub path: Written,
    /// The name that the import brings into the module; `None` for `use path::*`.
    pub name: Option<String>,
    /// Whether the import stands behind `pub`, `pub(super)` and the like.
    pub is_public: bool,
}

/// What one module holds. Items under `#[cfg(test)]` are left out.
#[derive(Debug, Default)]
pub struct Module {
    pub file: PathBuf,
    /// The module that the whole file is: the module itself, unless braces hold it inside a file.
    pub home: ModulePath,
    pub children: BTreeSet<String>,
    pub imports: Vec<Import>,
    /// The functions that the module defines.
    pub functions: BTreeSet<String>,
    /// The types, traits, constants and macros that the module defines.
    pub types: BTreeSet<String>,
    /// Paths of at least two names, outside of imports.
    pub paths: Vec<Written>,
    /// Every word outside of imports.
    pub words: BTreeSet<String>,
}

impl Module {
    /// Whether the module defines something of that name.
    pub fn defines(&self, name: &str) -> bool {
        self.functions.contains(name) || self.types.contains(name)
    }
}

/// All modules of a crate.
#[derive(Debug, Default)]
pub struct Crate {
    pub modules: BTreeMap<ModulePath, Module>,
}

impl Crate {
    /// Reads the file `root` and every file that a `mod` below it declares. `text` gives what a file
    /// holds, or `None` where there is no such file.
    pub fn read(root: &Path, text: &dyn Fn(&Path) -> Option<String>) -> Self {
        let folder = root.parent().expect("a root file lies in a folder");
        let mut sources = Self::default();
        let mut waiting = vec![(ModulePath::new(), root.to_owned())];
        while let Some((path, file)) = waiting.pop() {
            let content = text(&file).unwrap_or_else(|| panic!("{}: no such file", file.display()));
            let tokens: TokenStream =
                content.parse().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            for child in sources.add_file(&file, &path, tokens) {
                let beside = folder.join(child.iter().collect::<PathBuf>());
                let flat = beside.with_extension("rs");
                let is_flat = text(&flat).is_some();
                waiting.push((child, if is_flat { flat } else { beside.join("mod.rs") }));
            }
        }
        sources
    }

    /// Adds the module `home` and those that its file holds in braces; returns the modules that are
    /// files of their own.
    fn add_file(&mut self, file: &Path, home: &[String], tokens: TokenStream) -> Vec<ModulePath> {
        let mut elsewhere = Vec::new();
        let mut waiting = vec![(home.to_vec(), tokens)];
        while let Some((path, tokens)) = waiting.pop() {
            let module = Module { file: file.to_owned(), home: home.to_vec(), ..Module::default() };
            let mut reader = Reader { module, inline: Vec::new() };
            reader.items(tokens, true);
            let below = |child: &String| [path.as_slice(), std::slice::from_ref(child)].concat();
            let inline = |child: &&String| reader.inline.iter().any(|(name, _)| name == *child);
            elsewhere
                .extend(reader.module.children.iter().filter(|child| !inline(child)).map(below));
            waiting.extend(reader.inline.into_iter().map(|(name, body)| (below(&name), body)));
            self.modules.insert(path, reader.module);
        }
        elsewhere
    }
}

/// Goes through the tokens of one module.
struct Reader {
    module: Module,
    /// Modules that are written in braces, with what the braces hold.
    inline: Vec<(String, TokenStream)>,
}

impl Reader {
    /// Reads `stream`, which is the module itself when `is_top`, else what some brackets hold.
    fn items(&mut self, stream: TokenStream, is_top: bool) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            at = match &tokens[at] {
                TokenTree::Punct(mark) if mark.as_char() == '#' && is_test_only(&tokens[at..]) => {
                    end_of_item(&tokens, at + 2)
                }
                TokenTree::Group(group) => {
                    self.items(group.stream(), false);
                    at + 1
                }
                TokenTree::Ident(word) if word == "use" => self.import(&tokens, at),
                TokenTree::Ident(word) if word == "mod" && is_top => self.child(&tokens, at),
                TokenTree::Ident(_) => {
                    if is_top {
                        self.definition(&tokens, at);
                    }
                    self.path(&tokens, at)
                }
                _ => at + 1,
            };
        }
    }

    /// `mod name;` or `mod name { … }`.
    fn child(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        let name = tokens[at + 1].to_string();
        if let Some(TokenTree::Group(body)) = tokens.get(at + 2) {
            self.inline.push((name.clone(), body.stream()));
        }
        self.module.children.insert(name);
        at + 3
    }

    fn definition(&mut self, tokens: &[TokenTree], at: usize) {
        let (names, name) = match tokens[at].to_string().as_str() {
            "fn" => (&mut self.module.functions, tokens.get(at + 1)),
            "macro_rules" => (&mut self.module.types, tokens.get(at + 2)),
            "struct" | "enum" | "union" | "trait" | "type" | "const" | "static" => {
                (&mut self.module.types, tokens.get(at + 1))
            }
            _ => return,
        };
        if let Some(TokenTree::Ident(name)) = name {
            names.insert(name.to_string());
        }
    }

    /// A word, and the path that begins with it. Returns the place behind.
    fn path(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        let (segments, end) = segments(tokens, at);
        self.module.words.extend(segments.iter().cloned());
        if segments.len() > 1 {
            let line = tokens[at].span().start().line;
            self.module.paths.push(Written { segments, line });
        }
        end
    }

    /// `use …;`. Returns the place behind the semicolon.
    fn import(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        let is_public = match &tokens[..at] {
            [.., TokenTree::Ident(word)] => word == "pub",
            [.., TokenTree::Ident(word), TokenTree::Group(_)] => word == "pub",
            _ => false,
        };
        let is_end =
            |token: &TokenTree| matches!(token, TokenTree::Punct(mark) if mark.as_char() == ';');
        let length = tokens[at..].iter().position(is_end).unwrap_or(tokens.len() - at);
        self.tree(&tokens[at + 1..at + length], &[], is_public);
        at + length + 1
    }

    /// One tree of an import, such as `a::{b, c as d, e::*}`, below the names in `before`.
    fn tree(&mut self, tokens: &[TokenTree], before: &[String], is_public: bool) {
        let Some(first) = tokens.first() else { return };
        let line = first.span().start().line;
        let (mut segments, end) = segments(tokens, 0);
        segments.splice(0..0, before.iter().cloned());
        let mut name = segments.last().cloned();
        match tokens.get(end) {
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(mark) if mark.as_char() == ',');
                for tree in inner.split(is_comma) {
                    self.tree(tree, &segments, is_public);
                }
                return;
            }
            Some(TokenTree::Punct(mark)) if mark.as_char() == '*' => name = None,
            Some(TokenTree::Ident(word)) if word == "as" => {
                name = tokens.get(end + 1).map(ToString::to_string);
            }
            _ => {}
        }
        // `use a::{self}` brings the name of `a`.
        if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
            segments.pop();
            if name.as_deref() == Some("self") {
                name = segments.last().cloned();
            }
        }
        self.module.imports.push(Import { path: Written { segments, line }, name, is_public });
    }
}

/// The names that `::` joins from `at` on, and the place behind them and a last `::`.
fn segments(tokens: &[TokenTree], mut at: usize) -> (Vec<String>, usize) {
    let mut segments = Vec::new();
    while let Some(TokenTree::Ident(word)) = tokens.get(at) {
        segments.push(word.to_string());
        at += 1;
        let is_colon = |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Punct(mark)) if mark.as_char() == ':');
        if !is_colon(tokens.get(at)) || !is_colon(tokens.get(at + 1)) {
            break;
        }
        at += 2;
    }
    (segments, at)
}

/// Whether `tokens` begin with `#[cfg(test)]`.
fn is_test_only(tokens: &[TokenTree]) -> bool {
    matches!(tokens.get(1), Some(TokenTree::Group(group)) if group.stream().to_string().replace(' ', "") == "cfg(test)")
}

/// The place behind the item that begins at `at`: behind its semicolon or its braces.
fn end_of_item(tokens: &[TokenTree], at: usize) -> usize {
    let is_end = |token: &TokenTree| match token {
        TokenTree::Punct(mark) => mark.as_char() == ';',
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        _ => false,
    };
    tokens[at..].iter().position(is_end).map_or(tokens.len(), |length| at + length + 1)
}
