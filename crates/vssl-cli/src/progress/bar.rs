//! Shows a run as a bar that stays at the bottom of a terminal.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use vssl::run::{
    events::{Event, Observer},
    stop::Stop,
};

use super::{
    figures::{Figures, fitted},
    words,
};

/// Width of the bar in characters, where the terminal has room for it.
const BAR: usize = 24;

/// Draws two lines again and again, prints notes above them, and the table at the end.
pub struct Bar<W> {
    out: W,
    bar: ProgressBar,
    figures: Figures,
    began: Instant,
    stop: Stop,
    /// Whether all figures of a step are shown.
    verbose: bool,
    /// The notes that were shown at the start.
    told: Vec<String>,
}

impl<W: Write> Bar<W> {
    /// Draws the bar to `target` and writes the table at the end to `out`.
    pub fn new(out: W, target: ProgressDrawTarget, stop: Stop, verbose: bool) -> Self {
        // A length of 0 would be drawn as a full bar.
        let bar = ProgressBar::with_draw_target(None, target);
        let (figures, began, told) = (Figures::default(), Instant::now(), Vec::new());
        Self { out, bar, figures, began, stop, verbose, told }
    }

    fn draw(&self) {
        let width = terminal_width();
        let (template, status, learning) =
            screen(&self.figures, self.began.elapsed(), width, self.verbose);
        let style =
            ProgressStyle::with_template(&template).expect("made of a literal and a number");
        self.bar.set_style(style.progress_chars("=> "));
        self.bar.set_length(self.figures.steps);
        self.bar.set_position(self.figures.step);
        self.bar.set_prefix(status);
        self.bar.set_message(match self.stop.requested() {
            true => "stopping after this step; once more to end at once".to_owned(),
            false => learning,
        });
    }
}

/// The bar's template and its two texts, for a terminal of `width` characters.
fn screen(
    figures: &Figures,
    elapsed: Duration,
    width: usize,
    verbose: bool,
) -> (String, String, String) {
    // The last column stays free: some terminals wrap when it is written.
    let width = width.saturating_sub(1);
    let bar = if width >= 80 { BAR } else { width / 5 };
    let template = format!("[{{bar:{}}}] {{prefix}}\n{{msg}}", bar.max(1));
    let status = fitted(&figures.pace(elapsed, verbose), width.saturating_sub(bar.max(1) + 3));
    (template, status, fitted(&figures.learning(verbose), width))
}

fn terminal_width() -> usize {
    usize::from(console::Term::stderr().size().1)
}

impl<W: Write> Observer for Bar<W> {
    fn event(&mut self, event: &Event) {
        self.figures.take(event);
        match event {
            Event::Started { notes, .. } => {
                self.began = Instant::now();
                self.told.clone_from(notes);
                self.bar.println(words::opening(event));
                self.draw();
            }
            Event::Step { .. } | Event::Evaluated { .. } => self.draw(),
            // Checkpoints are frequent, and the run folder shows them.
            Event::Checkpoint { .. } => {}
            Event::Phase { what } => self.bar.set_message(format!("{what} …")),
            Event::Progress { .. } => {
                self.bar.set_message(words::note(event).unwrap_or_default());
            }
            Event::Warning { .. } => {
                let text = words::note(event).unwrap_or_default();
                self.bar.println(console::style(text).yellow().for_stderr().to_string());
            }
            Event::Finished { summary } => {
                self.bar.finish_and_clear();
                // A failed write is ignored: the summary is in the run folder as well.
                let _ = writeln!(self.out, "{}", words::closing(summary, &self.told));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;

    use super::{
        super::samples::{evaluated, started, step, summary},
        *,
    };

    #[test]
    fn both_lines_fit_terminals_of_any_width() {
        let mut figures = Figures::default();
        for event in [started(), step(10), evaluated(78), step(100)] {
            figures.take(&event);
        }
        for width in 0..200 {
            let (_, status, learning) = screen(&figures, Duration::from_secs(61), width, true);
            let bar = if width > 80 { BAR } else { width.saturating_sub(1) / 5 };
            assert!(status.is_empty() || bar + 3 + status.chars().count() < width, "{width}");
            assert!(learning.is_empty() || learning.chars().count() < width, "{width}");
        }
        let (_, status, learning) = screen(&figures, Duration::from_secs(61), 120, true);
        assert_eq!(status, "step 100/780  6 min 55 s left  812 images/s  loader 3 %  epoch 2");
        assert!(learning.starts_with("loss -3.21  kNN 72.1 %  probe 61.2 %  kl -1.25"));
        let (_, status, _) = screen(&figures, Duration::from_secs(61), 50, false);
        assert_eq!(status, "step 100/780  6 min 55 s left");
    }

    #[test]
    fn warnings_stay_above_the_bar_and_the_bar_goes_at_the_end() {
        let term = InMemoryTerm::new(20, 120);
        let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
        let mut bar = Bar::new(Vec::new(), target, Stop::default(), false);
        bar.event(&started());
        bar.event(&step(10));
        bar.event(&Event::Warning { step: 10, message: "the features are collapsing".into() });
        bar.bar.force_draw();
        let screen = term.contents();
        assert!(screen.contains("warning, step 10: the features are collapsing\n["), "{screen}");
        bar.event(&Event::Finished { summary: summary() });
        assert!(!term.contents().contains("step 10/780"));
        let table = String::from_utf8(bar.out).unwrap();
        assert!(table.contains("raw pixels"), "{table}");
    }

    #[test]
    fn a_request_to_stop_is_acknowledged() {
        let term = InMemoryTerm::new(20, 120);
        let stop = Stop::default();
        let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
        let mut bar = Bar::new(Vec::new(), target, stop.clone(), false);
        bar.event(&started());
        stop.request();
        bar.event(&step(10));
        bar.bar.force_draw();
        assert!(term.contents().contains("stopping after this step"), "{}", term.contents());
    }
}
