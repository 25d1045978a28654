//! The random parameters of one view: they are drawn first and applied afterwards.

use rand_chacha::rand_core::RngCore;

use super::{
    Adjustment, Canvas, Interpolation, ViewGroup,
    blur::{BlurScratch, gaussian_blur},
    crop::{Region, random_region},
    resize::{Resize, ResizeScratch, resize},
};
use crate::{
    Image,
    rng::{below, coin, uniform},
};

/// The parameters of one view of one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ViewParameters {
    /// Part of the image that is scaled to the view.
    pub region: Region,
    /// Colour adjustments in the order of their application; `None` when this view has no colour jitter.
    pub jitter: Option<[Adjustment; 4]>,
    /// Whether the view is greyscale.
    pub grayscale: bool,
    /// Standard deviation of the blur in pixels.
    pub blur: Option<f64>,
    /// Whether values from 128 up are inverted.
    pub solarize: bool,
    /// Whether the histograms are equalised.
    pub equalize: bool,
    /// Whether left and right are exchanged.
    pub flip: bool,
}

impl ViewParameters {
    /// Draws the parameters for an image of `size` = (width, height).
    ///
    /// The crop is drawn last: all else takes a fixed number of draws, so that a changed
    /// probability leaves the other parameters of the view as they were.
    pub(super) fn draw(
        rng: &mut impl RngCore,
        group: &ViewGroup,
        size: (usize, usize),
    ) -> ViewParameters {
        let adjustments = draw_adjustments(rng, group);
        let jitter = coin(rng, group.jitter).then_some(adjustments);
        let grayscale = coin(rng, group.grayscale);
        let sigma = uniform(rng, group.blur_sigma[0], group.blur_sigma[1]);
        let blur = coin(rng, group.blur).then_some(sigma);
        let solarize = coin(rng, group.solarize);
        let equalize = coin(rng, group.equalize);
        let flip = coin(rng, group.flip);
        let region = random_region(rng, size, group.crop_scale, group.crop_ratio);
        ViewParameters { region, jitter, grayscale, blur, solarize, equalize, flip }
    }

    /// Makes the view: the crop scaled to a square of side `size`, then jitter, greyscale, blur,
    /// solarisation, equalisation and flip, in this order.
    ///
    /// # Panics
    /// When the region is empty or exceeds the image, or `size` is 0.
    pub fn apply(
        &self,
        image: &Image,
        size: usize,
        interpolation: Interpolation,
        scratch: &mut Scratch,
    ) -> Canvas {
        self.render(image, size, interpolation, scratch);
        let mut canvas = scratch.canvas.clone();
        if self.flip {
            canvas.flip();
        }
        canvas
    }

    /// Applies everything but the flip, which costs nothing when the pixels are read from the canvas.
    pub(super) fn render(
        &self,
        image: &Image,
        size: usize,
        interpolation: Interpolation,
        scratch: &mut Scratch,
    ) {
        let Scratch { canvas, resize: memory, blur } = scratch;
        resize(image, &Resize::to_square(self.region, size, interpolation), memory, canvas);
        for adjustment in self.jitter.into_iter().flatten() {
            canvas.adjust(adjustment);
        }
        if self.grayscale {
            canvas.grayscale();
        }
        if let Some(sigma) = self.blur {
            gaussian_blur(canvas, sigma, blur);
        }
        if self.solarize {
            canvas.solarize();
        }
        if self.equalize {
            canvas.equalize();
        }
    }
}

/// The four adjustments with their values, in a uniformly random order. A setting of 0 leaves its
/// adjustment out, as in torchvision: a hue shift of 0 would still change pixels.
fn draw_adjustments(rng: &mut impl RngCore, group: &ViewGroup) -> [Adjustment; 4] {
    let mut drawn = |setting: f64, adjustment: fn(f64) -> Adjustment, centre: f64| {
        let low = if centre > 0.0 { (centre - setting).max(0.0) } else { -setting };
        let value = uniform(rng, low, centre + setting);
        if setting > 0.0 { adjustment(value) } else { Adjustment::Nothing }
    };
    let mut adjustments = [
        drawn(group.brightness, Adjustment::Brightness, 1.0),
        drawn(group.contrast, Adjustment::Contrast, 1.0),
        drawn(group.saturation, Adjustment::Saturation, 1.0),
        drawn(group.hue, Adjustment::Hue, 0.0),
    ];
    for last in (1..adjustments.len()).rev() {
        adjustments.swap(last, below(rng, last as u64 + 1) as usize);
    }
    adjustments
}

/// Buffers of one worker that are kept between views.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) canvas: Canvas,
    pub(super) resize: ResizeScratch,
    blur: BlurScratch,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Stream, rng};

    fn draw(group: &ViewGroup, image: u64) -> ViewParameters {
        ViewParameters::draw(&mut rng(1, Stream::View(0), 0, image), group, (32, 32))
    }

    #[test]
    fn changed_probability_leaves_the_other_parameters() {
        let group = ViewGroup { blur: 0.5, ..ViewGroup::default() };
        let without = ViewGroup { blur: 0.0, ..group.clone() };
        for image in 0..50 {
            let expected = ViewParameters { blur: None, ..draw(&group, image) };
            assert_eq!(draw(&without, image), expected);
        }
    }

    #[test]
    fn setting_of_zero_leaves_its_adjustment_out() {
        let group = ViewGroup { jitter: 1.0, hue: 0.0, contrast: 0.0, ..ViewGroup::default() };
        for image in 0..20 {
            let jitter = draw(&group, image).jitter.expect("probability 1");
            assert_eq!(jitter.iter().filter(|a| **a == Adjustment::Nothing).count(), 2);
        }
    }

    #[test]
    fn orders_are_uniform_and_factors_stay_in_range() {
        let group = ViewGroup { jitter: 1.0, brightness: 1.5, ..ViewGroup::default() };
        let mut orders = std::collections::HashMap::new();
        for image in 0..24_000 {
            let jitter = draw(&group, image).jitter.expect("probability 1");
            *orders.entry(jitter.map(|a| std::mem::discriminant(&a))).or_insert(0u32) += 1;
            for adjustment in jitter {
                let (value, low, high) = match adjustment {
                    Adjustment::Brightness(value) => (value, 0.0, 2.5),
                    Adjustment::Contrast(value) => (value, 0.6, 1.4),
                    Adjustment::Saturation(value) => (value, 0.8, 1.2),
                    Adjustment::Hue(value) => (value, -0.1, 0.1),
                    Adjustment::Nothing => panic!("no setting is 0"),
                };
                assert!((low..high).contains(&value), "{adjustment:?}");
            }
        }
        assert_eq!(orders.len(), 24);
        // Standard deviation of a count is 31: five of them.
        assert!(orders.values().all(|count| count.abs_diff(1000) < 155), "{orders:?}");
    }
}
