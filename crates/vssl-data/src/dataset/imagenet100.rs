//! ImageNet-100: the 100 classes of ImageNet-1k that Tian et al. drew for contrastive multiview
//! coding (arXiv:1906.05849), from an ordinary `train/<wnid>/`, `val/<wnid>/` tree.

use std::path::Path;

use super::folder::{Folder, validation_folder};
use super::read::names;
use super::{Labels, MissingClasses};
use crate::DataError;

/// The 100 WordNet identifiers, sorted, one a line.
const CLASSES: &str = include_str!("imagenet100_classes.txt");

/// Opens the tree. Folders of other classes are ignored. `classes()` are always all 100, so that a
/// label means the same whichever classes are missing.
///
/// # Errors
/// Missing classes, unless they are allowed; a tree without a single image.
pub(super) fn open(
    path: &Path,
    labels: Labels,
    missing: MissingClasses,
) -> Result<(Folder, Option<Folder>), DataError> {
    if labels == Labels::Coarse {
        return Err(DataError::Setting(
            "data.labels = \"coarse\": ImageNet-100 has one kind of label; use \"auto\"".into(),
        ));
    }
    let train = split(&path.join("train"), labels, missing)?;
    let validation =
        validation_folder(path).map(|folder| split(&folder, labels, missing)).transpose()?;
    Ok((train, validation))
}

fn split(root: &Path, labels: Labels, missing: MissingClasses) -> Result<Folder, DataError> {
    if !root.is_dir() {
        return Err(DataError::Missing {
            path: root.into(),
            expected: "a folder with one folder of images for each ImageNet class, say \
                       train/n01558993/"
                .into(),
        });
    }
    let classes = names(CLASSES);
    let (folder, absent) = Folder::of_classes(root, &classes, labels != Labels::None)?;
    if missing == MissingClasses::Error && !absent.is_empty() {
        let some = absent.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        let more = if absent.len() > 5 { ", …" } else { "" };
        return Err(DataError::Format {
            path: root.into(),
            what: format!(
                "{} of the {} classes have no images: {some}{more}",
                absent.len(),
                classes.len()
            ),
            expected: "all of them; data.missing_classes = \"allow\" goes on without".into(),
        });
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_a_hundred_sorted_identifiers() {
        let classes = names(CLASSES);
        assert_eq!(classes.len(), 100);
        assert!(classes.is_sorted_by(|a, b| a < b));
        assert!(classes.iter().all(|name| name.len() == 9 && name.starts_with('n')));
    }
}
