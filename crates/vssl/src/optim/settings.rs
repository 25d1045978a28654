//! The settings of the optimiser for one parameter, after the rules of all groups. Called by the optimiser.

use super::OptimizerConfig;

/// The learning rate of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rate {
    /// The rate follows the schedule from this base rate.
    Scheduled(f64),
    /// The rate is constant.
    Constant(f64),
}

/// The numbers that the optimiser has for a parameter at a step, before any rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// The factor of every scheduled rate of the parameter, by the depth of its block.
    pub(super) layer_factor: f64,
    /// The weight decay at this step.
    pub(super) weight_decay: f64,
}

/// The settings of one parameter after all rules.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) rate: Rate,
    pub(super) weight_decay: f64,
    pub(super) trust_ratio: bool,
}

impl Settings {
    /// Returns the optimiser's own settings, changed by every rule that matches the parameter.
    pub(super) fn of(
        config: &OptimizerConfig,
        total_batch: usize,
        path: &str,
        rank: usize,
        now: Now,
    ) -> Self {
        let base = config.base_rate(total_batch) * now.layer_factor;
        let mut settings = Settings {
            rate: Rate::Scheduled(base),
            weight_decay: now.weight_decay,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::GroupRule;

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
        let now = Now { layer_factor: 1.0, weight_decay: 0.3 };
        let got = Settings::of(&config, 512, "head.bias", 1, now);
        let rate = Rate::Constant(6.0);
        assert_eq!(got, Settings { rate, weight_decay: 0.1, trust_ratio: false });
        let got = Settings::of(&config, 512, "head.weight", 2, now);
        let rate = Rate::Scheduled(1.0);
        assert_eq!(got, Settings { rate, weight_decay: 0.0, trust_ratio: false });
        // Without a rule the weight decay is that of the step.
        let got = Settings::of(&config, 512, "fc.weight", 2, now);
        assert_eq!(got, Settings { rate, weight_decay: 0.3, trust_ratio: true });
    }

    #[test]
    fn the_factor_of_a_block_lowers_scheduled_rates_and_leaves_constant_ones() {
        let rule =
            |pattern: &str| GroupRule { pattern: Some(pattern.into()), ..GroupRule::default() };
        let config = OptimizerConfig {
            lr: 0.5,
            groups: vec![
                GroupRule { lr_factor: Some(0.1), ..rule("backbone.*") },
                GroupRule { lr: Some(3.0), ..rule("backbone.conv1.*") },
            ],
            ..OptimizerConfig::default()
        };
        let now = Now { layer_factor: 0.25, weight_decay: 0.0 };
        let rate = |path: &str| Settings::of(&config, 256, path, 2, now).rate;
        assert_eq!(rate("projector.weight"), Rate::Scheduled(0.125));
        assert_eq!(rate("backbone.fc.weight"), Rate::Scheduled(0.125 * 0.1));
        assert_eq!(rate("backbone.conv1.weight"), Rate::Constant(3.0));
    }
}
