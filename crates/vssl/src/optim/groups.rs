//! Exceptions to the optimiser's numbers for some parameters, chosen by path and rank.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{OptimError, OptimizerConfig};

/// One exception: which parameters, and what is different for them.
///
/// A parameter has to meet every criterion that is given. When several rules meet it, all apply in
/// order and the later one wins, key by key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupRule {
    /// Criterion: the whole path, `*` standing for any characters, dots included: `*.bias`,
    /// `predictor.*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Criterion: whether the tensor has one axis (biases, scales and shifts of norms).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub one_dimensional: Option<bool>,
    /// Factor on the base rate before the schedule is applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr_factor: Option<f64>,
    /// A rate of their own, the same at every step (scaled with the batch as the base rate is).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Weight decay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// Whether LARS scales by the trust ratio; without it the rule is that of SGD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lars: Option<bool>,
}

impl GroupRule {
    /// Whether a parameter meets the criteria.
    pub fn matches(&self, path: &str, rank: usize) -> bool {
        self.pattern.as_deref().is_none_or(|pattern| glob(pattern, path))
            && self.one_dimensional.is_none_or(|one| one == (rank == 1))
    }

    pub(super) fn validate(&self, index: usize) -> Result<(), OptimError> {
        let fail = |problem: &str| {
            Err(OptimError::Rule { index, rule: self.to_string(), problem: problem.to_owned() })
        };
        if self.pattern.is_none() && self.one_dimensional.is_none() {
            return fail("has no criterion; give `pattern` or `one_dimensional`");
        }
        if self.lr.is_some() && self.lr_factor.is_some() {
            return fail("gives both `lr` (constant) and `lr_factor` (scheduled); keep one");
        }
        let numbers = [self.lr, self.lr_factor, self.weight_decay];
        if numbers.iter().flatten().any(|x| !(x.is_finite() && *x >= 0.0)) {
            return fail("has a rate, factor or weight decay that is negative or not finite");
        }
        if numbers.iter().all(Option::is_none) && self.lars.is_none() {
            return fail("changes nothing; give `lr`, `lr_factor`, `weight_decay` or `lars`");
        }
        Ok(())
    }
}

impl fmt::Display for GroupRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(pattern) = &self.pattern {
            write!(f, "pattern = \"{pattern}\"")?;
        }
        match (self.one_dimensional, &self.pattern) {
            (Some(one), Some(_)) => write!(f, ", one_dimensional = {one}"),
            (Some(one), None) => write!(f, "one_dimensional = {one}"),
            (None, _) => Ok(()),
        }
    }
}

/// How the rate of a parameter comes about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rate {
    /// The schedule, started from this base rate.
    Scheduled(f64),
    /// This, always.
    Constant(f64),
}

/// What holds for one parameter after all rules.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) rate: Rate,
    pub(super) weight_decay: f64,
    pub(super) trust_ratio: bool,
}

impl Settings {
    /// The optimiser's own numbers, changed by every rule that the parameter meets.
    pub(super) fn of(
        config: &OptimizerConfig,
        total_batch: usize,
        path: &str,
        rank: usize,
    ) -> Self {
        let base = config.base_rate(total_batch);
        let mut settings = Settings {
            rate: Rate::Scheduled(base),
            weight_decay: config.weight_decay,
            trust_ratio: true,
        };
        for rule in config.groups.iter().filter(|rule| rule.matches(path, rank)) {
            if let Some(factor) = rule.lr_factor {
                settings.rate = Rate::Scheduled(base * factor);
            }
            if let Some(lr) = rule.lr {
                settings.rate = Rate::Constant(lr * config.batch_factor(total_batch));
            }
            settings.weight_decay = rule.weight_decay.unwrap_or(settings.weight_decay);
            settings.trust_ratio = rule.lars.unwrap_or(settings.trust_ratio);
        }
        settings
    }
}

/// Whether `path` is what `pattern` says, `*` standing for any characters.
fn glob(pattern: &str, path: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == path };
    let Some(mut path) = path.strip_prefix(head) else { return false };
    let mut pieces = rest.split('*').peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return path.ends_with(piece);
        }
        // The earliest place leaves the most for the pieces that follow.
        let Some(start) = path.find(piece) else { return false };
        path = &path[start + piece.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::ParameterInfo;

    #[test]
    fn a_star_stands_for_any_characters_and_the_rest_is_literal() {
        let cases = [
            ("*.bias", "backbone.fc.bias", true),
            ("*.bias", "bias", false),
            ("*bias", "bias", true),
            ("head.last.*", "head.last.weight", true),
            ("head.last.*", "head.lasting.weight", false),
            ("*", "", true),
            ("a*b*c", "a.b.b.c", true),
            ("a*b*c", "a.c.b", false),
            ("a*ab", "ab", false),
            ("*.conv*.weight", "layer1.0.conv2.weight", true),
            ("weight", "fc.weight", false),
            ("", "fc", false),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(glob(pattern, path), expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn later_rules_win_key_by_key() {
        let pattern = |p: &str| GroupRule { pattern: Some(p.into()), ..GroupRule::default() };
        let config = OptimizerConfig {
            lr: 0.5,
            groups: vec![
                GroupRule { weight_decay: Some(0.0), lars: Some(false), ..pattern("head.*") },
                GroupRule { weight_decay: Some(0.1), lr: Some(3.0), ..pattern("*.bias") },
            ],
            ..OptimizerConfig::default()
        };
        let got = Settings::of(&config, 512, "head.bias", 1);
        let rate = Rate::Constant(6.0);
        assert_eq!(got, Settings { rate, weight_decay: 0.1, trust_ratio: false });
        let got = Settings::of(&config, 512, "head.weight", 2);
        let rate = Rate::Scheduled(1.0);
        assert_eq!(got, Settings { rate, weight_decay: 0.0, trust_ratio: false });
    }

    #[test]
    fn a_rule_that_matches_nothing_is_named() {
        let config = toml::from_str::<OptimizerConfig>(
            "[[groups]]\none_dimensional = true\nweight_decay = 0.0\n\
             [[groups]]\npattern = \"predictr.*\"\nlr_factor = 2.0",
        )
        .unwrap();
        let parameter = |path: &str, shape: &[usize]| ParameterInfo {
            path: path.into(),
            shape: shape.into(),
            trainable: true,
        };
        let found = [parameter("fc.weight", &[2, 3]), parameter("fc.bias", &[2])];
        let error = config.cover(&found).unwrap_err().to_string();
        assert!(error.contains("groups[1]") && error.contains("predictr.*"), "{error}");
    }

    #[test]
    fn contradictory_rules_are_refused() {
        for text in [
            "[[groups]]\nlr = 1.0",
            "[[groups]]\npattern = \"*\"",
            "[[groups]]\npattern = \"*\"\nlr = 1.0\nlr_factor = 2.0",
            "[[groups]]\npattern = \"*\"\nlr = -1.0",
            "momentum = 1.0",
            "lr = nan",
        ] {
            let config = toml::from_str::<OptimizerConfig>(text).unwrap();
            assert!(config.validate().is_err(), "{text}");
        }
        assert!(toml::from_str::<OptimizerConfig>("learning_rate = 1.0").is_err());
    }

    #[test]
    fn a_configuration_survives_a_round_trip_through_toml() {
        let config = toml::from_str::<OptimizerConfig>(
            "name = \"adamw\"\nlr = 1e-3\n[[groups]]\npattern = \"*.bias\"\nweight_decay = 0.0",
        )
        .unwrap();
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<OptimizerConfig>(&text).unwrap(), config, "{text}");
    }
}
