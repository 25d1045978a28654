//! The figures of a run as short texts, as many as fit into a line.

use std::time::Duration;

use vssl::run::events::Event;

use crate::output::{duration, rounded};

/// Text between two figures of a line.
const GAP: &str = "  ";

/// The latest figures of a run.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Number of steps of the whole run.
    pub steps: u64,
    /// Number of steps done.
    pub step: u64,
    first_step: u64,
    epoch: u64,
    loss: f64,
    parts: Vec<(String, f64)>,
    lr: f64,
    gradient_norm: Option<f64>,
    images_per_s: f64,
    loader_wait: f64,
    probe_top1: Option<f64>,
    knn_top1: Option<f64>,
}

impl Figures {
    /// Takes over the figures of an event.
    pub fn take(&mut self, event: &Event) {
        match event {
            Event::Started { steps, first_step, .. } => {
                *self = Self { steps: *steps, step: *first_step, ..Self::default() };
                self.first_step = *first_step;
            }
            Event::Step {
                step,
                epoch,
                loss,
                parts,
                lr,
                gradient_norm,
                images_per_s,
                loader_wait,
                probe_top1,
            } => {
                (self.step, self.epoch, self.loss, self.lr) = (*step, *epoch, *loss, *lr);
                self.parts.clone_from(parts);
                self.gradient_norm = *gradient_norm;
                (self.images_per_s, self.loader_wait) = (*images_per_s, *loader_wait);
                self.probe_top1 = *probe_top1;
            }
            Event::Evaluated { step, knn_top1, .. } => {
                self.step = *step;
                self.knn_top1 = knn_top1.or(self.knn_top1);
            }
            _ => {}
        }
    }

    /// Estimate of the time left, from the steps done in `elapsed` since the process started.
    fn left(&self, elapsed: Duration) -> Option<Duration> {
        let done = self.step.checked_sub(self.first_step).filter(|&done| done > 0)?;
        let left = self.steps.saturating_sub(self.step) as f64;
        Duration::try_from_secs_f64(elapsed.as_secs_f64() * left / done as f64).ok()
    }

    /// Progress and speed, the most important figure first. The files of a run have all figures; `all` shows
    /// them, too.
    pub fn pace(&self, elapsed: Duration, all: bool) -> Vec<String> {
        let mut pace = vec![format!("step {}/{}", self.step, self.steps)];
        pace.extend(self.left(elapsed).map(|left| format!("{} left", duration(left))));
        pace.push(format!("{} images/s", rounded(self.images_per_s)));
        if all {
            pace.push(format!("loader {:.0} %", 100.0 * self.loader_wait));
            pace.push(format!("epoch {}", self.epoch + 1));
        }
        pace
    }

    /// The loss and the accuracies, the most important figure first, and with `more` what else a step has.
    pub fn learning(&self, more: bool) -> Vec<String> {
        let mut all = vec![format!("loss {}", rounded(self.loss))];
        all.extend(self.knn_top1.map(|top1| format!("kNN {top1:.1} %")));
        all.extend(self.probe_top1.map(|top1| format!("probe {top1:.1} %")));
        if !more {
            return all;
        }
        all.extend(self.parts.iter().map(|(name, value)| format!("{name} {}", rounded(*value))));
        all.push(format!("lr {}", rounded(self.lr)));
        all.extend(self.gradient_norm.map(|norm| format!("gradient {}", rounded(norm))));
        all
    }
}

/// One line of the first `items`, as many as fit into `width` characters.
pub fn fitted(items: &[String], width: usize) -> String {
    let mut line = String::new();
    for item in items {
        let gap = if line.is_empty() { "" } else { GAP };
        if line.chars().count() + gap.len() + item.chars().count() > width {
            break;
        }
        line.push_str(gap);
        line.push_str(item);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::samples::{evaluated, started, step};

    #[test]
    fn time_left_goes_by_the_pace_of_this_start() {
        let mut figures = Figures::default();
        figures.take(&started());
        assert_eq!(figures.left(Duration::from_secs(1)), None);
        figures.take(&step(195));
        assert_eq!(figures.left(Duration::from_secs(10)), Some(Duration::from_secs(30)));
    }

    #[test]
    fn a_narrow_line_keeps_what_matters_most() {
        let mut figures = Figures::default();
        for event in [started(), step(10), evaluated(78), step(100)] {
            figures.take(&event);
        }
        assert_eq!(fitted(&figures.learning(false), 200), "loss -3.21  kNN 72.1 %  probe 61.2 %");
        let learning = figures.learning(true);
        assert_eq!(fitted(&learning, 24), "loss -3.21  kNN 72.1 %");
        let all = "loss -3.21  kNN 72.1 %  probe 61.2 %  kl -1.25  nll 1.20e-5  lr 0.00300  \
                   gradient 1.50";
        assert_eq!(fitted(&learning, 200), all);
        assert_eq!(fitted(&learning, 0), "");
    }
}
