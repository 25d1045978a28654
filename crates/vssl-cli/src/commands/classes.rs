//! Whether images that are judged have classes that are known. Called by `vssl knn` and `vssl evaluate`.

use std::collections::BTreeSet;

use anyhow::anyhow;
use vssl::features::Source;

use crate::{failure::Failure, notes::note};

/// Largest number of classes that a message lists.
const LISTED: usize = 5;

/// Refuses images of which none could be read, and images without a single class of the known images. Tells of
/// images whose class is not known: no answer about them can be right.
pub(super) fn check_common(known: &dyn Source, asked: &dyn Source) -> Result<(), Failure> {
    let (Some(known), Some(asked)) = (known.labels(), asked.labels()) else { return Ok(()) };
    let classes = |labels: &[i64]| -> BTreeSet<i64> { labels.iter().copied().collect() };
    let (known, wanted) = (classes(known), classes(asked));
    for (classes, what) in [(&known, "with known classes"), (&wanted, "to classify")] {
        if classes.is_empty() {
            return Err(anyhow!(
                "none of the images {what} could be read; expected at least one. `vssl data check` names \
                 them with the reasons"
            )
            .into());
        }
    }
    if known.is_disjoint(&wanted) {
        return Err(anyhow!(
            "no class of the images to classify ({}) is one of the images with known classes ({}); expected \
             sets of the same classes",
            listed(&wanted),
            listed(&known)
        )
        .into());
    }
    let unknown: BTreeSet<i64> = wanted.difference(&known).copied().collect();
    if !unknown.is_empty() {
        let images = asked.iter().filter(|label| unknown.contains(label)).count();
        note(&format!(
            "{images} of {} images have classes without known images ({}): they count as errors",
            asked.len(),
            listed(&unknown)
        ));
    }
    Ok(())
}

fn listed(classes: &BTreeSet<i64>) -> String {
    let some: Vec<String> = classes.iter().take(LISTED).map(i64::to_string).collect();
    let more = if classes.len() > LISTED { ", …" } else { "" };
    format!("{}{more}", some.join(", "))
}
