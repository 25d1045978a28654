//! Tells sets of images apart that have one name: a set is its images, not the name of its folder.
//!
//! Runs note the fingerprints of their images. Two runs that read their sets in the same way (labels, limits)
//! and whose fingerprints differ were on different sets. Runs that read a set in another way, and runs of
//! earlier versions without fingerprints, go with the set that lay at the same path.

use std::collections::{BTreeMap, BTreeSet};

use super::run::Run;
use crate::run::images::Images;

/// The settings that decide which images of a set are used, and with which labels.
const CHOICE: [&str; 5] = [
    "data.format",
    "data.labels",
    "data.limit_train",
    "data.limit_validation",
    "data.missing_classes",
];

/// Number of digits of a fingerprint in a name.
const DIGITS: usize = 7;

/// Gives the sets of one name that hold different images names of their own, such as
/// `photos (450 in 3 classes)`. Where the images are known to be the same, their place does not matter.
pub(super) fn tell_apart(runs: &mut [Run]) {
    let names: BTreeSet<String> = runs.iter().map(|run| run.dataset.clone()).collect();
    for name in names {
        let mut own: Vec<&mut Run> = runs.iter_mut().filter(|run| run.dataset == name).collect();
        let contents = contents(&own);
        share_paths(&mut own, &contents);
        let sets: BTreeSet<&String> = contents.iter().flatten().collect();
        if sets.len() < 2 {
            continue;
        }
        let names = names_of(&name, &own, &contents);
        for (run, content) in own.iter_mut().zip(&contents) {
            run.dataset = match content {
                Some(content) => names[content].clone(),
                None => format!("{name} (unknown images)"),
            };
        }
    }
}

/// The images of a run as text that is equal for equal images; `None` where they are not known.
fn content(run: &Run) -> Option<String> {
    let Images { training, validation, .. } = run.summary.images.as_deref()?;
    let validation = validation.as_ref();
    let format = setting(run, "data.format").trim_matches('"');
    match format {
        // The same wherever it lies.
        format if format.starts_with("cifar") => None,
        // Copies whose images were scaled down are still the same set.
        "imagenet100" => Some(format!("{} {:?}", training.count, validation.map(|of| of.count))),
        _ => Some(format!("{} {:?}", training.digest, validation.map(|of| &of.digest))),
    }
}

fn setting<'a>(run: &'a Run, key: &str) -> &'a str {
    run.settings.get(key).map(String::as_str).unwrap_or_default()
}

fn choice(run: &Run) -> [&str; 5] {
    CHOICE.map(|key| setting(run, key))
}

/// The set of each run. All are `None` or equal where nothing is known to differ.
fn contents(runs: &[&mut Run]) -> Vec<Option<String>> {
    let known: Vec<Option<String>> = runs.iter().map(|run| content(run)).collect();
    let mut by_choice = BTreeMap::<[&str; 5], BTreeSet<&String>>::new();
    for (run, content) in runs.iter().zip(&known) {
        by_choice.entry(choice(run)).or_default().extend(content);
    }
    // The way of reading that tells most sets apart; the first of several.
    let most = by_choice.values().map(BTreeSet::len).max().unwrap_or(0);
    let Some(base) = by_choice.iter().find(|(_, sets)| sets.len() == most).map(|(base, _)| *base)
    else {
        return known;
    };
    let at = |path: &str, wanted: [&str; 5]| -> BTreeSet<&String> {
        let pairs = runs.iter().zip(&known);
        let there =
            pairs.filter(|(run, _)| setting(run, "data.path") == path && choice(run) == wanted);
        there.filter_map(|(_, content)| content.as_ref()).collect()
    };
    let of = |(run, own): (&&mut Run, &Option<String>)| {
        let path = setting(run, "data.path");
        let is_base = own.is_some() && choice(run) == base;
        let (there, as_own) = (at(path, base), at(path, choice(run)));
        match (is_base, there.len(), as_own.len()) {
            (false, 1, 0..=1) => there.first().map(|content| (*content).clone()),
            (false, ..) if most < 2 => None,
            _ => own.clone(),
        }
    };
    runs.iter().zip(&known).map(of).collect()
}

/// Gives runs on the same images, read in the same way, one path: a copy elsewhere is no difference.
fn share_paths(runs: &mut [&mut Run], contents: &[Option<String>]) {
    let mut paths = BTreeMap::<(String, [String; 5]), String>::new();
    for (run, content) in runs.iter_mut().zip(contents) {
        if let (Some(content), Some(path)) = (content, run.settings.get("data.path").cloned())
            && run.summary.images.is_some()
        {
            let key = (content.clone(), choice(run).map(str::to_owned));
            let first = paths.entry(key).or_insert(path).clone();
            run.settings.insert("data.path".to_owned(), first);
        }
    }
}

/// A name for each set: with its numbers of images and classes, and where these are equal with the first
/// digits of a fingerprint.
fn names_of(
    name: &str,
    runs: &[&mut Run],
    contents: &[Option<String>],
) -> BTreeMap<String, String> {
    let mut images = BTreeMap::<&String, &Images>::new();
    for (run, content) in runs.iter().zip(contents) {
        if let (Some(content), Some(own)) = (content, run.summary.images.as_deref()) {
            images.entry(content).or_insert(own);
        }
    }
    let counts = |of: &Images| match of.classes {
        Some(classes) => format!("{} in {classes} classes", of.training.count),
        None => of.training.count.to_string(),
    };
    let digits = |digest: &str| digest.chars().take(DIGITS).collect::<String>();
    let trained = |of: &Images| format!("{}, {}", counts(of), digits(&of.training.digest));
    let judged = |of: &Images| {
        let judged = of.validation.as_ref().map(|of| digits(&of.digest));
        format!("{}, validation {}", trained(of), judged.unwrap_or_else(|| "none".to_owned()))
    };
    let ways: [&dyn Fn(&Images) -> String; 3] = [&counts, &trained, &judged];
    let is_unique = |way: &&&dyn Fn(&Images) -> String| {
        let texts: BTreeSet<String> = images.values().map(|of| way(of)).collect();
        texts.len() == images.len()
    };
    let way = ways.iter().find(is_unique).unwrap_or(&ways[2]);
    images.iter().map(|(key, of)| ((*key).clone(), format!("{name} ({})", way(of)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{events::Summary, images::Fingerprint};

    fn run(path: &str, images: Option<(usize, &str, usize)>, limit: Option<&str>) -> Run {
        let images = images.map(|(count, digest, classes)| Images {
            training: Fingerprint { count, digest: digest.to_owned(), names: None },
            validation: None,
            classes: Some(classes),
        });
        let summary: Summary = serde_json::from_value(serde_json::json!({
            "method": "byol", "seed": 0, "steps": 9, "interrupted": false, "seconds": 1.5,
            "images_per_s": 6.0, "peak_rss_mib": null, "commit": null, "version": "0.1.0",
            "replaced_images": 0, "online_top1": null, "notes": [], "run": "runs/a",
            "images": images,
        }))
        .unwrap();
        let mut settings = BTreeMap::from([("data.path".to_owned(), path.to_owned())]);
        settings.extend(limit.map(|limit| ("data.limit_train".to_owned(), limit.to_owned())));
        Run {
            folder: "runs/a".into(),
            method: "byol".to_owned(),
            seed: 0,
            dataset: "photos".to_owned(),
            settings,
            values: BTreeMap::new(),
            untrained: BTreeMap::new(),
            before: BTreeMap::new(),
            pixels: BTreeMap::new(),
            summary,
            remark: None,
            course: None,
        }
    }

    fn names(mut runs: Vec<Run>) -> Vec<String> {
        tell_apart(&mut runs);
        runs.into_iter().map(|run| run.dataset).collect()
    }

    #[test]
    fn sets_of_one_name_have_names_of_their_own() {
        let runs = vec![run("A", Some((450, "aa", 3)), None), run("B", Some((300, "bb", 2)), None)];
        assert_eq!(names(runs), ["photos (450 in 3 classes)", "photos (300 in 2 classes)"]);
        let runs = vec![run("A", Some((9, "aa", 3)), None), run("A", Some((9, "bb", 3)), None)];
        assert_eq!(names(runs), ["photos (9 in 3 classes, aa)", "photos (9 in 3 classes, bb)"]);
    }

    #[test]
    fn a_copy_elsewhere_is_the_same_set_and_its_place_does_not_matter() {
        let mut runs = vec![run("A", Some((9, "aa", 3)), None), run("B", Some((9, "aa", 3)), None)];
        tell_apart(&mut runs);
        assert!(runs.iter().all(|run| run.dataset == "photos"));
        assert!(runs.iter().all(|run| run.settings["data.path"] == "A"));
    }

    #[test]
    fn runs_that_read_the_set_in_another_way_or_note_nothing_go_by_the_path() {
        let runs = || {
            vec![
                run("A", Some((9, "aa", 3)), None),
                run("B", Some((8, "bb", 3)), None),
                run("A", Some((4, "cc", 3)), Some("4")),
                run("B", None, None),
                run("C", None, None),
            ]
        };
        let [a, b] = ["photos (9 in 3 classes)", "photos (8 in 3 classes)"];
        assert_eq!(names(runs()), [a, b, a, b, "photos (unknown images)"]);
        // Without two sets that are known to differ, the name decides.
        let alike = runs().into_iter().skip(1).collect();
        assert!(names(alike).iter().all(|name| name == "photos"));
    }
}
