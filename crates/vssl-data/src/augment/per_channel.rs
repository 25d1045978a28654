//! One number for each channel of an image, such as a mean. Its place is fixed, so that it is copied like a number.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::picture::MOST_CHANNELS;

/// One number for each channel, 1 to [`MOST_CHANNELS`] of them. It is read and written as a list.
#[derive(Clone, Copy)]
pub struct PerChannel {
    numbers: [f32; MOST_CHANNELS],
    channels: usize,
}

impl PerChannel {
    /// The numbers in the order of the channels.
    ///
    /// # Panics
    /// When there is no number, or when there are more than [`MOST_CHANNELS`].
    pub const fn new<const N: usize>(given: [f32; N]) -> Self {
        assert!(N >= 1 && N <= MOST_CHANNELS, "an image has 1 to 64 channels");
        let mut numbers = [0.0; MOST_CHANNELS];
        let mut at = 0;
        while at < N {
            numbers[at] = given[at];
            at += 1;
        }
        Self { numbers, channels: N }
    }

    /// The numbers in the order of the channels.
    ///
    /// # Errors
    /// There are none, or more than [`MOST_CHANNELS`], in words.
    pub fn of(given: &[f32]) -> Result<Self, String> {
        if !(1..=MOST_CHANNELS).contains(&given.len()) {
            return Err(format!(
                "{} numbers: expected one for each channel, 1 to {MOST_CHANNELS}",
                given.len()
            ));
        }
        let mut numbers = [0.0; MOST_CHANNELS];
        numbers[..given.len()].copy_from_slice(given);
        Ok(Self { numbers, channels: given.len() })
    }
}

impl Deref for PerChannel {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.numbers[..self.channels]
    }
}

impl PartialEq for PerChannel {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Debug for PerChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl Serialize for PerChannel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PerChannel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::of(&Vec::<f32>::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
