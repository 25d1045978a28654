//! What numbers of more than 8 bits become: the settings `data.range` and `data.bits_used`. Called by the
//! decoders; the same numbers always become the same bytes, in training and in every evaluation.

use std::fmt;
use std::str::FromStr;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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
    /// In every image its own 1st percentile is black and its 99th white: over all colours together, and over each
    /// channel of an image that is not read as RGB.
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

/// What the option of a command says: `full`, `percentiles` or `LOW,HIGH`.
impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected full, percentiles or LOW,HIGH, as in 0,4095".to_owned();
        match text {
            "full" => Ok(Self::Full),
            "percentiles" => Ok(Self::Percentiles),
            _ => {
                let (low, high) = text.split_once(',').ok_or_else(expected)?;
                let number = |text: &str| text.trim().parse::<f64>().map_err(|_| expected());
                let (low, high) = (number(low)?, number(high)?);
                match is_range(low, high) {
                    true => Ok(Self::Between([low, high])),
                    false => {
                        Err("expected two finite numbers, the first below the second".to_owned())
                    }
                }
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_names_a_range_or_two_numbers() {
        assert_eq!("percentiles".parse(), Ok(Range::Percentiles));
        assert_eq!("-1, 2.5".parse(), Ok(Range::Between([-1.0, 2.5])));
        for text in ["", "1", "2,1", "0,inf", "nan,1", "a,b", "1,2,3"] {
            assert!(text.parse::<Range>().is_err(), "{text}");
        }
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
