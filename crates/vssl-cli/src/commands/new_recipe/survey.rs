//! Measures a set of images before a recipe is written for it: sizes, colours, classes, splits.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use vssl_data::{
    DataError, Dataset, Image, Normalisation,
    dataset::{self, DataConfig, Format},
};

use super::tuning;
use crate::{
    failure::{Failure, during},
    output::counted,
};

/// Number of images that are decoded for their sizes and colours, evenly over the set.
const SAMPLE: usize = 64;

/// The side of views from which on images are photographs: the first layers are those of ImageNet, and there is blur.
const PHOTOGRAPH: usize = 96;

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
    /// Whether the three channels are equal in every sampled image.
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
    /// Surveys the images at `source`; `train` names the folder of the training images there.
    ///
    /// # Errors
    /// When there are no images or a single one, or none of the sampled images can be decoded.
    pub(super) fn of(source: &Path, train: Option<&str>) -> Result<Self, Failure> {
        let path = source.canonicalize().map_err(during("looking for", source))?;
        if path.to_str().is_none() {
            let shown = path.display();
            return Err(anyhow!(
                "{shown}: the path is not UTF-8; expected a path that TOML can hold"
            )
            .into());
        }
        let format = dataset::guess(&path).unwrap_or_default();
        let named = train.map(str::to_owned);
        let folder = named.as_ref().map(PathBuf::from);
        let config =
            DataConfig { format, path: path.clone(), train: folder, ..DataConfig::default() };
        let splits = dataset::open(&config, None).map_err(advised)?;
        let mut notes = Vec::new();
        if !splits.found.is_empty() {
            notes.push(format!("{}: {}", path.display(), splits.found));
        }
        let train = splits.train.as_ref();
        if train.len() < 2 {
            let shown = source.display();
            return Err(
                anyhow!("{shown}: {} training image; expected at least 2", train.len()).into()
            );
        }
        let pixels = Pixels::sample(train)
            .with_context(|| format!("{}: no image can be decoded", source.display()))?;
        notes.extend(pixels.note(source));
        let validation = splits
            .validation
            .map(|split| Validation { images: split.len(), labelled: split.labels().is_some() });
        Ok(Self {
            path,
            format,
            train: named,
            notes,
            looked_at: pixels.sides.len() + pixels.unreadable,
            unreadable: pixels.unreadable,
            images: train.len(),
            classes: train.labels().map(|_| train.classes().len()),
            validation,
            side: pixels.median_side(),
            view: tuning::view_size(pixels.median_side()),
            grey: pixels.grey,
            normalisation: pixels.normalisation(),
        })
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
        let colour = if self.grey { "grey" } else { "colour" };
        format!(
            "{} {colour} images of about {} pixels, {classes}, {validation}",
            self.images, self.side
        )
    }
}

/// A failure because of the folders of the set, with advice where the recipe can say which one is meant.
fn advised(error: DataError) -> Failure {
    let text = error.to_string();
    match text.contains("data.train = ") {
        true => anyhow!(
            "{text}\nhelp: --train FOLDER writes data.train into the recipe; --train . takes all images"
        )
        .into(),
        false => error.into(),
    }
}

/// Sizes of the sampled images, and sums over their pixels.
struct Pixels {
    sides: Vec<usize>,
    /// Number of sampled images that cannot be read, and why the first of them cannot.
    unreadable: usize,
    why: Option<DataError>,
    grey: bool,
    count: f64,
    sums: [f64; 3],
    squares: [f64; 3],
}

impl Pixels {
    fn new() -> Self {
        let (sums, squares) = ([0.0; 3], [0.0; 3]);
        Self { sides: Vec::new(), unreadable: 0, why: None, grey: true, count: 0.0, sums, squares }
    }

    /// Samples images evenly. Images that cannot be decoded are counted, unless all are such.
    fn sample(images: &dyn Dataset) -> Result<Self, DataError> {
        let mut pixels = Self::new();
        let sample = SAMPLE.min(images.len());
        for k in 0..sample {
            match images.image(k * images.len() / sample) {
                Ok(image) => pixels.add(&image),
                Err(error) => {
                    pixels.unreadable += 1;
                    pixels.why.get_or_insert(error);
                }
            }
        }
        match pixels.why.take() {
            Some(error) if pixels.sides.is_empty() => Err(error),
            why => Ok(Self { why, ..pixels }),
        }
    }

    /// A note on the images of the sample that cannot be read.
    fn note(&self, source: &Path) -> Option<String> {
        let (bad, looked) = (self.unreadable, self.sides.len() + self.unreadable);
        self.why.as_ref().map(|why| {
            format!(
                "{bad} of the {looked} images that were looked at cannot be read, the first is {why}; a run stops \
                 there unless data.on_bad_image = \"skip\". vssl data check {} names all such images",
                source.display()
            )
        })
    }

    fn add(&mut self, image: &Image) {
        self.sides.push(image.width.min(image.height));
        for pixel in image.values.chunks_exact(3) {
            self.grey &= pixel[0] == pixel[1] && pixel[1] == pixel[2];
            for (channel, &value) in pixel.iter().enumerate() {
                let value = f64::from(value) / 255.0;
                self.sums[channel] += value;
                self.squares[channel] += value * value;
            }
        }
        self.count += (image.width * image.height) as f64;
    }

    fn median_side(&self) -> usize {
        let mut sides = self.sides.clone();
        sides.sort_unstable();
        sides[sides.len() / 2]
    }

    /// Mean and standard deviation of each channel, rounded to four places. The deviation is at least
    /// 0.05, so that images of one colour can be divided by it.
    fn normalisation(&self) -> Normalisation {
        let round = |x: f64| (x * 1e4).round() / 1e4;
        let mean = self.sums.map(|sum| sum / self.count);
        let mut std = [0.0; 3];
        for channel in 0..3 {
            let variance = self.squares[channel] / self.count - mean[channel] * mean[channel];
            std[channel] = variance.max(0.0).sqrt().max(0.05);
        }
        Normalisation::new(mean.map(|x| round(x) as f32), std.map(|x| round(x) as f32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_colours_and_statistics_are_those_of_the_pixels() {
        let mut pixels = Pixels::new();
        pixels.add(&Image { width: 2, height: 1, values: vec![0, 0, 0, 255, 255, 255] });
        assert!(pixels.grey);
        pixels.add(&Image { width: 1, height: 2, values: vec![255, 0, 0, 0, 0, 255] });
        assert!(!pixels.grey);
        let found = pixels.normalisation();
        assert_eq!([0, 1, 2].map(|at| (f64::from(found.mean[at]) * 4.0).round()), [2.0, 1.0, 2.0]);
        assert!((f64::from(found.std[0]) - 0.5).abs() < 1e-6, "{found:?}");
        assert_eq!(pixels.median_side(), 1);
    }
}
