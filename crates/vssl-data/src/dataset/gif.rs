//! The first picture of a GIF, as Pillow shows it: palettes are looked up, transparency is dropped. Called by
//! [`super::decode`].

use std::io::Cursor;
use std::num::NonZeroU64;

use gif::{ColorOutput, DecodeOptions, DecodingError, MemoryLimit};
use image::RgbImage;

use super::size::{MAX_PIXELS, check_size};

/// Decodes the first picture.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    let damaged = |error: DecodingError| format!("damaged Gif: {error}");
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.set_memory_limit(MemoryLimit::Bytes(NonZeroU64::new(MAX_PIXELS).expect("not zero")));
    let mut reader = options.read_info(Cursor::new(bytes)).map_err(damaged)?;
    let (width, height) = (usize::from(reader.width()), usize::from(reader.height()));
    check_size(width as u64, height as u64)?;
    let frame = reader.next_frame_info().map_err(damaged)?;
    let frame = frame.ok_or_else(|| "damaged Gif: it has no picture".to_owned())?;
    let [left, top, wide, high] =
        [frame.left, frame.top, frame.width, frame.height].map(usize::from);
    let unseen = frame.transparent.unwrap_or(0);
    // A picture that reaches beyond the screen enlarges it.
    let (width, height) = (width.max(left + wide), height.max(top + high));
    check_size(width as u64, height as u64)?;
    check_size(wide as u64, high as u64)?;
    let mut palette: Vec<[u8; 3]> = (0..=255).map(|grey| [grey; 3]).collect();
    let colours = frame.palette.clone().or_else(|| reader.global_palette().map(<[u8]>::to_vec));
    let (colours, _) = colours.as_deref().unwrap_or_default().as_chunks::<3>();
    palette.iter_mut().zip(colours).for_each(|(place, colour)| *place = *colour);
    let mut indices = vec![0; wide * high];
    reader.read_into_buffer(&mut indices).map_err(damaged)?;
    let mut rgb: Vec<u8> = palette[usize::from(unseen)].repeat(width * height);
    for (y, row) in indices.chunks_exact(wide).enumerate() {
        let start = ((top + y) * width + left) * 3;
        let (out, _) = rgb[start..start + wide * 3].as_chunks_mut::<3>();
        out.iter_mut().zip(row).for_each(|(out, &index)| *out = palette[usize::from(index)]);
    }
    Ok(RgbImage::from_raw(width as u32, height as u32, rgb).expect("three bytes a pixel"))
}
