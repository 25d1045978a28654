//! Exceptions from the optimiser's settings for some parameters, which are chosen by path and rank.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::OptimError;

/// An exception: the criteria of its parameters, and their settings.
///
/// A parameter has to meet every criterion that is given. When several rules match a parameter, all apply in
/// order, and the later rule overrides the earlier one, key by key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupRule {
    /// Criterion: a pattern of the whole path, in which `*` stands for any characters, dots included:
    /// `*.bias`, `predictor.*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Criterion: whether the tensor has one axis, as biases and the scales and shifts of norms have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub one_dimensional: Option<bool>,
    /// The factor of the base rate, before the schedule is applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr_factor: Option<f64>,
    /// A constant learning rate, the same at every step; it is scaled with the batch as the base rate is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// The weight decay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// Whether LARS scales by the trust ratio; without it the rule is SGD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lars: Option<bool>,
}

impl GroupRule {
    /// Returns whether a parameter meets all criteria.
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

/// Returns whether `path` matches `pattern`, in which `*` stands for any characters.
fn glob(pattern: &str, path: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == path };
    let Some(mut path) = path.strip_prefix(head) else { return false };
    let mut pieces = rest.split('*').peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return path.ends_with(piece);
        }
        // The earliest match leaves the most for the pieces that follow.
        let Some(start) = path.find(piece) else { return false };
        path = &path[start + piece.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{optim::OptimizerConfig, tensors::ParameterInfo};

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
