//! `vssl export` without a run; exports of a run are tested where one is made.

use super::run;

#[test]
fn what_is_no_run_cannot_be_exported() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("encoder.safetensors");
    let to = to.to_str().unwrap();
    run(&["export", "no/such/run", "--to", to]).refused(1, &["no/such/run"]);
    run(&["export", "recipes", "--to", to]).refused(1, &["recipes: not a run folder"]);
}
