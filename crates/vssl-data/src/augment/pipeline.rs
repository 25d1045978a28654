//! Makes the views of a recipe: it checks the settings once, draws the parameters of each view at
//! their address, and makes its pixels. Called by the loader and by the page of a run.

use super::{Normalisation, Normaliser, Order, Scratch, Value, ViewGroup, ViewParameters};
use crate::{
    DataError, Image,
    counted::counted,
    picture::MOST_CHANNELS,
    rng::{Stream, rng},
};

/// The properties of a view that are the same for every image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewShape {
    /// Side in pixels.
    pub size: usize,
    /// Whether the view is a small local crop, which only the student sees.
    pub local: bool,
    /// Position of the view's group in the recipe.
    pub group: usize,
}

/// All views of every image of a run.
#[derive(Clone, Debug)]
pub struct Pipeline {
    groups: Vec<ViewGroup>,
    views: Vec<ViewShape>,
    normalisation: Normalisation,
    normaliser: Normaliser,
    seed: u64,
}

impl Pipeline {
    /// Checks all settings.
    ///
    /// # Errors
    /// [`DataError::Setting`] naming the group, the field, its value and what is allowed.
    pub fn new(
        groups: Vec<ViewGroup>,
        normalisation: Normalisation,
        seed: u64,
    ) -> Result<Pipeline, DataError> {
        let normaliser = Normaliser::new(&normalisation)?;
        let mut views = Vec::new();
        for (position, group) in groups.iter().enumerate() {
            group.check(position)?;
            if let Some((field, got, expected)) =
                group.colour_problems(normalisation.channels()).first()
            {
                return Err(DataError::Setting(format!(
                    "view group {position}: {field} is {got}; expected {expected}"
                )));
            }
            let shape = ViewShape { size: group.size, local: group.local, group: position };
            views.resize(views.len().saturating_add(group.count).min(MOST_VIEWS + 1), shape);
        }
        if views.is_empty() || views.len() > MOST_VIEWS {
            return Err(DataError::Setting(format!(
                "the view groups make {} views; expected 1 to {MOST_VIEWS}",
                if views.is_empty() { "no".into() } else { format!("over {MOST_VIEWS}") }
            )));
        }
        Ok(Self { groups, views, normalisation, normaliser, seed })
    }

    /// The views in order: those of the first group, then those of the next.
    pub fn views(&self) -> &[ViewShape] {
        &self.views
    }

    /// The groups as given.
    pub fn groups(&self) -> &[ViewGroup] {
        &self.groups
    }

    /// The normalisation as given.
    pub fn normalisation(&self) -> &Normalisation {
        &self.normalisation
    }

    /// The number of channels of the images.
    pub fn channels(&self) -> usize {
        self.normalisation.channels()
    }

    /// The parameters of view `view` of image number `index` with (width, height) `size`.
    ///
    /// # Panics
    /// When there is no such view.
    pub fn parameters(
        &self,
        size: (usize, usize),
        epoch: u64,
        index: u64,
        view: usize,
    ) -> ViewParameters {
        let group = &self.groups[self.views[view].group];
        let stream = Stream::View(u16::try_from(view).expect("`new` limits the views"));
        ViewParameters::draw(&mut rng(self.seed, stream, epoch, index), group, size)
    }

    /// Makes view `view` of image number `index` in `epoch`: `out` is `[size, size, channels]`,
    /// normalised.
    ///
    /// # Errors
    /// [`DataError::Setting`] when `image` does not hold `height · width · channels` values or is empty.
    ///
    /// # Panics
    /// When there is no such view or `out` has another length.
    pub fn view(
        &self,
        image: &Image,
        epoch: u64,
        index: u64,
        view: usize,
        scratch: &mut Scratch,
        out: &mut [f32],
    ) -> Result<(), DataError> {
        self.view_as(image, epoch, (index, view), Order::ChannelsLast, scratch, out)
    }

    /// Makes view number `.1` of image number `.0` as other numbers or in another order: normalised where `T` is
    /// `f32`, as the bytes before normalisation where it is `u8`.
    ///
    /// # Errors
    /// As [`Pipeline::view`].
    ///
    /// # Panics
    /// As [`Pipeline::view`].
    pub fn view_as<T: Value>(
        &self,
        image: &Image,
        epoch: u64,
        (index, view): (u64, usize),
        order: Order,
        scratch: &mut Scratch,
        out: &mut [T],
    ) -> Result<(), DataError> {
        let flip = self.render(image, epoch, index, view, scratch)?;
        T::write(&self.normaliser, &scratch.canvas, flip, order, out);
        Ok(())
    }

    /// The same view as an image, before normalisation.
    ///
    /// # Errors
    /// As [`Pipeline::view`].
    ///
    /// # Panics
    /// When there is no such view.
    pub fn view_image(
        &self,
        image: &Image,
        epoch: u64,
        index: u64,
        view: usize,
        scratch: &mut Scratch,
    ) -> Result<Image, DataError> {
        if self.render(image, epoch, index, view, scratch)? {
            scratch.canvas.flip();
        }
        Ok(scratch.canvas.to_image())
    }

    /// Makes the view on the canvas, without the flip, and returns whether to flip.
    fn render(
        &self,
        image: &Image,
        epoch: u64,
        index: u64,
        view: usize,
        scratch: &mut Scratch,
    ) -> Result<bool, DataError> {
        check_image(image, Some(self.channels())).map_err(DataError::Setting)?;
        let parameters = self.parameters((image.width, image.height), epoch, index, view);
        let group = &self.groups[self.views[view].group];
        parameters.render(image, group.size, group.interpolation, scratch);
        Ok(parameters.flip)
    }
}

/// Largest number of views: the number of a view has 16 bits in an address.
const MOST_VIEWS: usize = 1 << 16;

/// Checks that `image` holds as many values as its size says, and has the expected number of channels where one is
/// expected.
pub(crate) fn check_image(image: &Image, channels: Option<usize>) -> Result<(), String> {
    let Image { width, height, values } = image;
    match (image.channels(), channels) {
        (1..=MOST_CHANNELS, None) => Ok(()),
        (found, Some(channels)) if found == channels => Ok(()),
        (found @ 1..=MOST_CHANNELS, Some(channels)) => Err(format!(
            "the picture has {}, expected {channels} (data.channels)",
            counted(found, "channel")
        )),
        _ => Err(format!(
            "the picture is {width} x {height} with {} values; expected height x width x channels, \
             1 to {MOST_CHANNELS} channels, and at least one pixel",
            values.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::PerChannel;

    fn noise(width: usize, height: usize) -> Image {
        let rgb =
            (0..width * height * 3).map(|i| (usize::wrapping_mul(i, 2_654_435_761) >> 13) as u8);
        Image { width, height, values: rgb.collect() }
    }

    const PLAIN: Normalisation = Normalisation::new([0.0; 3], [1.0; 3]);

    /// Everything happens often.
    fn busy(size: usize) -> ViewGroup {
        ViewGroup {
            size,
            grayscale: 0.5,
            blur: 0.5,
            solarize: 0.5,
            equalize: 0.5,
            ..ViewGroup::default()
        }
    }

    #[test]
    fn float_view_is_the_normalised_picture() {
        let pipeline = Pipeline::new(vec![busy(24)], PLAIN, 5).unwrap();
        let (image, mut scratch) = (noise(40, 30), Scratch::default());
        let mut out = vec![0.0; 24 * 24 * 3];
        for index in 0..20 {
            pipeline.view(&image, 1, index, 1, &mut scratch, &mut out).unwrap();
            let picture = pipeline.view_image(&image, 1, index, 1, &mut scratch).unwrap();
            let expected = picture.values.iter().map(|&v| f32::from(v) / 255.0).collect::<Vec<_>>();
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn view_depends_on_its_address_and_not_on_what_ran_before() {
        let pipeline = Pipeline::new(vec![busy(16)], PLAIN, 5).unwrap();
        let image = noise(40, 30);
        let fresh = |epoch, index, view| {
            pipeline.view_image(&image, epoch, index, view, &mut Scratch::default()).unwrap()
        };
        let mut scratch = Scratch::default();
        for index in 0..10 {
            let used = pipeline.view_image(&image, 2, index, 0, &mut scratch).unwrap();
            assert_eq!(used, fresh(2, index, 0));
        }
        assert_ne!(fresh(0, 0, 0), fresh(0, 0, 1));
        assert_ne!(fresh(0, 0, 0), fresh(1, 0, 0));
        assert_ne!(fresh(0, 0, 0), fresh(0, 1, 0));
    }

    #[test]
    fn images_of_any_shape_make_views_of_any_size() {
        let mut scratch = Scratch::default();
        let shapes =
            [(1, 1), (1, 2), (2, 1), (1, 997), (997, 1), (3, 5), (31, 33), (2000, 2), (64, 64)];
        for size in [1, 2, 3, 7, 32, 33, 96] {
            let group = ViewGroup { blur_sigma: [0.1, 6.0], ..busy(size) };
            let pipeline = Pipeline::new(vec![group], PLAIN, 5).unwrap();
            let mut out = vec![0.0; size * size * 3];
            for (width, height) in shapes {
                let image = noise(width, height);
                for index in 0..8 {
                    out.fill(f32::NAN);
                    pipeline.view(&image, 0, index, 0, &mut scratch, &mut out).unwrap();
                    assert!(out.iter().all(|v| (0.0..=1.0).contains(v)), "{width}x{height}");
                }
            }
        }
    }

    #[test]
    fn inconsistent_images_are_refused() {
        let pipeline = Pipeline::new(vec![busy(8)], PLAIN, 5).unwrap();
        for (width, height, values) in [(0, 4, 0), (4, 4, 47), (usize::MAX, 2, 6), (1, 1, 65)] {
            let image = Image { width, height, values: vec![0; values] };
            let error = pipeline.view_image(&image, 0, 0, 0, &mut Scratch::default()).unwrap_err();
            assert!(error.to_string().contains("expected height x width x channels"), "{error}");
        }
    }

    #[test]
    fn each_channel_of_a_view_is_that_of_a_view_of_the_channel_alone() {
        let colourless = ViewGroup { saturation: 0.0, hue: 0.0, grayscale: 0.0, ..busy(24) };
        let pipeline = |channels: usize| {
            let each = |number| PerChannel::of(&vec![number; channels]).unwrap();
            let normalisation = Normalisation { mean: each(0.0), std: each(1.0) };
            Pipeline::new(vec![colourless.clone()], normalisation, 5).unwrap()
        };
        let mut scratch = Scratch::default();
        for channels in [2, 4, 5, 9, 13] {
            for (width, height) in [(40, 30), (24, 24), (10, 90), (90, 10), (24, 100), (1, 1)] {
                let values = (0..width * height * channels)
                    .map(|i| (usize::wrapping_mul(i, 2_654_435_761) >> 13) as u8);
                let image = Image { width, height, values: values.collect() };
                let mut out = vec![0.0; 24 * 24 * channels];
                for index in 0..6 {
                    pipeline(channels).view(&image, 1, index, 0, &mut scratch, &mut out).unwrap();
                    for channel in 0..channels {
                        let own = image.values.iter().skip(channel).step_by(channels);
                        let alone = Image { width, height, values: own.copied().collect() };
                        let mut expected = vec![0.0; 24 * 24];
                        let one = pipeline(1);
                        one.view(&alone, 1, index, 0, &mut scratch, &mut expected).unwrap();
                        let found = out.iter().skip(channel).step_by(channels);
                        assert!(found.eq(&expected), "{channels}: {channel}, {width}x{height}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_grey_view_is_the_view_of_a_picture_with_three_equal_channels() {
        let group = ViewGroup { saturation: 0.0, hue: 0.0, grayscale: 0.0, ..busy(20) };
        let three = Pipeline::new(vec![group.clone()], PLAIN, 5).unwrap();
        let one = Pipeline::new(vec![group], Normalisation::new([0.0], [1.0]), 5).unwrap();
        let mut scratch = Scratch::default();
        for index in 0..20 {
            let grey: Vec<u8> = noise(40, 30).values.into_iter().step_by(3).collect();
            let rgb = grey.iter().flat_map(|&value| [value; 3]).collect();
            let grey = Image { width: 40, height: 30, values: grey };
            let rgb = Image { width: 40, height: 30, values: rgb };
            let expected = three.view_image(&rgb, 0, index, 1, &mut scratch).unwrap();
            let found = one.view_image(&grey, 0, index, 1, &mut scratch).unwrap();
            assert_eq!(found.drawn().as_ref(), &expected);
        }
    }

    #[test]
    fn what_changes_colours_is_refused_of_images_without_colours() {
        let two = Normalisation::new([0.5; 2], [0.5; 2]);
        let plain = ViewGroup { saturation: 0.0, hue: 0.0, grayscale: 0.0, ..busy(8) };
        for (field, group) in [
            ("saturation is 0.2", ViewGroup { saturation: 0.2, ..plain.clone() }),
            ("hue is 0.1", ViewGroup { hue: 0.1, ..plain.clone() }),
            ("grayscale is 0.3", ViewGroup { grayscale: 0.3, ..plain.clone() }),
        ] {
            let error = Pipeline::new(vec![group.clone()], two, 5).unwrap_err().to_string();
            assert!(error.contains(field) && error.contains("three channels"), "{error}");
            Pipeline::new(vec![group], PLAIN, 5).unwrap();
        }
        // Without a jitter nothing uses these two.
        let still = ViewGroup { jitter: 0.0, grayscale: 0.0, ..busy(8) };
        let pipeline = Pipeline::new(vec![still], two, 5).unwrap();
        let image = noise(9, 9);
        let error = pipeline.view_image(&image, 0, 0, 0, &mut Scratch::default()).unwrap_err();
        assert!(error.to_string().contains("has 3 channels, expected 2"), "{error}");
    }
}
