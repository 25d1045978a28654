//! ImageNet-100: the 100 classes of ImageNet-1k that Tian et al. drew for contrastive multiview
//! coding (arXiv:1906.05849), from an ordinary `train/<wnid>/`, `val/<wnid>/` tree.

use std::ffi::OsString;
use std::path::Path;

use super::folder::{Folder, Opened, leave_out_beside};
use super::found::Found;
use super::read::names;
use super::split_folders::{SplitFolders, listed};
use super::walk::folders_in;
use super::{DataConfig, Evaluated, Labels, MissingClasses};
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
    config: &DataConfig,
    evaluated: Evaluated,
) -> Result<Opened, DataError> {
    let (labels, missing) = (config.labels, config.missing_classes);
    if labels == Labels::Coarse {
        return Err(DataError::Setting(
            "data.labels = \"coarse\": ImageNet-100 has one kind of label; use \"auto\"".into(),
        ));
    }
    let SplitFolders { train, evaluated, taken } = SplitFolders::find(path, config, evaluated)?;
    if train == path && config.train.is_none() {
        return Err(DataError::Missing {
            path: path.join("train"),
            expected: format!(
                "a folder with one folder of images for each ImageNet class, say train/n01558993/; \
                 {}; data.format = \"folder\" takes any folders",
                seen(path)
            ),
        });
    }
    let mut found = Found { taken, ..Found::default() };
    leave_out_beside(path, &train, &mut found)?;
    let train = split(&train, labels, missing, &mut found)?;
    let validation =
        evaluated.map(|folder| split(&folder, labels, missing, &mut found)).transpose()?;
    Ok((train, validation, found))
}

/// The folders in `folder` as text, for a message.
fn seen(folder: &Path) -> String {
    let folders = folders_in(folder).unwrap_or_default();
    match folders.as_slice() {
        [] => "no folder is there".to_owned(),
        folders => format!("there are {}", listed(&folders.iter().collect::<Vec<&OsString>>())),
    }
}

fn split(
    root: &Path,
    labels: Labels,
    missing: MissingClasses,
    found: &mut Found,
) -> Result<Folder, DataError> {
    let classes = names(CLASSES);
    let (folder, absent) = Folder::of_classes(root, &classes, labels != Labels::None, found)?;
    if absent.len() == classes.len() {
        return Err(DataError::Format {
            path: root.into(),
            what: format!("no images of the 100 classes of ImageNet-100; {}", seen(root)),
            expected: format!(
                "folders with the WordNet identifiers of these classes, as {} and {}; \
                 data.format = \"folder\" takes any folders",
                classes[0], classes[1]
            ),
        });
    }
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
