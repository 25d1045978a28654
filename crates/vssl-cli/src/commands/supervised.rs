//! `vssl linear` and `vssl finetune`: training on labels to evaluate an encoder.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use toml::Table;
use vssl::{
    backbone::Pooling,
    encoder::Encoder,
    recipe::{self, Provenance, Settings},
    run::{
        checkpoint::Store,
        folder::{self, LINEAR, RunFolderError, SETTINGS},
        resume,
        stop::Stop,
    },
    supervised::{
        FinetuneSettings, Job, LinearSettings, OutputOptions, Summary, cached, finetune, linear,
    },
    train::TrainError,
};
use vssl_data::OnBadImage;

use super::{
    accuracies::tell,
    destination, encoder,
    finished::{self, Planned},
};
use crate::{
    arguments::{
        COMMIT, Common, EncoderArguments, EvaluatedName, Finetune, Linear, TrainingArguments,
    },
    failure::{Failure, during},
    notes::note,
    progress, signals,
};

pub(super) fn run_linear(arguments: &Linear, common: &Common) -> Result<(), Failure> {
    let Linear { encoder: source, training, cached: fast } = arguments;
    let frozen = encoder::open(&source.encoder, &source.copy)?;
    let name = if *fast { "linear-cached" } else { LINEAR };
    let output = output(training, source, &frozen, || name.to_owned())?;
    let bad_images = bad_images(source, &frozen);
    let (mut settings, origins): (LinearSettings, _) =
        settings(training, &output, bad_images, Vec::new())?;
    if let Some(summary) = without_images(source, training, &output, (&frozen, common))? {
        return tell(&summary, &[], common);
    }
    let splits = encoder::splits(source, training.split.into(), &frozen, common)?;
    // The fast evaluation has no batches.
    let adapted = if *fast {
        Vec::new()
    } else {
        settings.adapt(&splits, &origins, resumes(training, &output))
    };
    check_continued(training, (&settings, &origins), &output)?;
    let notes = [origins.notes, adapted].concat();
    let stop = Stop::default();
    let mut observer = progress::observer(common, &stop);
    let asked = splits.validation.as_ref().map_or(0, |images| images.len());
    let mut told = Vec::new();
    let mut left_out = 0;
    let summary = if *fast {
        notes.iter().for_each(|text| note(text));
        // It keeps nothing to go on with: a signal ends it at once.
        signals::listen_briefly(&Stop::default());
        let summary = cached(&frozen, &splits, &settings, &output, observer.as_mut());
        let summary = summary.map_err(classified_cached)?;
        left_out = asked.saturating_sub(summary.validation_images);
        summary
    } else {
        let folder = output.folder.clone();
        let job = Job::linear(&frozen, &splits, &settings, output);
        match planned(job, &folder, training, notes, common)? {
            Planned::Finished(summary) => summary,
            Planned::Ready(job) => {
                told.clone_from(&job.notes);
                signals::listen(&stop);
                let summary = linear(&job, &frozen, &settings, &stop, observer.as_mut());
                let summary = summary.map_err(classified)?;
                left_out = asked.saturating_sub(summary.validation_images);
                summary
            }
        }
    };
    drop(observer);
    encoder::tell_left_out(left_out);
    tell(&summary, &told, common)
}

pub(super) fn run_finetune(arguments: &Finetune, common: &Common) -> Result<(), Failure> {
    let Finetune { encoder: source, training, labels } = arguments;
    let more: Vec<String> = labels.iter().map(|share| format!("labels={share:?}")).collect();
    let pretrained = encoder::open(&source.encoder, &source.copy)?;
    // The folder is named after the share, which may also come from the settings.
    let bad_images = bad_images(source, &pretrained);
    let share = read::<FinetuneSettings>(training, None, &bad_images, more.clone())?.0.labels;
    // Rounded to a millionth of a percent: 0.07 must give 7, not 7.000000000000001.
    let percent = (share * 1e8).round() / 1e6;
    let output = output(training, source, &pretrained, || format!("finetune-{percent}"))?;
    let (mut settings, origins): (FinetuneSettings, _) =
        settings(training, &output, bad_images, more)?;
    if labels.is_none()
        && let Some(summary) = without_images(source, training, &output, (&pretrained, common))?
    {
        return tell(&summary, &[], common);
    }
    let splits = encoder::splits(source, training.split.into(), &pretrained, common)?;
    let notes = settings.adapt(&splits, &origins, resumes(training, &output));
    check_continued(training, (&settings, &origins), &output)?;
    let folder = output.folder.clone();
    let job = Job::finetune(&pretrained, &splits, &settings, output);
    let notes = origins.notes.into_iter().chain(notes).collect();
    let stop = Stop::default();
    signals::listen(&stop);
    let mut observer = progress::observer(common, &stop);
    let asked = splits.validation.as_ref().map_or(0, |images| images.len());
    let mut told = Vec::new();
    let mut left_out = 0;
    let summary = match planned(job, &folder, training, notes, common)? {
        Planned::Finished(summary) => summary,
        Planned::Ready(job) => {
            told.clone_from(&job.notes);
            let summary = finetune(&job, &pretrained, &settings, &stop, observer.as_mut());
            let summary = summary.map_err(classified)?;
            left_out = asked.saturating_sub(summary.validation_images);
            summary
        }
    };
    drop(observer);
    encoder::tell_left_out(left_out);
    tell(&summary, &told, common)
}

/// The output folder: the folder that was named, or else `name` inside the run.
fn output(
    arguments: &TrainingArguments,
    source: &EncoderArguments,
    encoder: &Encoder,
    name: impl Fn() -> String,
) -> Result<OutputOptions, Failure> {
    if let (None, Some(images), Some(recipe)) = (&arguments.out, &source.images, &encoder.recipe)
        && fs::canonicalize(images).ok() != fs::canonicalize(&recipe.data.path).ok()
    {
        return Err(Failure::usage(anyhow!(
            "--images names a set of its own, and the results in the run's folder are of the run's images; \
             say where these results go with --out DIR"
        )));
    }
    let folder = match (&arguments.out, &encoder.recipe) {
        (Some(folder), _) => folder.clone(),
        (None, Some(_)) if is_other_feature(encoder) => {
            // Nor must results on another feature be taken for those on the usual one.
            let pooling = encoder.config.pooling().map_or("", Pooling::name).replace('_', "-");
            let test = if arguments.split == EvaluatedName::Test { "-test" } else { "" };
            encoder.path.join(format!("{}-{pooling}{test}", name()))
        }
        // Results on test images must not be taken for those on validation images.
        (None, Some(_)) => match arguments.split {
            EvaluatedName::Validation => encoder.path.join(name()),
            EvaluatedName::Test => encoder.path.join(format!("{}-test", name())),
        },
        (None, None) => {
            return Err(Failure::usage(anyhow!(
                "{} is no run, whose folder the results go into; say where they go with --out DIR",
                encoder.path.display()
            )));
        }
    };
    destination::check::<&Path>("--out", &folder, &[])?;
    Ok(OutputOptions {
        resume: arguments.resume || (arguments.continues && folder::is_on_labels(&folder)),
        folder,
        force: arguments.force,
        allow_changed_data: arguments.allow_changed_data,
        commit: COMMIT.map(str::to_owned),
    })
}

/// Whether the feature is neither the one that the recipe of the run evaluates nor, where it says none, the network's own.
fn is_other_feature(encoder: &Encoder) -> bool {
    match encoder.usual_pooling() {
        Some(usual) => encoder.config.pooling() != Some(usual),
        None => encoder.pooling.is_some(),
    }
}

/// What is said of images that cannot be read: by the argument, and by the run of its own images.
struct BadImages {
    asked: Option<OnBadImage>,
    of_run: Option<OnBadImage>,
}

fn bad_images(source: &EncoderArguments, encoder: &Encoder) -> BadImages {
    let of_run = source.images.is_none().then(|| encoder.reading().on_bad_image);
    BadImages { asked: source.reading.on_bad_image.map(Into::into), of_run }
}

impl BadImages {
    /// The changes of settings: one for the run, which comes before what the settings `text` and other
    /// arguments say, and one for the argument, which comes after them.
    fn changes(&self, text: &str) -> [Option<String>; 2] {
        let change = |value: &OnBadImage| match value {
            OnBadImage::Stop => "data.on_bad_image=\"stop\"".to_owned(),
            OnBadImage::Skip => "data.on_bad_image=\"skip\"".to_owned(),
        };
        let said = text.parse::<toml::Table>().is_ok_and(|table| {
            let data = table.get("data").and_then(toml::Value::as_table);
            data.is_some_and(|data| data.contains_key("on_bad_image"))
        });
        let of_run = self.of_run.as_ref().filter(|_| !said).map(change);
        [of_run, self.asked.as_ref().map(change)]
    }
}

/// The settings: on resume those in the output folder, otherwise those of `--config` or the defaults;
/// changed by `--set` and by `more`, which comes from other arguments.
fn settings<S: Settings>(
    arguments: &TrainingArguments,
    output: &OutputOptions,
    bad_images: BadImages,
    more: Vec<String>,
) -> Result<(S, Provenance), Failure> {
    let begun = output.folder.join(SETTINGS);
    if arguments.continues {
        let asked: (S, Provenance) = read(arguments, None, &bad_images, more)?;
        return Ok(asked);
    }
    // Where the file is missing, the library reports that there is nothing to resume.
    let begun = (output.resume && begun.is_file()).then_some(begun);
    read(arguments, begun, &bad_images, more)
}

/// Whether the settings are those in the output folder, changed by `--set` only.
fn resumes(arguments: &TrainingArguments, output: &OutputOptions) -> bool {
    output.resume && !arguments.continues
}

/// Refuses settings of `--continue` that did not begin the training which goes on.
fn check_continued<S: Settings>(
    arguments: &TrainingArguments,
    asked: (&S, &Provenance),
    output: &OutputOptions,
) -> Result<(), Failure> {
    match arguments.continues && output.resume {
        true => check_same(asked, &output.folder.join(SETTINGS), output),
        false => Ok(()),
    }
}

/// Refuses settings that did not begin the training whose settings are in the file `begun`.
fn check_same<S: Settings>(
    (asked, origins): (&S, &Provenance),
    begun: &Path,
    output: &OutputOptions,
) -> Result<(), Failure> {
    let name = begun.display().to_string();
    let text = fs::read_to_string(begun).map_err(during("reading", begun))?;
    let was: S = recipe::settings(&text, &name, &[])?;
    let table = |settings: &S| Table::try_from(settings).context("settings as a table");
    let mut differences = resume::binding_differences_on_labels(&table(&was)?, &table(asked)?);
    if !origins.is_given("train.batch")
        && Store::of(&output.folder).has_saved().is_ok_and(|saved| saved)
    {
        // A batch that nobody gives follows the number of images: the checkpoint tells whether it may.
        differences.retain(|difference| difference.key != "train.batch");
    }
    if differences.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = differences.iter().map(|found| format!("  {found}\n")).collect();
    Err(Failure::usage(anyhow!(
        "{}: --continue goes on with the settings that it has, and these are others:\n{}Give the settings \
         that it began with, or choose another --out; for another number of epochs, use --resume --set \
         train.epochs=N",
        output.folder.display(),
        lines.concat()
    )))
}

/// The training that was planned in `folder`, with `notes`; or its result, if it was finished before and no setting
/// asks for more.
fn planned(
    job: Result<Job, TrainError>,
    folder: &Path,
    arguments: &TrainingArguments,
    notes: Vec<String>,
    common: &Common,
) -> Result<Planned<Job, Summary>, Failure> {
    let goes_on = arguments.resume || arguments.continues;
    let asks_for_more = !arguments.continues && !arguments.overrides.is_empty();
    let planned = finished::or_result(job, folder, asks_for_more || !goes_on);
    let summary = match planned.map_err(classified)? {
        Planned::Finished(summary) => summary,
        Planned::Ready(mut job) => match job.result()?.filter(|_| !asks_for_more) {
            Some(summary) => summary,
            None => {
                job.notes.extend(notes);
                return Ok(Planned::Ready(job));
            }
        },
    };
    finished::tell::<Summary>(folder, common.json)?;
    Ok(Planned::Finished(summary))
}

/// The result of a finished training whose images are not there any more: nothing is left to do with them.
fn without_images(
    source: &EncoderArguments,
    arguments: &TrainingArguments,
    output: &OutputOptions,
    (encoder, common): (&Encoder, &Common),
) -> Result<Option<Summary>, Failure> {
    let asks_for_more = !arguments.overrides.is_empty() || arguments.config.is_some();
    if !arguments.resume || asks_for_more || !folder::is_on_labels(&output.folder) {
        return Ok(None);
    }
    let images = match source.named().0 {
        Some(named) => named.to_owned(),
        None => encoder::images((None, None), encoder, common)?.path,
    };
    if images.exists() {
        return Ok(None);
    }
    let summary = finished::result::<Summary>(&output.folder)?;
    if summary.is_some() {
        finished::tell::<Summary>(&output.folder, common.json)?;
    }
    Ok(summary)
}

fn read<S: Settings>(
    arguments: &TrainingArguments,
    begun: Option<PathBuf>,
    bad_images: &BadImages,
    more: Vec<String>,
) -> Result<(S, Provenance), Failure> {
    let (text, name) = match begun.as_ref().or(arguments.config.as_ref()) {
        None => (String::new(), "defaults".to_owned()),
        Some(path) => {
            let text = fs::read_to_string(path).map_err(during("reading", path))?;
            (text, path.display().to_string())
        }
    };
    let [of_run, asked] = bad_images.changes(&text);
    let overrides: Vec<String> =
        of_run.into_iter().chain(arguments.overrides.clone()).chain(more).chain(asked).collect();
    let read = |overrides: &[String]| recipe::settings_and_origins::<S>(&text, &name, overrides);
    // Settings of a training that are damaged as they lie there are no mistake in the arguments.
    let is_damaged = begun.is_some() && read(&[]).is_err();
    read(&overrides).map_err(|error| if is_damaged { error.into() } else { Failure::usage(error) })
}

/// Makes a failure of `error`. Settings that cannot be run are wrong usage, wherever that was found.
fn classified(error: TrainError) -> Failure {
    match error {
        error if error.is_usage() => Failure::usage(error),
        TrainError::Encoder(error) => encoder::advised(error),
        TrainError::Data(error) => encoder::of_data(error),
        other => other.into(),
    }
}

/// Makes a failure of `error` in the fast evaluation, which cannot be resumed.
fn classified_cached(error: TrainError) -> Failure {
    match error {
        TrainError::Folder(RunFolderError::Occupied { path }) => anyhow!(
            "{}: there is already something here; choose another --out, or replace it with --force",
            path.display()
        )
        .into(),
        other => classified(other),
    }
}
