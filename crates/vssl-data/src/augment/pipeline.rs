//! Makes the views of a recipe: it checks the settings once, draws the parameters of each view at
//! their address, and makes its pixels. Called by the loader and by the page of a run.

use super::{Normalisation, Normaliser, Order, Scratch, Value, ViewGroup, ViewParameters};
use crate::{
    DataError, Image,
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

    /// Makes view `view` of image number `index` in `epoch`: `out` is `[size, size, 3]`,
    /// normalised.
    ///
    /// # Errors
    /// [`DataError::Setting`] when `image` does not hold `height · width · 3` values or is empty.
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
        check_image(image).map_err(DataError::Setting)?;
        let parameters = self.parameters((image.width, image.height), epoch, index, view);
        let group = &self.groups[self.views[view].group];
        parameters.render(image, group.size, group.interpolation, scratch);
        Ok(parameters.flip)
    }
}

/// Largest number of views: the number of a view has 16 bits in an address.
const MOST_VIEWS: usize = 1 << 16;

/// Checks that `image` holds as many values as its size says.
pub(crate) fn check_image(image: &Image) -> Result<(), String> {
    let Image { width, height, rgb } = image;
    let wanted = width.checked_mul(*height).and_then(|pixels| pixels.checked_mul(3));
    if *width == 0 || *height == 0 || wanted != Some(rgb.len()) {
        return Err(format!(
            "the picture is {width} x {height} with {} values; expected height x width x 3, \
             and at least one pixel",
            rgb.len()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(width: usize, height: usize) -> Image {
        let rgb = (0..width * height * 3).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8);
        Image { width, height, rgb: rgb.collect() }
    }

    const PLAIN: Normalisation = Normalisation { mean: [0.0; 3], std: [1.0; 3] };

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
            let expected = picture.rgb.iter().map(|&v| f32::from(v) / 255.0).collect::<Vec<_>>();
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
        for (width, height, values) in [(0, 4, 0), (4, 4, 47), (usize::MAX, 2, 6)] {
            let image = Image { width, height, rgb: vec![0; values] };
            let error = pipeline.view_image(&image, 0, 0, 0, &mut Scratch::default()).unwrap_err();
            assert!(error.to_string().contains("expected height x width x 3"), "{error}");
        }
    }
}
