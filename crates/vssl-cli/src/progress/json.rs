//! Writes the events of a run as JSON lines, for programs.

use std::io::Write;

use vssl::run::events::{Event, Observer};

/// Writes every event as one line.
pub struct Json<W> {
    out: W,
}

impl<W: Write> Json<W> {
    /// An observer that writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write> Observer for Json<W> {
    fn event(&mut self, event: &Event) {
        let line = serde_json::to_string(event).expect("events are plain data");
        // A reader that went away does not end the run: the metrics are in the run folder.
        let _ = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::samples::{started, step, summary},
        *,
    };

    #[test]
    fn every_line_is_an_object_that_names_its_event() {
        let mut json = Json::new(Vec::new());
        for event in [started(), step(10), Event::Finished { summary: summary() }] {
            json.event(&event);
        }
        let text = String::from_utf8(json.out).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let names: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
        assert_eq!(names, ["started", "step", "finished"]);
        assert_eq!(lines[2]["summary"]["knn_top1"], 81.234);
        assert_eq!(lines[1]["loss"], -3.214_159);
    }
}
