//! `vssl pretrain`: starts or resumes a run and shows its progress.

use std::{
    io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::anyhow;
use vssl::{
    collective::Group,
    methods::{self, METHODS},
    precision::Precision,
    recipe::{Provenance, Recipe, RecipeError},
    run::{
        events::{Event, Observer, Summary},
        folder, resume,
        stop::Stop,
    },
    train::{Environment, Plan, TrainError, pretrain},
};
use vssl_data::DataError;

use super::{
    destination,
    finished::{self, Planned},
};
use crate::{
    arguments::{COMMIT, Common, Pretrain},
    failure::Failure,
    launcher::{self, ProcessGroup},
    progress, signals,
};

pub(super) fn run(arguments: &Pretrain, common: &Common) -> Result<(), Failure> {
    let processes = ProcessGroup::join(Duration::from_secs(arguments.rank_timeout.into()))?;
    run_rank(arguments, common, &processes.group).map_err(|failure| processes.fail(failure))
}

/// Trains as one rank of `group`.
fn run_rank(arguments: &Pretrain, common: &Common, group: &Group) -> Result<(), Failure> {
    let (plan, asks_for_more) = match (&arguments.resume, &arguments.recipe) {
        (Some(run), _) => resumed(run, arguments, common, group)?,
        (None, Some(recipe)) => (start(recipe, arguments, common, group)?, false),
        (None, None) => {
            return Err(Failure::usage(anyhow!("give a recipe, or --resume RUN")));
        }
    };
    let (plan, result) = match plan {
        // With a setting that is not in its recipe a finished run is evaluated again.
        Planned::Ready(plan) => {
            let result = if asks_for_more { None } else { plan.result()? };
            (Some(plan), result)
        }
        Planned::Finished(summary) => (None, Some(summary)),
    };
    if is_finished(result.is_some(), group)? {
        let mut observer = progress::observer(common, &Stop::default());
        return result
            .map_or(Ok(()), |result| tell_finished(result, common, group, observer.as_mut()));
    }
    let plan = plan.ok_or_else(|| {
        let (rank, hint) = (group.rank(), "expected the images of the run on every machine");
        anyhow!("rank {rank} cannot use the images that rank 0 goes on with; {hint}")
    })?;
    let stop = Stop::default();
    signals::listen(&stop);
    if arguments.stop_at_eof {
        stop_at_eof(&stop);
    }
    let mut observer = progress::observer(common, &stop);
    let summary = pretrain(&plan, &stop, observer.as_mut()).map_err(classified)?;
    if summary.interrupted { Err(Failure::Interrupted) } else { Ok(()) }
}

/// Whether the run was finished before. Rank 0 answers for all ranks, so that they end together: it alone knows whether
/// the images are those of the run. `own` is the answer of this rank.
fn is_finished(own: bool, group: &Group) -> Result<bool, Failure> {
    // Rank 0 looks at every image.
    group.wait_for_leader();
    let [finished] = group.sum_numbers([u64::from(group.leads() && own)]);
    group.check()?;
    Ok(finished > 0)
}

/// Tells on the first rank that a run was finished before, and its result.
fn tell_finished(
    summary: Summary,
    common: &Common,
    group: &Group,
    observer: &mut dyn Observer,
) -> Result<(), Failure> {
    if group.leads() {
        finished::tell::<Summary>(&summary.run, common.json)?;
        observer.event(&Event::Finished { summary });
    }
    Ok(())
}

fn start(
    path: &Path,
    arguments: &Pretrain,
    common: &Common,
    group: &Group,
) -> Result<Planned<Plan, Summary>, Failure> {
    if path.is_dir() {
        let path = path.display();
        return Err(Failure::usage(anyhow!(
            "{path}: a folder; expected a recipe (.toml). To go on with a run: --resume {path}"
        )));
    }
    let (recipe, origins) =
        Recipe::load(path, &overrides(arguments)?, METHODS).map_err(Failure::usage)?;
    let run = arguments.out.clone().unwrap_or_else(|| run_folder_of(path, recipe.seed));
    destination::check::<&Path>("--out", &run, &[])?;
    let folder = path.parent().map(Path::to_owned);
    let mut environment = environment(arguments, common, group, folder)?;
    let plan = match arguments.continues && is_begun(&run, group)? {
        true => {
            let recipe = same_as_begun(recipe, &origins, &run)?;
            let plan = Plan::resume(recipe, &run, "latest", environment);
            finished::or_result(plan, &run, false)
        }
        false => {
            environment.adapts_batch = !origins.is_given("train.batch");
            Plan::new(recipe, &run, environment).map(Planned::Ready)
        }
    };
    Ok(noted(plan.map_err(classified)?, origins.notes))
}

/// Adds `notes` to the plan.
fn noted<S>(mut planned: Planned<Plan, S>, notes: Vec<String>) -> Planned<Plan, S> {
    if let Planned::Ready(plan) = &mut planned {
        plan.notes.extend(notes);
    }
    planned
}

/// Whether there is a run in the folder `run`. Rank 0 looks, and all ranks get its answer: another rank may
/// look only after rank 0 has made the folder.
fn is_begun(run: &Path, group: &Group) -> Result<bool, Failure> {
    let own = u64::from(group.leads() && folder::is_run(run));
    let [begun] = group.sum_numbers([own]);
    group.check()?;
    Ok(begun > 0)
}

/// Refuses a recipe that did not begin the run in the folder `run`. Returns the recipe with the defaults that the
/// run has adapted.
fn same_as_begun(mut recipe: Recipe, origins: &Provenance, run: &Path) -> Result<Recipe, Failure> {
    let was = folder::recipe_of(run)?;
    // The comparison says what is wrong with a stored recipe that cannot be read.
    if let Ok(was) = methods::recipe_from(&was) {
        resume::keep_adapted_defaults(&was, &mut recipe, origins);
    }
    let differences = resume::differences_since(&was, &recipe);
    let differences = differences.map_err(|error| {
        anyhow!("{}: {error}; expected the recipe of the run", run.join(folder::RECIPE).display())
    })?;
    if differences.is_empty() {
        return Ok(recipe);
    }
    let run = run.display();
    let lines: Vec<String> = differences.iter().map(|found| format!("  {found}\n")).collect();
    let more = match resume::apart_from_length(differences).is_empty() {
        true => format!("To train it longer: vssl pretrain --resume {run} --set train.epochs=N. "),
        false => String::new(),
    };
    Err(Failure::usage(anyhow!(
        "{run}: --continue goes on with the settings that the run has, and these are others:\n{}{more}\
         Give the recipe and the --set that the run began with, or choose another --out",
        lines.concat()
    )))
}

/// Returns the changes of the recipe that `--from` and `--teacher` are short for.
///
/// # Errors
/// A name that no recipe can hold, or `overrides` that name an encoder for the same as well.
pub(super) fn named(
    from: Option<&Path>,
    teacher: Option<&Path>,
    overrides: &[String],
) -> Result<Vec<String>, Failure> {
    let mut changes = Vec::new();
    for (option, table, what, path) in [
        ("--from", "init", "the encoder to start from", from),
        ("--teacher", "teacher", "the frozen teacher", teacher),
    ] {
        let Some(path) = path else { continue };
        if let Some(other) = overrides.iter().find(|text| names_encoder(table, text)) {
            return Err(Failure::usage(anyhow!(
                "{option} {} and --set {other} both name {what}: give one of them",
                path.display()
            )));
        }
        let text = path.to_str().ok_or_else(|| {
            Failure::usage(anyhow!(
                "{option} {path:?}: a name that is not UTF-8, which no recipe can hold: rename it"
            ))
        })?;
        changes.push(format!("{table}.from={}", toml::Value::from(text)));
    }
    Ok(changes)
}

/// Whether the `change` of a recipe names the encoder of this table.
fn names_encoder(table: &str, change: &str) -> bool {
    let (key, value) = change.split_once('=').unwrap_or((change, ""));
    let is_table = key.trim() == table && value.contains("from");
    (key.trim() == format!("{table}.from") && !value.trim().is_empty()) || is_table
}

/// The changes of `--set`, then those of `--from`, `--teacher` and `--precision`.
fn overrides(arguments: &Pretrain) -> Result<Vec<String>, Failure> {
    let (from, teacher) = (arguments.from.as_deref(), arguments.teacher.as_deref());
    let from = named(from, teacher, &arguments.overrides)?;
    let precision = arguments.precision.map(Precision::from);
    let precision = precision.map(|precision| format!("train.precision={}", precision.name()));
    Ok(arguments.overrides.iter().cloned().chain(from).chain(precision).collect())
}

/// The plan of a run that goes on, or its result, and whether the command asks for settings that its recipe has not.
fn resumed(
    run: &Path,
    arguments: &Pretrain,
    common: &Common,
    group: &Group,
) -> Result<(Planned<Plan, Summary>, bool), Failure> {
    folder::recipe_of(run)?;
    let path = run.join(folder::RECIPE);
    let load = |overrides: &[String]| Recipe::load(&path, overrides, METHODS);
    let (stored, asked) = (load(&[]), load(&overrides(arguments)?));
    let asked = asked.map_err(RecipeError::of_a_run_that_goes_on);
    // A file that is damaged as it lies there is no mistake in the arguments.
    let failure = |error| if stored.is_ok() { Failure::usage(error) } else { Failure::from(error) };
    let (recipe, origins) = asked.map_err(failure)?;
    // Settings that only the overrides make valid ask for more in any case.
    let asks_for_more = stored.as_ref().map_or(true, |(stored, _)| *stored != recipe);
    let plan = Plan::resume(recipe, run, "latest", environment(arguments, common, group, None)?);
    let plan = finished::or_result(plan, run, asks_for_more).map_err(classified)?;
    Ok((noted(plan, origins.notes), asks_for_more))
}

fn environment(
    arguments: &Pretrain,
    common: &Common,
    group: &Group,
    recipe_folder: Option<PathBuf>,
) -> Result<Environment, Failure> {
    Ok(Environment {
        group: group.clone(),
        device: launcher::open(launcher::device(arguments.device)?)?,
        data_root: Some(common.data.clone()),
        recipe_folder,
        commit: COMMIT.map(str::to_owned),
        force: arguments.force,
        allow_changed_data: arguments.allow_changed_data,
        adapts_batch: false,
    })
}

/// Makes a failure of `error`. Settings that cannot be run are wrong usage, wherever that was found.
pub(super) fn classified(error: TrainError) -> Failure {
    match error {
        error if error.is_usage() => Failure::usage(error),
        TrainError::Data(DataError::BadImage { .. }) => anyhow!(
            "{error}\nhelp: `vssl data check` names all such images; data.on_bad_image = \"skip\" \
             puts others in their place"
        )
        .into(),
        TrainError::Data(DataError::Channels { found, wanted, .. }) => anyhow!(
            "{error}\nhelp: data.channels says how many channels of the images are read, here {wanted}; data.channels = \
             {found} reads such images, `vssl new-recipe` counts those of all, and data.on_bad_image = \"skip\" puts \
             others in their place"
        )
        .into(),
        other => other.into(),
    }
}

fn run_folder_of(recipe: &Path, seed: u64) -> PathBuf {
    Path::new("runs").join(folder::name(recipe, seed))
}

/// Requests a stop when standard input ends: when the program at the other end of the pipe closes it
/// or ends.
fn stop_at_eof(stop: &Stop) {
    let stop = stop.clone();
    thread::spawn(move || {
        // A read that fails counts as the end of the input.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        stop.request();
    });
}

#[cfg(test)]
mod tests {
    use vssl::collective::Threads;

    use super::*;

    /// The answers of two ranks, of which each has its `own` view.
    fn answers(own: [bool; 2]) -> Vec<bool> {
        let ranks = Threads::new(2, Duration::from_secs(60)).into_iter().zip(own);
        let ranks = ranks.map(|(rank, own)| {
            let group = Group::new(rank);
            thread::spawn(move || is_finished(own, &group).map_err(|failure| failure.message()))
        });
        let ranks: Vec<_> = ranks.collect();
        ranks.into_iter().map(|rank| rank.join().unwrap().unwrap()).collect()
    }

    #[test]
    fn all_ranks_end_with_the_first() {
        assert_eq!(
            answers([true, false]),
            [true, true],
            "its images changed: rank 0 alone sees that"
        );
        assert_eq!(answers([false, true]), [false, false]);
        assert_eq!(answers([true, true]), [true, true]);
        assert!(!is_finished(false, &Group::alone()).unwrap());
    }

    #[test]
    fn a_rank_does_not_wait_for_one_that_has_failed() {
        let mut ranks = Threads::new(2, Duration::from_secs(60)).into_iter().map(Group::new);
        let [first, second] = [ranks.next().unwrap(), ranks.next().unwrap()];
        first.abort();
        assert!(is_finished(false, &second).is_err());
    }

    #[test]
    fn the_run_folder_tells_recipe_and_seed() {
        let cases = [
            ("recipes/quickstart.toml", "runs/quickstart-3"),
            ("/home/me/recipes/cifar10/vssl.toml", "runs/cifar10-vssl-3"),
            ("mine.toml", "runs/mine-3"),
            ("../a/b/mine.v2.toml", "runs/mine.v2-3"),
        ];
        for (recipe, expected) in cases {
            assert_eq!(run_folder_of(Path::new(recipe), 3), Path::new(expected));
        }
    }
}
