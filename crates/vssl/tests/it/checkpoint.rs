//! Which checkpoints a run keeps, whatever was there before.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use burn::tensor::TensorData;
use vssl::{
    run::checkpoint::{Checkpoint, Position, Store},
    tensors::state::Tensors,
};

fn checkpoint(step: u64) -> Checkpoint {
    let student = Tensors::from([("weight".to_owned(), TensorData::from([step as f32]))]);
    Checkpoint {
        position: Position { step, ..Position::default() },
        method: "simclr".to_owned(),
        recipe: String::new(),
        images: None,
        tensors: BTreeMap::from([("student".to_owned(), student)]),
    }
}

/// Saves checkpoints of these steps in turn; `best` says which are.
fn saved(run: &Path, steps: &[u64], best: &[u64], keep: usize) -> Store {
    let store = Store::of(run);
    for &step in steps {
        store.save(&checkpoint(step), best.contains(&step), keep).unwrap();
    }
    store
}

fn steps(store: &Store) -> Vec<u64> {
    let step = |name: String| name.trim_start_matches("step-").parse().unwrap();
    store.list().unwrap().into_iter().map(step).collect()
}

fn step_of(store: &Store, pointer: &str) -> u64 {
    store.load(pointer).unwrap().unwrap().position.step
}

#[test]
fn the_newest_and_the_best_stay() {
    let folder = tempfile::tempdir().unwrap();
    let store = saved(folder.path(), &[100, 200, 300, 400], &[200], 2);
    assert_eq!(steps(&store), [200, 300, 400]);
    assert_eq!((step_of(&store, "best"), step_of(&store, "latest")), (200, 400));
}

/// A run that goes on from its best, or after a kill between a checkpoint's name and `latest`, writes
/// earlier steps than some that are there.
#[test]
fn what_was_just_written_is_never_what_goes() {
    for (keep, left) in [(1, vec![400, 500]), (2, vec![400, 500]), (3, vec![100, 400, 500])] {
        let folder = tempfile::tempdir().unwrap();
        let store = saved(folder.path(), &[100, 400, 900, 1000, 500], &[400], 9);
        assert_eq!(
            steps(&store),
            [100, 400, 500],
            "later ones are of a start that was left behind"
        );
        store.save(&checkpoint(500), false, keep).unwrap();
        assert_eq!(steps(&store), left, "keep = {keep}");
        assert_eq!((step_of(&store, "best"), step_of(&store, "latest")), (400, 500));
    }
}

#[test]
fn notes_travel_with_a_checkpoint_and_leave_no_trace_where_there_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::of(folder.path());
    let mut noted = checkpoint(1);
    noted.position.notes = vec!["19 \"dogs\" then,  20 now".to_owned()];
    store.save(&noted, false, 2).unwrap();
    assert_eq!(store.load("latest").unwrap().unwrap().position, noted.position);
    store.save(&checkpoint(2), false, 2).unwrap();
    assert_eq!(store.load("latest").unwrap().unwrap().position, checkpoint(2).position);
    let manifest =
        |step| fs::read_to_string(store.folder_of(step).join("checkpoint.json")).unwrap();
    assert!(manifest(1).contains("\"notes\"") && !manifest(2).contains("\"notes\""));
}

#[test]
fn half_a_checkpoint_of_a_killed_start_goes_with_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = saved(folder.path(), &[1], &[], 2);
    let half = folder.path().join("checkpoints/.step-00000007");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("student.safetensors"), "half").unwrap();
    store.save(&checkpoint(2), false, 2).unwrap();
    assert!(!half.exists());
    assert_eq!(steps(&store), [1, 2]);
}

/// A checkpoint replaces another of its step by two renames; a start may be killed between them.
#[test]
fn a_checkpoint_that_was_about_to_be_replaced_is_found_and_gets_its_name_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = saved(folder.path(), &[1, 2], &[2], 2);
    let aside = path(folder.path(), ".replaced-step-00000002");
    fs::rename(store.folder_of(2), &aside).unwrap();
    fs::create_dir(path(folder.path(), ".step-00000002")).unwrap();
    assert_eq!(store.stand_in().unwrap(), None);
    assert_eq!((step_of(&store, "latest"), step_of(&store, "best")), (2, 2));
    assert_eq!((steps(&store), store.has_saved().unwrap()), (vec![1, 2], true));
    fs::remove_file(path(folder.path(), "latest")).unwrap();
    assert_eq!(step_of(&store, "latest"), 2, "it is the newest whole checkpoint");

    store.save(&checkpoint(3), false, 2).unwrap();
    assert!(store.folder_of(2).exists() && !aside.exists());
    assert_eq!((steps(&store), step_of(&store, "best")), (vec![2, 3], 2));

    // As after a kill before the earlier one of two was removed.
    fs::create_dir(path(folder.path(), ".replaced-step-00000003")).unwrap();
    store.save(&checkpoint(3), false, 2).unwrap();
    assert_eq!(steps(&store), [2, 3]);
    assert!(!path(folder.path(), ".replaced-step-00000003").exists());
}

fn path(run: &Path, name: &str) -> PathBuf {
    run.join("checkpoints").join(name)
}

#[test]
fn where_latest_leads_to_none_the_newest_whole_checkpoint_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path();
    let store = saved(run, &[8, 16, 32], &[], 9);
    assert_eq!(store.stand_in().unwrap(), None);
    // Neither is a checkpoint of the run, whatever their names begin with.
    fs::create_dir(path(run, "step-00000064.old")).unwrap();
    fs::create_dir(path(run, "step-99")).unwrap();
    let latest = path(run, "latest");
    let rest = "goes on from step-00000032, the newest whole checkpoint";
    for (text, reason) in [
        (None, "latest is missing"),
        (Some("\n"), "latest is empty"),
        (Some("step-00000040\n"), "latest names step-00000040, which is not there"),
    ] {
        fs::remove_file(&latest).unwrap();
        if let Some(text) = text {
            fs::write(&latest, text).unwrap();
        }
        let (checkpoint, stand_in) = store.find("latest").unwrap().unwrap();
        assert_eq!(checkpoint.position.step, 32);
        assert_eq!(stand_in.unwrap().note("goes on from"), format!("{reason}: {rest}"));
        assert_eq!(step_of(&store, "latest"), 32);
        fs::write(&latest, "").unwrap();
    }
}

#[test]
fn damaged_checkpoints_are_passed_over_only_where_latest_does_not_name_them() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path();
    let store = saved(run, &[8, 16, 32], &[], 9);
    fs::write(path(run, "step-00000032/student.safetensors"), "other").unwrap();
    let error = store.load("latest").err().unwrap().to_string();
    assert!(error.contains("step-00000032/student.safetensors: damaged"), "{error}");
    fs::remove_file(path(run, "latest")).unwrap();
    fs::remove_file(path(run, "step-00000016/checkpoint.json")).unwrap();
    let stand_in = store.stand_in().unwrap().unwrap();
    assert_eq!(stand_in.name, "step-00000008");
    let left_out: Vec<&str> = stand_in.left_out.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(left_out, ["step-00000032", "step-00000016"]);
    let note = stand_in.note("goes on from");
    assert!(note.contains("step-00000032 is left out: "), "{note}");
    assert!(note.contains("student.safetensors: damaged") && note.contains("16"), "{note}");

    fs::remove_dir_all(path(run, "step-00000008")).unwrap();
    let error = store.load("latest").err().unwrap().to_string();
    for part in ["latest is missing", "no checkpoint is whole", "damaged", "--out", "--force"] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
}

/// It may be whole: an earlier checkpoint must not push it aside.
#[test]
fn a_checkpoint_of_a_later_format_is_not_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = saved(folder.path(), &[8, 16], &[], 9);
    fs::remove_file(path(folder.path(), "latest")).unwrap();
    let manifest = path(folder.path(), "step-00000016/checkpoint.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("\"format\": 2", "\"format\": 3")).unwrap();
    let error = store.load("latest").err().unwrap().to_string();
    assert!(error.contains("step-00000016") && error.contains("format 3"), "{error}");
}

#[test]
fn without_any_checkpoint_only_a_run_that_never_saved_one_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path();
    let store = Store::of(run);
    assert!(store.load("latest").unwrap().is_none() && !store.has_saved().unwrap());
    saved(run, &[8], &[], 9);
    fs::remove_dir_all(path(run, "step-00000008")).unwrap();
    assert!(store.has_saved().unwrap());
    let error = store.load("latest").err().unwrap().to_string();
    let expected =
        "latest names step-00000008, which is not there, and there is no other checkpoint";
    assert!(error.contains(expected), "{error}");
}

/// Of a linear evaluation by the last version that wrote format 1, which knew nothing of images and called
/// the state of a training on labels by another name.
#[test]
fn a_checkpoint_of_format_1_is_still_read_and_verified() {
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stored/linear-format-1");
    let checkpoint = Store::of(&stored).load("latest").unwrap().unwrap();
    assert_eq!((checkpoint.position.step, checkpoint.images), (8, None));
    let heads = checkpoint.position.task.as_array().unwrap();
    assert_eq!(heads.len(), 2);
    assert_eq!(heads[0]["epochs"][1]["train_loss"], 2.320046603679657);
    assert_eq!(checkpoint.tensors.len(), 2);

    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("checkpoints/step-00000008");
    fs::create_dir_all(&copy).unwrap();
    for file in fs::read_dir(stored.join("checkpoints/step-00000008")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    let manifest = copy.join("checkpoint.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let store = Store::of(folder.path());
    for (was, now) in [
        ("\"step\": 8", "\"step\": 9"),
        ("2.320046603679657", "2.320046603679658"),
        ("= 16", "= 1 6"),
    ] {
        fs::write(&manifest, text.replace(was, now)).unwrap();
        let error = store.load("step-00000008").err().unwrap().to_string();
        assert!(error.contains("checkpoint.json: damaged"), "{was}: {error}");
    }
    fs::write(&manifest, text.replace("\"format\": 1", "\"format\": 3")).unwrap();
    let error = store.load("step-00000008").err().unwrap().to_string();
    assert!(error.contains("format 3") && error.contains("formats 1 to 2"), "{error}");
}
