//! A sheet of images: each as it was decoded and, beside it, the views that a pipeline makes of it, pixel by
//! pixel as the network gets them. Called by `vssl data show`.

use image::{
    RgbImage,
    imageops::{FilterType, resize},
};

use crate::{
    Collage, DataError, Image, Pipeline,
    augment::{Scratch, ViewParameters},
};

/// The side of the square into which a decoded image fits, in pixels, where there are no views.
const ALONE: usize = 384;

/// The side from which a view is not enlarged any more, in pixels.
const LARGE: usize = 128;

/// White between pictures, and between an image and its views.
const GAP: usize = 4;
const WIDE_GAP: usize = 16;

/// The largest number of pixels of a sheet: 300 MB.
const MOST_PIXELS: usize = 100_000_000;

/// The views of one image in one draw.
#[derive(Clone, Debug, PartialEq)]
pub struct Draw {
    /// The position of the image among all.
    pub image: usize,
    /// The number of the draw, from 0: the epoch of the random parameters' address.
    pub draw: u64,
    /// The parameters of each view.
    pub views: Vec<ViewParameters>,
}

/// A row for each image and draw: the whole image, then its views. Small views are enlarged by a whole
/// factor, so each of their pixels is a square. View `v` of the image at position `i` in draw `d` has the
/// parameters that the pipeline draws for image `i` in epoch `d`.
///
/// # Errors
/// [`DataError::Setting`] for a sheet that would be too large, and for images that do not hold as many
/// values as their size says.
pub fn view_sheet(
    images: &[Image],
    pipeline: Option<&Pipeline>,
    draws: u64,
) -> Result<(Collage, Vec<Draw>), DataError> {
    let views = pipeline.map_or(&[][..], Pipeline::views);
    let largest = views.iter().map(|view| view.size).max();
    let factor = largest.map_or(1, |largest| LARGE.div_ceil(largest));
    let cell = largest.map_or(ALONE, |largest| largest * factor);
    let draws = if pipeline.is_some() { draws } else { 1 };
    let rows = images.len() * draws as usize;
    let beside: usize = views.iter().map(|view| view.size * factor + GAP).sum();
    let width = cell + if beside > 0 { WIDE_GAP + beside - GAP } else { 0 };
    let height = (rows * (cell + GAP)).saturating_sub(GAP);
    if width.saturating_mul(height) > MOST_PIXELS {
        return Err(DataError::Setting(format!(
            "a sheet of {width} x {height} pixels: expected at most {MOST_PIXELS} pixels; show fewer \
             images or draws"
        )));
    }
    let mut collage = Collage::new(width, height, cell, 255);
    let (mut scratch, mut drawn) = (Scratch::default(), Vec::new());
    for row in 0..rows {
        let (image, draw) = (row / draws as usize, row as u64 % draws);
        let y = row * (cell + GAP);
        collage.paste((0, y), &fitted(&images[image], cell)?);
        let Some(pipeline) = pipeline else { continue };
        let mut x = cell + WIDE_GAP;
        let size = (images[image].width, images[image].height);
        let mut parameters = Vec::new();
        for (view, shape) in views.iter().enumerate() {
            let picture = as_seen(pipeline, &images[image], draw, image, view, &mut scratch)?;
            collage.paste((x, y), &enlarged(&picture, factor));
            parameters.push(pipeline.parameters(size, draw, image as u64, view));
            x += shape.size * factor + GAP;
        }
        drawn.push(Draw { image, draw, views: parameters });
    }
    Ok((collage, drawn))
}

/// The view as the network gets it: normalised, and here brought back to bytes.
fn as_seen(
    pipeline: &Pipeline,
    image: &Image,
    draw: u64,
    index: usize,
    view: usize,
    scratch: &mut Scratch,
) -> Result<Image, DataError> {
    let size = pipeline.views()[view].size;
    let channels = pipeline.channels();
    let mut values = vec![0.0; size * size * channels];
    pipeline.view(image, draw, index as u64, view, scratch, &mut values)?;
    let normalisation = pipeline.normalisation();
    let byte = |(at, value): (usize, &f32)| {
        let (mean, std) = (normalisation.mean[at % channels], normalisation.std[at % channels]);
        ((value * std + mean) * 255.0).round().clamp(0.0, 255.0) as u8
    };
    let values = values.iter().enumerate().map(byte).collect();
    Ok(Image { width: size, height: size, values }.drawn().into_owned())
}

/// The whole image, scaled to fit into a square of `side` pixels: enlarged by a whole factor, or made smaller
/// with its proportions kept.
fn fitted(image: &Image, side: usize) -> Result<Image, DataError> {
    let image = &*image.drawn();
    let longer = image.width.max(image.height);
    let pixels = RgbImage::from_raw(image.width as u32, image.height as u32, image.values.clone());
    let pixels = pixels.filter(|_| longer > 0).ok_or_else(|| {
        let Image { width, height, values: rgb } = image;
        DataError::Setting(format!(
            "an image of {width} x {height} pixels has {} values",
            rgb.len()
        ))
    })?;
    if longer <= side {
        return Ok(enlarged(image, side / longer));
    }
    let scaled = |length: usize| (length * side).div_ceil(longer).clamp(1, side) as u32;
    let (width, height) = (scaled(image.width), scaled(image.height));
    let small = resize(&pixels, width, height, FilterType::Triangle);
    Ok(Image { width: width as usize, height: height as usize, values: small.into_raw() })
}

/// Each pixel becomes a square of `factor × factor` pixels.
fn enlarged(image: &Image, factor: usize) -> Image {
    let (width, height) = (image.width * factor, image.height * factor);
    let mut rgb = Vec::with_capacity(width * height * 3);
    for row in image.values.chunks_exact(image.width * 3) {
        let wide: Vec<u8> = row.chunks_exact(3).flat_map(|pixel| pixel.repeat(factor)).collect();
        (0..factor).for_each(|_| rgb.extend_from_slice(&wide));
    }
    Image { width, height, values: rgb }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Normalisation, ViewGroup};

    fn noise(width: usize, height: usize) -> Image {
        let rgb = (0..width * height * 3).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8);
        Image { width, height, values: rgb.collect() }
    }

    fn pipeline() -> Pipeline {
        let small = ViewGroup { size: 20, count: 1, local: true, ..ViewGroup::default() };
        let groups = vec![ViewGroup { size: 48, ..ViewGroup::default() }, small];
        let normalisation = Normalisation::new([0.49, 0.48, 0.44], [0.2, 0.19, 0.21]);
        Pipeline::new(groups, normalisation, 3).unwrap()
    }

    fn decoded(collage: &Collage) -> RgbImage {
        image::load_from_memory(&collage.png().unwrap()).unwrap().to_rgb8()
    }

    #[test]
    fn the_sheet_holds_every_view_of_the_pipeline_pixel_by_pixel() {
        let (images, pipeline) = ([noise(40, 30), noise(200, 300)], pipeline());
        let (collage, drawn) = view_sheet(&images, Some(&pipeline), 2).unwrap();
        let sheet = decoded(&collage);
        // Views of 48 pixels are enlarged three times.
        let (cell, left) = (144, 144 + 16);
        assert_eq!(sheet.dimensions(), (left + 2 * 148 + 60, 4 * 148 - 4));
        assert_eq!(drawn.len(), 4);
        let mut scratch = Scratch::default();
        for (row, draw) in drawn.iter().enumerate() {
            assert_eq!((draw.image, draw.draw), (row / 2, row as u64 % 2));
            let (image, index) = (&images[draw.image], draw.image as u64);
            for (view, (x, size)) in
                [(left, 48), (left + 148, 48), (left + 296, 20)].iter().enumerate()
            {
                let seen =
                    pipeline.view_image(image, draw.draw, index, view, &mut scratch).unwrap();
                for (at, pixel) in seen.values.chunks_exact(3).enumerate() {
                    let (column, line) = (at as u32 % size, at as u32 / size);
                    let found =
                        sheet.get_pixel(x + 3 * column + 1, row as u32 * 148 + 3 * line + 2);
                    assert_eq!(found.0, pixel, "row {row}, view {view}, pixel {at}");
                }
            }
        }
        // The first image is enlarged three times, the second made smaller.
        assert_eq!(sheet.get_pixel(3, 3).0, images[0].values[(40 + 1) * 3..][..3]);
        assert_eq!(sheet.get_pixel(cell - 1, 2 * 148 + 10).0, [255; 3]);
        assert_ne!(drawn[0].views[0], drawn[1].views[0]);
    }

    #[test]
    fn without_a_pipeline_the_images_stand_alone_with_their_proportions() {
        let (collage, drawn) = view_sheet(&[noise(1000, 10), noise(1, 1)], None, 5).unwrap();
        let sheet = decoded(&collage);
        assert_eq!((sheet.dimensions(), drawn.len()), ((384, 2 * 384 + 4), 0));
        assert_eq!(sheet.get_pixel(0, 4).0, [255; 3]);
        let error = view_sheet(&vec![noise(1, 1); 1000], None, 1).err().unwrap().to_string();
        assert!(error.contains("expected at most 100000000 pixels"), "{error}");
        assert!(view_sheet(&[Image { width: 2, height: 2, values: vec![0; 3] }], None, 1).is_err());
    }
}
