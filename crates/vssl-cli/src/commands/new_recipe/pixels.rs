//! Sizes and statistics of the images of a sample. Called by [`super::survey`].

use std::path::Path;

use vssl_data::{DataError, Dataset, Image, Normalisation, PerChannel};

use super::channels::sample;
use crate::output::{counted, quoted};

/// Sizes of the sampled images, and sums over their pixels.
pub(super) struct Pixels {
    pub(super) sides: Vec<usize>,
    /// Number of sampled images that cannot be read, and why the first of them cannot.
    pub(super) unreadable: usize,
    why: Option<DataError>,
    /// Number of sampled images for which no setting says which numbers are black and white.
    pub(super) without_range: usize,
    /// Whether every pixel has one value for all its channels, three at most.
    pub(super) grey: bool,
    channels: usize,
    count: f64,
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl Pixels {
    fn new(channels: usize) -> Self {
        let (sums, squares) = (vec![0.0; channels], vec![0.0; channels]);
        let (sides, why, grey) = (Vec::new(), None, matches!(channels, 1 | 3));
        let (unreadable, without_range, count) = (0, 0, 0.0);
        Self { sides, unreadable, why, without_range, grey, channels, count, sums, squares }
    }

    /// Samples images evenly, which are read with so many channels. Images that cannot be decoded are counted.
    pub(super) fn sample(images: &dyn Dataset, channels: usize) -> Self {
        let mut pixels = Self::new(channels);
        for index in sample(images.len()) {
            match images.image(index) {
                Ok(image) => pixels.add(&image),
                Err(error) => {
                    pixels.unreadable += 1;
                    pixels.without_range += usize::from(error.to_string().contains("data.range"));
                    pixels.why.get_or_insert(error);
                }
            }
        }
        pixels
    }

    /// The sample, of which an image at least could be read.
    ///
    /// # Errors
    /// Why the first image cannot be read, where none can.
    pub(super) fn readable(mut self) -> Result<Self, DataError> {
        match self.why.take() {
            Some(error) if self.sides.is_empty() => Err(error),
            why => Ok(Self { why, ..self }),
        }
    }

    /// Number of images that were looked at.
    pub(super) fn looked_at(&self) -> usize {
        self.sides.len() + self.unreadable
    }

    /// A note on the images of the sample that cannot be read, for a recipe at `recipe`.
    pub(super) fn note(&self, recipe: &Path) -> Option<String> {
        let (bad, looked) = (self.unreadable, self.looked_at());
        // `vssl data check` knows a recipe by its ending.
        let all = match recipe.extension().is_some_and(|ending| ending == "toml") {
            true => {
                let recipe = quoted(&recipe.display().to_string());
                format!(". vssl data check {recipe} names all such images")
            }
            false => String::new(),
        };
        self.why.as_ref().map(|why| {
            format!(
                "{bad} of the {} that were looked at cannot be read, the first is {why}; a run stops there unless \
                 data.on_bad_image = \"skip\"{all}",
                counted(looked, "image")
            )
        })
    }

    fn add(&mut self, image: &Image) {
        self.sides.push(image.width.min(image.height));
        for pixel in image.values.chunks_exact(self.channels) {
            self.grey &= pixel.iter().all(|value| *value == pixel[0]);
            for (channel, &value) in pixel.iter().enumerate() {
                let value = f64::from(value) / 255.0;
                self.sums[channel] += value;
                self.squares[channel] += value * value;
            }
        }
        self.count += (image.width * image.height) as f64;
    }

    pub(super) fn median_side(&self) -> usize {
        let mut sides = self.sides.clone();
        sides.sort_unstable();
        sides[sides.len() / 2]
    }

    /// Mean and standard deviation of each channel, rounded to four places. The deviation is at least
    /// 0.05, so that images of one colour can be divided by it.
    pub(super) fn normalisation(&self) -> Normalisation {
        let round = |x: f64| ((x * 1e4).round() / 1e4) as f32;
        let means: Vec<f64> = self.sums.iter().map(|sum| sum / self.count).collect();
        let deviations = self.squares.iter().zip(&means).map(|(squares, mean)| {
            let variance = squares / self.count - mean * mean;
            round(variance.max(0.0).sqrt().max(0.05))
        });
        let deviations: Vec<f32> = deviations.collect();
        let means: Vec<f32> = means.into_iter().map(round).collect();
        let of = |numbers: &[f32]| PerChannel::of(numbers).expect("images have 1 to 64 channels");
        Normalisation { mean: of(&means), std: of(&deviations) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_colours_and_statistics_are_those_of_the_pixels() {
        let mut pixels = Pixels::new(3);
        pixels.add(&Image { width: 2, height: 1, values: vec![0, 0, 0, 255, 255, 255] });
        assert!(pixels.grey);
        pixels.add(&Image { width: 1, height: 2, values: vec![255, 0, 0, 0, 0, 255] });
        assert!(!pixels.grey);
        let found = pixels.normalisation();
        assert_eq!([0, 1, 2].map(|at| (f64::from(found.mean[at]) * 4.0).round()), [2.0, 1.0, 2.0]);
        assert!((f64::from(found.std[0]) - 0.5).abs() < 1e-6, "{found:?}");
        assert_eq!(pixels.median_side(), 1);
    }

    #[test]
    fn every_channel_has_its_own_statistics() {
        for (channels, is_grey) in [(1, true), (2, false), (5, false)] {
            let mut pixels = Pixels::new(channels);
            let values =
                [0, 255].map(|top| (0..channels).map(move |at| if at == 0 { top } else { 51 }));
            let values = values.into_iter().flatten().collect();
            pixels.add(&Image { width: 2, height: 1, values });
            let found = pixels.normalisation();
            let mut expected = vec![0.2; channels];
            expected[0] = 0.5;
            assert_eq!(*found.mean, expected);
            expected.fill(0.05);
            expected[0] = 0.5;
            assert_eq!(*found.std, expected);
            assert_eq!(pixels.grey, is_grey);
        }
    }
}
