//! The events of a run as sentences and tables.

use std::{fmt::Write, time::Duration};

use vssl::{
    eval::evaluators::{Judged, Unit, shown},
    run::events::{Event, Summary},
};

use crate::output::{counted, duration, quoted, rounded};

/// The lines that introduce a run; empty for events other than [`Event::Started`].
pub fn opening(event: &Event) -> String {
    let Event::Started {
        method,
        run,
        parameters,
        train_images,
        validation_images,
        classes,
        steps,
        first_step,
        notes,
    } = event
    else {
        return String::new();
    };
    let validation = match validation_images {
        Some(images) => counted(*images, "validation image"),
        None => "no validation images".to_owned(),
    };
    let classes = match classes {
        0 => "no labels".to_owned(),
        1 => "1 class".to_owned(),
        classes => format!("{classes} classes"),
    };
    let train = counted(*train_images, "training image");
    let mut text = format!("{method}: {train}, {validation}, {classes}\n");
    let parameters = *parameters as f64 / 1e6;
    let steps = counted(*steps as usize, "step");
    let _ = write!(text, "{parameters:.2} million parameters, {steps}");
    if *first_step > 0 {
        let _ = write!(text, ", going on after step {first_step}");
    }
    let _ = write!(text, "; run folder {}", run.display());
    for note in notes {
        let _ = write!(text, "\nnote: {note}");
    }
    text
}

/// One event as a sentence; `None` for events that get no line.
pub fn note(event: &Event) -> Option<String> {
    match event {
        Event::Started { .. } | Event::Step { .. } => None,
        Event::Evaluated { step, epoch, knn_top1, probe_top1 } => {
            let knn = knn_top1.map(|top1| format!("  kNN {top1:.1} %")).unwrap_or_default();
            let probe = probe_top1.map(|top1| format!("  probe {top1:.1} %")).unwrap_or_default();
            let epochs = counted(*epoch as usize, "epoch");
            Some(format!("evaluated after step {step}, {epochs}:{knn}{probe}"))
        }
        Event::Warning { step, message } => Some(format!("warning, step {step}: {message}")),
        Event::Checkpoint { step, path } => {
            Some(format!("saved step {step} in {}", path.display()))
        }
        Event::Phase { what } => Some(what.clone()),
        Event::Progress { what, done, of, seconds } => {
            let share = match of {
                0 if *done == 0 => String::new(),
                0 => format!(" {done} done,"),
                _ => format!(" {done} of {of},"),
            };
            let time = duration(Duration::from_secs(*seconds));
            Some(format!("{what}:{share} {time}"))
        }
        Event::Finished { summary } => Some(closing(summary, &[])),
    }
}

/// The table of figures, or the reasons where there are no figures.
pub fn result(summary: &Summary) -> String {
    if summary.interrupted {
        let run = quoted(&summary.run.display().to_string());
        return format!(
            "stopped on request after {}; go on: vssl pretrain --resume {run}\n",
            counted(summary.steps as usize, "step")
        );
    }
    let table = table(summary);
    if table.is_empty() { notes(summary, &[]) } else { table }
}

/// The table of figures and the notes on them, without those that were `told` at the start. Without figures the
/// notes say why, and all of them are there.
fn accuracies(summary: &Summary, told: &[String]) -> String {
    let table = table(summary);
    let told = if table.is_empty() { &[] } else { told };
    table + &notes(summary, told)
}

fn notes(summary: &Summary, told: &[String]) -> String {
    let new = summary.notes.iter().filter(|note| !told.contains(note));
    new.map(|note| format!("note: {note}\n")).collect()
}

/// The table of figures: a row for each encoder that was judged, a column for each figure.
fn table(summary: &Summary) -> String {
    let rows = Judged::ALL.map(|judged| judged.of(summary));
    let mut columns = shown([summary].into_iter());
    columns.retain(|column| rows.iter().any(|row| row.contains_key(&column.name)));
    let widths: Vec<usize> = columns.iter().map(|c| 10.max(c.title.chars().count() + 2)).collect();
    let mut text = String::new();
    if !columns.is_empty() {
        let all = columns.iter().all(|column| column.unit == Unit::Percent);
        let _ = write!(text, "{:<20}", if all { "top-1 accuracy" } else { "evaluation" });
        for (column, &width) in columns.iter().zip(&widths) {
            let _ = write!(text, "{:>width$}", column.title);
        }
        text.push('\n');
    }
    let names = Judged::ALL.map(Judged::title);
    for (name, row) in names.iter().zip(&rows).filter(|(_, row)| !row.is_empty()) {
        let _ = write!(text, "{name:<20}");
        for (column, &width) in columns.iter().zip(&widths) {
            let cell = match (row.get(&column.name), column.unit) {
                (None, _) => "-".to_owned(),
                (Some(value), Unit::Percent) => format!("{value:.2} %"),
                (Some(value), Unit::Number) => rounded(*value),
            };
            let _ = write!(text, "{cell:>width$}");
        }
        text.push('\n');
    }
    text
}

/// The end of a run: the table, the time and memory it took, its folder and the next command. Notes that were `told`
/// at the start are not repeated.
pub fn closing(summary: &Summary, told: &[String]) -> String {
    let run = quoted(&summary.run.display().to_string());
    let mut text = String::from("\n");
    let table = accuracies(summary, told);
    if !table.is_empty() {
        text.push_str(&table);
        text.push('\n');
    }
    let how = if summary.interrupted { "stopped on request after" } else { "finished" };
    let time = Duration::try_from_secs_f64(summary.seconds).unwrap_or_default();
    let _ = write!(
        text,
        "{how} {} in {} ({} images/s), seed {}",
        counted(summary.steps as usize, "step"),
        duration(time),
        rounded(summary.images_per_s),
        summary.seed
    );
    if let Some(memory) = summary.peak_rss_mib {
        let _ = write!(text, ", at most {memory} MiB of memory");
    }
    if summary.replaced_images > 0 {
        let verb = if summary.replaced_images == 1 { "was" } else { "were" };
        let images = counted(summary.replaced_images as usize, "bad image");
        let _ = write!(text, "\n{images} {verb} replaced by others");
    }
    let _ = write!(text, "\nthe run is in {run}\n\nnext:\n");
    if summary.interrupted {
        let _ = write!(text, "  vssl pretrain --resume {run}    go on");
    } else {
        let _ = write!(text, "  vssl export {run} --to encoder.safetensors    the encoder alone");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};

    #[test]
    fn the_table_has_a_row_for_each_encoder() {
        let expected = "\
top-1 accuracy             kNN    linear
trained encoder        81.23 %   84.10 %
untrained encoder      70.11 %   75.00 %
raw pixels             78.90 %         -
";
        assert_eq!(accuracies(&samples::summary(), &[]), expected);
    }

    #[test]
    fn the_encoder_that_a_run_started_from_is_no_untrained_one() {
        let mut summary = samples::summary();
        let figures = std::mem::take(&mut summary.figures).into_iter();
        summary.figures = figures
            .map(|(name, value)| (name.replacen("untrained_", "before_", 1), value))
            .collect();
        let table = accuracies(&summary, &[]);
        assert!(table.contains("encoder before         70.11 %   75.00 %\n"), "{table}");
        assert!(!table.contains("untrained"), "{table}");
    }

    #[test]
    fn without_labels_the_reason_stands_in_place_of_the_table() {
        let mut summary = samples::summary();
        summary.figures.values_mut().for_each(|value| *value = None);
        summary.notes = vec!["no probes: the images have no labels".into()];
        let told = summary.notes.clone();
        assert_eq!(accuracies(&summary, &told), "note: no probes: the images have no labels\n");
    }

    #[test]
    fn notes_of_the_start_are_not_repeated_at_the_end() {
        let mut summary = samples::summary();
        summary.notes = ["of the start", "of the end"].map(str::to_owned).into();
        let text = closing(&summary, &summary.notes[..1]);
        assert!(text.contains("note: of the end") && !text.contains("of the start"), "{text}");
        assert!(closing(&summary, &[]).contains("note: of the start"));
    }

    #[test]
    fn a_run_that_was_stopped_says_how_to_go_on() {
        let mut summary = samples::summary();
        summary.interrupted = true;
        summary.run = "my runs/a".into();
        let text = closing(&summary, &[]);
        assert!(text.contains("vssl pretrain --resume 'my runs/a'"), "{text}");
        assert!(!text.contains("vssl export"), "{text}");
        assert!(closing(&samples::summary(), &[]).contains("vssl export runs/a --to"));
    }
}
