//! Every case of both indexes is compared by a golden test.

use crate::fixtures::{INDEXES, families, for_each_case_of};

/// The folders of each index whose every case a golden test of this program reads. `augment` is read by the tests of
/// `vssl-data`.
const CHECKED: [&[&str]; 2] = [
    &["augment", "backbone", "cluster", "eval", "losses", "optim", "vssl"],
    &[
        "backbone",
        "dinov2",
        "distill",
        "ijepa",
        "lejepa",
        "losses",
        "mae",
        "quality",
        "uncertainty",
    ],
];

#[test]
fn every_folder_of_both_indexes_is_compared() {
    for (index, checked) in INDEXES.into_iter().zip(CHECKED) {
        for (folder, found) in families(index) {
            let is_checked = checked.contains(&folder.as_str());
            assert!(is_checked, "{index}: no test compares the cases {found:?} of {folder}");
        }
    }
}

/// A case without a tolerance could not fail.
#[test]
fn every_case_of_the_second_index_has_its_tolerances() {
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
