//! `vssl uncertainty`: evaluates the uncertainty scores of a run.

use std::{path::Path, sync::Arc};

use anyhow::{Context, anyhow};
use serde_json::{Value, json};
use vssl::uncertainty::{
    Assessment, Change, Material, Recall, Report, Settings, Subject, UncertaintyError,
};
use vssl_data::{DataConfig, Dataset, Splits, dataset::Evaluated, shift::STRENGTHS};

use super::{data::described, destination, encoder};
use crate::{
    arguments::{Common, Uncertainty},
    failure::{Failure, during},
    launcher,
    output::{counted, say},
    progress::Meter,
};

pub(super) fn run(arguments: &Uncertainty, common: &Common) -> Result<(), Failure> {
    let mut read = vec![arguments.run.clone()];
    read.extend(arguments.images.iter().chain(&arguments.ood).cloned());
    for file in &arguments.out {
        writable(file)?;
        destination::check("--out", file, &read)?;
    }
    let settings = Settings {
        images: arguments.count as usize,
        neighbour: arguments.k as usize,
        views: arguments.views.into(),
        seed: arguments.seed,
    };
    let device = launcher::open(arguments.device)?;
    let Uncertainty { run, checkpoint, .. } = arguments;
    encoder::tell_stand_in(run, checkpoint)?;
    let mut subject = Subject::open(run, checkpoint, settings.views, settings.seed, &device)?;
    let named = arguments.images.is_some();
    if let Some(recipe) = &subject.encoder.recipe {
        encoder::tell_own_feature(run, recipe, "the scores are judged by");
    }
    subject.on_bad_image =
        encoder::reading(&arguments.reading, named, &subject.encoder).on_bad_image;
    let material = material(arguments, &subject, common)?;
    if let Some(file) = arguments.out.iter().find(|file| matches!(Kind::of(file), Ok(Kind::Svg)))
        && (material.train.labels().is_none() || material.test.labels().is_none())
    {
        return Err(anyhow!(
            "--out {}: the images have no labels, so there are no error curves to draw; .csv and \
             .json have the rest",
            file.display()
        )
        .into());
    }
    let bar = Meter::waiting(common);
    let assessment =
        Assessment::of(&subject, &material, &settings, &mut |what, done, of| match done {
            0 => bar.set_message(what.to_owned()),
            _ => bar.update(format!("{what}: {done} of {of}")),
        })
        .map_err(advised)?;
    bar.finish_and_clear();
    for file in &arguments.out {
        let text = Kind::of(file)?.text(&assessment)?;
        vssl::run::whole_file::write(file, &text).map_err(during("writing to", file))?;
    }
    if common.json {
        return say(&event(&assessment).to_string());
    }
    tell(&assessment, common)
}

/// Opens all sets of images before anything is computed, so that a missing set fails at once.
fn material(
    arguments: &Uncertainty,
    subject: &Subject,
    common: &Common,
) -> Result<Material, Failure> {
    let named = (arguments.images.as_deref(), arguments.format);
    let config = encoder::images(named, &subject.encoder, common)?;
    let config = arguments.reading.allowing(config);
    let splits = encoder::opened(&config, arguments.split.into())?;
    if arguments.images.is_none() {
        let (encoder, checkpoint) = (&subject.encoder, &arguments.checkpoint);
        encoder::tell_changed(encoder, checkpoint, &splits, arguments.split.into());
    }
    let Splits { train, validation, .. } = splits;
    let Some(test) = validation else {
        return Err(anyhow!(
            "{}: there are no validation images, and training images would not be a fair test; \
             expected the folders train/ and val/, or other images by --images DIR",
            config.path.display()
        )
        .into());
    };
    let mut others: Vec<(String, Arc<dyn Dataset>)> = Vec::new();
    for source in &arguments.ood {
        let channels = subject.encoder.input.channels();
        let config = DataConfig { channels, ..described(source, None, common)? };
        let config = arguments.reading.allowing(config);
        let Splits { train, validation, .. } = encoder::opened(&config, Evaluated::Validation)?;
        let mut name = name(source);
        if others.iter().any(|(other, _)| *other == name) {
            name = source.display().to_string();
        }
        others.push((name, validation.unwrap_or(train)));
    }
    Ok(Material { train, test, others })
}

fn advised(error: UncertaintyError) -> Failure {
    match error {
        UncertaintyError::Encoder(error) => encoder::advised(error),
        UncertaintyError::Data(error) => encoder::of_data(error),
        other => other.into(),
    }
}

/// The last component of a path, as the name of a set.
fn name(source: &Path) -> String {
    let name = source.file_stem().filter(|_| source.is_file()).or(source.file_name());
    name.unwrap_or(source.as_os_str()).to_string_lossy().into_owned()
}

/// Refuses a file whose folder is missing before anything is computed.
fn writable(file: &Path) -> Result<(), Failure> {
    Kind::of(file)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder {
        Some(folder) if !folder.is_dir() => Err(anyhow!(
            "--out {}: {} is not a folder; create it first",
            file.display(),
            folder.display()
        )
        .into()),
        _ => Ok(()),
    }
}

/// The format of an output file.
#[derive(Clone, Copy)]
enum Kind {
    Json,
    Csv,
    Svg,
}

impl Kind {
    fn of(file: &Path) -> Result<Self, Failure> {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("json") => Ok(Self::Json),
            Some("csv") => Ok(Self::Csv),
            Some("svg") => Ok(Self::Svg),
            _ => Err(Failure::usage(anyhow!(
                "--out {}: the extension decides what is written; expected .json, .csv or .svg",
                file.display()
            ))),
        }
    }

    fn text(self, assessment: &Assessment) -> Result<String, Failure> {
        Ok(match self {
            Self::Json => format!("{:#}\n", serde_json::to_value(assessment)?),
            Self::Csv => assessment.csv(),
            Self::Svg => assessment.svg().context("there are no error curves to draw")?,
        })
    }
}

fn event(assessment: &Assessment) -> Value {
    let mut value = json!({ "event": "uncertainty" });
    let figures = serde_json::to_value(assessment).expect("figures are plain values");
    if let (Value::Object(value), Value::Object(figures)) = (&mut value, figures) {
        value.extend(figures);
    }
    value
}

fn tell(assessment: &Assessment, common: &Common) -> Result<(), Failure> {
    let Assessment { scores, .. } = assessment;
    if common.quiet {
        for report in scores {
            let risk = report.risk.as_ref().map_or("-".into(), |r| format!("{:.4}", r.excess_aurc));
            let (other, corrupted) = (100.0 * report.other_mean, 100.0 * report.corrupted_mean);
            say(&format!("{} {other:.1} {corrupted:.1} {risk}", report.score.name()))?;
        }
        return Ok(());
    }
    let method = assessment.method.as_deref().unwrap_or("an encoder");
    let step = assessment.step.map(|step| format!(", step {step}")).unwrap_or_default();
    say(&format!(
        "{}: {method}{step}; {}, {}\n\n\
         AUROC in % (standard error): unusual images score higher than test images",
        assessment.run.display(),
        counted(assessment.test_images, "test image"),
        counted(assessment.train_images, "training image"),
    ))?;
    say(&others(scores))?;
    say("\nAUROC in %: corrupted copies score higher than the images themselves")?;
    say(&corrupted(scores))?;
    if let Some(error) = assessment.probe_error {
        say(&format!(
            "\nerrors of a linear probe, {:.1} %: AUROC in % (standard error) of wrong against right \
             images;\nmean error in % over all shares of surest images (AURC), and above an oracle's",
            100.0 * error
        ))?;
        say(&errors(scores))?;
    }
    if !assessment.recall.is_empty() {
        let shares = assessment.recall.iter().map(|of| {
            let Recall { set, images, classes, recall_at_1 } = of;
            let share = 100.0 * recall_at_1;
            let (images, classes) = (counted(images, "image"), counted(classes, "class"));
            format!("{share:.1} % of {set} ({images} of {classes})")
        });
        say(&format!(
            "\nnearest other image of the same set is of the same class (R@1): {};\nR-AUROC in % (standard error): \
             images whose nearest other one is of another class score higher",
            shares.collect::<Vec<_>>().join(", ")
        ))?;
        say(&retrieval(scores))?;
    }
    say("\n* needs neither a distribution nor a head: a baseline that every method has")?;
    assessment.notes.iter().try_for_each(|note| say(&format!("note: {note}")))
}

fn label(report: &Report) -> String {
    format!("{}{}", report.score.name(), if report.baseline { "*" } else { "" })
}

fn retrieval(scores: &[Report]) -> String {
    let titles = scores.first().map_or(&[][..], |report| &report.retrieval);
    let width = |title: &str| title.chars().count().max(12);
    let mut text = format!("{:<20}", "score");
    for of in titles {
        text.push_str(&format!("  {:>width$}", of.set, width = width(&of.set)));
    }
    for report in scores {
        text.push_str(&format!("\n{:<20}", label(report)));
        for of in &report.retrieval {
            let share = 100.0 * of.area.r_auroc;
            let cell = match of.area.standard_error {
                Some(error) => area(of.area.r_auroc, error),
                None => format!("{share:.1}"),
            };
            text.push_str(&format!("  {cell:>width$}", width = width(&of.set)));
        }
    }
    text
}

fn others(scores: &[Report]) -> String {
    let sets = |report: &'_ Report| -> Vec<_> {
        report.sets.iter().filter(|set| set.change == Change::Other).cloned().collect()
    };
    let titles: Vec<String> =
        scores.first().map(&sets).unwrap_or_default().into_iter().map(|set| set.set).collect();
    let width = |title: &str| title.chars().count().max(12);
    let mut text = format!("{:<20}", "score");
    for title in &titles {
        text.push_str(&format!("  {title:>width$}", width = width(title)));
    }
    text.push_str("    mean");
    for report in scores {
        text.push_str(&format!("\n{:<20}", label(report)));
        for (set, title) in sets(report).iter().zip(&titles) {
            let cell = area(set.area.auroc, set.area.standard_error);
            text.push_str(&format!("  {cell:>width$}", width = width(title)));
        }
        text.push_str(&format!("  {:>6.1}", 100.0 * report.other_mean));
    }
    text
}

fn area(auroc: f64, error: f64) -> String {
    format!("{:.1} ({:.1})", 100.0 * auroc, 100.0 * error)
}

fn corrupted(scores: &[Report]) -> String {
    let sets = |report: &Report| -> Vec<(String, f64)> {
        let sets = report.sets.iter().filter(|set| set.change == Change::Corrupted);
        sets.map(|set| (set.set.clone(), 100.0 * set.area.auroc)).collect()
    };
    let first = scores.first().map(sets).unwrap_or_default();
    let (mut names, mut strengths) = (format!("{:<20}", ""), format!("{:<20}", "score"));
    for (at, (name, _)) in first.iter().enumerate() {
        let strength = at % STRENGTHS + 1;
        let name = if strength == 1 { name.as_str() } else { "" };
        let gap = if strength == 1 { "  " } else { "" };
        names.push_str(&format!("{gap}{name:>6}"));
        strengths.push_str(&format!("{gap}{strength:>6}"));
    }
    let mut text = format!("{names}\n{strengths}    mean");
    for report in scores {
        text.push_str(&format!("\n{:<20}", label(report)));
        for (at, (_, area)) in sets(report).iter().enumerate() {
            let gap = if at % STRENGTHS == 0 { "  " } else { "" };
            text.push_str(&format!("{gap}{area:>6.1}"));
        }
        text.push_str(&format!("  {:>6.1}", 100.0 * report.corrupted_mean));
    }
    text
}

fn errors(scores: &[Report]) -> String {
    let mut text =
        format!("{:<20}  {:>12}  {:>6}  {:>8}", "score", "wrong images", "AURC", "excess");
    for report in scores {
        let Some(risk) = &report.risk else { continue };
        let wrong = report.errors.map_or("-".to_owned(), |e| area(e.auroc, e.standard_error));
        let (aurc, excess) = (100.0 * risk.aurc, 100.0 * risk.excess_aurc);
        text.push_str(&format!("\n{:<20}  {wrong:>12}  {aurc:>6.1}  {excess:>8.1}", label(report)));
    }
    text
}
