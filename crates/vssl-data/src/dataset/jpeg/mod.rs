//! Decodes JPEG files. Two decoders share the work: zune-jpeg, which is quick, takes the kinds that it gets
//! right, which are nearly all photographs; [`exact`] takes the others, and what zune-jpeg refuses.
//!
//! Every JPEG gives libjpeg's picture or is refused. The exact decoder gives it to the bit. The quick one
//! rounds differently where it enlarges chroma, at most 5 levels on noise, and takes the last column and
//! row of a picture that is cut inside of a block from the rest of that block: on 99 ImageNet photographs
//! the picture differs by 0.06 levels on average and 6 at most. Called by [`super::decode`].

mod exact;
mod file;
mod parts;

use std::io::Cursor;

use image::RgbImage;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

use super::orientation::{self, upright};
use super::size::check_size;
use super::stored::Stored;
use crate::panics::caught;
use file::{Colours, Component, File, Frame, Scan};

/// Largest number of scans: a scan of a few bytes can take the time of a whole picture.
const MOST_SCANS: usize = 500;

/// Largest number of blocks that all scans together pass over: sixteen times those of the largest picture. The
/// usual progressive picture needs about five times its own blocks.
const MOST_BLOCKS: usize = 1 << 27;

/// Decodes a JPEG and turns it upright. `bytes` are used up.
///
/// # Errors
/// Kinds that are not supported, by name; pictures without a pixel or with too many; damaged and cut files,
/// with the place where the data end.
pub(super) fn decode(bytes: &mut Vec<u8>) -> Result<RgbImage, String> {
    let file = File::read(bytes)?;
    check_size(file.frame.width as u64, file.frame.height as u64)?;
    check_length(bytes.len(), &file.frame)?;
    check_scans(&file.frame, &file.scans)?;
    let orientation = orientation::of(file.exif, file.xmp);
    let rgb = if is_usual(&file) {
        let end = file.parts.end;
        match quick(bytes, end) {
            Some(rgb) => rgb,
            // The exact decoder says what is wrong, or reads what the quick one does not know.
            None => exact::decode(&File::read(bytes)?)?,
        }
    } else {
        exact::decode(&file)?
    };
    Ok(upright(rgb, orientation))
}

/// The channels of its picture.
///
/// # Errors
/// The headers cannot be read.
pub(super) fn stored(bytes: &[u8]) -> Result<Stored, String> {
    let colours = File::read(bytes)?.colours;
    Ok(Stored::plain(if colours == Colours::Grey { 1 } else { 3 }))
}

/// Refuses a file that is too short for its picture before the picture takes memory: a block takes one bit
/// at least, and two where its coefficients are not in scans of their own.
fn check_length(bytes: usize, frame: &Frame) -> Result<(), String> {
    let blocks: usize = frame.components.iter().map(|component| blocks(frame, component)).sum();
    let least = blocks * if frame.progressive { 1 } else { 2 } / 8;
    if bytes < least {
        return Err(format!(
            "damaged or truncated JPEG: too few blocks: a picture of {}×{} pixels takes at least {least} \
             bytes, the file has {bytes}",
            frame.width, frame.height
        ));
    }
    Ok(())
}

/// The number of blocks of a component.
fn blocks(frame: &Frame, component: &Component) -> usize {
    let (width, height) = frame.size_of(component);
    width.div_ceil(8) * height.div_ceil(8)
}

/// Refuses scans that together take too long, and a progressive image of which scans are missing. A file that was cut between two scans, and closed
/// by an end marker, looks like one that is meant to be blurred; libjpeg reads both.
fn check_scans(frame: &Frame, scans: &[Scan]) -> Result<(), String> {
    if scans.len() > MOST_SCANS {
        return Err(format!(
            "damaged JPEG: {} scans; {MOST_SCANS} are more than any image needs",
            scans.len()
        ));
    }
    let in_scan = |scan: &Scan| -> usize {
        scan.components.iter().map(|&(index, ..)| blocks(frame, &frame.components[index])).sum()
    };
    let passed: usize = scans.iter().map(in_scan).sum();
    if passed > MOST_BLOCKS {
        return Err(format!(
            "damaged JPEG: {} scans of {}×{} pixels pass over {passed} blocks; {MOST_BLOCKS} are more than \
             any image needs",
            scans.len(),
            frame.width,
            frame.height
        ));
    }
    // The usual one needs no count.
    if !frame.progressive
        && scans.iter().any(|scan| scan.components.len() == frame.components.len())
    {
        return Ok(());
    }
    let mut sent = vec![[None; 64]; frame.components.len()];
    for scan in scans {
        for &(index, ..) in &scan.components {
            sent[index][scan.first..=scan.last].fill(Some(scan.low));
        }
    }
    let whole = |list: &[Option<u32>; 64]| list.iter().filter(|&&low| low == Some(0)).count();
    for (component, list) in frame.components.iter().zip(&sent) {
        if whole(list) < 64 {
            return Err(format!(
                "damaged or truncated JPEG: too few scans: of the 64 coefficients of the component that is \
                 called {}, {} are complete after {} scans",
                component.name,
                whole(list),
                scans.len()
            ));
        }
    }
    Ok(())
}

/// Whether zune-jpeg 0.5.15 is known to get this kind right: one scan or progressive, chroma sampled as
/// luma or more coarsely, colours that nothing contradicts, and enough columns that libjpeg enlarges
/// chroma smoothly.
fn is_usual(file: &File) -> bool {
    let frame = &file.frame;
    let factors = |at: usize| (frame.components[at].horizontal, frame.components[at].vertical);
    let sampling = match frame.components.len() {
        1 => factors(0) == (1, 1),
        3 => {
            factors(1) == (1, 1)
                && factors(2) == (1, 1)
                && matches!(factors(0), (1 | 2 | 4, 1 | 2) | (1, 4))
        }
        _ => false,
    };
    let one_scan =
        file.scans.len() == 1 && file.scans[0].components.len() == frame.components.len();
    // A last scan of single bits has no codes: where such data end early, the quick decoder cannot see it.
    let has_codes = file.scans.last().is_some_and(|last| last.first > 0 || last.high == 0);
    let order = if frame.progressive { has_codes } else { one_scan };
    sampling && order && file.plain_colours && frame.width > 4
}

/// Bits that no Huffman code begins with, and an end marker. They stand behind the last scan instead of
/// what the file has there, so that a scan whose data end too early is an error, not filled up.
const AFTER: [u8; 34] = {
    let mut after = [0; 34];
    let mut at = 0;
    while at < 32 {
        after[at] = 0xff;
        at += 2;
    }
    after[32] = 0xff;
    after[33] = 0xd9;
    after
};

/// Decodes with zune-jpeg; the data of the last scan are the bytes before `end`. `None` when it refuses the
/// file, or panics. `bytes` are as before then; otherwise they were used up.
fn quick(bytes: &mut Vec<u8>, end: usize) -> Option<RgbImage> {
    let behind = bytes.split_off(end);
    bytes.extend(AFTER);
    let rgb = caught(|| zune(bytes)).ok().and_then(Result::ok);
    if rgb.is_none() {
        bytes.truncate(end);
        bytes.extend(behind);
    }
    rgb
}

fn zune(bytes: &[u8]) -> Result<RgbImage, DecodeErrors> {
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(Cursor::new(bytes), options);
    let pixels = decoder.decode()?;
    let (width, height) = decoder.dimensions().unwrap_or((0, 0));
    RgbImage::from_raw(width as u32, height as u32, pixels)
        .ok_or(DecodeErrors::FormatStatic("the number of samples does not fit three channels"))
}
