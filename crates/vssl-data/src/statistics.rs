//! Measures the mean and the standard deviation of each channel of a set of images, by which they are normalised.
//! Called by `vssl data statistics`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::{
    DataError, Dataset, Normalisation, OnBadImage, PerChannel,
    check::BadImage,
    counted::counted,
    loader::{ReadImage, checked_image},
};

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// The number of images that were measured.
    pub images: usize,
    /// The number of their pixels. Every pixel counts alike, so large images count for more.
    pub pixels: u64,
    /// The mean and the standard deviation (over all pixels, divided by their number) of each channel on the scale 0 to
    /// 1.
    pub mean: Vec<f64>,
    /// The standard deviations.
    pub std: Vec<f64>,
    /// The images that cannot be read and were left out.
    pub left_out: Vec<BadImage>,
}

impl Statistics {
    /// The numbers rounded to four places, as recipes have them; `None` where a channel is the same everywhere, for
    /// nothing can be divided by its deviation.
    pub fn normalisation(&self) -> Option<Normalisation> {
        let round = |numbers: &[f64]| {
            let rounded = numbers.iter().map(|x| ((x * 1e4).round() / 1e4) as f32);
            PerChannel::of(&rounded.collect::<Vec<_>>()).ok()
        };
        let normalisation = Normalisation { mean: round(&self.mean)?, std: round(&self.std)? };
        normalisation.std.iter().all(|std| *std > 0.0).then_some(normalisation)
    }

    /// The channels, counted from 0, that are the same everywhere.
    pub fn flat(&self) -> Vec<usize> {
        let flat = self.std.iter().enumerate().filter(|(_, std)| **std < 0.5e-4);
        flat.map(|(channel, _)| channel).collect()
    }
}

/// How often each level of each channel occurs: sums of whole numbers, which do not depend on an order.
#[derive(Default)]
struct Levels {
    images: usize,
    counts: Vec<[u64; 256]>,
    left_out: Vec<BadImage>,
}

impl Levels {
    fn add(&mut self, values: &[u8], channels: usize) {
        self.images += 1;
        self.counts.resize(channels, [0; 256]);
        for pixel in values.chunks_exact(channels) {
            for (counts, &value) in self.counts.iter_mut().zip(pixel) {
                counts[usize::from(value)] += 1;
            }
        }
    }

    fn join(&mut self, mut other: Self) {
        self.images += other.images;
        self.left_out.append(&mut other.left_out);
        self.counts.resize(self.counts.len().max(other.counts.len()), [0; 256]);
        for (own, others) in self.counts.iter_mut().zip(&other.counts) {
            own.iter_mut().zip(others).for_each(|(own, other)| *own += other);
        }
    }

    fn statistics(mut self) -> Statistics {
        self.left_out.sort();
        let sum = |counts: &[u64; 256], of: fn(u64) -> u64| -> u128 {
            let levels = (0..).zip(counts);
            levels.map(|(level, &count)| u128::from(of(level)) * u128::from(count)).sum()
        };
        let pixels: u64 = self.counts.first().map_or(0, |counts| counts.iter().sum());
        let count = pixels as f64;
        let mean = |counts: &[u64; 256]| sum(counts, |level| level) as f64 / count;
        let std = |counts: &[u64; 256]| {
            // Exact until the division: n · Σv² − (Σv)².
            let total = sum(counts, |level| level);
            let spread = u128::from(pixels) * sum(counts, |level| level * level) - total * total;
            (spread as f64).sqrt() / count
        };
        Statistics {
            images: self.images,
            pixels,
            mean: self.counts.iter().map(|counts| mean(counts) / 255.0).collect(),
            std: self.counts.iter().map(|counts| std(counts) / 255.0).collect(),
            left_out: self.left_out,
        }
    }
}

/// Measures all images of `channels` channels with `workers` threads (at least one), and calls `progress` with the
/// number done after each. What is measured does not depend on the number of workers.
///
/// # Errors
/// The first image by its number that cannot be read, where it is not skipped; a set of which none can be read.
pub fn statistics(
    dataset: &dyn Dataset,
    channels: usize,
    on_bad_image: OnBadImage,
    workers: usize,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Statistics, DataError> {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let total = Mutex::new(Levels::default());
    thread::scope(|scope| {
        for _ in 0..workers.clamp(1, dataset.len().max(1)) {
            scope.spawn(|| {
                let mut levels = Levels::default();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= dataset.len() {
                        break;
                    }
                    look(dataset, index, channels, &mut levels);
                    if on_bad_image == OnBadImage::Stop && !levels.left_out.is_empty() {
                        next.store(dataset.len(), Ordering::Relaxed);
                    }
                    progress(done.fetch_add(1, Ordering::Relaxed) + 1);
                }
                total.lock().expect("no worker panics while it holds the lock").join(levels);
            });
        }
    });
    let levels = total.into_inner().expect("no worker panics while it holds the lock");
    let statistics = levels.statistics();
    match statistics.left_out.first() {
        Some(BadImage { index, name, what })
            if on_bad_image == OnBadImage::Stop || statistics.images == 0 =>
        {
            let (index, name, what) = (*index, name.clone(), what.clone());
            Err(DataError::BadImage { name, index, what })
        }
        _ if statistics.images == 0 => Err(DataError::Setting(format!(
            "there is no image of {}",
            counted(channels, "channel")
        ))),
        _ => Ok(statistics),
    }
}

fn look(dataset: &dyn Dataset, index: usize, channels: usize, levels: &mut Levels) {
    match checked_image(dataset, index, Some(channels)) {
        ReadImage::Good(image) => levels.add(&image.values, channels),
        ReadImage::Bad(error) => {
            let (name, what) = (dataset.name(index), error.of_image());
            levels.left_out.push(BadImage { index, name, what });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Image;

    /// Image `index` has `index + 1` pixels of two channels; image 3 cannot be read.
    struct Ramps;

    impl Dataset for Ramps {
        fn len(&self) -> usize {
            5
        }

        fn image(&self, index: usize) -> Result<Image, DataError> {
            if index == 3 {
                let (name, what) = (self.name(index), "damaged".to_owned());
                return Err(DataError::BadImage { name, index, what });
            }
            let values = (0..=index).flat_map(|at| [(at * 51) as u8, 7]).collect();
            Ok(Image { width: index + 1, height: 1, values })
        }

        fn labels(&self) -> Option<&[u32]> {
            None
        }

        fn classes(&self) -> &[String] {
            &[]
        }

        fn name(&self, index: usize) -> String {
            format!("ramp {index}")
        }
    }

    #[test]
    fn every_pixel_counts_alike_whatever_the_number_of_workers() {
        // Levels 0 to 4 in fifths of white: 4, 3, 2, 1 and 1 of them.
        let levels = [0.0, 0.0, 0.0, 0.0, 0.2, 0.2, 0.2, 0.4, 0.4, 0.6, 0.8];
        let count = levels.len() as f64;
        let mean = levels.iter().sum::<f64>() / count;
        let variance = levels.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
        for workers in [1, 2, 9] {
            let found = statistics(&Ramps, 2, OnBadImage::Skip, workers, &|_| {}).unwrap();
            assert_eq!((found.images, found.pixels, found.left_out.len()), (4, 11, 1));
            assert!((found.mean[0] - mean).abs() < 1e-12, "{found:?}");
            assert!((found.std[0] - variance.sqrt()).abs() < 1e-12, "{found:?}");
            assert_eq!((found.std[1], found.flat()), (0.0, vec![1]));
            assert_eq!(found.normalisation(), None);
        }
    }

    #[test]
    fn bad_images_and_those_of_other_channels_stop_it_by_name() {
        let stop = statistics(&Ramps, 2, OnBadImage::Stop, 2, &|_| {}).unwrap_err().to_string();
        assert_eq!(stop, "ramp 3 (image 3): damaged");
        let other = statistics(&Ramps, 3, OnBadImage::Skip, 2, &|_| {}).unwrap_err().to_string();
        assert!(
            other.contains("ramp 0") && other.contains("has 2 channels; expected 3"),
            "{other}"
        );
    }
}
