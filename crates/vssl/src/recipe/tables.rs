//! Tables of a recipe whose tag decides which keys they have, and the keys that earlier versions wrote.

use toml::Table;

use crate::{backbone, objective::distillation, optim, schedule, tagged::TaggedTable};

/// The tables of recipes and settings that have a tag.
const TAGGED: [(&str, &TaggedTable); 4] = [
    ("optimizer", &optim::TABLE),
    ("backbone", &backbone::TABLE),
    ("schedule", &schedule::TABLE),
    ("distill", &distillation::TABLE),
];

/// What the tag of the table called `table` decides; `None` for a table without a tag.
pub(super) fn tagged(table: &str) -> Option<&'static TaggedTable> {
    TAGGED.iter().find(|(name, _)| *name == table).map(|(_, tagged)| *tagged)
}

/// The keys that `path`, a table of `file` with a tag, may have; `None` for other tables.
pub(super) fn keys(path: &[String], file: &Table) -> Option<Vec<&'static str>> {
    let [name] = path else { return None };
    let (tagged, table) = (tagged(name)?, file.get(name)?.as_table()?);
    tagged.keys(tagged.choice(table)?)
}

/// Table and key of a setting that earlier versions had and this one has not, and what became of it.
pub(super) const REMOVED: [(&str, &str, &str); 1] = [(
    "train",
    "overlap",
    "gradients are exchanged after the backward pass, which changes no result",
)];

/// Table and key of all settings in `file` that are removed, or that another value of their tag has.
pub(super) fn foreign(file: &Table) -> Vec<(&'static str, String)> {
    let table = |name: &str| file.get(name).and_then(toml::Value::as_table);
    let tagged = TAGGED.iter().flat_map(|(name, tagged)| {
        let keys = table(name).map_or(Vec::new(), |table| tagged.foreign(table));
        keys.into_iter().map(|key| (*name, key))
    });
    let removed = REMOVED
        .iter()
        .filter(|(name, key, _)| table(name).is_some_and(|table| table.contains_key(*key)));
    tagged.chain(removed.map(|(name, key, _)| (*name, (*key).to_owned()))).collect()
}

/// Whether `file` was resolved by a version that wrote the keys of all optimisers side by side, and
/// those of ResNets for every encoder. Such a file has every key of every optimiser, and a recipe that
/// a person wrote has not. So the text itself shows, wherever the file lies and however often it was
/// copied, that its foreign keys are no mistake of an author: they never had an effect, and are passed
/// over. In any other file a foreign key is refused.
pub(super) fn is_of_earlier_version(file: &Table) -> bool {
    let Some(optimizer) = file.get("optimizer").and_then(toml::Value::as_table) else {
        return false;
    };
    let mut keys = optim::TABLE.choices.iter().flat_map(|(_, keys)| keys.split(' '));
    // Exceptions were only written where there were some, and what changes rates and decay came later.
    keys.all(|key| {
        ["groups", "layer_decay", "weight_decay_end"].contains(&key) || optimizer.contains_key(key)
    })
}

/// A resolved recipe, or stored settings, without the foreign keys that earlier versions wrote.
pub(crate) fn upgraded(mut file: Table) -> Table {
    if is_of_earlier_version(&file) {
        for (name, key) in foreign(&file) {
            file.get_mut(name).and_then(toml::Value::as_table_mut).map(|table| table.remove(&key));
        }
    }
    file
}
