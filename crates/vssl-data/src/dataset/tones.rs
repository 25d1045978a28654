//! What numbers of more than 8 bits become: the settings `data.range` and `data.bits_used`. Called by the
//! decoders; the same numbers always become the same bytes, in training and in every evaluation.

use std::fmt;

use image::RgbImage;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tiff::decoder::DecodingResult as Numbers;

/// The share of the samples that [`Range::Percentiles`] leaves below black and above white, each.
const CUT: f64 = 0.01;

/// Which numbers are black and white, in images with 16 bits a sample or with floating-point numbers. Images
/// with 8 bits a sample are not changed by it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Range {
    /// The highest eight of the bits that are used ([`Tones::bits_used`]). Floating-point numbers have
    /// no such range and are refused.
    #[default]
    Full,
    /// The first number is black, the second white; numbers between are spread evenly, those outside cut off.
    Between([f64; 2]),
    /// In every image its own 1st percentile is black and its 99th white, over all colours together.
    Percentiles,
}

/// The two numbers are finite: [`Range::deserialize`] and the check of a recipe refuse others.
impl Eq for Range {}

impl Range {
    /// Whether this is the default, which is not written down.
    pub fn is_full(&self) -> bool {
        *self == Self::Full
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("\"full\""),
            Self::Between([low, high]) => write!(f, "[{low}, {high}]"),
            Self::Percentiles => f.write_str("\"percentiles\""),
        }
    }
}

impl Serialize for Range {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Full => serializer.serialize_str("full"),
            Self::Between(numbers) => numbers.serialize(serializer),
            Self::Percentiles => serializer.serialize_str("percentiles"),
        }
    }
}

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Range;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str(
                    "\"full\", \"percentiles\" or two numbers, the first for black and the second for white, \
                     as in [0, 4095]",
                )
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Range, E> {
                match text {
                    "full" => Ok(Range::Full),
                    "percentiles" => Ok(Range::Percentiles),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Range, A::Error> {
                let mut next = || list.next_element::<f64>();
                match (next()?, next()?, next()?) {
                    (Some(low), Some(high), None) if is_range(low, high) => {
                        Ok(Range::Between([low, high]))
                    }
                    (Some(low), Some(high), None) => Err(A::Error::custom(format!(
                        "[{low}, {high}]: expected two finite numbers, the first below the second"
                    ))),
                    _ => Err(A::Error::invalid_length(0, &self)),
                }
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

fn is_range(low: f64, high: f64) -> bool {
    low < high && (high - low).is_finite()
}

/// How samples of more than 8 bits become bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tones {
    /// The bits that samples of 16 bits use, 8 to 16, for [`Range::Full`].
    pub bits_used: u32,
    /// Which numbers are black and white.
    pub range: Range,
}

impl Default for Tones {
    fn default() -> Self {
        Self { bits_used: 16, range: Range::Full }
    }
}

impl Tones {
    /// Why the settings make no sense.
    pub(super) fn check(self) -> Result<(), String> {
        let Self { bits_used, range } = self;
        if !(8..=16).contains(&bits_used) {
            return Err(format!(
                "data.bits_used = {bits_used}: expected 8 to 16, the bits that the samples of 16-bit images use"
            ));
        }
        match range {
            Range::Between([low, high]) if !is_range(low, high) => Err(format!(
                "data.range = [{low}, {high}]: expected two finite numbers, the first below the second"
            )),
            Range::Between(_) | Range::Percentiles if bits_used != 16 => Err(format!(
                "data.bits_used = {bits_used} and data.range = {range}: each says which numbers are black and \
                 white; leave one of them out"
            )),
            _ => Ok(()),
        }
    }

    /// What is said of the setting where images are opened; `None` for the default.
    pub(super) fn sentence(self) -> Option<String> {
        match self.range {
            Range::Full => None,
            Range::Between([low, high]) => Some(format!(
                "samples of 16 bits and floating-point samples: {low} becomes black and {high} white \
                 (data.range)"
            )),
            Range::Percentiles => Some(
                "samples of 16 bits and floating-point samples: in every image its 1st percentile becomes \
                 black and its 99th white (data.range)"
                    .to_owned(),
            ),
        }
    }
}

/// The numbers of an image as they are stored.
pub(super) struct Samples {
    pub(super) width: u32,
    pub(super) height: u32,
    /// The numbers of one pixel that are colours: 1 for grey, 3 for RGB, 4 for CMYK.
    pub(super) colours: usize,
    /// All numbers of one pixel, `colours` of them first.
    pub(super) channels: usize,
    /// `[height, width, channels]`.
    pub(super) numbers: Numbers,
}

impl Samples {
    /// The picture in RGB with 8 bits a sample.
    ///
    /// # Errors
    /// Numbers for which the settings do not say what is black and white.
    pub(super) fn rgb(self, tones: Tones) -> Result<RgbImage, String> {
        let Self { width, height, colours, channels, numbers } = self;
        let shape = (colours, channels);
        let bytes = match numbers {
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
        };
        let rgb = match colours {
            1 => bytes.iter().flat_map(|&grey| [grey; 3]).collect(),
            4 => bytes.chunks_exact(4).flat_map(from_cmyk).collect(),
            _ => bytes,
        };
        RgbImage::from_raw(width, height, rgb)
            .ok_or_else(|| "damaged: fewer samples than its size says".to_owned())
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
        let samples = Samples { width: width as u32, height: 1, colours: 1, channels: 1, numbers };
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

    #[test]
    fn settings_are_read_and_written_alike_or_refused() {
        #[derive(Debug, Serialize, Deserialize)]
        struct Table {
            range: Range,
        }
        for (text, expected) in [
            ("range = \"full\"\n", Range::Full),
            ("range = \"percentiles\"\n", Range::Percentiles),
            ("range = [-1.5, 4095.0]\n", Range::Between([-1.5, 4095.0])),
        ] {
            let table: Table = toml::from_str(text).unwrap();
            assert_eq!(table.range, expected);
            assert_eq!(toml::to_string(&table).unwrap(), text);
        }
        let whole: Table = toml::from_str("range = [0, 4095]").unwrap();
        assert_eq!(whole.range, Range::Between([0.0, 4095.0]));
        for text in ["[1, 1]", "[2, 1]", "[0]", "[0, 1, 2]", "[nan, 1]", "[0, inf]", "\"all\"", "3"]
        {
            let error =
                toml::from_str::<Table>(&format!("range = {text}")).unwrap_err().to_string();
            assert!(error.contains("the first"), "{error}");
        }
        let both = Tones { bits_used: 12, range: Range::Percentiles };
        assert!(both.check().unwrap_err().contains("leave one of them out"));
    }
}
