//! Settings that have no effect beside the value of another one, such as a margin where nothing is compared. They are no
//! errors, because a resolved recipe has every key; whoever gives one a value of its own is told.

use toml::{Table, Value};

use super::{Origin, Provenance, Recipe, UncertaintySection};
use crate::method::learner::AnyMethod;

/// A key, a value of it as TOML, and the keys that then have no effect.
const IDLE: &[(&str, &str, &[&str])] = &[
    ("data.format", "\"cifar10\"", OF_FILES),
    ("data.format", "\"cifar100\"", OF_FILES),
    ("data.format", "\"idx\"", OF_FILES),
    ("data.format", "\"stl10\"", OF_FILES),
    ("data.range", "\"percentiles\"", &["data.bits_used"]),
    ("schedule.warmup_epochs", "0.0", &["schedule.start"]),
    ("probe.enabled", "false", &["probe.lr", "probe.momentum", "probe.weight_decay"]),
    ("uncertainty.objective", "\"squared\"", &["uncertainty.margin", "uncertainty.leeway"]),
    (
        "evaluation.enabled",
        "false",
        &["evaluation.evaluators", "evaluation.untrained", "evaluation.pixels"],
    ),
    ("health.every_steps", "0", &["health.min_rank", "health.min_spread"]),
    ("swav.queue", "0", &["swav.queue_starts_epoch"]),
    ("dino.warmup_teacher_epochs", "0", &["dino.warmup_teacher_temperature"]),
    ("dinov2.warmup_teacher_epochs", "0", &["dinov2.warmup_teacher_temperature"]),
    (
        "ibot.warmup_teacher_epochs",
        "0",
        &["ibot.warmup_teacher_temperature", "ibot.warmup_patch_teacher_temperature"],
    ),
    ("dinov2.centering", "\"softmax\"", &["dinov2.sinkhorn_iterations"]),
    ("dinov2.centering", "\"sinkhorn\"", &["dinov2.center_momentum"]),
    ("ibot.centering", "\"softmax\"", &["ibot.sinkhorn_iterations"]),
    ("ibot.centering", "\"sinkhorn\"", &["ibot.center_momentum"]),
    ("dinov2.mask_probability", "0.0", &["dinov2.mask_ratio", "dinov2.mask_aspect"]),
    ("ibot.mask_probability", "0.0", &["ibot.mask_ratio", "ibot.mask_aspect"]),
];

/// The settings of images that are files of several kinds; in the other formats every sample has 8 bits.
const OF_FILES: &[&str] = &["data.bits_used", "data.range", "data.missing_classes"];

/// The same for each group of views. A strength of 0 is as good as none.
const IDLE_IN_VIEWS: &[(&str, &[&str])] =
    &[("jitter", &["brightness", "contrast", "saturation", "hue"]), ("blur", &["blur_sigma"])];

impl Recipe {
    /// Returns a note for every setting that somebody has given another value than its default, or given on the command
    /// line, and that has no effect beside the value of another one; `method` is that of the recipe with its defaults.
    /// Whoever switches something off on the command line knows that its settings in the file lose their effect.
    pub(super) fn idle(&self, provenance: &Provenance, method: Box<dyn AnyMethod>) -> Vec<String> {
        let (own, defaults) = (self.to_table(), defaults(method));
        let mut notes = Vec::new();
        let mut tell =
            |key: &str, value: &Value, default: Option<&Value>, (switch, off): (&str, &str)| {
                let is_told = match (provenance.origin(key), provenance.origin(switch)) {
                    (Origin::Override, _) => true,
                    (Origin::File { .. }, Origin::Override) => false,
                    (Origin::File { .. }, _) => Some(value) != default,
                    (Origin::Default | Origin::Encoder, _) => false,
                };
                if is_told {
                    notes.push(format!("{key} = {value} has no effect with {switch} = {off}"));
                }
            };
        for (key, value, idle) in IDLE {
            if found(&own, key).is_some_and(|own| own.to_string() == *value) {
                for key_of_idle in *idle {
                    if let Some(given) = found(&own, key_of_idle) {
                        let default = found(&defaults, key_of_idle);
                        tell(key_of_idle, given, default, (*key, *value));
                    }
                }
            }
        }
        let group_of_defaults = found(&defaults, "views").and_then(|views| views.get(0));
        let groups = found(&own, "views").and_then(Value::as_array).into_iter().flatten();
        for (index, group) in groups.enumerate() {
            let off = |key: &str| group.get(key).and_then(Value::as_float) == Some(0.0);
            for (key, idle) in IDLE_IN_VIEWS.iter().filter(|(key, _)| off(key)) {
                for idle in idle.iter().filter(|idle| !off(idle)) {
                    if let Some(given) = group.get(idle) {
                        let default = group_of_defaults.and_then(|group| group.get(idle));
                        let at = |key: &str| format!("views.{index}.{key}");
                        tell(&at(idle), given, default, (at(key).as_str(), "0.0"));
                    }
                }
            }
        }
        notes
    }
}

/// Every setting with its default, those of tables that are not there as well.
fn defaults(method: Box<dyn AnyMethod>) -> Table {
    let uncertainty = Some(UncertaintySection::default());
    Recipe { uncertainty, ..Recipe::new(method) }.to_table()
}

/// The setting of this key, whose parts are separated by dots.
fn found<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    let mut parts = key.split('.');
    let first = table.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::METHODS;

    fn notes(text: &str, overrides: &[&str]) -> Vec<String> {
        let text = format!("data.path = \"x\"\n{text}");
        let overrides: Vec<String> = overrides.iter().copied().map(str::to_owned).collect();
        let (recipe, provenance) = Recipe::parse(&text, "test.toml", &overrides, METHODS)
            .unwrap_or_else(|e| panic!("{e}"));
        // What is resolved says nothing of defaults.
        let again = Recipe::parse(&recipe.to_toml(), "recipe.toml", &[], METHODS).unwrap();
        assert_eq!((again.1.notes.len(), again.0), (provenance.notes.len(), recipe));
        provenance.notes
    }

    #[test]
    fn a_setting_without_effect_is_told_with_the_value_that_takes_it() {
        let simclr = "method = \"simclr\"\nschedule.name = \"constant\"\n";
        for (text, expected) in [
            (
                "uncertainty = { objective = \"squared\", margin = 0.3 }",
                "uncertainty.margin = 0.3 has no effect with uncertainty.objective = \"squared\"",
            ),
            (
                "probe = { enabled = false, lr = 2.0 }",
                "probe.lr = 2.0 has no effect with probe.enabled = false",
            ),
            (
                "evaluation = { enabled = false, pixels = false }",
                "evaluation.pixels = false has no effect",
            ),
            ("health = { every_steps = 0, min_rank = 9.0 }", "health.min_rank = 9.0 has no effect"),
            (
                "views = [{ blur = 0.0, blur_sigma = [1.0, 3.0] }]",
                "views.0.blur_sigma = [1.0, 3.0]",
            ),
            ("views = [{ jitter = 0.0, hue = 0.4 }]", "with views.0.jitter = 0.0"),
            ("data.format = \"cifar10\"\ndata.bits_used = 12", "data.bits_used = 12 has no effect"),
        ] {
            let found = notes(&format!("{simclr}{text}"), &[]);
            assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
        }
        let swav = "method = \"swav\"\nschedule.name = \"constant\"\nswav.queue_starts_epoch = 3";
        assert_eq!(notes(swav, &[]), Vec::<String>::new());
        let told = notes(&format!("{swav}\nswav.queue = 0"), &[]);
        assert!(told[0].contains("swav.queue_starts_epoch = 3 has no effect"), "{told:?}");
    }

    #[test]
    fn what_the_command_line_switches_off_is_told_only_where_it_gives_the_setting_too() {
        let text = "method = \"simclr\"\nschedule.name = \"constant\"\ndata.path = \"x\"\nprobe.lr = 2.0\n\
                    views = [{ hue = 0.4 }]";
        let off = ["probe.enabled=false", "views.0.jitter=0.0"];
        for (more, expected) in [
            (&[][..], &[][..]),
            (&["probe.lr=3.0"], &["probe.lr = 3.0 has no effect with probe.enabled = false"]),
            (&["views.0.hue=0.3"], &["views.0.hue = 0.3 has no effect with views.0.jitter = 0.0"]),
        ] {
            let overrides: Vec<String> = off.iter().chain(more).map(|&text| text.into()).collect();
            let (_, provenance) = Recipe::parse(text, "test.toml", &overrides, METHODS).unwrap();
            assert_eq!(provenance.notes, expected, "{more:?}");
        }
    }

    #[test]
    fn what_has_an_effect_or_its_default_is_not_told() {
        for text in [
            "uncertainty = { objective = \"squared\", margin = 0.1 }",
            "uncertainty = { margin = 0.3 }",
            "views = [{ jitter = 0.0, hue = 0.0, blur_sigma = [1.0, 3.0], blur = 0.5 }]",
            "health.every_steps = 0",
        ] {
            let text = format!("method = \"simclr\"\nschedule.name = \"constant\"\n{text}");
            assert_eq!(notes(&text, &[]), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn every_key_of_the_list_exists() {
        for (key, _, idle) in IDLE {
            let section = key.split('.').next().unwrap_or_default();
            let entry = crate::methods::find(section).or(crate::methods::find("simclr")).unwrap();
            let all = defaults(entry.defaults());
            // A few keys are only written where they are not the default.
            let unwritten = ["data.range", "data.bits_used"];
            for key in idle.iter().chain([key]).filter(|key| !unwritten.contains(*key)) {
                assert!(found(&all, key).is_some(), "{key}");
            }
        }
    }
}
