//! From the paths of a crate to arrows between its modules, and the two rules that arrows keep.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    path::PathBuf,
};

use super::sources::{Crate, Import, Module, ModulePath};

/// Imports of imports are followed so many times; longer chains do not occur.
const LONGEST_CHAIN: usize = 16;

/// One module names something that another module defines.
#[derive(Clone, Debug)]
pub struct Arrow {
    pub from: ModulePath,
    pub to: ModulePath,
    file: PathBuf,
    line: usize,
    written: String,
}

impl fmt::Display for Arrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, file, line, written } = self;
        let (from, to) = (name(from), name(to));
        write!(f, "{}:{line}: {from} -> {to}, by `{written}`", file.display())
    }
}

/// What a path leads to.
enum Meaning {
    /// A module, which is no arrow before something in it is named.
    Module(ModulePath),
    /// The function, type or constant of that name in the module.
    Inside(ModulePath, String),
}

/// All arrows between different files of `sources`.
pub fn arrows(sources: &Crate) -> Vec<Arrow> {
    let mut arrows = Vec::new();
    for (path, module) in &sources.modules {
        let imports = module.imports.iter().filter(|import| is_used(module, import));
        let imports = imports.map(|import| (&import.path, import.name.is_none()));
        let paths = module.paths.iter().map(|written| (written, false));
        for (written, is_glob) in imports.chain(paths) {
            let (to, item) = match sources.meaning(path, &written.segments, LONGEST_CHAIN) {
                Some(Meaning::Inside(to, item)) => (to, item),
                Some(Meaning::Module(to)) if is_glob => (to, String::new()),
                _ => continue,
            };
            let is_function = sources.modules[&to].functions.contains(&item);
            let (from, to) = (module.home.clone(), sources.modules[&to].home.clone());
            // Types of the own folder, or of a folder around it, are no arrow.
            if from != to && (is_function || !from.starts_with(&to)) {
                let (file, line) = (module.file.clone(), written.line);
                arrows.push(Arrow { from, to, file, line, written: written.segments.join("::") });
            }
        }
    }
    arrows
}

/// A public import that the module itself does not use only passes something on.
fn is_used(module: &Module, import: &Import) -> bool {
    let Some(name) = &import.name else { return !import.is_public };
    !import.is_public || module.words.contains(name)
}

impl Crate {
    /// What `segments` mean in the module `at`; `None` for another crate, and for names that are no
    /// path to a module.
    fn meaning(&self, at: &[String], segments: &[String], steps: usize) -> Option<Meaning> {
        let steps = steps.checked_sub(1)?;
        let module = &self.modules[at];
        let (first, rest) = segments.split_first()?;
        let start = match first.as_str() {
            "crate" => Vec::new(),
            "self" => at.to_vec(),
            "super" => at.split_last()?.1.to_vec(),
            _ if module.children.contains(first) => return self.descend(at, segments, steps),
            _ => {
                let named = |import: &&Import| import.name.as_ref() == Some(first);
                let import = module.imports.iter().find(named)?;
                let leads_back = import.path.segments.first() == Some(first);
                let whole = [import.path.segments.as_slice(), rest].concat();
                return if leads_back { None } else { self.meaning(at, &whole, steps) };
            }
        };
        match rest.first().map(String::as_str) {
            Some("super") => self.meaning(&start, rest, steps),
            _ => self.descend(&start, rest, steps),
        }
    }

    /// What `segments` mean from the module `start` downwards.
    fn descend(&self, start: &[String], segments: &[String], steps: usize) -> Option<Meaning> {
        let mut at = start.to_vec();
        for (index, segment) in segments.iter().enumerate() {
            let module = &self.modules[&at];
            let is_last = index + 1 == segments.len();
            // A function may have the name of a module: nothing but the function is an arrow.
            if module.children.contains(segment) && !(is_last && module.defines(segment)) {
                at.push(segment.clone());
                // A child under `#[cfg(test)]` is not there.
                self.modules.get(&at)?;
                continue;
            }
            return self.inside(at, &segments[index..], steps);
        }
        Some(Meaning::Module(at))
    }

    /// What `segments` mean in the module `at`, which has no child of the first name.
    fn inside(&self, at: ModulePath, segments: &[String], steps: usize) -> Option<Meaning> {
        let module = &self.modules[&at];
        if module.defines(&segments[0]) {
            return Some(Meaning::Inside(at, segments[0].clone()));
        }
        let named = |import: &&Import| import.name.as_ref() == Some(&segments[0]);
        if let Some(import) = module.imports.iter().find(named) {
            let whole = [import.path.segments.as_slice(), &segments[1..]].concat();
            return self.meaning(&at, &whole, steps);
        }
        for import in module.imports.iter().filter(|import| import.name.is_none()) {
            if let Some(Meaning::Module(from)) = self.meaning(&at, &import.path.segments, steps)
                && self.modules[&from].defines(&segments[0])
            {
                return Some(Meaning::Inside(from, segments[0].clone()));
            }
        }
        Some(Meaning::Inside(at, segments[0].clone()))
    }
}

/// The arrows that do not lead from a module of `order` to one before it. The root of the crate stands
/// above all of them.
pub fn upward(arrows: &[Arrow], order: &[&str]) -> Vec<String> {
    let place = |path: &ModulePath| match path.first() {
        None => order.len(),
        Some(top) => order
            .iter()
            .position(|module| module == top)
            .expect("every module at the top has a place in the order"),
    };
    let is_upward = |arrow: &&Arrow| {
        arrow.from.first() != arrow.to.first() && place(&arrow.from) < place(&arrow.to)
    };
    arrows.iter().filter(is_upward).map(|arrow| format!("points upwards: {arrow}")).collect()
}

/// One circle for each folder that has any: the shortest, with an arrow for each of its steps.
///
/// In each folder, its own `mod.rs`, its files and its subfolders are the points, a subfolder with all
/// that lies below it. A circle of files is a circle of points in the deepest folder that has them all.
pub fn circles(arrows: &[Arrow]) -> Vec<String> {
    let mut folders: BTreeMap<&[String], BTreeMap<(String, String), &Arrow>> = BTreeMap::new();
    for arrow in arrows {
        let shared = arrow.from.iter().zip(&arrow.to).take_while(|(a, b)| a == b).count();
        let point = |path: &ModulePath| path.get(shared).cloned().unwrap_or_default();
        let steps = folders.entry(&arrow.from[..shared]).or_default();
        steps.entry((point(&arrow.from), point(&arrow.to))).or_insert(arrow);
    }
    let circle = |(folder, steps): (&[String], BTreeMap<(String, String), &Arrow>)| {
        let shortest = shortest_circle(&steps)?;
        let arrows: Vec<String> =
            shortest.iter().map(|step| format!("\n  {}", steps[step])).collect();
        Some(format!("circle in {}:{}", name(folder), arrows.concat()))
    };
    folders.into_iter().filter_map(circle).collect()
}

type Step = (String, String);

fn shortest_circle(steps: &BTreeMap<Step, &Arrow>) -> Option<Vec<Step>> {
    let points: BTreeSet<&String> = steps.keys().map(|(from, _)| from).collect();
    points.into_iter().filter_map(|start| way_back(steps, start)).min_by_key(Vec::len)
}

/// The shortest way from `start` back to it.
fn way_back(steps: &BTreeMap<Step, &Arrow>, start: &str) -> Option<Vec<Step>> {
    let mut ways = VecDeque::from([(start.to_owned(), Vec::new())]);
    let mut seen = BTreeSet::new();
    while let Some((at, way)) = ways.pop_front() {
        for step in steps.keys().filter(|(from, _)| *from == at) {
            let longer: Vec<Step> = way.iter().chain([step]).cloned().collect();
            if step.1 == start {
                return Some(longer);
            }
            if seen.insert(&step.1) {
                ways.push_back((step.1.clone(), longer));
            }
        }
    }
    None
}

fn name(path: &[String]) -> String {
    if path.is_empty() { "the root of the crate".to_owned() } else { path.join("::") }
}
