//! Labels of a split in a file beside its images, as Tiny-ImageNet has them for its validation images:
//! `val/val_annotations.txt`, a line for each image with its name and its class, then a box, separated by
//! tabulators; the images are in `val/images/`.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use super::read;
use crate::DataError;

/// The classes of images by the names of their files.
pub(super) struct Annotations {
    /// The file.
    pub(super) path: PathBuf,
    classes: HashMap<String, String>,
}

impl Annotations {
    /// Reads `NAME_annotations.txt` in the folder `root` of a split, where NAME is the name of the folder,
    /// or `val`; `None` without such a file.
    ///
    /// # Errors
    /// A file that cannot be read, or a line without a class.
    pub(super) fn beside(root: &Path) -> Result<Option<Self>, DataError> {
        let own = root.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let names = [format!("{own}_annotations.txt"), "val_annotations.txt".to_owned()];
        for path in names.map(|name| root.join(name)) {
            let Some(lines) = read::lines(&path)? else { continue };
            let mut classes = HashMap::new();
            for line in lines {
                let mut fields = line.split('\t').map(str::trim);
                let (Some(name), Some(class)) = (fields.next(), fields.next()) else {
                    return Err(DataError::Format {
                        path,
                        what: format!("the line {line:?} has one field"),
                        expected: "the name of an image and its class, separated by a tabulator"
                            .into(),
                    });
                };
                classes.insert(name.to_owned(), class.to_owned());
            }
            return Ok(Some(Self { path, classes }));
        }
        Ok(None)
    }

    /// The class of the image `file`.
    ///
    /// # Errors
    /// The file of annotations does not name the image.
    pub(super) fn class_of(&self, file: &Path) -> Result<&str, DataError> {
        let name = file.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let class = self.classes.get(&*name).map(String::as_str);
        class.ok_or_else(|| DataError::Format {
            path: self.path.clone(),
            what: format!("has no line for {}", super::text_of(file)),
            expected: "a line for each image of the split".into(),
        })
    }
}
