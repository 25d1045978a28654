//! Names the encoders that runs started from. Runs of one experiment start from encoders of the same name that were
//! trained with other seeds: they are samples of one row.
//!
//! The name is that of the run folder or file, without its seed. Files of other content that have the same name are
//! told apart by the folders that they are in.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::run::Run;
use crate::run::folder;

/// The settings that say which encoder it was. The first is replaced by its name.
const KEYS: [&str; 3] = ["init.from", "init.digest", "init.checkpoint"];

/// An encoder that a run started from.
struct Source {
    path: PathBuf,
    digest: Option<String>,
    /// The checkpoint of a run; `None` for a file.
    checkpoint: Option<String>,
    /// The seed of the run that started from it.
    seed: u64,
}

impl Source {
    fn of(run: &Run) -> Option<Self> {
        let setting =
            |key: &str| run.settings.get(key).map(|text| text.trim_matches('"').to_owned());
        let [from, digest, checkpoint] = KEYS.map(setting);
        Some(Self { path: PathBuf::from(from?), digest, checkpoint, seed: run.seed })
    }

    /// Returns the name of the `last` parts of the path, without the seed at its end or at the end of a folder.
    fn name(&self, last: usize) -> String {
        let parts: Vec<&Path> = self.path.iter().map(Path::new).collect();
        let from = parts.len().saturating_sub(last);
        let names = (from..parts.len()).map(|at| {
            let whole: PathBuf = parts[..=at].iter().collect();
            let name = parts[at].to_string_lossy().into_owned();
            match self.is_of_seed(&whole, &name) {
                Some(stem) => stem.to_owned(),
                None => name,
            }
        });
        names.collect::<Vec<_>>().join("/")
    }

    /// Returns the name of the folder `whole` without the seed at its end: that of the run in it, or where this is not
    /// known any more the seed of the run that went on from there.
    fn is_of_seed<'a>(&self, whole: &Path, name: &'a str) -> Option<&'a str> {
        let (stem, seed) = name.rsplit_once(['-', '_'])?;
        let seed: u64 = seed.trim_start_matches("seed").parse().ok()?;
        let recipe = folder::recipe_of(whole).ok();
        let own = recipe.and_then(|text| text.parse::<toml::Table>().ok());
        let own =
            own.map(|recipe| recipe.get("seed").and_then(toml::Value::as_integer).unwrap_or(0));
        let known = own.map_or(Some(self.seed), |own| u64::try_from(own).ok());
        (known == Some(seed)).then_some(stem)
    }
}

/// Replaces the path of the encoder by its name in the settings of every run.
pub(super) fn name(runs: &mut [Run]) {
    let sources: Vec<Option<Source>> = runs.iter().map(Source::of).collect();
    let known: Vec<&Source> = sources.iter().flatten().collect();
    let mut contents: BTreeMap<String, BTreeSet<&Option<String>>> = BTreeMap::new();
    for source in known.iter().filter(|source| source.checkpoint.is_none()) {
        contents.entry(source.name(1)).or_default().insert(&source.digest);
    }
    let name = |source: &Source| {
        let short = source.name(1);
        match contents.get(&short) {
            Some(digests) if source.checkpoint.is_none() && digests.len() > 1 => source.name(2),
            _ => short,
        }
    };
    let names: Vec<Option<String>> = sources.iter().map(|of| of.as_ref().map(name)).collect();
    for (run, name) in runs.iter_mut().zip(names) {
        let Some(name) = name else { continue };
        KEYS[..2].iter().for_each(|key| drop(run.settings.remove(*key)));
        run.settings.insert(KEYS[0].to_owned(), toml::Value::from(name).to_string());
    }
}
