//! Sets of images: folders and archives as the command reads them, lists of files, and pixels that Python has.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use numpy::{
    PyArray1, PyArray3, PyArrayMethods, PyReadonlyArray3, PyReadonlyArray4, PyUntypedArrayMethods,
};
use pyo3::{exceptions::PyIndexError, prelude::*};
use vssl::{methods::METHODS, recipe::Recipe};
use vssl_data::{
    DataError, Dataset, Image,
    dataset::{self, DataConfig, Evaluated, Folder, Format, Tones},
};

use crate::errors::{failed, usage, without_lock};

/// A set of images.
#[pyclass(frozen, module = "vssl._vssl")]
pub struct Images {
    pub dataset: Arc<dyn Dataset>,
    /// The format of the files; `None` for pixels.
    pub format: Option<Format>,
    /// What samples of more than 8 bits become; `None` for pixels.
    tones: Option<Tones>,
    /// What was taken for what, and what was left out.
    #[pyo3(get)]
    notes: Vec<String>,
}

/// How the files of images are read.
#[pyclass(frozen, module = "vssl._vssl")]
pub struct Reading {
    /// What samples of more than 8 bits become.
    tones: Tones,
    #[pyo3(get)]
    channels: usize,
    /// Who asks for it, in the words of a message.
    asked: String,
}

#[pymethods]
impl Reading {
    /// Images of so many channels.
    #[new]
    fn new(channels: usize) -> Self {
        Self { tones: Tones::default(), channels, asked: "asked for are".to_owned() }
    }

    /// As a recipe with changes of the form `a.b=c` reads its own images.
    #[staticmethod]
    fn of_recipe(path: PathBuf, overrides: Vec<String>) -> PyResult<Self> {
        let (recipe, _) = Recipe::load(&path, &overrides, METHODS).map_err(usage)?;
        let source = recipe.data.source();
        let asked = format!("the recipe {} takes", path.display());
        Ok(Self { tones: source.tones(), channels: source.channels, asked })
    }

    /// A note on images that were opened otherwise, so that the same files became other bytes.
    fn note(&self, images: &Images) -> Option<String> {
        let (found, own) = (images.tones?, self.tones);
        let can_differ = images.format.is_some_and(Format::is_photographs);
        let differ = can_differ && own != Tones::default() && own != found;
        differ.then(|| {
            let text = |tones: Tones| {
                format!("bits_used = {} and range = {}", tones.bits_used, tones.range)
            };
            format!(
                "the images were opened with {}, and {} images with {}; where files have more than 8 bits a \
                 sample, expected their path or their paths instead of the set, which are read so",
                text(found),
                self.asked,
                text(own)
            )
        })
    }
}

impl Reading {
    /// As the run of an encoder for images of `channels` channels reads its own; `tones` where there is a run.
    pub fn of_encoder(path: &Path, tones: Option<Tones>, channels: usize) -> Self {
        let asked = format!("the encoder {} takes", path.display());
        Self { tones: tones.unwrap_or_default(), channels, asked }
    }

    /// Has `config` say it, unless it is of a recipe, which says itself how its images are read.
    fn lay_down(&self, config: &mut DataConfig, source: &Path) -> PyResult<()> {
        if !is_recipe(source) {
            (config.bits_used, config.range) = (self.tones.bits_used, self.tones.range);
            config.channels = self.channels;
        } else if config.channels != self.channels {
            return Err(usage(anyhow::anyhow!(
                "{} has data.channels = {}, and {} images of {}; expected images of equally many channels",
                source.display(),
                config.channels,
                self.asked,
                self.channels
            )));
        }
        Ok(())
    }
}

#[pymethods]
impl Images {
    /// Opens one split of a folder, an archive or the data of a recipe, which is read as `reading` says.
    #[staticmethod]
    #[pyo3(signature = (path, split, format, data, reading))]
    fn open(
        py: Python<'_>,
        path: PathBuf,
        split: &str,
        format: Option<&str>,
        data: PathBuf,
        reading: Option<&Reading>,
    ) -> PyResult<Self> {
        let mut config = described(&path, &data)?;
        if let Some(format) = format {
            config.format = format_of(format)?;
        }
        if let Some(reading) = reading {
            reading.lay_down(&mut config, &path)?;
        }
        Self::opened(py, &config, split)
    }

    /// Opens one split of the data of a recipe with changes of the form `a.b=c`.
    #[staticmethod]
    fn of_recipe(
        py: Python<'_>,
        path: PathBuf,
        overrides: Vec<String>,
        split: &str,
        data: PathBuf,
    ) -> PyResult<Self> {
        Self::opened(py, &of_recipe(&path, &overrides, &data)?, split)
    }

    /// Image files in the given order, which are read as `reading` says.
    #[staticmethod]
    fn of_files(files: Vec<PathBuf>, reading: &Reading) -> Self {
        let set = Folder::of_files(files).with_tones(reading.tones);
        Self {
            dataset: Arc::new(set.with_channels(reading.channels)),
            format: Some(Format::Folder),
            tones: Some(reading.tones),
            notes: Vec::new(),
        }
    }

    /// Pixels of images of one size, `[n, h, w, channels]`.
    #[staticmethod]
    fn of_array(pixels: PyReadonlyArray4<'_, u8>) -> PyResult<Self> {
        let (shape, values) = (pixels.shape(), pixels.as_slice());
        let &[count, height, width, channels] = shape else {
            unreachable!("an array of four dimensions")
        };
        let values = values.map_err(|error| usage(anyhow::anyhow!("{error}")))?.to_vec();
        let dataset = Arc::new(Stack { count, height, width, channels, values });
        Ok(Self { dataset, format: None, tones: None, notes: Vec::new() })
    }

    /// Pixels of images of any sizes, each `[h, w, channels]`.
    #[staticmethod]
    fn of_arrays(pictures: Vec<PyReadonlyArray3<'_, u8>>) -> PyResult<Self> {
        let image = |picture: &PyReadonlyArray3<'_, u8>| {
            let (height, width) = (picture.shape()[0], picture.shape()[1]);
            let values = picture.as_slice().map_err(|error| usage(anyhow::anyhow!("{error}")))?;
            Ok(Image { width, height, values: values.to_vec() })
        };
        let images = pictures.iter().map(image).collect::<PyResult<Vec<_>>>()?;
        let dataset = Arc::new(Pictures(images));
        Ok(Self { dataset, format: None, tones: None, notes: Vec::new() })
    }

    fn __len__(&self) -> usize {
        self.dataset.len()
    }

    /// The class of each image.
    fn labels<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyArray1<i64>>> {
        let labels = self.dataset.labels()?.iter().map(|&label| i64::from(label));
        Some(PyArray1::from_vec(py, labels.collect()))
    }

    /// The names of the classes.
    fn classes(&self) -> Vec<String> {
        self.dataset.classes().to_vec()
    }

    /// The name of an image: its path, or its place in a file.
    fn name(&self, index: usize) -> PyResult<String> {
        self.check(index)?;
        Ok(self.dataset.name(index))
    }

    /// The pixels of an image, `[h, w, channels]`.
    fn pixels<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyArray3<u8>>> {
        self.check(index)?;
        let read = || vssl_data::panics::caught(|| self.dataset.image(index));
        let image = py.detach(read).map_err(|panic| {
            let name = self.dataset.name(index);
            failed(anyhow::anyhow!("{name} (image {index}): the decoder panicked: {panic}"))
        })?;
        let image = image.map_err(failed)?;
        let shape = [image.height, image.width, image.channels()];
        PyArray1::from_vec(py, image.values).reshape(shape)
    }
}

impl Images {
    /// Opens one split.
    fn opened(py: Python<'_>, config: &DataConfig, split: &str) -> PyResult<Self> {
        let evaluated = if split == "test" { Evaluated::Test } else { Evaluated::Validation };
        let splits = without_lock(py, || Ok(dataset::open_for(config, None, evaluated)?))?;
        let notes = (!splits.found.is_empty())
            .then(|| format!("{}: {}", dataset::text_of(&config.path), splits.found));
        let dataset = match split {
            "train" => Some(splits.train),
            _ => splits.validation,
        };
        let dataset = dataset.ok_or_else(|| {
            failed(anyhow::anyhow!(
                "{}: there are no validation images; expected the folder val/ beside train/",
                config.path.display()
            ))
        })?;
        Ok(Self {
            dataset,
            format: Some(config.format),
            tones: Some(config.tones()),
            notes: notes.into_iter().collect(),
        })
    }

    fn check(&self, index: usize) -> PyResult<()> {
        let count = self.dataset.len();
        match index < count {
            true => Ok(()),
            false => Err(PyIndexError::new_err(format!("image {index} of {count}"))),
        }
    }
}

/// The images that `source` names: a folder, an archive, or the data of a recipe. Relative paths are looked for as
/// the command does, `data` being its `--data`.
fn described(source: &Path, data: &Path) -> PyResult<DataConfig> {
    if is_recipe(source) {
        return of_recipe(source, &[], data);
    }
    let (here, shipped) = (Path::new(""), Path::new("data"));
    let path = dataset::locate(source, &[here, data, shipped]);
    let format = dataset::guess(&path).unwrap_or_default();
    Ok(DataConfig { format, path, ..DataConfig::default() })
}

/// Whether the images are those of a recipe.
fn is_recipe(source: &Path) -> bool {
    source.extension().is_some_and(|extension| extension == "toml")
}

/// The images of a recipe.
fn of_recipe(path: &Path, overrides: &[String], data: &Path) -> PyResult<DataConfig> {
    let (recipe, _) = Recipe::load(path, overrides, METHODS).map_err(usage)?;
    let (here, shipped) = (Path::new(""), Path::new("data"));
    let beside = path.parent().unwrap_or(here);
    let path = dataset::locate(&recipe.data.path, &[data, here, shipped, beside]);
    Ok(DataConfig { path, ..recipe.data.source() })
}

/// The format of a recipe's name.
fn format_of(name: &str) -> PyResult<Format> {
    serde_json::from_value(name.into()).map_err(|error| usage(anyhow::anyhow!("format: {error}")))
}

/// Images of one size in memory.
struct Stack {
    count: usize,
    height: usize,
    width: usize,
    channels: usize,
    /// `count · height · width · channels` values.
    values: Vec<u8>,
}

impl Dataset for Stack {
    fn len(&self) -> usize {
        self.count
    }

    fn image(&self, index: usize) -> Result<Image, DataError> {
        let size = self.height * self.width * self.channels;
        let values = self.values[index * size..][..size].to_vec();
        Ok(Image { width: self.width, height: self.height, values })
    }

    fn labels(&self) -> Option<&[u32]> {
        None
    }

    fn classes(&self) -> &[String] {
        &[]
    }

    fn name(&self, index: usize) -> String {
        format!("row {index} of the array")
    }
}

/// Images of any sizes in memory.
struct Pictures(Vec<Image>);

impl Dataset for Pictures {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn image(&self, index: usize) -> Result<Image, DataError> {
        Ok(self.0[index].clone())
    }

    fn labels(&self) -> Option<&[u32]> {
        None
    }

    fn classes(&self) -> &[String] {
        &[]
    }

    fn name(&self, index: usize) -> String {
        format!("picture {index}")
    }
}
