//! Random views of an image, after the semantics of Pillow and torchvision.
//!
//! A recipe lists *view groups*; [`Pipeline`] draws the parameters of every view from its address
//! (seed, epoch, image, view) and applies them in the order of the fields of [`ViewGroup`].

mod blur;
mod canvas;
mod colour;
mod crop;
mod equalize;
mod evaluation;
mod hue;
mod normalise;
mod numbers;
mod parameters;
mod per_channel;
mod pipeline;
mod resize;
mod simd;
mod weights;

use serde::{Deserialize, Serialize};

pub use canvas::{Canvas, Pixel};
pub use colour::Adjustment;
pub use crop::{Region, random_region};
pub use evaluation::EvaluationTransform;
pub(crate) use evaluation::with_smaller_side;
pub use normalise::Normaliser;
pub use numbers::{Order, Value};
pub use parameters::{Scratch, ViewParameters};
pub use per_channel::PerChannel;
pub(crate) use pipeline::check_image;
pub use pipeline::{Pipeline, ViewShape};

use crate::DataError;

/// `count` views that share their distributions. Asymmetric views are two groups of one view each;
/// multi-crop has a second group of smaller views.
///
/// Defaults are those of SimCLR on CIFAR as solo-learn runs it, without blur.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ViewGroup {
    /// How many views are drawn from this group.
    pub count: usize,
    /// Whether the views are small local crops, which only the student sees.
    pub local: bool,
    /// Side of the view in pixels.
    pub size: usize,
    /// Range of the crop's area, as a share of the image.
    pub crop_scale: [f64; 2],
    /// Range of the crop's width over height.
    pub crop_ratio: [f64; 2],
    /// Filter of the resize.
    pub interpolation: Interpolation,
    /// Probability of changing the colours at all.
    pub jitter: f64,
    /// Brightness factor in `[1 − x, 1 + x]`, not below 0.
    pub brightness: f64,
    /// Contrast factor in `[1 − x, 1 + x]`, not below 0.
    pub contrast: f64,
    /// Saturation factor in `[1 − x, 1 + x]`, not below 0.
    pub saturation: f64,
    /// Hue shift in `[−x, x]` of the colour circle, x at most 0.5.
    pub hue: f64,
    /// Probability of greyscale.
    pub grayscale: f64,
    /// Probability of a Gaussian blur.
    pub blur: f64,
    /// Range of the blur's standard deviation in pixels.
    pub blur_sigma: [f64; 2],
    /// Probability of inverting all values from 128 up.
    pub solarize: f64,
    /// Probability of histogram equalisation.
    pub equalize: f64,
    /// Probability of a left-right flip.
    pub flip: f64,
}

impl Default for ViewGroup {
    fn default() -> Self {
        Self {
            count: 2,
            local: false,
            size: 32,
            crop_scale: [0.08, 1.0],
            crop_ratio: [3.0 / 4.0, 4.0 / 3.0],
            interpolation: Interpolation::Bicubic,
            jitter: 0.8,
            brightness: 0.4,
            contrast: 0.4,
            saturation: 0.2,
            hue: 0.1,
            grayscale: 0.2,
            blur: 0.0,
            blur_sigma: [0.1, 2.0],
            solarize: 0.0,
            equalize: 0.0,
            flip: 0.5,
        }
    }
}

/// Largest side of a view: four times what any published recipe uses.
const LARGEST_VIEW: usize = 4096;

impl ViewGroup {
    /// Checks every field.
    ///
    /// # Errors
    /// [`DataError::Setting`] naming the group by its `position`, the field, its value and what
    /// is allowed.
    pub fn check(&self, position: usize) -> Result<(), DataError> {
        self.problems().first().map_or(Ok(()), |(field, got, expected)| {
            Err(DataError::Setting(format!(
                "view group {position}: {field} is {got}; expected {expected}"
            )))
        })
    }

    /// The fields that change colours, of which images of `channels` channels have none unless these are three.
    pub fn colour_problems(&self, channels: usize) -> Vec<Problem> {
        if channels == 3 {
            return Vec::new();
        }
        let colours = [
            ("saturation", if self.jitter > 0.0 { self.saturation } else { 0.0 }),
            ("hue", if self.jitter > 0.0 { self.hue } else { 0.0 }),
            ("grayscale", self.grayscale),
        ];
        let given = colours.into_iter().filter(|(_, value)| *value != 0.0);
        let expected = "0: it changes colours, which only images of three channels have";
        given.map(|(field, value)| (field, value.to_string(), expected)).collect()
    }

    /// All fields that are out of bounds. The check of a recipe reports them all.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut require = |field, holds: bool, got: String, expected| {
            if !holds {
                problems.push((field, got, expected));
            }
        };
        require("count", self.count > 0, self.count.to_string(), "at least 1");
        let expected = "1 to 4096 pixels";
        let size = (1..=LARGEST_VIEW).contains(&self.size);
        require("size", size, self.size.to_string(), expected);
        let smallest = f64::MIN_POSITIVE;
        for (field, [low, high], allowed, expected) in [
            (
                "crop_scale",
                self.crop_scale,
                smallest..=1.0,
                "two ascending numbers above 0, at most 1",
            ),
            (
                "crop_ratio",
                self.crop_ratio,
                smallest..=1000.0,
                "two ascending numbers above 0, at most 1000",
            ),
            (
                "blur_sigma",
                self.blur_sigma,
                0.0..=100.0,
                "two ascending numbers from 0 to 100 (pixels)",
            ),
        ] {
            let holds = allowed.contains(&low) && allowed.contains(&high) && low <= high;
            require(field, holds, format!("[{low}, {high}]"), expected);
        }
        for (field, share) in [
            ("jitter", self.jitter),
            ("grayscale", self.grayscale),
            ("blur", self.blur),
            ("solarize", self.solarize),
            ("equalize", self.equalize),
            ("flip", self.flip),
        ] {
            let holds = (0.0..=1.0).contains(&share);
            require(field, holds, share.to_string(), "a number from 0 to 1");
        }
        for (field, factor) in [
            ("brightness", self.brightness),
            ("contrast", self.contrast),
            ("saturation", self.saturation),
        ] {
            let holds = (0.0..=f64::MAX).contains(&factor);
            require(field, holds, factor.to_string(), "a number of at least 0");
        }
        let hue = (0.0..=0.5).contains(&self.hue);
        require("hue", hue, self.hue.to_string(), "a number from 0 to 0.5");
        problems
    }
}

/// A field, its value, and what is allowed.
pub type Problem = (&'static str, String, &'static str);

/// Filter of a resize, both antialiased as in Pillow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Cubic with a = −0.5.
    Bicubic,
    /// Linear (a triangle).
    Bilinear,
}

/// Mean and standard deviation of each channel, on the scale 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalisation {
    /// Subtracted from each channel.
    pub mean: PerChannel,
    /// Each channel is divided by it.
    pub std: PerChannel,
}

impl Normalisation {
    /// The means and the standard deviations in the order of the channels.
    ///
    /// # Panics
    /// As [`PerChannel::new`].
    pub const fn new<const N: usize>(mean: [f32; N], std: [f32; N]) -> Self {
        Self { mean: PerChannel::new(mean), std: PerChannel::new(std) }
    }

    /// The number of channels.
    pub fn channels(&self) -> usize {
        self.mean.len()
    }

    /// The normalisation of images of so many channels; `None` where this one is for another number, and not the same
    /// for all channels.
    pub fn spread_over(self, channels: usize) -> Option<Self> {
        let same = |numbers: &[f32]| numbers.iter().all(|number| *number == numbers[0]);
        match self.channels() == channels {
            true => Some(self),
            false if same(&self.mean) && same(&self.std) => Some(Self {
                mean: PerChannel::of(&vec![self.mean[0]; channels]).ok()?,
                std: PerChannel::of(&vec![self.std[0]; channels]).ok()?,
            }),
            false => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut ViewGroup);

    #[test]
    fn senseless_settings_are_refused_by_name() {
        let changes: [(&str, Change); 17] = [
            ("count", |g| g.count = 0),
            ("size", |g| g.size = 0),
            ("size", |g| g.size = 1 << 40),
            ("jitter", |g| g.jitter = 1.5),
            ("grayscale", |g| g.grayscale = -0.1),
            ("blur", |g| g.blur = f64::NAN),
            ("solarize", |g| g.solarize = 2.0),
            ("equalize", |g| g.equalize = f64::INFINITY),
            ("flip", |g| g.flip = 50.0),
            ("crop_scale", |g| g.crop_scale = [1.0, 0.2]),
            ("crop_scale", |g| g.crop_scale = [0.0, 1.0]),
            ("crop_ratio", |g| g.crop_ratio = [0.75, f64::INFINITY]),
            ("blur_sigma", |g| g.blur_sigma = [2.0, 0.1]),
            ("brightness", |g| g.brightness = -1.0),
            ("contrast", |g| g.contrast = f64::NAN),
            ("saturation", |g| g.saturation = f64::INFINITY),
            ("hue", |g| g.hue = 0.6),
        ];
        for (field, change) in changes {
            let mut group = ViewGroup::default();
            group.check(0).unwrap();
            change(&mut group);
            let error = group.check(3).unwrap_err().to_string();
            assert!(error.starts_with(&format!("view group 3: {field} is ")), "{error}");
        }
    }
}
