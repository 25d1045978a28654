//! Writes the events of a run as plain lines, for log files and pipes.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use vssl::run::events::{Event, Observer};

use super::{
    figures::{Figures, fitted},
    words,
};

/// Shortest time between two lines about steps.
const PAUSE: Duration = Duration::from_secs(10);

/// Writes a line for most events.
pub struct Lines<W> {
    out: W,
    figures: Figures,
    began: Instant,
    told: Option<Instant>,
    /// When the progress of a phase was last told, or the phase began.
    phase: Instant,
    /// Whether all figures of a step are shown.
    verbose: bool,
    /// The notes that were shown at the start.
    notes: Vec<String>,
}

impl<W: Write> Lines<W> {
    /// An observer that writes to `out`.
    pub fn new(out: W, verbose: bool) -> Self {
        let (began, figures) = (Instant::now(), Figures::default());
        Self { out, figures, began, told: None, phase: began, verbose, notes: Vec::new() }
    }

    fn is_due(&mut self) -> bool {
        let last = self.figures.step == self.figures.steps;
        let due = last || self.told.is_none_or(|told| told.elapsed() >= PAUSE);
        if due {
            self.told = Some(Instant::now());
        }
        due
    }
}

impl<W: Write> Observer for Lines<W> {
    fn event(&mut self, event: &Event) {
        self.figures.take(event);
        let text = match event {
            Event::Started { notes, .. } => {
                self.began = Instant::now();
                self.notes.clone_from(notes);
                words::opening(event)
            }
            Event::Step { .. } if self.is_due() => {
                let mut all = self.figures.pace(self.began.elapsed(), self.verbose);
                all.extend(self.figures.learning(self.verbose));
                fitted(&all, usize::MAX)
            }
            Event::Step { .. } => return,
            Event::Finished { summary } => words::closing(summary, &self.notes),
            Event::Progress { .. } if self.phase.elapsed() < PAUSE => return,
            other => match words::note(other) {
                Some(note) => note,
                None => return,
            },
        };
        if let Event::Phase { .. } | Event::Progress { .. } = event {
            self.phase = Instant::now();
        }
        // A reader that went away does not end the run: the log is in the run folder.
        let _ = writeln!(self.out, "{text}").and_then(|()| self.out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::samples::{evaluated, started, step, summary},
        *,
    };

    #[test]
    fn a_log_has_the_first_step_the_last_and_no_control_characters() {
        let mut lines = Lines::new(Vec::new(), false);
        let warning = Event::Warning { step: 20, message: "the features are collapsing".into() };
        let finished = Event::Finished { summary: summary() };
        for event in [started(), step(10), step(20), warning, evaluated(78), step(780), finished] {
            lines.event(&event);
        }
        let text = String::from_utf8(lines.out).unwrap();
        assert!(!text.contains(['\x1b', '\r']), "{text:?}");
        assert!(text.contains("vssl: 10000 training images, 2000 validation images, 10 classes"));
        assert_eq!(text.matches("step 10/780").count(), 1);
        assert_eq!(text.matches("step 20/780").count(), 0);
        assert_eq!(text.matches("step 780/780").count(), 1);
        assert!(text.contains("warning, step 20: the features are collapsing"));
        assert!(text.contains("kNN 72.1 %") && !text.contains("gradient"), "{text}");
        assert!(text.contains("vssl export runs/a --to encoder.safetensors"));
    }
}
