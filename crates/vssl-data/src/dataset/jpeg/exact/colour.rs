//! From planes to RGB as in libjpeg's `jdcolor.c`; CMYK as Adobe writes it (inverted), and then as Pillow
//! converts it. Called by [`super::decode`].

use image::RgbImage;

use super::super::file::{Colours, Frame};
use super::planes::Plane;

/// Joins the planes of a picture.
///
/// # Errors
/// Planes whose sizes have no whole ratio, which libjpeg does not read either.
pub(super) fn picture(
    frame: &Frame,
    colours: Colours,
    planes: Vec<Plane>,
) -> Result<RgbImage, String> {
    let (horizontal, vertical) = frame.largest();
    let mut ratios = Vec::new();
    for component in &frame.components {
        let whole = horizontal.is_multiple_of(component.horizontal)
            && vertical.is_multiple_of(component.vertical);
        if !whole {
            return Err(format!(
                "this kind of JPEG is not supported: sampling factors without a whole ratio ({}×{} in \
                 {horizontal}×{vertical}); convert the file",
                component.horizontal, component.vertical
            ));
        }
        ratios.push((horizontal / component.horizontal, vertical / component.vertical));
    }
    let mut rgb = Vec::with_capacity(frame.width * frame.height * 3);
    let mut rows = vec![Vec::new(); planes.len()];
    for y in 0..frame.height {
        for ((plane, &ratio), row) in planes.iter().zip(&ratios).zip(&mut rows) {
            plane.enlarged_row(y, ratio, row);
        }
        rgb.extend((0..frame.width).flat_map(|x| {
            let sample = |index: usize| rows[index][x];
            match colours {
                Colours::Grey => [sample(0); 3],
                Colours::Rgb => [sample(0), sample(1), sample(2)],
                Colours::YCbCr => rgb_of(sample(0), sample(1), sample(2)),
                Colours::Cmyk => printed([sample(0), sample(1), sample(2)], sample(3)),
                Colours::Ycck => {
                    let inks = rgb_of(sample(0), sample(1), sample(2)).map(|light| 255 - light);
                    printed(inks, sample(3))
                }
            }
        }));
    }
    RgbImage::from_raw(frame.width as u32, frame.height as u32, rgb)
        .ok_or_else(|| "the number of samples does not fit three channels".into())
}

/// YCbCr to RGB (ITU-R BT.601, full range) in libjpeg's 16-bit fixed point.
fn rgb_of(luma: u8, blue: u8, red: u8) -> [u8; 3] {
    // The factors 1.40200, 1.77200, 0.71414 and 0.34414 times 2^16.
    let (luma, blue, red) = (i32::from(luma), i32::from(blue) - 128, i32::from(red) - 128);
    let half = 1 << 15;
    let values = [
        luma + ((91_881 * red + half) >> 16),
        luma + ((-22_554 * blue - 46_802 * red + half) >> 16),
        luma + ((116_130 * blue + half) >> 16),
    ];
    values.map(|value| value.clamp(0, 255) as u8)
}

/// Stored, that is inverted, inks to RGB, with Pillow's rounding: (255 − ink) · (255 − black) / 255.
fn printed(stored: [u8; 3], stored_black: u8) -> [u8; 3] {
    let light = u32::from(stored_black);
    stored.map(|stored| {
        let product = (255 - u32::from(stored)) * light + 128;
        // Pillow's MULDIV255.
        let dark = ((product >> 8) + product) >> 8;
        light.saturating_sub(dark) as u8
    })
}
