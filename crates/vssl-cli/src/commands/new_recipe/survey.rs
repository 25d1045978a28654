//! Measures a set of images before a recipe is written for it: sizes, colours, classes, splits.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use vssl_data::{
    DataError, Normalisation, Splits,
    dataset::{self, DataConfig, Format, Range},
};

use super::{channels::Channels, pixels::Pixels, tuning};
use crate::{
    failure::{Failure, during},
    output::counted,
};

/// The side of views from which on images are photographs: the first layers are those of ImageNet, and there is blur.
const PHOTOGRAPH: usize = 96;

/// What the user says of the images.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// The folder of the training images below the set.
    pub(super) train: Option<&'a str>,
    /// The number of channels that images are read with.
    pub(super) channels: Option<usize>,
    /// The number of channels that an encoder of the recipe takes, which is chosen where the images can be read so.
    pub(super) known: Option<usize>,
    /// Where the recipe will lie.
    pub(super) recipe: &'a Path,
}

/// What a recipe needs to know of a set of images.
#[derive(Clone, Debug)]
pub(super) struct Survey {
    /// Absolute path of the images.
    pub(super) path: PathBuf,
    pub(super) format: Format,
    /// Folder of the training images below `path`, if it was named.
    pub(super) train: Option<String>,
    /// What was taken for what and what was left out, and how many images cannot be read.
    pub(super) notes: Vec<String>,
    /// Number of images that were looked at, and of those that cannot be read.
    pub(super) looked_at: usize,
    pub(super) unreadable: usize,
    /// Number of training images.
    pub(super) images: usize,
    /// Number of classes of the training images; `None` without labels.
    pub(super) classes: Option<usize>,
    pub(super) validation: Option<Validation>,
    /// Median of the images' shorter sides, pixels.
    pub(super) side: usize,
    /// Side of the views, pixels.
    pub(super) view: usize,
    /// The number of channels that images are read with.
    pub(super) channels: usize,
    /// The channels of the files of the sample, in words; empty where nothing was counted.
    pub(super) stored: String,
    /// Which numbers are black and white.
    pub(super) range: Range,
    /// Whether the channels are equal in every sampled image, of which there are one or three.
    pub(super) grey: bool,
    /// Mean and standard deviation of the sampled pixels.
    pub(super) normalisation: Normalisation,
}

/// The validation split.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validation {
    pub(super) images: usize,
    pub(super) labelled: bool,
}

impl Survey {
    /// Surveys the images at `source`.
    ///
    /// # Errors
    /// When there are no images or a single one, or none of the sampled images can be decoded.
    pub(super) fn of(source: &Path, asked: Asked) -> Result<Self, Failure> {
        let path = source.canonicalize().map_err(during("looking for", source))?;
        if path.to_str().is_none() {
            let shown = path.display();
            return Err(anyhow!(
                "{shown}: the path is not UTF-8; expected a path that TOML can hold"
            )
            .into());
        }
        let Sampled { config, splits, stored, pixels, notes } = Sampled::of(source, path, asked)?;
        let train = splits.train.as_ref();
        let validation = splits
            .validation
            .map(|split| Validation { images: split.len(), labelled: split.labels().is_some() });
        Ok(Self {
            path: config.path,
            format: config.format,
            train: asked.train.map(str::to_owned),
            notes,
            looked_at: pixels.looked_at(),
            unreadable: pixels.unreadable,
            images: train.len(),
            classes: train.labels().map(|_| train.classes().len()),
            validation,
            side: pixels.median_side(),
            view: tuning::view_size(pixels.median_side()),
            channels: config.channels,
            stored,
            range: config.range,
            grey: pixels.grey,
            normalisation: pixels.normalisation(),
        })
    }

    /// Whether the images have colours that views can change.
    pub(super) fn has_colours(&self) -> bool {
        self.channels == 3 && !self.grey
    }

    /// Whether accuracies can be measured: both splits have labels.
    pub(super) fn measurable(&self) -> bool {
        self.classes.is_some() && self.validation.is_some_and(|split| split.labelled)
    }

    /// Returns whether the views are as large as those of photographs.
    pub(super) fn has_large_views(&self) -> bool {
        self.view >= PHOTOGRAPH
    }

    /// The survey as one line of text.
    pub(super) fn summary(&self) -> String {
        let classes = match self.classes {
            Some(1) => "1 class".to_owned(),
            Some(classes) => format!("{classes} classes"),
            None => "no labels".to_owned(),
        };
        let validation = match self.validation {
            Some(split) if split.labelled => counted(split.images, "validation image"),
            Some(split) => format!("{} without labels", counted(split.images, "validation image")),
            None => "no validation split".to_owned(),
        };
        let images = match (self.grey, self.channels) {
            (true, _) => format!("{} grey images of", self.images),
            (false, 3) => format!("{} colour images of", self.images),
            (false, channels) => format!("{} images of {channels} channels and", self.images),
        };
        format!("{images} about {} pixels, {classes}, {validation}", self.side)
    }
}

/// A set of images that was opened as its files are stored, and what its sample holds.
struct Sampled {
    config: DataConfig,
    splits: Splits,
    /// The channels of the files, in words.
    stored: String,
    pixels: Pixels,
    notes: Vec<String>,
}

impl Sampled {
    /// Opens the set with the number of channels that is asked for or counted, and reads its sample.
    fn of(source: &Path, path: PathBuf, asked: Asked) -> Result<Self, Failure> {
        let format = dataset::guess(&path).unwrap_or_default();
        let train = asked.train.map(PathBuf::from);
        let mut config = DataConfig { format, path, train, ..DataConfig::default() };
        config.channels = asked.channels.unwrap_or(config.channels);
        let mut splits = dataset::open(&config, None).map_err(advised)?;
        let mut notes = Vec::new();
        if !splits.found.is_empty() {
            notes.push(format!("{}: {}", config.path.display(), splits.found));
        }
        if splits.train.len() < 2 {
            let (shown, images) = (source.display(), counted(splits.train.len(), "training image"));
            return Err(anyhow!("{shown}: {images}; expected at least 2").into());
        }
        let channels = Channels::count(splits.train.as_ref(), format);
        let chosen = asked.channels.unwrap_or_else(|| channels.best(asked.known));
        if chosen != config.channels {
            config.channels = chosen;
            splits = dataset::open(&config, None).map_err(advised)?;
        }
        notes.extend(channels.note(chosen));
        let mut pixels = Pixels::sample(splits.train.as_ref(), chosen);
        if pixels.without_range > 0 {
            config.range = Range::Percentiles;
            notes.push(range_note(&pixels));
            splits = dataset::open(&config, None).map_err(advised)?;
            pixels = Pixels::sample(splits.train.as_ref(), chosen);
        }
        let stored = channels.words();
        let pixels = pixels.readable().with_context(|| unread(source, chosen, &stored));
        let pixels = match asked.channels.is_some_and(|asked| channels.none_fits(asked)) {
            true => pixels.map_err(Failure::usage)?,
            false => pixels?,
        };
        notes.extend(pixels.note(asked.recipe));
        Ok(Self { config, splits, stored, pixels, notes })
    }
}

/// What is said where the range of the numbers is guessed.
fn range_note(pixels: &Pixels) -> String {
    format!(
        "nothing says which numbers are black and white in {} of the {} that were looked at: the recipe has data.range = \
         \"percentiles\", for each image its own; [low, high] keeps differences of brightness between images",
        pixels.without_range,
        counted(pixels.looked_at(), "image")
    )
}

/// What is said where no image of the sample can be read.
fn unread(source: &Path, channels: usize, stored: &str) -> String {
    let found = match stored.is_empty() {
        true => String::new(),
        false => format!(" (of the images that were looked at, {stored})"),
    };
    format!(
        "{}: no image can be decoded with {}{found}",
        source.display(),
        counted(channels, "channel")
    )
}

/// A failure because of the folders of the set, with advice where the recipe can say which one is meant. Channels that its
/// format has not are wrong usage.
fn advised(error: DataError) -> Failure {
    let text = error.to_string();
    if matches!(&error, DataError::Setting(text) if text.starts_with("data.channels = ")) {
        return Failure::usage(error);
    }
    match text.contains("data.train = ") {
        true => anyhow!(
            "{text}\nhelp: --train FOLDER writes data.train into the recipe; --train . takes all images"
        )
        .into(),
        false => error.into(),
    }
}
