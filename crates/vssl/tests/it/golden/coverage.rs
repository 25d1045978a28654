//! Every case of both indexes is compared by a golden test, or belongs to a family that is named below as not yet built.

use std::collections::BTreeSet;

use crate::fixtures::{INDEXES, families, for_each_case_of};

/// The folders of each index whose every case a golden test of this program reads. `augment` is read by the tests of
/// `vssl-data`.
const CHECKED: [&[&str]; 2] = [
    &["augment", "backbone", "cluster", "eval", "losses", "optim", "vssl"],
    &["backbone", "distill", "lejepa", "losses", "quality"],
];

/// The folders and families of the second index that this program does not have yet. A family is the name of a case
/// without the number at its end.
const NOT_YET_BUILT: [(&str, &[&str]); 4] = [
    ("dinov2", &["dino", "ibot", "koleo", "sinkhorn"]),
    ("ijepa", &["loss", "predictor", "step"]),
    ("mae", &["loss", "masking", "model_mae", "model_solo", "patchify", "sincos"]),
    (
        "uncertainty",
        &[
            "elk",
            "entropy_jsd",
            "head",
            "hib",
            "infonce",
            "losspred_mse",
            "losspred_order",
            "mcinfonce",
            "retrieval",
            "vmf_lognorm",
        ],
    ),
];

#[test]
fn every_case_of_both_indexes_is_compared_or_named_as_not_yet_built() {
    for (number, index) in INDEXES.into_iter().enumerate() {
        for (folder, found) in families(index) {
            if CHECKED[number].contains(&folder.as_str()) {
                continue;
            }
            let later = NOT_YET_BUILT.iter().find(|(name, _)| number == 1 && *name == folder);
            let later: BTreeSet<String> = later
                .into_iter()
                .flat_map(|(_, families)| families.iter().map(|family| (*family).to_owned()))
                .collect();
            let unknown: Vec<_> = found.difference(&later).collect();
            assert!(
                unknown.is_empty(),
                "{index}: the cases {unknown:?} of {folder} are compared by no test, and not named as not yet built"
            );
        }
    }
}

/// Cases that wait for their part of the program can be read at least: tensors, parameters and tolerances.
#[test]
fn every_case_of_the_second_index_can_be_read() {
    for folder in families(INDEXES[1]).into_keys() {
        for_each_case_of(INDEXES[1], &folder, |case| {
            let tolerances = case.json["tolerance"].as_object();
            let tolerances = tolerances.unwrap_or_else(|| panic!("{}: no tolerances", case.name));
            let without: Vec<_> = case
                .names("")
                .into_iter()
                .filter(|name| name.starts_with("out.") || name.starts_with("grad."))
                .filter(|name| !tolerances.contains_key(name))
                .collect();
            assert!(without.is_empty(), "{}: no tolerance for {without:?}", case.name);
        });
    }
}
