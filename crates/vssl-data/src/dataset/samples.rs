//! The numbers of an image as they are stored, and how they become bytes by the settings in [`super::tones`]. Called by
//! the decoders.

use image::RgbImage;
use tiff::decoder::DecodingResult as Numbers;

use super::tones::{Range, Tones};
use crate::Image;
use crate::counted::counted;
use crate::picture::MOST_CHANNELS;

/// The share of the samples that [`Range::Percentiles`] leaves below black and above white, each.
const CUT: f64 = 0.01;

/// Why a picture is not read.
#[derive(Debug)]
pub(super) enum Refused {
    /// It has other channels than are asked for.
    Channels(String),
    /// It is damaged, of a kind that is not supported, or lacks a setting.
    Other(String),
}

impl From<String> for Refused {
    fn from(what: String) -> Self {
        Self::Other(what)
    }
}

impl From<Refused> for String {
    fn from(refused: Refused) -> Self {
        let (Refused::Channels(what) | Refused::Other(what)) = refused;
        what
    }
}

/// The numbers of an image as they are stored.
pub(super) struct Samples {
    pub(super) width: u32,
    pub(super) height: u32,
    /// The numbers of one pixel that are colours: 1 for grey, 3 for RGB, 4 for CMYK; for channels that are no colours,
    /// all of them.
    pub(super) colours: usize,
    /// Whether the colours are CMYK.
    pub(super) is_cmyk: bool,
    /// All numbers of one pixel, `colours` of them first.
    pub(super) channels: usize,
    /// `[height, width, channels]`.
    pub(super) numbers: Numbers,
}

impl Samples {
    /// The picture in RGB with 8 bits a sample.
    ///
    /// # Errors
    /// Channels that are no colours, or numbers for which the settings do not say what is black and white.
    pub(super) fn rgb(self, tones: Tones) -> Result<RgbImage, Refused> {
        let Self { width, height, colours, is_cmyk, .. } = self;
        if !is_cmyk && !matches!(colours, 1 | 3) {
            let instead = match colours <= MOST_CHANNELS {
                true => format!("data.channels = {colours}"),
                false => most(),
            };
            return Err(Refused::Channels(format!(
                "it has {colours} channels that are not colours; expected grey, RGB or CMYK, with or without alpha, \
                 or {instead}"
            )));
        }
        let bytes = self.bytes(colours, tones)?;
        let rgb = match colours {
            1 => bytes.iter().flat_map(|&grey| [grey; 3]).collect(),
            4 => bytes.chunks_exact(4).flat_map(from_cmyk).collect(),
            _ => bytes,
        };
        RgbImage::from_raw(width, height, rgb).ok_or_else(|| too_few().into())
    }

    /// The first `wanted` channels of the picture with 8 bits a sample, as they are stored.
    ///
    /// # Errors
    /// Another number of channels, or numbers for which the settings do not say what is black and white.
    pub(super) fn exactly(self, wanted: usize, tones: Tones) -> Result<Image, Refused> {
        let Self { width, height, colours, channels, is_cmyk, .. } = self;
        if is_cmyk {
            // Its colours are said, which no number of channels tells.
            return Err(Refused::Other(format!(
                "it has the colours CMYK; expected {} (data.channels)",
                counted(wanted, "channel")
            )));
        }
        // Alpha may stand behind grey.
        let fits = channels == wanted || (wanted == 1 && colours == 1);
        let is_maybe_grey = wanted == 1 && colours == 3;
        if !fits && !is_maybe_grey {
            let limit = match channels <= MOST_CHANNELS {
                true => String::new(),
                false => format!(", or another image: a recipe reads {}", most()),
            };
            return Err(Refused::Channels(format!(
                "it has {}; expected {wanted} (data.channels){limit}",
                counted(channels, "channel")
            )));
        }
        let (width, height) = (width as usize, height as usize);
        if is_maybe_grey {
            return grey(&Image { width, height, values: self.bytes(3, tones)? });
        }
        // Each channel is stretched on its own: those of a satellite have little in common.
        let bytes = match tones.range {
            Range::Percentiles if wanted > 1 => self.each_channel(tones)?,
            _ => self.bytes(wanted, tones)?,
        };
        let image = Image { width, height, values: bytes };
        if image.channels() == wanted { Ok(image) } else { Err(too_few().into()) }
    }

    /// All channels with 8 bits a sample, each one stretched on its own.
    fn each_channel(self, tones: Tones) -> Result<Vec<u8>, String> {
        let channels = self.channels;
        let planes = (0..channels).map(|channel| {
            let numbers = nth(&self.numbers, channel, channels);
            let plane = Self { colours: 1, channels: 1, numbers, ..self };
            plane.bytes(1, tones)
        });
        let planes = planes.collect::<Result<Vec<_>, _>>()?;
        let pixels = planes.first().map_or(0, Vec::len);
        Ok((0..pixels).flat_map(|at| planes.iter().map(move |plane| plane[at])).collect())
    }

    /// The first `colours` channels with 8 bits a sample.
    fn bytes(self, colours: usize, tones: Tones) -> Result<Vec<u8>, String> {
        let Self { channels, numbers, .. } = self;
        let shape = (colours, channels);
        Ok(match numbers {
            Numbers::U8(bytes) if colours == channels => bytes,
            Numbers::U8(bytes) => colours_of(&bytes, shape).collect(),
            Numbers::U16(values) if tones.range.is_full() => {
                let short = |value: u16| (value >> (tones.bits_used - 8)).min(255) as u8;
                colours_of(&values, shape).map(short).collect()
            }
            Numbers::U16(values) => stretched(&values, f64::from, shape, tones.range)?,
            Numbers::U32(values) => stretched(&values, f64::from, shape, tones.range)?,
            Numbers::U64(values) => stretched(&values, |value| value as f64, shape, tones.range)?,
            Numbers::I8(values) => stretched(&values, f64::from, shape, tones.range)?,
            Numbers::I16(values) => stretched(&values, f64::from, shape, tones.range)?,
            Numbers::I32(values) => stretched(&values, f64::from, shape, tones.range)?,
            Numbers::I64(values) => stretched(&values, |value| value as f64, shape, tones.range)?,
            Numbers::F16(values) => stretched(&values, |value| value.to_f64(), shape, tones.range)?,
            Numbers::F32(values) => stretched(&values, f64::from, shape, tones.range)?,
            Numbers::F64(values) => stretched(&values, |value| value, shape, tones.range)?,
        })
    }
}

/// How many channels are read at most, in words.
fn most() -> String {
    format!("at most {MOST_CHANNELS} channels")
}

fn too_few() -> String {
    "damaged: fewer samples than its size says".to_owned()
}

/// A picture in RGB that is grey, as one channel.
///
/// # Errors
/// A pixel has a colour.
pub(super) fn grey(rgb: &Image) -> Result<Image, Refused> {
    let (pixels, _) = rgb.values.as_chunks::<3>();
    match pixels.iter().all(|[red, green, blue]| red == green && green == blue) {
        true => Ok(Image { values: pixels.iter().map(|pixel| pixel[0]).collect(), ..*rgb }),
        false => Err(Refused::Channels(
            "it is in colour, it has 3 channels; expected 1 (data.channels)".to_owned(),
        )),
    }
}

/// The numbers of one channel.
fn nth(numbers: &Numbers, channel: usize, channels: usize) -> Numbers {
    fn of<T: Copy>(values: &[T], channel: usize, channels: usize) -> Vec<T> {
        values.iter().skip(channel).step_by(channels).copied().collect()
    }
    match numbers {
        Numbers::U8(values) => Numbers::U8(of(values, channel, channels)),
        Numbers::U16(values) => Numbers::U16(of(values, channel, channels)),
        Numbers::U32(values) => Numbers::U32(of(values, channel, channels)),
        Numbers::U64(values) => Numbers::U64(of(values, channel, channels)),
        Numbers::F16(values) => Numbers::F16(of(values, channel, channels)),
        Numbers::F32(values) => Numbers::F32(of(values, channel, channels)),
        Numbers::F64(values) => Numbers::F64(of(values, channel, channels)),
        Numbers::I8(values) => Numbers::I8(of(values, channel, channels)),
        Numbers::I16(values) => Numbers::I16(of(values, channel, channels)),
        Numbers::I32(values) => Numbers::I32(of(values, channel, channels)),
        Numbers::I64(values) => Numbers::I64(of(values, channel, channels)),
    }
}

/// The colours of all pixels, without alpha and other channels behind them.
fn colours_of<T: Copy>(
    values: &[T],
    (colours, channels): (usize, usize),
) -> impl Iterator<Item = T> {
    values.chunks_exact(channels).flat_map(move |pixel| pixel[..colours].iter().copied())
}

/// Spreads numbers over the bytes. What is not a number becomes black.
fn stretched<T: Copy>(
    values: &[T],
    number: impl Fn(T) -> f64,
    shape: (usize, usize),
    range: Range,
) -> Result<Vec<u8>, String> {
    let [low, high] = match range {
        Range::Between(ends) => ends,
        Range::Percentiles => percentiles(values, &number, shape),
        Range::Full => {
            let numbers = colours_of(values, shape).map(&number).filter(|number| !number.is_nan());
            let (low, high) = numbers
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), number| {
                    (low.min(number), high.max(number))
                });
            return Err(format!(
                "its samples are floating-point numbers, or integers with a sign or of 32 bits, from {low} to \
                 {high}, and nothing says which of them are black and white: set data.range = [low, high], or \
                 \"percentiles\""
            ));
        }
    };
    // A picture of one tone is black.
    let scale = if high > low { 255.0 / (high - low) } else { 0.0 };
    let byte = |value: T| ((number(value) - low) * scale).round().clamp(0.0, 255.0) as u8;
    Ok(colours_of(values, shape).map(byte).collect())
}

/// The 1st and the 99th percentile: of the numbers in their order the one at 1 % of the way, rounded down, and
/// the one at 99 %, rounded up.
fn percentiles<T: Copy>(
    values: &[T],
    number: impl Fn(T) -> f64,
    shape: (usize, usize),
) -> [f64; 2] {
    let mut numbers: Vec<f64> =
        colours_of(values, shape).map(number).filter(|number| number.is_finite()).collect();
    if numbers.is_empty() {
        return [0.0, 0.0];
    }
    let last = numbers.len() - 1;
    let from_the_end = (CUT * last as f64).floor() as usize;
    [from_the_end, last - from_the_end]
        .map(|place| *numbers.select_nth_unstable_by(place, f64::total_cmp).1)
}

/// RGB of a CMYK pixel, rounded as Pillow does.
fn from_cmyk(cmyk: &[u8]) -> [u8; 3] {
    let white = 255 - u32::from(cmyk[3]);
    [0, 1, 2].map(|ink| {
        let product = u32::from(cmyk[ink]) * white + 128;
        (white - (((product >> 8) + product) >> 8)) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(numbers: Numbers, range: Range) -> Result<Vec<u8>, String> {
        let width = match &numbers {
            Numbers::U16(values) => values.len(),
            Numbers::F32(values) => values.len(),
            _ => unreachable!(),
        };
        let (width, is_cmyk) = (width as u32, false);
        let samples = Samples { width, height: 1, colours: 1, channels: 1, is_cmyk, numbers };
        let rgb = samples.rgb(Tones { bits_used: 16, range })?;
        Ok(rgb.iter().step_by(3).copied().collect())
    }

    #[test]
    fn numbers_are_spread_between_the_ends() {
        let range = Range::Between([100.0, 610.0]);
        let values = vec![0, 100, 101, 102, 355, 610, 60_000];
        assert_eq!(grey(Numbers::U16(values), range).unwrap(), [0, 0, 1, 1, 128, 255, 255]);
        let values = vec![f32::NAN, f32::NEG_INFINITY, -1.0, 0.0, 1.0, f32::INFINITY];
        let range = Range::Between([-1.0, 1.0]);
        assert_eq!(grey(Numbers::F32(values), range).unwrap(), [0, 0, 0, 128, 255, 255]);
    }

    #[test]
    fn percentiles_belong_to_the_image_and_a_flat_picture_is_black() {
        let values: Vec<f32> = (0..=1000).rev().map(|value| value as f32).collect();
        let bytes = grey(Numbers::F32(values), Range::Percentiles).unwrap();
        assert_eq!((bytes[0], bytes[10], bytes[500], bytes[990]), (255, 255, 128, 0));
        assert_ne!((bytes[12], bytes[988]), (255, 0));
        assert_eq!(grey(Numbers::U16(vec![7; 9]), Range::Percentiles).unwrap(), [0; 9]);
        assert_eq!(grey(Numbers::F32(vec![f32::NAN]), Range::Percentiles).unwrap(), [0]);
    }

    #[test]
    fn floating_point_numbers_need_a_range() {
        let error = grey(Numbers::F32(vec![-0.5, 2.0]), Range::Full).unwrap_err();
        assert!(error.contains("from -0.5 to 2") && error.contains("data.range"), "{error}");
    }
}
