//! The result and nothing else.

use std::io::Write;

use vssl::run::events::{Event, Observer};

use crate::table;

/// Writes the table at the end.
pub struct Quiet<W> {
    out: W,
}

impl<W: Write> Quiet<W> {
    /// To `out`.
    pub fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write> Observer for Quiet<W> {
    fn event(&mut self, event: &Event) {
        if let Event::Finished { summary } = event {
            // The summary is in the run folder, too.
            let _ = write!(self.out, "{}", table::accuracies(summary));
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
