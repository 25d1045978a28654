//! The result of a training on labels, for people and for programs. Called by `vssl linear` and `vssl finetune`.

use std::{fmt::Write, time::Duration};

use serde_json::json;
use vssl::{
    run::folder,
    supervised::{HeadSummary, Summary},
};

use crate::{
    arguments::Common,
    failure::Failure,
    notes::note,
    output::{counted, duration, say},
};

/// Prints the result, and its notes without those that were `told` at the start.
pub(super) fn tell(summary: &Summary, told: &[String], common: &Common) -> Result<(), Failure> {
    if common.json {
        say(&json!({ "event": "finished", "summary": summary }).to_string())?;
    } else if common.quiet {
        say(&percent(summary.top1))?;
    } else {
        say(closing(summary).trim_end())?;
        let new = summary.notes.iter().filter(|text| !told.contains(text));
        new.for_each(|text| note(text));
    }
    if summary.interrupted { Err(Failure::Interrupted) } else { Ok(()) }
}

/// The result as a table and a sentence.
fn closing(summary: &Summary) -> String {
    let mut text = String::new();
    if summary.interrupted {
        let _ = writeln!(text, "stopped after step {}; go on with --resume", summary.steps);
    }
    let _ =
        writeln!(text, "\n{:<12} {:>7} {:>7} {:>9}  train %", "", "top-1 %", "top-5 %", "best %");
    for head in &summary.heads {
        // Before the end there is nothing to choose by.
        let chosen = !summary.interrupted && summary.chosen.as_ref() == Some(&head.name);
        let _ = writeln!(text, "{}", line(head, chosen && summary.heads.len() > 1));
    }
    if let (true, Some(top1)) = (summary.heads.is_empty(), summary.top1) {
        let chosen = summary.chosen.as_deref().unwrap_or_default();
        let _ = writeln!(text, "{chosen:<12} {top1:>7.2} {:>7}", percent(summary.top5));
    }
    if let Some(balanced) = summary.balanced_top1 {
        let classes = summary.folder.join(folder::CLASSES);
        let classes = classes.display();
        let _ = writeln!(
            text,
            "balanced accuracy {balanced:.2} %; the accuracy of each class is in {classes}"
        );
    }
    if let Some(pooling) = summary.pooling {
        let _ = writeln!(text, "the feature is {}", pooling.words());
    }
    let time = duration(Duration::from_secs_f64(summary.seconds.max(0.0)));
    let _ = write!(
        text,
        "{} of {}, {}, in {time}; results in {}",
        summary.task,
        counted(summary.train_images, "image"),
        match summary.classes {
            1 => "1 class".to_owned(),
            classes => format!("{classes} classes"),
        },
        summary.folder.display()
    );
    text
}

fn line(head: &HeadSummary, chosen: bool) -> String {
    let last = head.last.filter(|_| !head.diverged);
    let best = match head.best {
        Some(best) => format!("{} @{}", percent(best.top1), best.epoch),
        None => "-".to_owned(),
    };
    let note = match (head.diverged, chosen) {
        (true, _) => "  diverged",
        (false, true) => "  <- chosen by training images",
        (false, false) => "",
    };
    format!(
        "{:<12} {:>7} {:>7} {best:>9}  {}{note}",
        head.name,
        percent(last.and_then(|last| last.top1)),
        percent(last.and_then(|last| last.top5)),
        percent(last.map(|last| last.train_top1)),
    )
}

fn percent(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.2}"))
}
