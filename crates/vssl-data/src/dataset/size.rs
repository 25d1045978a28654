//! How many pixels a picture may have. Called by the decoders.

/// Largest number of pixels; larger files are refused, as Pillow does against decompression bombs.
pub(super) const MAX_PIXELS: u64 = 178_956_970;

/// Refuses pictures without pixels and those with too many, before anything is allocated for them.
pub(super) fn check_size(width: u64, height: u64) -> Result<(), String> {
    if width == 0 || height == 0 {
        return Err(format!("{width}×{height} pixels: an image needs at least one"));
    }
    if width * height > MAX_PIXELS {
        return Err(format!("{width}×{height} pixels: more than {MAX_PIXELS} are refused"));
    }
    Ok(())
}
