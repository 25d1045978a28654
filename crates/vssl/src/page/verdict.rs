//! Says whether the features of a run are alive, as far as it has measured them.

use serde::Serialize;

use crate::{recipe::HealthConfig, run::metrics::Line, train::health::Health};

/// Whether the features are alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// `good`, `warning`, `bad` or `unknown`.
    pub level: &'static str,
    /// The verdict as a sentence.
    pub text: String,
}

/// Judges the measurements in the lines of a run that gave so many `warnings`.
pub(super) fn verdict(lines: &[Line], config: &HealthConfig, warnings: usize) -> Verdict {
    let measured = lines.iter().filter_map(|line| {
        let health = Health {
            spread: line.figure("health/spread")?,
            effective_rank: line.figure("health/effective_rank")?,
            mean_cosine: line.figure("health/mean_cosine")?,
        };
        Some((line.step, health))
    });
    let measured: Vec<(u64, Health)> = measured.collect();
    let Some((step, last)) = measured.last() else {
        let text = "the features were not measured; see health.every_steps".to_owned();
        return Verdict { level: "unknown", text };
    };
    let figures = format!("effective rank {:.1}, spread {:.2}", last.effective_rank, last.spread);
    if let Some(symptom) = last.symptom(config) {
        return Verdict { level: "bad", text: format!("step {step}: {symptom}") };
    }
    let low = measured.iter().filter(|(_, health)| health.symptom(config).is_some()).count();
    match (low, warnings) {
        (0, 0) => Verdict { level: "good", text: format!("no sign of collapse: {figures}") },
        (0, warnings) => {
            let text = format!("{figures}, but the run gave {warnings} warnings");
            Verdict { level: "warning", text }
        }
        (low, _) => {
            let of = measured.len();
            let text = format!("{figures} at the end, too low in {low} of {of} measurements");
            Verdict { level: "warning", text }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_measurement_decides_whether_features_are_alive() {
        let line = |step, rank: f64| Line {
            evaluation: false,
            step,
            epoch: 0,
            figures: ["spread", "effective_rank", "mean_cosine"]
                .map(|name| {
                    (format!("health/{name}"), if name == "effective_rank" { rank } else { 0.5 })
                })
                .to_vec(),
        };
        let config = HealthConfig::default();
        let level = |ranks: &[f64], warnings| {
            let lines: Vec<Line> = ranks.iter().map(|&rank| line(50, rank)).collect();
            verdict(&lines, &config, warnings).level
        };
        assert_eq!(level(&[], 0), "unknown");
        assert_eq!(level(&[20.0], 0), "good");
        assert_eq!(level(&[20.0], 1), "warning");
        assert_eq!(level(&[1.0, 20.0], 1), "warning");
        assert_eq!(level(&[20.0, 1.0], 1), "bad");
    }
}
