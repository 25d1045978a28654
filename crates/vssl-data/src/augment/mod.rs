//! Random views of an image, after the semantics of Pillow and torchvision.
//!
//! A recipe lists *view groups*; [`Pipeline`] draws the parameters of every view from its address
//! (seed, epoch, image, view) and applies them in the order of the fields of [`ViewGroup`].

use serde::{Deserialize, Serialize};

/// `count` views that share their distributions. Asymmetric views are two groups of one view,
/// multi-crop is a second group of smaller ones.
///
/// Defaults are those of SimCLR on CIFAR as solo-learn runs it, without blur.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ViewGroup {
    /// How many views are drawn from this group.
    pub count: usize,
    /// Whether these are small local crops, which only the student sees.
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
    /// Contrast factor, likewise.
    pub contrast: f64,
    /// Saturation factor, likewise.
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

/// Filter of a resize, both antialiased as in Pillow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Cubic with a = −0.5.
    Bicubic,
    /// Triangle.
    Bilinear,
}

/// Mean and standard deviation of the three channels, on the scale 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalisation {
    /// Subtracted.
    pub mean: [f32; 3],
    /// Divided by.
    pub std: [f32; 3],
}
