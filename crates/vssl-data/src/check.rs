//! Reads every image once and reports those that cannot be used. Called by `vssl data check`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::{
    Dataset,
    loader::{ReadImage, checked_image},
};

/// What [`check`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Number of images, good and bad.
    pub images: usize,
    /// Images that cannot be used, by ascending index.
    pub bad: Vec<BadImage>,
    /// Range of the sides of the good images; `None` when every image is bad.
    pub sizes: Option<Sizes>,
    /// The good images with 16 bits a sample; `None` when there are none.
    pub sixteen_bits: Option<SixteenBits>,
}

/// What the images have in common that are stored with 16 bits a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SixteenBits {
    /// The number of these images.
    pub images: usize,
    /// The largest sample of them.
    pub largest: u16,
}

impl SixteenBits {
    /// The least number of bits that hold the largest sample, 8 to 16: what `data.bits_used` can be without
    /// a sample being cut off.
    pub fn bits(self) -> u32 {
        (16 - self.largest.leading_zeros()).max(8)
    }
}

/// One image that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BadImage {
    /// Its index in the dataset.
    pub index: usize,
    /// Name of the image in the dataset.
    pub name: String,
    /// Why it cannot be used.
    pub what: String,
}

/// Smallest and largest sides of a set of images, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Least and greatest number of columns.
    pub width: (usize, usize),
    /// Least and greatest number of rows.
    pub height: (usize, usize),
}

impl Sizes {
    fn of(width: usize, height: usize) -> Self {
        Self { width: (width, width), height: (height, height) }
    }

    fn join(self, other: Self) -> Self {
        let wider = |a: (usize, usize), b: (usize, usize)| (a.0.min(b.0), a.1.max(b.1));
        Self { width: wider(self.width, other.width), height: wider(self.height, other.height) }
    }
}

impl Report {
    /// The names of the classes of `dataset`, which was checked, that have images and none that can be used.
    pub fn lost_classes(&self, dataset: &dyn Dataset) -> Vec<String> {
        let labels = dataset.labels().unwrap_or_default();
        let mut good = vec![0_usize; dataset.classes().len()];
        labels.iter().for_each(|&label| good[label as usize] += 1);
        let has_images: Vec<bool> = good.iter().map(|&images| images > 0).collect();
        for bad in self.bad.iter().filter(|_| !labels.is_empty()) {
            good[labels[bad.index] as usize] -= 1;
        }
        let classes = dataset.classes().iter().zip(good.into_iter().zip(has_images));
        classes
            .filter(|(_, (good, had))| *had && *good == 0)
            .map(|(name, _)| name.clone())
            .collect()
    }

    fn join(mut self, mut other: Self) -> Self {
        self.images += other.images;
        self.bad.append(&mut other.bad);
        self.sizes = match (self.sizes, other.sizes) {
            (Some(a), Some(b)) => Some(a.join(b)),
            (a, b) => a.or(b),
        };
        self.sixteen_bits = match (self.sixteen_bits, other.sixteen_bits) {
            (Some(a), Some(b)) => {
                Some(SixteenBits { images: a.images + b.images, largest: a.largest.max(b.largest) })
            }
            (a, b) => a.or(b),
        };
        self
    }
}

/// Reads all images with `workers` threads (at least one), and calls `progress` with the number
/// done after each. The report does not depend on the number of workers.
pub fn check(dataset: &dyn Dataset, workers: usize, progress: &(dyn Fn(usize) + Sync)) -> Report {
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Report::default());
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..workers.clamp(1, dataset.len().max(1)) {
            scope.spawn(|| {
                let mut report = Report::default();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= dataset.len() {
                        break;
                    }
                    look(dataset, index, &mut report);
                    progress(done.fetch_add(1, Ordering::Relaxed) + 1);
                }
                let mut total = total.lock().expect("no worker panics while it holds the lock");
                *total = std::mem::take(&mut *total).join(report);
            });
        }
    });
    let mut report = total.into_inner().expect("no worker panics while it holds the lock");
    report.bad.sort();
    report
}

fn look(dataset: &dyn Dataset, index: usize, report: &mut Report) {
    report.images += 1;
    match checked_image(dataset, index, None) {
        ReadImage::Good(image) => {
            let size = Sizes::of(image.width, image.height);
            report.sizes = Some(report.sizes.map_or(size, |sizes| sizes.join(size)));
            if let Some(largest) = dataset.largest_of_sixteen_bits(index) {
                let so_far = report.sixteen_bits.unwrap_or(SixteenBits { images: 0, largest: 0 });
                report.sixteen_bits = Some(SixteenBits {
                    images: so_far.images + 1,
                    largest: so_far.largest.max(largest),
                });
            }
        }
        ReadImage::Bad(error) => {
            let (name, what) = (dataset.name(index), error.of_image());
            report.bad.push(BadImage { index, name, what });
        }
    }
}
