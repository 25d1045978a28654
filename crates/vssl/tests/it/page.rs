//! What the page of a run reads in its folder, and what it does not.

use std::{fs, path::Path};

use burn::tensor::Device;
use vssl::{
    page::{RunView, State},
    run::{
        folder::RunFolder,
        history::{self, Entry},
        stop::Stop,
    },
    train::{Plan, pretrain},
};

use super::training::{Silent, environment, recipe};

/// A finished run of four steps.
fn finished(run: &Path) {
    let text = r#"
        method = "simclr"
        data = { format = "idx", path = "data/fashion-mnist-tenth", limit_train = 16 }
        views = [{ count = 2, size = 16 }]
        backbone = { width = 2, stem = "cifar" }
        train = { epochs = 2, batch = 8 }
        log = { every_steps = 1 }
        health = { every_steps = 1, min_rank = 0.5, min_spread = 0.0 }
        evaluation = { enabled = false }
    "#;
    let text = format!("{text}\nschedule = {{ name = \"warmup-cosine\", warmup_epochs = 0 }}\n");
    let plan = Plan::new(recipe(&text), run, environment(Device::flex())).unwrap();
    pretrain(&plan, &Stop::default(), &mut Silent).unwrap();
}

#[test]
fn events_are_written_for_programs_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    finished(&run);
    let entries = history::read(&run).unwrap();
    assert_eq!(entries[0], Entry::Started { step: 0, steps: 4 });
    assert_eq!(entries.last(), Some(&Entry::Finished { step: 4, interrupted: false }));
    let saved = entries.iter().filter(|entry| matches!(entry, Entry::Checkpoint { .. })).count();
    assert_eq!(saved, 2, "{entries:?}");
    let text = fs::read_to_string(run.join("events.jsonl")).unwrap();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["time"].is_string() && line["step"].is_u64(), "{line}");
    }
}

#[test]
fn lines_of_the_log_mislead_no_page() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    finished(&run);
    let log = run.join("log.txt");
    let said = fs::read_to_string(&log).unwrap();
    let lie = "2026-11-27T00:00:00Z warning, step 2: all is lost\n\
               2026-11-27T00:00:00Z starts at step 0 of 999\n";
    fs::write(&log, said + lie).unwrap();
    let page = RunView::read(&run).unwrap();
    assert_eq!((page.warnings.len(), page.steps), (0, (4, Some(4))));
    assert_eq!(page.verdict.level, "good", "{}", page.verdict.text);

    let mut open = RunFolder::resume(&run, 4, false).unwrap();
    open.note(&Entry::Warning { step: 4, message: "all is lost".to_owned() }).unwrap();
    drop(open);
    let page = RunView::read(&run).unwrap();
    assert_eq!(page.warnings, ["step 4: all is lost"]);
    assert_eq!(page.verdict.level, "warning");
}

#[test]
fn a_run_of_an_earlier_version_has_a_page_without_events() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    finished(&run);
    fs::remove_file(run.join("events.jsonl")).unwrap();
    let page = RunView::read(&run).unwrap();
    assert_eq!((page.state, page.steps), (State::Finished, (4, Some(4))));
    assert!(page.warnings.is_empty() && page.training.steps == [1, 2, 3, 4]);
    // Killed, its length is not known.
    fs::remove_file(run.join("summary.json")).unwrap();
    let page = RunView::read(&run).unwrap();
    assert_eq!((page.state, page.steps), (State::Unfinished, (4, None)));
}

#[test]
fn a_run_that_goes_on_forgets_figures_and_events_of_later_steps() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut open = RunFolder::create(&run, "method = \"x\"", false, false).unwrap();
    open.note(&Entry::Started { step: 0, steps: 9 }).unwrap();
    for step in [2, 4, 6] {
        open.note(&Entry::Warning { step, message: step.to_string() }).unwrap();
        open.record(step, &serde_json::json!({ "kind": "step", "step": step, "epoch": 0 }))
            .unwrap();
    }
    drop(open);
    drop(RunFolder::resume(&run, 4, false).unwrap());
    let warning = |step: u64| Entry::Warning { step, message: step.to_string() };
    let expected = [Entry::Started { step: 0, steps: 9 }, warning(2), warning(4)];
    assert_eq!(history::read(&run).unwrap(), expected);
    let lines = vssl::run::metrics::read(&run).unwrap();
    assert_eq!(lines.iter().map(|line| line.step).collect::<Vec<_>>(), [2, 4]);
}
