//! Settings of distillation, the table `[distill]` of a recipe. Its key `objective` decides which other keys it has.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    method::FrozenTeacher,
    objective::distillation::TABLE,
    recipe::{Checker, Settings},
};

/// What the method is given before it makes networks: no setting.
#[derive(Clone, Debug)]
pub(super) struct Given {
    /// The teacher.
    pub(super) teacher: Arc<FrozenTeacher>,
    /// The length of the student's features.
    pub(super) features: usize,
}

/// Settings, the table `[distill]` of a recipe.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Keys", into = "Keys")]
pub struct Distill {
    /// How the student is compared with the teacher; `queue-kl`.
    pub objective: Objective,
    /// Side in pixels in which the teacher sees the views; that of the images which it was trained on.
    pub teacher_size: Option<usize>,
    /// Hidden width of the student's projector; 0, a single linear layer. `compress-2q` has no projector.
    pub projector_hidden: usize,
    pub(super) given: Option<Given>,
}

/// How the student is compared with the teacher. A queue holds so many features, over all views.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "each field is the key of its name, which the book explains")]
pub enum Objective {
    /// Squared error of the features.
    Mse,
    /// Cosine of the features.
    Cosine,
    /// SEED.
    Seed { queue: usize, student_temperature: f64, teacher_temperature: f64 },
    /// CompRess with one queue, of the teacher's features.
    Compress1q { queue: usize, temperature: f64 },
    /// CompRess with a queue of each network's features.
    Compress2q { queue: usize, temperature: f64 },
    /// The pseudo-classifier over a queue that holds the batch.
    QueueKl { queue: usize, temperature: f64 },
    /// The same, and similarities of the places of each image among each other.
    QueueKlLocal { queue: usize, temperature: f64, local_temperature: f64, local_weight: f64 },
}

/// The names of the objectives.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Name {
    Mse,
    Cosine,
    Seed,
    #[serde(rename = "compress-1q")]
    Compress1q,
    #[serde(rename = "compress-2q")]
    Compress2q,
    #[default]
    QueueKl,
    QueueKlLocal,
}

/// The table as it is written: any key may be absent, and [`TABLE`] says which keys an objective has.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    objective: Name,
    #[serde(skip_serializing_if = "Option::is_none")]
    teacher_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    projector_hidden: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    student_temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    teacher_temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local_temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local_weight: Option<f64>,
}

impl TryFrom<Keys> for Distill {
    type Error = serde::de::value::Error;

    /// Defaults are those of the code of each paper and of lightly-train.
    fn try_from(keys: Keys) -> Result<Self, Self::Error> {
        let written = [
            ("projector_hidden", keys.projector_hidden.is_some()),
            ("queue", keys.queue.is_some()),
            ("temperature", keys.temperature.is_some()),
            ("student_temperature", keys.student_temperature.is_some()),
            ("teacher_temperature", keys.teacher_temperature.is_some()),
            ("local_temperature", keys.local_temperature.is_some()),
            ("local_weight", keys.local_weight.is_some()),
        ];
        TABLE.refuse_foreign(TABLE.choices[keys.objective as usize].0, &written)?;
        let queue = |default| keys.queue.unwrap_or(default);
        let temperature = |default| keys.temperature.unwrap_or(default);
        let objective = match keys.objective {
            Name::Mse => Objective::Mse,
            Name::Cosine => Objective::Cosine,
            Name::Seed => Objective::Seed {
                queue: queue(65536),
                student_temperature: keys.student_temperature.unwrap_or(0.2),
                teacher_temperature: keys.teacher_temperature.unwrap_or(0.01),
            },
            Name::Compress1q => {
                Objective::Compress1q { queue: queue(128_000), temperature: temperature(0.04) }
            }
            Name::Compress2q => {
                Objective::Compress2q { queue: queue(128_000), temperature: temperature(0.04) }
            }
            Name::QueueKl => {
                Objective::QueueKl { queue: queue(8192), temperature: temperature(0.07) }
            }
            Name::QueueKlLocal => Objective::QueueKlLocal {
                queue: queue(8192),
                temperature: temperature(0.07),
                local_temperature: keys.local_temperature.unwrap_or(0.07),
                local_weight: keys.local_weight.unwrap_or(1.0),
            },
        };
        let projector_hidden = keys.projector_hidden.unwrap_or(0);
        Ok(Self { objective, teacher_size: keys.teacher_size, projector_hidden, given: None })
    }
}

impl From<Distill> for Keys {
    fn from(settings: Distill) -> Self {
        let mut keys = Self {
            teacher_size: settings.teacher_size,
            projector_hidden: Some(settings.projector_hidden),
            queue: settings.queue(),
            ..Self::default()
        };
        match settings.objective {
            Objective::Mse => keys.objective = Name::Mse,
            Objective::Cosine => keys.objective = Name::Cosine,
            Objective::Seed { student_temperature, teacher_temperature, .. } => {
                keys.objective = Name::Seed;
                keys.student_temperature = Some(student_temperature);
                keys.teacher_temperature = Some(teacher_temperature);
            }
            Objective::Compress1q { temperature, .. } => {
                (keys.objective, keys.temperature) = (Name::Compress1q, Some(temperature));
            }
            Objective::Compress2q { temperature, .. } => {
                (keys.objective, keys.temperature) = (Name::Compress2q, Some(temperature));
                keys.projector_hidden = None;
            }
            Objective::QueueKl { temperature, .. } => {
                (keys.objective, keys.temperature) = (Name::QueueKl, Some(temperature));
            }
            Objective::QueueKlLocal { temperature, local_temperature, local_weight, .. } => {
                (keys.objective, keys.temperature) = (Name::QueueKlLocal, Some(temperature));
                keys.local_temperature = Some(local_temperature);
                keys.local_weight = Some(local_weight);
            }
        }
        keys
    }
}

impl Distill {
    /// Returns the number of features that a queue holds; `None` for an objective without a queue.
    pub(super) fn queue(&self) -> Option<usize> {
        match self.objective {
            Objective::Mse | Objective::Cosine => None,
            Objective::Seed { queue, .. }
            | Objective::Compress1q { queue, .. }
            | Objective::Compress2q { queue, .. }
            | Objective::QueueKl { queue, .. }
            | Objective::QueueKlLocal { queue, .. } => Some(queue),
        }
    }
}

impl Default for Distill {
    fn default() -> Self {
        Self::try_from(Keys::default()).expect("an empty table has no key of another objective")
    }
}

impl Settings for Distill {
    fn check(&self, checker: &mut Checker) {
        checker.at_least("teacher_size", self.teacher_size.unwrap_or(1) as u64, 1);
        checker.at_least("queue", self.queue().unwrap_or(1) as u64, 1);
        match self.objective {
            Objective::Mse | Objective::Cosine => {}
            Objective::Seed { student_temperature, teacher_temperature, .. } => {
                checker.positive("student_temperature", student_temperature);
                checker.positive("teacher_temperature", teacher_temperature);
            }
            Objective::Compress1q { temperature, .. }
            | Objective::Compress2q { temperature, .. }
            | Objective::QueueKl { temperature, .. } => {
                checker.positive("temperature", temperature);
            }
            Objective::QueueKlLocal { temperature, local_temperature, local_weight, .. } => {
                checker.positive("temperature", temperature);
                checker.positive("local_temperature", local_temperature);
                checker.not_negative("local_weight", local_weight);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods;

    fn read(table: &str) -> Result<Distill, toml::de::Error> {
        toml::from_str(table)
    }

    #[test]
    fn each_objective_has_its_own_keys_and_is_read_as_it_is_written() {
        for (name, _) in TABLE.choices {
            let settings = read(&format!("objective = {name:?}")).unwrap();
            let written = toml::Table::try_from(&settings).unwrap();
            let mut keys = TABLE.keys(name).unwrap();
            keys.retain(|key| *key != "teacher_size");
            keys.sort_unstable();
            assert!(written.keys().eq(keys.iter()), "{name}: {written}");
            let again: Distill = written.try_into().unwrap();
            assert_eq!(again.objective, settings.objective);
            assert_eq!(TABLE.choices[Keys::from(settings).objective as usize].0, *name);
        }
        assert_eq!(read("teacher_size = 64").unwrap().teacher_size, Some(64));
    }

    #[test]
    fn a_key_of_another_objective_and_a_value_out_of_bounds_are_refused_by_name() {
        let error = read("objective = \"mse\"\nqueue = 5").unwrap_err().to_string();
        assert!(error.contains("queue is a key of seed"), "{error}");
        let entry = methods::find("distill").unwrap();
        for (table, named) in [
            ("queue = 0", "distill.queue"),
            ("temperature = 0", "distill.temperature"),
            ("teacher_size = 0", "distill.teacher_size"),
            ("objective = \"seed\"\nteacher_temperature = -1", "distill.teacher_temperature"),
            ("objective = \"queue-kl-local\"\nlocal_weight = -1", "distill.local_weight"),
        ] {
            let error = entry.with(&table.parse().unwrap()).err().unwrap().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
