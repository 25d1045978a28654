//! Prints the order of encoders, and how well the figures agree with accuracies.

use serde_json::{Map, Value, json};
use vssl::ranking::{
    ACCURACIES, Accuracies, Correlation, Criterion, Figures, LEAST_PAIRS, correlations,
};

use super::{
    judging::{Judged, Ranking},
    subjects::Unread,
};
use crate::{
    arguments::Common,
    failure::Failure,
    notes::warn,
    output::{counted, rounded, say, shown},
};

/// Text of a cell without a figure.
const NOTHING: &str = "-";

pub(super) fn show(
    rankings: &[Ranking],
    unread: &[Unread],
    by: Criterion,
    common: &Common,
) -> Result<(), Failure> {
    if common.json {
        return say(&event(rankings, unread, by).to_string());
    }
    for (number, ranking) in rankings.iter().enumerate() {
        if number > 0 {
            say("")?;
        }
        if !common.quiet {
            say(&format!("{}; best first by {}\n", shown(&ranking.images), by.title()))?;
        }
        say(&aligned(&table(ranking)))?;
        if !common.quiet {
            say(&format!("\n{}", agreement(ranking)))?;
        }
    }
    if rankings.len() > 1 {
        crate::notes::note(
            "encoders that were judged on different images do not compare: each set has an order of its own",
        );
    }
    if !unread.is_empty() {
        let lines = unread.iter().map(|one| format!("\n  {}: {}", one.encoder, one.reason));
        let named: String = lines.collect();
        warn(&format!("{} could not be judged:{named}", counted(unread.len(), "encoder")));
    }
    Ok(())
}

/// The accuracies that an encoder of the ranking has.
fn known(ranking: &Ranking) -> Vec<(&'static str, &'static str)> {
    let has = |(name, _): &(&'static str, _)| {
        ranking.judged.iter().any(|one| one.accuracies.contains_key(name))
    };
    ACCURACIES.into_iter().filter(has).collect()
}

fn table(ranking: &Ranking) -> Vec<Vec<String>> {
    let known = known(ranking);
    let mut header: Vec<String> = ["", "encoder", "step", "dim"].map(str::to_owned).to_vec();
    header.extend(Criterion::ALL.map(|criterion| criterion.title().to_owned()));
    header.extend(known.iter().map(|(_, title)| (*title).to_owned()));
    let mut lines = vec![header];
    for (place, Judged { name, step, figures, accuracies, .. }) in ranking.judged.iter().enumerate()
    {
        let mut line = vec![(place + 1).to_string(), shown(name).into_owned()];
        line.push(step.map_or(NOTHING.to_owned(), |step| step.to_string()));
        line.push(figures.dim.to_string());
        let cell = |value: Option<f64>| value.map_or(NOTHING.to_owned(), rounded);
        line.extend(Criterion::ALL.map(|criterion| cell(figures.of(criterion))));
        line.extend(known.iter().map(|(name, _)| match accuracies.get(name) {
            Some(top1) => format!("{top1:.2}"),
            None => NOTHING.to_owned(),
        }));
        lines.push(line);
    }
    lines
}

/// Whether the figures choose as accuracies do, as text.
fn agreement(ranking: &Ranking) -> String {
    let found = of(ranking);
    let most = found.iter().map(|one| one.count).max().unwrap_or(0);
    if most < LEAST_PAIRS {
        return format!(
            "No rank correlation with accuracies: it needs {LEAST_PAIRS} encoders whose runs have measured one; {} here",
            match most {
                1 => "1 has".to_owned(),
                count => format!("{count} have"),
            }
        );
    }
    let known = known(ranking);
    let mut lines = vec![vec![String::new()]];
    lines[0].extend(known.iter().map(|(_, title)| (*title).to_owned()));
    for criterion in Criterion::ALL {
        let mut line = vec![criterion.title().to_owned()];
        let own = found.iter().filter(|one| one.criterion == criterion);
        line.extend(own.map(|one| match one.spearman {
            Some(value) => format!("{value:+.2} (n = {})", one.count),
            None => format!("{NOTHING} (n = {})", one.count),
        }));
        lines.push(line);
    }
    format!(
        "Spearman's rank correlation with accuracies, of n encoders: +1 is the same order, 0 says nothing.\n\n{}",
        aligned(&lines)
    )
}

fn of(ranking: &Ranking) -> Vec<Correlation> {
    let pairs: Vec<(&Figures, &Accuracies)> =
        ranking.judged.iter().map(|one| (&one.figures, &one.accuracies)).collect();
    correlations(&pairs)
}

/// Lines of cells as columns: text begins on the left, numbers end on the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let width =
        |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    // The names of encoders, or of figures where there are no places.
    let named = widths.len().min(if lines[0].contains(&"encoder".to_owned()) { 2 } else { 1 }) - 1;
    let text = |line: &Vec<String>| {
        let cells =
            line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
                match column == named {
                    true => format!("{cell:<width$}"),
                    false => format!("{cell:>width$}"),
                }
            });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(text).collect::<Vec<_>>().join("\n")
}

fn event(rankings: &[Ranking], unread: &[Unread], by: Criterion) -> Value {
    let sets: Vec<Value> = rankings
        .iter()
        .map(|ranking| {
            let encoders: Vec<Value> = ranking.judged.iter().map(encoder).collect();
            let correlations: Vec<Value> = of(ranking)
                .into_iter()
                .map(|Correlation { criterion, accuracy, spearman, count }| {
                    json!({
                        "figure": criterion.name(), "accuracy": accuracy, "spearman": spearman,
                        "count": count,
                    })
                })
                .collect();
            json!({
                "images": ranking.images, "encoders": encoders, "correlations": correlations,
            })
        })
        .collect();
    let unread: Vec<Value> =
        unread.iter().map(|one| json!({ "encoder": one.encoder, "reason": one.reason })).collect();
    json!({ "event": "ranked", "by": by.name(), "sets": sets, "not_judged": unread })
}

fn encoder(one: &Judged) -> Value {
    let Judged { name, step, figures, accuracies, .. } = one;
    let mut value = Map::new();
    value.insert("encoder".to_owned(), json!(name));
    value.insert("step".to_owned(), json!(step));
    for criterion in Criterion::ALL {
        value.insert(criterion.name().to_owned(), json!(figures.of(criterion)));
    }
    for (name, _) in ACCURACIES {
        value.insert(name.to_owned(), json!(accuracies.get(name)));
    }
    let counts = [
        ("dim", figures.dim),
        ("images", figures.images),
        ("lidar_images", figures.lidar_images),
        ("left_out", figures.left_out),
    ];
    value.extend(counts.map(|(key, count)| (key.to_owned(), json!(count))));
    value.insert("remarks".to_owned(), json!(figures.remarks));
    value.into()
}
