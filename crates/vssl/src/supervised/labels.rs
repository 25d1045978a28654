//! Chooses the images that keep their labels when fine-tuning uses a share of the labels.
//!
//! Semi-supervised evaluation (Chen et al. 2020, arXiv:2002.05709, section 6) takes 1 or 10 % of the
//! training images, the same number of each class. Here each class is shuffled once by the seed and
//! the classes take turns, so that the images of a small share are among those of a larger one.

use serde::Serialize;
use vssl_data::rng::{Stream, below, rng};

use crate::run::folder::LABELS;

/// The first part of the random numbers' address: the letters "labels".
const ADDRESS: u64 = 0x6c61_6265_6c73;

/// The name of the file in the output folder that lists the chosen images.
pub const FILE: &str = LABELS;

/// The content of that file.
#[derive(Debug, Serialize)]
pub struct Record<'a> {
    /// The share of images that keep their labels, as in the settings.
    pub share: f64,
    /// The seed of the choice.
    pub seed: u64,
    /// The numbers of the chosen images in the training split, ascending.
    pub images: &'a [usize],
}

/// Returns the numbers of the images that keep their labels, ascending: `share` of all images, rounded, and
/// at least one image of each class. When a class has no image left, the other classes fill its place.
pub fn choose(labels: &[u32], classes: usize, share: f64, seed: u64) -> Vec<usize> {
    let mut of_class = vec![Vec::new(); classes];
    for (index, &label) in labels.iter().enumerate() {
        of_class[label as usize].push(index);
    }
    for (class, images) in of_class.iter_mut().enumerate() {
        let mut rng = rng(seed, Stream::Evaluation, ADDRESS, class as u64);
        for last in (1..images.len()).rev() {
            images.swap(last, below(&mut rng, last as u64 + 1) as usize);
        }
    }
    let present = of_class.iter().filter(|images| !images.is_empty()).count();
    let wanted = ((labels.len() as f64 * share).round() as usize).max(present);
    let most = of_class.iter().map(Vec::len).max().unwrap_or(0);
    let turns = (0..most)
        .flat_map(|round| of_class.iter().filter_map(move |images| images.get(round)).copied());
    let mut chosen: Vec<usize> = turns.take(wanted).collect();
    chosen.sort_unstable();
    chosen
}

/// Returns a note on a `share` of `images` that gives fewer images than there are classes: `chosen` keep their
/// labels instead, one of each class.
pub fn note(images: usize, share: f64, chosen: usize) -> Option<String> {
    let wanted = (images as f64 * share).round() as usize;
    (chosen > wanted).then(|| {
        format!(
            "labels = {share}: this share of {images} images is {wanted}, which leaves classes without an image; one \
             image of each class keeps its label, {chosen} in all, a share of {:.2} %",
            100.0 * chosen as f64 / images.max(1) as f64
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Vec<u32> {
        (0..1000).map(|index| index % 10).collect()
    }

    fn counts(chosen: &[usize]) -> Vec<usize> {
        let labels = labels();
        (0..10).map(|class| chosen.iter().filter(|&&i| labels[i] == class).count()).collect()
    }

    #[test]
    fn every_class_has_the_same_number_of_images() {
        assert_eq!(counts(&choose(&labels(), 10, 0.1, 3)), [10; 10]);
        assert_eq!(counts(&choose(&labels(), 10, 1.0, 3)), [100; 10]);
    }

    #[test]
    fn the_seed_decides_and_nothing_else() {
        assert_eq!(choose(&labels(), 10, 0.1, 3), choose(&labels(), 10, 0.1, 3));
        assert_ne!(choose(&labels(), 10, 0.1, 3), choose(&labels(), 10, 0.1, 4));
    }

    #[test]
    fn a_smaller_share_is_part_of_a_larger_one() {
        let (small, large) = (choose(&labels(), 10, 0.01, 0), choose(&labels(), 10, 0.1, 0));
        assert_eq!((small.len(), large.len()), (10, 100));
        assert!(small.iter().all(|index| large.contains(index)));
    }

    #[test]
    fn a_class_is_never_left_without_a_label() {
        assert_eq!(counts(&choose(&labels(), 10, 0.001, 0)), [1; 10]);
        let note = note(1000, 0.001, 10).unwrap();
        assert!(note.contains("images is 1,") && note.contains("10 in all"), "{note}");
        assert_eq!(super::note(1000, 0.01, 10), None);
        assert_eq!(choose(&[2, 2, 0], 3, 0.01, 0).len(), 2, "a class without images has none");
    }

    #[test]
    fn a_rare_class_leaves_its_share_to_the_others() {
        let labels: Vec<u32> = (0..100).map(|index| u32::from(index < 3)).collect();
        let chosen = choose(&labels, 2, 0.2, 0);
        assert_eq!(chosen.len(), 20);
        assert_eq!(chosen.iter().filter(|&&index| labels[index] == 1).count(), 3);
    }
}
