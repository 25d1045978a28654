//! STL-10 in the binary version of <https://cs.stanford.edu/~acoates/stl10/>: 96 × 96 pixels in three planes, each
//! column by column; labels are bytes from 1 on. Images are read where they lie: the unlabelled ones take 2.8 GB.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::shards::read_at;
use super::{DataConfig, Dataset, Labels, read};
use crate::{DataError, Image};

const SIDE: usize = 96;
const PLANE: usize = SIDE * SIDE;
const RECORD: usize = 3 * PLANE;

/// The folder in the archive, and the archive.
const FOLDER: &str = "stl10_binary";
const ARCHIVE: &str = "stl10_binary.tar.gz";

/// The classes, where the file of their names is missing.
const CLASSES: [&str; 10] =
    ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"];

/// Images in the files of the set.
pub struct Stl10 {
    /// The files, each with its number of images.
    files: Vec<(PathBuf, File, usize)>,
    labels: Option<Vec<u32>>,
    classes: Vec<String>,
}

/// Opens the set: as training images those that `data.train` names, `train` (5,000 with labels, the default),
/// `unlabeled` (100,000) or `train+unlabeled`, and the 8,000 test images.
///
/// # Errors
/// Missing files, files of other sizes, labels beyond the classes, other names in `data.train`.
pub(super) fn open(path: &Path, config: &DataConfig) -> Result<(Stl10, Option<Stl10>), DataError> {
    for (name, folder) in [("validation", &config.validation), ("test", &config.test)] {
        if let Some(folder) = folder {
            return Err(DataError::Setting(format!(
                "data.{name} = {folder:?}: the images to evaluate on are always the test images of STL-10"
            )));
        }
    }
    if config.labels == Labels::Coarse {
        return Err(DataError::Setting(
            "data.labels = \"coarse\": only CIFAR-100 has coarse labels; use \"auto\"".into(),
        ));
    }
    let root = root(path)?;
    let wanted = config.train.as_ref().map_or(Some("train"), |train| train.to_str());
    let parts: &[&str] = match wanted {
        Some("train") => &["train"],
        Some("unlabeled" | "unlabelled") => &["unlabeled"],
        Some("train+unlabeled" | "train+unlabelled") => &["train", "unlabeled"],
        _ => {
            return Err(DataError::Setting(format!(
                "data.train = {:?}: STL-10 has \"train\" (5,000 images with labels), \"unlabeled\" (100,000) and \
                 \"train+unlabeled\"",
                config.train.as_deref().unwrap_or(Path::new(""))
            )));
        }
    };
    if config.labels == Labels::Fine && parts != ["train"] {
        return Err(DataError::Setting(
            "data.labels = \"fine\" with data.train = \"unlabeled\": these images have no labels; use \"auto\""
                .into(),
        ));
    }
    let train = Stl10::open(&root, parts, config.labels)?;
    let test = root.join("test_X.bin").exists();
    let test = test.then(|| Stl10::open(&root, &["test"], config.labels)).transpose()?;
    // Labels that training does not have are of no use.
    let test = test.map(|test| match train.labels.is_some() {
        true => test,
        false => Stl10 { labels: None, classes: Vec::new(), ..test },
    });
    Ok((train, test))
}

fn root(path: &Path) -> Result<PathBuf, DataError> {
    let expected = || {
        format!(
            "a folder with train_X.bin or with {FOLDER}/, as {ARCHIVE} unpacks to; `vssl data fetch stl10` gets it"
        )
    };
    if !path.exists() {
        return Err(DataError::Missing { path: path.into(), expected: expected() });
    }
    let has_files = |folder: &Path| {
        ["train_X.bin", "unlabeled_X.bin"].iter().any(|name| folder.join(name).exists())
    };
    let places = [path.to_path_buf(), path.join(FOLDER)];
    if let Some(folder) = places.into_iter().find(|folder| has_files(folder)) {
        return Ok(folder);
    }
    let what = match path.is_file() || path.join(ARCHIVE).exists() {
        true => format!(
            "{ARCHIVE} is packed, and images cannot be read from the middle of it: unpack it"
        ),
        false => "none of the files of the set".to_owned(),
    };
    Err(DataError::Format { path: path.into(), what, expected: expected() })
}

impl Stl10 {
    fn open(root: &Path, parts: &[&str], labels: Labels) -> Result<Self, DataError> {
        let mut files = Vec::new();
        for part in parts {
            let path = root.join(format!("{part}_X.bin"));
            let expected = format!("the images of the part {part}");
            if !path.is_file() {
                return Err(DataError::Missing { path, expected });
            }
            let file = File::open(&path).map_err(DataError::io(&path))?;
            let bytes = file.metadata().map_err(DataError::io(&path))?.len();
            if bytes == 0 || !bytes.is_multiple_of(RECORD as u64) {
                return Err(DataError::Format {
                    path,
                    what: format!("{bytes} bytes"),
                    expected: format!(
                        "a multiple of {RECORD}, the bytes of an image: get the file again"
                    ),
                });
            }
            files.push((path, file, (bytes / RECORD as u64) as usize));
        }
        let none = Self { files, labels: None, classes: Vec::new() };
        let [part] = parts else { return Ok(none) };
        let path = root.join(format!("{part}_y.bin"));
        if labels == Labels::None
            || *part == "unlabeled"
            || (labels == Labels::Auto && !path.exists())
        {
            return Ok(none);
        }
        let classes = read::lines(&root.join("class_names.txt"))?
            .unwrap_or_else(|| CLASSES.map(str::to_owned).to_vec());
        let bytes = read::whole(&path, "the labels of the part")?;
        let images = none.len();
        let wrong = |what: String, expected: String| DataError::Format {
            path: path.clone(),
            what,
            expected,
        };
        if bytes.len() != images {
            return Err(wrong(
                format!("{} labels", bytes.len()),
                format!("{images}, one an image"),
            ));
        }
        let is_class = |byte: &u8| *byte > 0 && usize::from(*byte) <= classes.len();
        if let Some(at) = bytes.iter().position(|byte| !is_class(byte)) {
            let what = format!("label {} of image {at}", bytes[at]);
            return Err(wrong(what, format!("labels from 1 to {}", classes.len())));
        }
        let labels = bytes.iter().map(|&byte| u32::from(byte) - 1).collect();
        Ok(Self { labels: Some(labels), classes, ..none })
    }

    /// The file of an image, and its number there.
    fn locate(&self, index: usize) -> (&Path, &File, usize) {
        let mut record = index;
        for (path, file, count) in &self.files {
            if record < *count {
                return (path, file, record);
            }
            record -= count;
        }
        panic!("image {index} of {}", self.len())
    }
}

impl Dataset for Stl10 {
    fn len(&self) -> usize {
        self.files.iter().map(|(.., count)| count).sum()
    }

    fn image(&self, index: usize) -> Result<Image, DataError> {
        let (_, file, record) = self.locate(index);
        let mut planes = vec![0; RECORD];
        read_at(file, &mut planes, (record * RECORD) as u64).map_err(|error| {
            DataError::BadImage { name: self.name(index), index, what: error.to_string() }
        })?;
        let value = |pixel: usize, plane: usize| {
            let (row, column) = (pixel / SIDE, pixel % SIDE);
            planes[plane * PLANE + column * SIDE + row]
        };
        let rgb = (0..PLANE).flat_map(|pixel| [0, 1, 2].map(|plane| value(pixel, plane))).collect();
        Ok(Image { width: SIDE, height: SIDE, values: rgb })
    }

    fn labels(&self) -> Option<&[u32]> {
        self.labels.as_deref()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn name(&self, index: usize) -> String {
        let (path, _, record) = self.locate(index);
        format!("{} record {record}", super::text_of(path))
    }

    fn stored_as(&self, index: usize) -> Option<(String, u64)> {
        let (path, _, record) = self.locate(index);
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Some((format!("{file} record {record}"), RECORD as u64))
    }
}
