//! Writes the result of a run and nothing else.

use std::io::Write;

use vssl::run::events::{Event, Observer};

use super::words;

/// Writes the table of accuracies at the end of a run.
pub struct Quiet<W> {
    out: W,
}

impl<W: Write> Quiet<W> {
    /// An observer that writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write> Observer for Quiet<W> {
    fn event(&mut self, event: &Event) {
        if let Event::Finished { summary } = event {
            // A failed write is ignored: the summary is in the run folder as well.
            let _ = write!(self.out, "{}", words::result(summary));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::samples::{started, step, summary},
        *,
    };

    #[test]
    fn only_the_result_is_written() {
        let mut quiet = Quiet::new(Vec::new());
        quiet.event(&started());
        quiet.event(&step(10));
        assert!(quiet.out.is_empty());
        quiet.event(&Event::Finished { summary: summary() });
        assert!(String::from_utf8(quiet.out).unwrap().contains("81.23 %"));
    }
}
