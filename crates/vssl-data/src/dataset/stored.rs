//! How many channels an image has as it is stored.

/// The channels of one image as its file has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    /// The channels of the picture: 1 for grey, 3 for colours of any kind, and all of them where they are no colours.
    pub channels: usize,
    /// Whether alpha stands behind these.
    pub has_alpha: bool,
}

impl Stored {
    /// A picture of so many channels without alpha.
    pub(super) fn plain(channels: usize) -> Self {
        Self { channels, has_alpha: false }
    }

    /// A picture of `all` channels, of which the last one is alpha if that is said: it is no part of grey pictures and
    /// of those in colours, the only ones that are read without it.
    pub(super) fn of(all: usize, has_alpha: bool) -> Self {
        match (all, has_alpha) {
            (2 | 4, true) => Self { channels: all - 1, has_alpha },
            _ => Self::plain(all),
        }
    }

    /// Whether an image that is read with so many channels (`data.channels`) has all channels of the picture: with its
    /// own number, with one more for its alpha, and with three where it is grey, which is repeated.
    pub fn is_whole_in(self, channels: usize) -> bool {
        let with_alpha = self.has_alpha && channels == self.channels + 1;
        channels == self.channels || with_alpha || (self.channels == 1 && channels == 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpha_is_no_channel_of_a_picture_in_grey_or_colours() {
        for (all, has_alpha, channels, whole) in [
            (1, false, 1, &[1, 3][..]),
            (2, false, 2, &[2]),
            (2, true, 1, &[1, 2, 3]),
            (3, false, 3, &[3]),
            (4, false, 4, &[4]),
            (4, true, 3, &[3, 4]),
            (5, true, 5, &[5]),
        ] {
            let stored = Stored::of(all, has_alpha);
            assert_eq!(stored.channels, channels, "{all} {has_alpha}");
            let found: Vec<usize> = (1..7).filter(|&asked| stored.is_whole_in(asked)).collect();
            assert_eq!(found, whole, "{all} {has_alpha}");
        }
    }
}
