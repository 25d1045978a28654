//! Whether the images of a split have labels, and which.
//!
//! With "auto", a split has labels exactly if its images are directly in the folders below it, or in
//! folders `images/` of these as in Tiny-ImageNet, and there are at least two such folders. A few images
//! beside the class folders are left out and counted. A folder whose images are all of formats that are not
//! read is a class that was lost, if the others have labels. With "fine" the folders below the split are the classes
//! whatever is inside them, as in torchvision's `ImageFolder`, and an image outside of them is an error.
//! Classes are sorted by the bytes of their names; a folder without images is not a class.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use super::{
    Labels, MissingClasses,
    annotations::Annotations,
    found::{Found, LeftOut, counted},
    split_folders::listed,
    walk::{Listing, endings},
};
use crate::{DataError, name_text::text_of};

/// What is asked of a split.
pub(super) struct Asked<'a> {
    pub(super) labels: Labels,
    pub(super) missing: MissingClasses,
    /// The classes of the training split, sorted, where this is another split of a set with labels; their
    /// names are those of the folders.
    pub(super) known: Option<&'a [OsString]>,
}

/// The images of a split that are used, and their classes.
#[derive(Debug)]
pub(super) struct Labelled {
    pub(super) files: Vec<PathBuf>,
    /// The sorted names of the class folders, and the label of each image; `None` without labels.
    pub(super) classes: Option<(Vec<OsString>, Vec<u32>)>,
}

/// Where the images of a split lie.
struct Places {
    /// Folders directly below the split with images, sorted.
    folders: BTreeSet<OsString>,
    /// Numbers of the images that are in no folder.
    strays: Vec<usize>,
    /// An image that is deeper than a class folder.
    deep: Option<usize>,
}

impl Places {
    fn of(files: &[PathBuf]) -> Self {
        let mut places = Self { folders: BTreeSet::new(), strays: Vec::new(), deep: None };
        for (index, file) in files.iter().enumerate() {
            let parts: Vec<&OsStr> = file.iter().collect();
            match parts.as_slice() {
                [_] => places.strays.push(index),
                [class, _] => places.add(class),
                [class, middle, _] if *middle == "images" => places.add(class),
                [class, ..] => {
                    places.add(class);
                    places.deep.get_or_insert(index);
                }
                [] => {}
            }
        }
        places
    }

    fn add(&mut self, class: &OsStr) {
        if !self.folders.contains(class) {
            self.folders.insert(class.to_owned());
        }
    }
}

/// Finds the labels of the images in `listing`, which lie in `root`. What was left out, and why there are no
/// labels, is added to `found`; `split` is the name of the split there.
///
/// # Errors
/// As [`super::open`].
pub(super) fn labelled(
    root: &Path,
    listing: Listing,
    asked: &Asked<'_>,
    split: &str,
    found: &mut Found,
) -> Result<Labelled, DataError> {
    let places = Places::of(&listing.images);
    if asked.labels == Labels::None {
        return Ok(Labelled { files: listing.images, classes: None });
    }
    if let Some(annotations) = annotations(root, &places, asked)? {
        return annotated(root, listing, &annotations, (asked, split), found);
    }
    if asked.labels == Labels::Fine
        && let Some(&outside) = places.strays.first()
    {
        return Err(DataError::Format {
            path: root.join(&listing.images[outside]),
            what: "is in no class folder".into(),
            expected:
                "the class folders that data.labels = \"fine\" asks for; \"auto\" does without"
                    .into(),
        });
    }
    let lost = listing.without_images(root);
    if asked.labels == Labels::Auto
        && let Some(reason) = unlabelled(&places, &lost, &listing.images, asked)
    {
        found.taken.push(format!("no {split} labels: {reason}"));
        return Ok(Labelled { files: listing.images, classes: None });
    }
    check_lost(root, &listing, lost, asked, found)?;
    let files = without_strays(listing.images, &places, found);
    let classes = match asked.known {
        Some(known) => known.to_vec(),
        None => places.folders.iter().cloned().collect(),
    };
    let labels = files.iter().map(|file| {
        let class = file.iter().next().unwrap_or_default();
        label(&classes, class).ok_or_else(|| DataError::Format {
            path: root.join(class),
            what: "is no class of the training split".into(),
            expected: format!("one of its {} classes", classes.len()),
        })
    });
    let labels = labels.collect::<Result<_, _>>()?;
    Ok(Labelled { files, classes: Some((classes, labels)) })
}

/// The position of a class among the sorted classes.
pub(super) fn label(classes: &[OsString], class: &OsStr) -> Option<u32> {
    let order = |other: &OsString| other.as_encoded_bytes().cmp(class.as_encoded_bytes());
    classes.binary_search_by(order).ok().map(|at| at as u32)
}

/// Why the split has no labels with "auto"; `None` if it has some. The images of the folders `lost` are of
/// formats that are not read: such folders make no labels, and are only named.
fn unlabelled(
    places: &Places,
    lost: &[OsString],
    files: &[PathBuf],
    asked: &Asked<'_>,
) -> Option<String> {
    let name = |index: usize| text_of(&files[index]);
    let folders: Vec<&OsString> = places.folders.iter().collect();
    if let Some(known) = asked.known {
        // A single folder, such as `test/images/`, is not a class.
        if !places.folders.iter().any(|folder| known.contains(folder)) {
            let known: Vec<&OsString> = known.iter().collect();
            return Some(match folders.is_empty() {
                true => format!(
                    "its images are in no folders; the training classes are {}",
                    listed(&known)
                ),
                false => format!(
                    "of its folders {} none is a training class, as {} are",
                    listed(&folders),
                    listed(&known)
                ),
            });
        }
    } else if folders.is_empty() {
        return Some("the images are in no class folders".to_owned());
    } else if folders.len() < 2 {
        let others: Vec<&OsString> = lost.iter().collect();
        let others = match others.is_empty() {
            true => String::new(),
            false => {
                format!("; the images in {} are of formats that are not read", listed(&others))
            }
        };
        return Some(format!("only one folder has images, {}{others}", listed(&folders)));
    }
    if let Some(deep) = places.deep {
        return Some(format!(
            "{} is deeper than a class folder (data.labels = \"fine\" makes each of {} a class)",
            name(deep),
            listed(&folders)
        ));
    }
    let strays = places.strays.len();
    // No more than a cover or two, or a twentieth: what is left out is lost for the training.
    let few = (strays <= 2 && strays < places.folders.len()) || strays * 20 <= files.len();
    (!few).then(|| {
        format!(
            "{strays} of {} images lie beside the folders {} ({}), too many to leave them out",
            files.len(),
            listed(&folders),
            name(places.strays[0])
        )
    })
}

/// Leaves out the images beside the class folders.
fn without_strays(files: Vec<PathBuf>, places: &Places, found: &mut Found) -> Vec<PathBuf> {
    if places.strays.is_empty() {
        return files;
    }
    let example = files[places.strays[0]].clone();
    let count = places.strays.len();
    found.leave_out("beside the class folders", LeftOut { count, example });
    files.into_iter().filter(|file| file.components().count() > 1).collect()
}

/// Refuses class folders of which no image can be read, unless they are allowed.
fn check_lost(
    root: &Path,
    listing: &Listing,
    mut lost: Vec<OsString>,
    asked: &Asked<'_>,
    found: &mut Found,
) -> Result<(), DataError> {
    lost.retain(|folder| asked.known.is_none_or(|known| label(known, folder).is_some()));
    let Some(first) = lost.first() else { return Ok(()) };
    if asked.missing == MissingClasses::Allow {
        let set = root.file_name().unwrap_or_default();
        let names = lost.iter().map(|folder| text_of(&Path::new(set).join(folder)) + "/");
        found.lost_classes.extend(names);
        return Ok(());
    }
    let of_first = listing.left_out.iter().filter(|((folder, _), _)| folder == first);
    let files = of_first.map(|((_, kind), files)| (kind.clone(), files.clone())).collect();
    let others: Vec<&OsString> = lost.iter().skip(1).collect();
    let others = match others.is_empty() {
        true => String::new(),
        false => format!(", and so have {}", listed(&others)),
    };
    Err(DataError::Format {
        path: root.join(first),
        what: format!(
            "this class folder has no image that can be read{others}; it has {}",
            counted(&files)
        ),
        expected: format!(
            "files that end in {}: convert the images; or, in a recipe, go on without these classes by \
             data.missing_classes = \"allow\", or without labels by data.labels = \"none\"",
            endings()
        ),
    })
}

/// The annotations of a split that is not sorted into the class folders of training.
fn annotations(
    root: &Path,
    places: &Places,
    asked: &Asked<'_>,
) -> Result<Option<Annotations>, DataError> {
    let Some(known) = asked.known else { return Ok(None) };
    let sorted = places.folders.iter().any(|folder| label(known, folder).is_some());
    if sorted { Ok(None) } else { Annotations::beside(root) }
}

fn annotated(
    root: &Path,
    listing: Listing,
    annotations: &Annotations,
    (asked, split): (&Asked<'_>, &str),
    found: &mut Found,
) -> Result<Labelled, DataError> {
    let known = asked.known.unwrap_or_default();
    let file = root.file_name().unwrap_or_default();
    let file = Path::new(file).join(annotations.path.file_name().unwrap_or_default());
    let labels = listing.images.iter().map(|image| {
        let class = annotations.class_of(image)?;
        label(known, OsStr::new(class)).ok_or_else(|| DataError::Format {
            path: annotations.path.clone(),
            what: format!(
                "{class}, the class of {}, is no class of the training split",
                text_of(image)
            ),
            expected: format!("one of its {} classes", known.len()),
        })
    });
    let labels = labels.collect::<Result<_, _>>()?;
    found.taken.push(format!("{split} labels: {}", text_of(&file)));
    // The file was used after all.
    if let Some(texts) = found.left_out.get_mut(".txt") {
        texts.count -= 1;
    }
    found.left_out.retain(|_, files| files.count > 0);
    Ok(Labelled { files: listing.images, classes: Some((known.to_vec(), labels)) })
}
