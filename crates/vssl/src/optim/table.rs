//! The table `[optimizer]` of a recipe. Its key `name` decides which other keys the table has.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::{Adam, Algorithm, GroupRule, Lars, OptimizerConfig, Sgd};
use crate::tagged::TaggedTable;

const SGD: &str =
    "lr scale_lr weight_decay weight_decay_end momentum dampening nesterov layer_decay groups";
const LARS: &str = "lr scale_lr weight_decay weight_decay_end momentum dampening nesterov eta clip_lr \
                    exclude_bias_and_norm eps layer_decay groups";
const ADAM: &str = "lr scale_lr weight_decay weight_decay_end beta1 beta2 eps layer_decay groups";

/// The keys of `[optimizer]` by algorithm.
pub(crate) const TABLE: TaggedTable = TaggedTable {
    tag: "name",
    default: "lars",
    choices: &[("lars", LARS), ("sgd", SGD), ("adam", ADAM), ("adamw", ADAM)],
};

/// The names of the algorithms.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Name {
    #[default]
    Lars,
    Sgd,
    Adam,
    Adamw,
}

/// A table as it is read: any key may be absent, and [`TABLE`] says which keys are allowed.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    name: Name,
    lr: Option<f64>,
    scale_lr: Option<bool>,
    weight_decay: Option<f64>,
    weight_decay_end: Option<f64>,
    momentum: Option<f64>,
    dampening: Option<f64>,
    nesterov: Option<bool>,
    eta: Option<f64>,
    clip_lr: Option<bool>,
    exclude_bias_and_norm: Option<bool>,
    eps: Option<f64>,
    beta1: Option<f64>,
    beta2: Option<f64>,
    layer_decay: Option<f64>,
    groups: Vec<GroupRule>,
}

impl Keys {
    fn sgd(&self) -> Sgd {
        let default = Sgd::default();
        Sgd {
            momentum: self.momentum.unwrap_or(default.momentum),
            dampening: self.dampening.unwrap_or(default.dampening),
            nesterov: self.nesterov.unwrap_or(default.nesterov),
        }
    }

    fn lars(&self) -> Lars {
        let default = Lars::default();
        let excluded = self.exclude_bias_and_norm;
        Lars {
            sgd: self.sgd(),
            eta: self.eta.unwrap_or(default.eta),
            clip_lr: self.clip_lr.unwrap_or(default.clip_lr),
            exclude_bias_and_norm: excluded.unwrap_or(default.exclude_bias_and_norm),
            eps: self.eps.unwrap_or(default.eps),
        }
    }

    fn adam(&self) -> Adam {
        let default = Adam::default();
        Adam {
            beta1: self.beta1.unwrap_or(default.beta1),
            beta2: self.beta2.unwrap_or(default.beta2),
            eps: self.eps.unwrap_or(default.eps),
        }
    }

    /// Returns the update rule of the table.
    ///
    /// # Errors
    /// The table has a key that only other rules have.
    fn algorithm<E: Error>(&self) -> Result<Algorithm, E> {
        let algorithm = match self.name {
            Name::Lars => Algorithm::Lars(self.lars()),
            Name::Sgd => Algorithm::Sgd(self.sgd()),
            Name::Adam => Algorithm::Adam(self.adam()),
            Name::Adamw => Algorithm::Adamw(self.adam()),
        };
        let present = [
            ("momentum", self.momentum.is_some()),
            ("dampening", self.dampening.is_some()),
            ("nesterov", self.nesterov.is_some()),
            ("eta", self.eta.is_some()),
            ("clip_lr", self.clip_lr.is_some()),
            ("exclude_bias_and_norm", self.exclude_bias_and_norm.is_some()),
            ("eps", self.eps.is_some()),
            ("beta1", self.beta1.is_some()),
            ("beta2", self.beta2.is_some()),
        ];
        TABLE.refuse_foreign(algorithm.name(), &present)?;
        Ok(algorithm)
    }
}

impl<'de> Deserialize<'de> for OptimizerConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = Keys::deserialize(deserializer)?;
        let default = Self::default();
        Ok(Self {
            algorithm: read.algorithm()?,
            lr: read.lr.unwrap_or(default.lr),
            scale_lr: read.scale_lr.unwrap_or(default.scale_lr),
            weight_decay: read.weight_decay.unwrap_or(default.weight_decay),
            weight_decay_end: read.weight_decay_end,
            layer_decay: read.layer_decay.unwrap_or(default.layer_decay),
            groups: read.groups,
        })
    }
}

/// A table as it is written.
#[derive(Serialize)]
struct Written<'a> {
    name: &'static str,
    lr: f64,
    scale_lr: bool,
    weight_decay: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight_decay_end: Option<f64>,
    #[serde(flatten)]
    algorithm: &'a Algorithm,
    #[serde(skip_serializing_if = "is_one")]
    layer_decay: f64,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    groups: &'a [GroupRule],
}

/// Whether all blocks learn at the same rate, which recipes do not write down.
fn is_one(factor: &f64) -> bool {
    *factor == 1.0
}

impl Serialize for OptimizerConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { algorithm, groups, .. } = self;
        let written = Written {
            name: algorithm.name(),
            lr: self.lr,
            scale_lr: self.scale_lr,
            weight_decay: self.weight_decay,
            weight_decay_end: self.weight_decay_end,
            algorithm,
            layer_decay: self.layer_decay,
            groups,
        };
        written.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_writes_the_keys_of_its_list_and_is_read_back() {
        for (name, _) in TABLE.choices {
            let text = format!(
                "name = \"{name}\"\nweight_decay_end = 0.5\nlayer_decay = 0.5\n[[groups]]\npattern = \"*\"\nlr = 1.0\n"
            );
            let config: OptimizerConfig = toml::from_str(&text).unwrap();
            assert_eq!(config.algorithm.name(), *name);
            let table = toml::Table::try_from(&config).unwrap();
            assert!(table.keys().eq(TABLE.keys(name).unwrap().iter()), "{table}");
            assert_eq!(table.try_into::<OptimizerConfig>().unwrap(), config);
        }
    }

    #[test]
    fn keys_of_other_algorithms_are_refused() {
        for text in ["beta1 = 0.9", "name = \"adamw\"\neta = 0.1", "name = \"sgd\"\neps = 1e-8"] {
            let error = toml::from_str::<OptimizerConfig>(text).unwrap_err().to_string();
            assert!(error.contains(" is a key of ") && error.contains("name, lr"), "{error}");
        }
    }
}
