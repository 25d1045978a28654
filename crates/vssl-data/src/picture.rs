//! One decoded image, as datasets give it and augmentations take it.

use std::borrow::Cow;

/// The largest number of channels of an image.
pub const MOST_CHANNELS: usize = 64;

/// A decoded image: 8 bits a channel, row-major `height × width × channels`. Three channels are RGB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Number of columns, at least 1.
    pub width: usize,
    /// Number of rows, at least 1.
    pub height: usize,
    /// `height · width · channels` values; their number says how many channels there are.
    pub values: Vec<u8>,
}

impl Image {
    /// The number of channels; 0 where the values do not fill every pixel alike.
    pub fn channels(&self) -> usize {
        match self.width.checked_mul(self.height) {
            Some(pixels) if pixels > 0 && self.values.len().is_multiple_of(pixels) => {
                self.values.len() / pixels
            }
            _ => 0,
        }
    }

    /// The image as it is drawn for people: an image of one or two channels by its first channel in grey, one of
    /// more than three by its first three channels in red, green and blue.
    pub fn drawn(&self) -> Cow<'_, Self> {
        let pick: fn(&[u8]) -> [u8; 3] = match self.channels() {
            0 | 3 => return Cow::Borrowed(self),
            1 | 2 => |pixel| [pixel[0]; 3],
            _ => |pixel| [pixel[0], pixel[1], pixel[2]],
        };
        let values = self.values.chunks_exact(self.channels()).flat_map(pick).collect();
        Cow::Owned(Self { values, ..*self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_say_how_many_channels_there_are_and_what_is_drawn() {
        let of = |values: &[u8]| Image { width: 2, height: 1, values: values.to_vec() };
        for (values, channels, drawn) in [
            (&[7, 9][..], 1, &[7, 7, 7, 9, 9, 9][..]),
            (&[7, 1, 9, 2], 2, &[7, 7, 7, 9, 9, 9]),
            (&[1, 2, 3, 4, 5, 6], 3, &[1, 2, 3, 4, 5, 6]),
            (&[1, 2, 3, 0, 4, 5, 6, 0], 4, &[1, 2, 3, 4, 5, 6]),
        ] {
            assert_eq!(of(values).channels(), channels);
            assert_eq!(of(values).drawn().values, drawn);
        }
        assert_eq!((of(&[1, 2, 3]).channels(), of(&[]).channels()), (0, 0));
        let empty = Image { width: 0, height: usize::MAX, values: vec![1] };
        assert_eq!(empty.channels(), 0);
    }
}
