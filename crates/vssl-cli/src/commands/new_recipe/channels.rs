//! Chooses the number of channels that a recipe reads, by the files of a sample.

use std::{cmp::Reverse, collections::BTreeMap};

use vssl_data::{
    Dataset, MOST_CHANNELS,
    dataset::{self, Format, Stored},
};

use crate::output::counted;

/// Number of images that are decoded for their sizes and colours, evenly over the set.
const SAMPLE: usize = 64;

/// The numbers of the images that are looked at, of `images`.
pub(super) fn sample(images: usize) -> impl Iterator<Item = usize> {
    let count = SAMPLE.min(images);
    (0..count).map(move |k| k * images / count)
}

/// How many images of a sample are stored with which channels.
pub(super) struct Channels(BTreeMap<Stored, usize>);

impl Channels {
    /// Looks at a sample of the images. Those of formats with fixed names are all alike.
    pub(super) fn count(images: &dyn Dataset, format: Format) -> Self {
        let mut kinds = BTreeMap::new();
        let plain = |channels| Some(Stored { channels, has_alpha: false });
        for index in sample(images.len()) {
            let found = match format {
                Format::Idx => plain(1),
                Format::Cifar10 | Format::Cifar100 | Format::Stl10 => plain(3),
                _ => dataset::stored(images, index),
            };
            if let Some(stored) = found {
                *kinds.entry(stored).or_default() += 1;
            }
        }
        Self(kinds)
    }

    /// The number of channels in which most images are whole: of several such numbers that of an encoder, `known`, and 3
    /// if nothing was counted that a recipe can read.
    pub(super) fn best(&self, known: Option<usize>) -> usize {
        let own = |channels: usize| -> usize {
            let kinds = self.0.iter().filter(|(kind, _)| kind.channels == channels);
            kinds.map(|(_, count)| count).sum()
        };
        let numbers = self.0.keys().map(|kind| kind.channels).filter(|&n| n <= MOST_CHANNELS);
        let key = |&n: &usize| (self.whole(n), Some(n) == known, own(n), Reverse(n));
        numbers.chain(known).max_by_key(key).unwrap_or(3)
    }

    /// The number of images that are whole with so many channels.
    fn whole(&self, channels: usize) -> usize {
        let kinds = self.0.iter().filter(|(kind, _)| kind.is_whole_in(channels));
        kinds.map(|(_, count)| count).sum()
    }

    /// Whether images were counted and not one of them is whole with so many channels.
    pub(super) fn none_fits(&self, channels: usize) -> bool {
        !self.0.is_empty() && self.whole(channels) == 0
    }

    fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// The channels of the images in words, such as `60 have 4 channels, 4 have 3 channels and alpha`.
    pub(super) fn words(&self) -> String {
        let mut kinds: Vec<_> = self.0.iter().collect();
        kinds.sort_by_key(|(kind, count)| (Reverse(**count), **kind));
        let one = |(kind, count): (&Stored, &usize)| {
            let has = if *count == 1 { "has" } else { "have" };
            let alpha = if kind.has_alpha { " and alpha" } else { "" };
            format!("{count} {has} {}{alpha}", counted(kind.channels, "channel"))
        };
        kinds.into_iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// A note where reading images with `channels` leaves something out; `None` where all are whole.
    pub(super) fn note(&self, channels: usize) -> Option<String> {
        let kinds = || self.0.iter();
        let count = |test: &dyn Fn(&Stored) -> bool| -> usize {
            kinds().filter(|(kind, _)| test(kind)).map(|(_, count)| count).sum()
        };
        let parts = count(&|kind| !kind.is_whole_in(channels));
        let alpha = count(&|kind| kind.has_alpha && channels != kind.channels + 1);
        if parts == 0 && alpha == 0 {
            return None;
        }
        let mut text = format!(
            "of {} that {} looked at, {}; the recipe has data.channels = {channels}",
            counted(self.total(), "image"),
            if self.total() == 1 { "was" } else { "were" },
            self.words()
        );
        if parts > 0 {
            text.push_str(&format!(
                ", so that {} cannot be read, or only without some channels",
                counted(parts, "image")
            ));
        }
        if alpha > 0 {
            let more = kinds().filter(|(kind, _)| kind.has_alpha).max_by_key(|(_, count)| **count);
            let more = more.map_or(channels + 1, |(kind, _)| kind.channels + 1);
            text.push_str(&format!("; alpha is left out of {}", counted(alpha, "image")));
            // Not where it would lose other images.
            if self.whole(more) >= self.whole(channels) {
                text.push_str(&format!(", --channels {more} takes it as a channel"));
            }
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kinds: &[(usize, bool, usize)]) -> Channels {
        let kinds = kinds.iter();
        Channels(
            kinds
                .map(|&(channels, has_alpha, count)| (Stored { channels, has_alpha }, count))
                .collect(),
        )
    }

    #[test]
    fn most_images_are_whole_in_the_number_that_is_chosen() {
        for (kinds, known, expected) in [
            (&[][..], None, 3),
            (&[], Some(5), 5),
            (&[(1, false, 9)], None, 1),
            (&[(1, false, 9)], Some(3), 3),
            (&[(1, false, 9), (3, false, 1)], None, 3),
            (&[(1, false, 9), (3, false, 1)], Some(1), 3),
            (&[(2, false, 9), (1, false, 1)], None, 2),
            (&[(3, true, 9)], None, 3),
            (&[(3, true, 9)], Some(4), 4),
            (&[(1, true, 9)], None, 1),
            (&[(4, false, 9), (3, false, 8)], None, 4),
            (&[(4, false, 8), (3, false, 8)], None, 3),
            (&[(7, false, 64)], Some(3), 7),
            (&[(1, false, 60), (2, false, 1)], Some(3), 3),
            (&[(1, false, 60), (2, false, 1)], None, 1),
            (&[(4, false, 8), (3, false, 8)], Some(4), 4),
            (&[(65, false, 8), (3, false, 1)], None, 3),
            (&[(65, false, 8)], None, 3),
        ] {
            assert_eq!(of(kinds).best(known), expected, "{kinds:?} {known:?}");
        }
    }

    #[test]
    fn what_is_left_out_is_counted_and_named() {
        assert_eq!(of(&[(4, false, 64)]).note(4), None);
        assert_eq!(of(&[(1, false, 5), (3, false, 6)]).note(3), None);
        assert_eq!(
            of(&[(4, false, 60), (3, false, 1)]).note(4).unwrap(),
            "of 61 images that were looked at, 60 have 4 channels, 1 has 3 channels; the recipe has data.channels = 4, \
             so that 1 image cannot be read, or only without some channels"
        );
        assert_eq!(
            of(&[(3, true, 2)]).note(3).unwrap(),
            "of 2 images that were looked at, 2 have 3 channels and alpha; the recipe has data.channels = 3; alpha is \
             left out of 2 images, --channels 4 takes it as a channel"
        );
        assert_eq!(
            of(&[(3, false, 5), (3, true, 1)]).note(3).unwrap(),
            "of 6 images that were looked at, 5 have 3 channels, 1 has 3 channels and alpha; the recipe has \
             data.channels = 3; alpha is left out of 1 image"
        );
        assert!(
            of(&[(3, true, 1)]).note(3).unwrap().starts_with("of 1 image that was looked at, ")
        );
    }
}
