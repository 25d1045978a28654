//! Groups runs that differ in the seed only, and names the rows.
//!
//! Runs on one dataset are a group if their recipes differ in the seed only, or in settings that change
//! no number. Where a method has several groups, the settings that differ become part of the name. So does the encoder
//! that runs started from.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    mem,
    path::PathBuf,
};

use super::{LeftOut, State, column::Values, run::Run};

use crate::{eval::evaluators::Judged, run::resume::FREE_IN_RUNS};

/// Settings that do not tell groups apart, beside those that change no number at all: the table shows
/// them anyway, or they say only how often something is measured.
const NEUTRAL: [&str; 4] = ["method", "seed", "health.", "knn.every_epochs"];

/// Settings that the nearest neighbours of pixels depend on.
const OF_PIXELS: [&str; 3] = ["data.", "knn.", "views.0.size"];

/// The name of the encoder that a run started from.
const START: &str = "init.from";

/// Largest number of settings in a name. More are replaced by a number, which a note explains.
const NAMED_SETTINGS: usize = 2;

/// All settings of a run as TOML, by key.
pub(super) type Settings = BTreeMap<String, String>;

/// Runs on one dataset that differ in the seed: a part of a row.
pub(super) struct Group {
    pub(super) name: String,
    /// Name of the method; empty for reference rows.
    pub(super) method: String,
    pub(super) dataset: String,
    pub(super) reference: bool,
    pub(super) members: Vec<Member>,
    /// The settings that a number in the name stands for.
    pub(super) explanation: Vec<(String, String)>,
}

impl Group {
    /// The distinct seeds, in order; empty where the seed has no effect.
    pub(super) fn seeds(&self) -> Vec<u64> {
        let seeds: BTreeSet<u64> = self.members.iter().filter_map(|member| member.seed).collect();
        seeds.into_iter().collect()
    }
}

/// One run of a group.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) folder: PathBuf,
    pub(super) dataset: String,
    /// Seed of the run; `None` where it has no effect.
    pub(super) seed: Option<u64>,
    pub(super) settings: Settings,
    pub(super) values: Values,
}

/// Names of all datasets, sorted.
pub(super) fn datasets(runs: &[Run]) -> Vec<String> {
    let names: BTreeSet<&String> = runs.iter().map(|run| &run.dataset).collect();
    names.into_iter().cloned().collect()
}

/// Takes out runs with the recipe and the seed of another run: they are not a new sample. The run with the most
/// figures stays, because other evaluators make no other run; the first of those with equally many.
pub(super) fn take_repeated(runs: &mut Vec<Run>) -> Vec<LeftOut> {
    let (mut kept, mut repeated): (Vec<Run>, Vec<Run>) = (Vec::new(), Vec::new());
    for run in runs.drain(..) {
        match kept.iter_mut().find(|other| is_same(&run, other)) {
            None => kept.push(run),
            Some(first) if figures(&run).len() > figures(first).len() => {
                repeated.push(mem::replace(first, run));
            }
            Some(_) => repeated.push(run),
        }
    }
    let left_out = repeated.into_iter().map(|run| {
        let other = kept.iter().find(|other| is_same(&run, other)).expect("one of them stays");
        left_out(run, other)
    });
    let left_out = left_out.collect();
    *runs = kept;
    left_out
}

fn is_same(run: &Run, other: &Run) -> bool {
    (&run.method, run.seed, &run.dataset) == (&other.method, other.seed, &other.dataset)
        && varying([&run.settings, &other.settings].into_iter()).is_empty()
}

/// The names of all figures that a run has.
fn figures(run: &Run) -> BTreeSet<String> {
    let of = |judged: Judged, values: &Values| -> Vec<String> {
        values.keys().map(|name| judged.key(name)).collect()
    };
    let all = [
        (Judged::Trained, &run.values),
        (Judged::Untrained, &run.untrained),
        (Judged::Before, &run.before),
        (Judged::Pixels, &run.pixels),
    ];
    all.into_iter().flat_map(|(judged, values)| of(judged, values)).collect()
}

/// The entry of a `run` that has the recipe and the seed of `other`.
fn left_out(run: Run, other: &Run) -> LeftOut {
    let lost: Vec<String> = figures(&run).difference(&figures(other)).cloned().collect();
    let lost = match lost.as_slice() {
        [] => String::new(),
        lost => format!("; its {} is in no row", lost.join(", ")),
    };
    LeftOut {
        reason: format!("has the recipe and the seed of {}{lost}", other.folder.display()),
        run: run.folder,
        method: Some(run.method),
        seed: Some(run.seed),
        state: State::Repeated,
    }
}

/// All groups: methods by name, then the untrained encoders, those that runs started from, then the pixels.
pub(super) fn groups(runs: &[Run]) -> Vec<Group> {
    let base = |run: &Run| (run.method.clone(), run.settings.get(START).cloned());
    let bases: BTreeSet<(String, Option<String>)> = runs.iter().map(base).collect();
    let mut groups = Vec::new();
    for (method, start) in bases {
        let own = runs.iter().filter(|run| base(run) == (method.clone(), start.clone()));
        let members = own.map(|run| member(run, &run.values, Some(run.seed), |_| true)).collect();
        groups.extend(split(&from(&method, start.as_ref()), &method, members));
    }
    let untrained = runs.iter().map(|run| {
        // The training does not matter here, and of the views only the size of the input.
        member(run, &run.untrained, Some(run.seed), |key| {
            key.starts_with("backbone.") || OF_PIXELS.iter().any(|of| key.starts_with(of))
        })
    });
    groups.extend(split(Judged::Untrained.title(), "", measured(untrained)));
    // Runs of other seeds may have started from encoders of other seeds.
    let started = runs.iter().filter(|run| !run.before.is_empty());
    let starts: BTreeSet<&String> =
        started.clone().filter_map(|run| run.settings.get(START)).collect();
    for start in starts {
        let own = started.clone().filter(|run| run.settings.get(START) == Some(start));
        let digest = |run: &Run| run.summary.init.as_ref().and_then(|init| init.digest.clone());
        let is_one = own.clone().map(digest).collect::<BTreeSet<_>>().len() < 2;
        let before = own.map(|run| {
            let seed = (!is_one).then_some(run.seed);
            member(run, &run.before, seed, |key| {
                let of = ["backbone.", "init.checkpoint"];
                of.iter().chain(&OF_PIXELS).any(|of| key.starts_with(of))
            })
        });
        let name = format!("{}, {}", Judged::Before.title(), start.trim_matches('"'));
        groups.extend(split(&name, "", measured(before)));
    }
    let pixels = runs.iter().map(|run| {
        member(run, &run.pixels, None, |key| OF_PIXELS.iter().any(|of| key.starts_with(of)))
    });
    groups.extend(split(Judged::Pixels.title(), "", measured(pixels)));
    groups
}

/// The name of the runs of a method that start from the encoder of this name.
fn from(method: &str, start: Option<&String>) -> String {
    start.map_or(method.to_owned(), |start| format!("{method} from {}", start.trim_matches('"')))
}

fn member(run: &Run, values: &Values, seed: Option<u64>, counts: impl Fn(&str) -> bool) -> Member {
    let settings = run.settings.iter().filter(|(key, _)| counts(key));
    Member {
        folder: run.folder.clone(),
        dataset: run.dataset.clone(),
        seed,
        settings: settings.map(|(key, value)| (key.clone(), value.clone())).collect(),
        values: values.clone(),
    }
}

fn measured(members: impl Iterator<Item = Member>) -> Vec<Member> {
    members.filter(|member| !member.values.is_empty()).collect()
}

/// The groups of one method, whose names begin with `base`; `method` is empty for reference rows. Groups with the same
/// settings on two datasets have the same name.
fn split(base: &str, method: &str, members: Vec<Member>) -> Vec<Group> {
    let datasets: BTreeSet<String> = members.iter().map(|member| member.dataset.clone()).collect();
    let keys: BTreeSet<String> = datasets
        .iter()
        .flat_map(|dataset| varying(on(&members, dataset).iter().map(|member| &member.settings)))
        .collect();
    let mut variants: Vec<_> = members.iter().map(|member| Variant::of(member, &keys)).collect();
    variants.sort();
    variants.dedup();
    let settings: Vec<&Settings> = members.iter().map(|member| &member.settings).collect();
    let short: BTreeSet<String> = keys.iter().map(|key| shortened(key, &settings)).collect();
    let mut groups = Vec::new();
    for (index, variant) in variants.iter().enumerate() {
        let is_own = |member: &&Member| Variant::of(member, &keys) == *variant;
        let Some(first) = members.iter().find(is_own) else { continue };
        let told = short.iter().map(|key| (key.clone(), value(&first.settings, key)));
        let told: Vec<(String, String)> = told.collect();
        let (name, explanation) = if told.is_empty() {
            (base.to_owned(), told)
        } else if told.len() <= NAMED_SETTINGS && short == keys {
            (format!("{base} ({})", listed(&told)), Vec::new())
        } else {
            (format!("{base} [{}]", index + 1), told)
        };
        for dataset in &datasets {
            let own: Vec<Member> =
                on(&members, dataset).into_iter().filter(is_own).cloned().collect();
            if !own.is_empty() {
                groups.push(Group {
                    name: name.clone(),
                    method: method.to_owned(),
                    dataset: dataset.clone(),
                    reference: method.is_empty(),
                    members: own,
                    explanation: explanation.clone(),
                });
            }
        }
    }
    groups
}

fn on<'a>(members: &'a [Member], dataset: &str) -> Vec<&'a Member> {
    members.iter().filter(|member| member.dataset == dataset).collect()
}

/// Settings as text, such as `a = 1, b = 2`.
pub(super) fn listed(settings: &[(String, String)]) -> String {
    let parts: Vec<String> =
        settings.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    parts.join(", ")
}

/// The values of the settings that tell groups of a method apart. Smaller numbers come first.
#[derive(PartialEq, Eq)]
struct Variant(Vec<Option<String>>);

impl Variant {
    fn of(member: &Member, keys: &BTreeSet<String>) -> Self {
        Self(keys.iter().map(|key| member.settings.get(key).cloned()).collect())
    }
}

impl Ord for Variant {
    fn cmp(&self, other: &Self) -> Ordering {
        let number = |text: &Option<String>| text.as_ref().and_then(|t| t.parse::<f64>().ok());
        let pairs = self.0.iter().zip(&other.0);
        let mut orders = pairs.map(|(a, b)| match (number(a), number(b)) {
            (Some(x), Some(y)) => x.total_cmp(&y).then_with(|| a.cmp(b)),
            // Numbers come before text, so that the order is total.
            (x, y) => y.is_some().cmp(&x.is_some()).then_with(|| a.cmp(b)),
        });
        orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }
}

impl PartialOrd for Variant {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Keys whose values differ between `settings`, except those that do not tell groups apart.
pub(super) fn varying<'a>(settings: impl Iterator<Item = &'a Settings> + Clone) -> Vec<String> {
    let neutral = || NEUTRAL.iter().chain(&FREE_IN_RUNS);
    let counts = |key: &&String| !neutral().any(|neutral| matches_key(key, neutral));
    let keys: BTreeSet<&String> = settings.clone().flat_map(|s| s.keys()).filter(counts).collect();
    let differs = |key: &&String| {
        let mut values = settings.clone().map(|settings| settings.get(key.as_str()));
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    keys.into_iter().filter(differs).cloned().collect()
}

/// Whether `key` is `pattern`, or belongs to the table `pattern` if that ends with a point.
pub(super) fn matches_key(key: &str, pattern: &str) -> bool {
    key == pattern || (pattern.ends_with('.') && key.starts_with(pattern))
}

/// `key`, or the table around it if some of `all` do not have that table at all: one name in place of
/// a dozen.
pub(super) fn shortened(key: &str, all: &[&Settings]) -> String {
    let ends = key.match_indices('.').map(|(at, _)| at);
    let tables = ends.map(|end| &key[..end]);
    let missing = |table: &&str| all.iter().any(|settings| !has_table(settings, table));
    tables.into_iter().find(missing).unwrap_or(key).to_owned()
}

fn has_table(settings: &Settings, table: &str) -> bool {
    let start = format!("{table}.");
    settings.range(start.clone()..).next().is_some_and(|(key, _)| key.starts_with(&start))
}

/// The value of a key or table in `settings` as text for people.
pub(super) fn value(settings: &Settings, key: &str) -> String {
    match settings.get(key) {
        Some(value) => value.trim_matches('"').to_owned(),
        None if has_table(settings, key) => "set".to_owned(),
        None => "not set".to_owned(),
    }
}
