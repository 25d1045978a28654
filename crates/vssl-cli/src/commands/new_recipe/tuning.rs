//! Optimiser, rates and views of each method, after solo-learn's CIFAR recipes.

/// How the two views of an image differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pair {
    /// One view, only cropped and flipped, for methods that hide parts of it.
    Single,
    /// Two views of one group, with the colours of MoCo.
    Symmetric,
    /// Two views of one group, with the strong colours of SimCLR.
    Strong,
    /// Two groups, of which the second is solarised with some probability, as in BYOL.
    Asymmetric,
    /// Two groups, of which the second is only cropped and flipped, as in ReSSL.
    WeakSecond,
}

/// Optimiser, its base rate at batch 256 and its weight decay, and the views.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tuning {
    pub(super) optimizer: &'static str,
    pub(super) lr: f64,
    pub(super) weight_decay: f64,
    pub(super) pair: Pair,
    /// Decay of the mean squared gradient, for Adam.
    pub(super) beta2: f64,
    /// Parameters whose rate is another one.
    pub(super) exception: Option<(&'static str, Exception)>,
    /// The rate of the first step.
    pub(super) start: f64,
    /// The rate that the cosine runs to.
    pub(super) min: f64,
    /// Where these settings come from.
    pub(super) source: &'static str,
}

/// How the rate of some parameters differs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Exception {
    /// It does not follow the schedule.
    Constant,
    /// It is this share of the others'.
    Factor(f64),
}

/// Share of the rate for an encoder that was trained before.
const GENTLE: f64 = 0.3;

/// The tuning for the method `name`; a method that is not in the table gets BYOL's. `goes_on` says whether the encoder
/// was trained before.
pub(super) fn of(name: &str, goes_on: bool) -> Tuning {
    let (optimizer, lr, weight_decay, pair) = match name {
        "barlow" | "vibcreg" | "vicreg" => ("lars", 0.3, 1e-4, Pair::Asymmetric),
        "deepclusterv2" | "swav" => ("lars", 0.6, 1e-6, Pair::Strong),
        "dinov2" | "ibot" => ("adamw", 5e-4, 0.04, Pair::Asymmetric),
        "dino" | "mocov3" => ("lars", 0.3, 1e-6, Pair::Asymmetric),
        "distill" => ("sgd", 0.03, 1e-4, Pair::Symmetric),
        "ijepa" => ("adamw", 1.25e-4, 0.04, Pair::Single),
        "lejepa" => ("adamw", 5e-4, 5e-4, Pair::Symmetric),
        "mae" => ("adamw", 2e-4, 0.05, Pair::Single),
        "mocov2plus" => ("sgd", 0.3, 1e-4, Pair::Symmetric),
        "nnclr" => ("lars", 0.4, 1e-5, Pair::Asymmetric),
        "ressl" => ("sgd", 0.05, 1e-4, Pair::WeakSecond),
        "simclr" => ("lars", 0.4, 1e-4, Pair::Strong),
        "supcon" => ("sgd", 0.4, 1e-5, Pair::Strong),
        "nnsiam" => ("sgd", 0.5, 1e-5, Pair::Asymmetric),
        "simsiam" => ("sgd", 0.5, 1e-5, Pair::Symmetric),
        "wmse" => ("adam", 0.002, 1e-6, Pair::Strong),
        _ => ("lars", 1.0, 1e-5, Pair::Asymmetric),
    };
    let exception = match name {
        "nnsiam" | "simsiam" => Some(("predictor.*", Exception::Constant)),
        "all4one" => Some(("transformer_encoder.*", Exception::Factor(0.1))),
        _ => None,
    };
    let (start, min) = match name {
        "ijepa" => (2.5e-5, 1.25e-7),
        "dinov2" | "ibot" => (0.0, 1e-6),
        "lejepa" => (5e-6, 5e-7),
        "wmse" => (0.0, 0.0),
        _ => (3e-5, 0.0),
    };
    let beta2 = if name == "mae" { 0.95 } else { 0.999 };
    let source = match name {
        "distill" => "The rate is that of SEED.",
        "ijepa" => "Rates are those of the authors' recipe for ImageNet.",
        "dinov2" | "ibot" => {
            "Rates are those of iBOT's program; views are those of solo-learn's CIFAR recipes."
        }
        "lejepa" => "Rates are those that the authors of LeJEPA recommend for ResNets.",
        _ => "Rates and views are those of solo-learn's CIFAR recipes.",
    };
    let lr = if goes_on { two_digits(lr * GENTLE) } else { lr };
    Tuning { optimizer, lr, weight_decay, pair, beta2, exception, start, min, source }
}

/// Rounds to two digits: 0.3 · 0.4 is not 0.12 in binary numbers.
fn two_digits(x: f64) -> f64 {
    format!("{x:.1e}").parse().expect("a number in scientific notation")
}

/// Largest power of two that is at most 256 and leaves four batches in an epoch, at least 2.
pub(super) fn batch(images: usize) -> usize {
    let most = (images / 4).clamp(2, 256);
    1 << most.ilog2()
}

/// Epochs in which about two million images are seen, from 20 to 500; a tenth of these, from 20 to 50, where the encoder
/// was trained before (`goes_on`).
pub(super) fn epochs(images: usize, goes_on: bool) -> usize {
    let seen = 2_000_000 / images.max(1);
    let epochs = if goes_on { (seen / 10).clamp(20, 50) } else { seen.clamp(20, 500) };
    epochs / 10 * 10
}

/// Side of the views for images whose shorter side is `side`: sizes that the strides of a ResNet
/// divide, not larger than the images where these are small.
pub(super) fn view_size(side: usize) -> usize {
    match side {
        0..=47 => side.max(8),
        48..=127 => side / 16 * 16,
        128..=191 => 128,
        _ => 224,
    }
}

/// Sides of the views and of their patches for images whose shorter side is `side`: at least seven patches a side.
pub(super) fn cut(side: usize) -> (usize, usize) {
    let size = view_size(side);
    let patch = 1 << (size / 7).clamp(1, 16).ilog2();
    (size / patch * patch, patch)
}

/// The default of a setting of `method`, reduced where there are too few images for it.
pub(super) fn fitted(method: &str, key: &str, default: i64, images: usize, batch: usize) -> i64 {
    let (images, batch) = (images as i64, batch as i64);
    if key.ends_with("queue") && default > 0 {
        // The queue holds as many whole batches as the images fill.
        let least = if method == "all4one" { (5 + batch - 1) / batch } else { 1 };
        (default.min(images) / batch).max(least) * batch
    } else if key == "whitening_size" {
        default.min(batch)
    } else if method == "wmse" && key == "dim" {
        // A group of images that is whitened has more images than columns.
        default.min(batch / 2).max(2)
    } else if method == "dinov2" && key == "prototypes" {
        // The 65536 of the default are for millions of images.
        default.min(8192)
    } else if key.ends_with("prototypes") && !["dino", "ibot"].contains(&method) {
        // A cluster has ten images at least; the outputs of DINO and iBOT are not clusters.
        default.min((images / 10).max(2))
    } else {
        default
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_a_power_of_two_within_the_images() {
        for (images, expected) in
            [(2, 2), (3, 2), (15, 2), (16, 4), (120, 16), (1000, 128), (1024, 256), (1 << 20, 256)]
        {
            assert_eq!(batch(images), expected, "{images} images");
        }
    }

    #[test]
    fn views_are_no_larger_than_small_images() {
        for (side, expected) in
            [(4, 8), (28, 28), (32, 32), (64, 64), (100, 96), (150, 128), (3000, 224)]
        {
            assert_eq!(view_size(side), expected, "{side} pixels");
        }
    }

    #[test]
    fn patches_cut_a_view_without_a_rest_into_seven_a_side_or_more() {
        for (side, expected) in [
            (4, (8, 1)),
            (28, (28, 4)),
            (31, (28, 4)),
            (32, (32, 4)),
            (64, (64, 8)),
            (3000, (224, 16)),
        ] {
            assert_eq!(cut(side), expected, "{side} pixels");
        }
        assert!((1..400).map(cut).all(|(size, patch)| size % patch == 0 && size / patch >= 7));
    }

    #[test]
    fn queues_are_whole_batches_and_clusters_have_members() {
        assert_eq!(fitted("nnclr", "queue", 65536, 1000, 128), 896);
        assert_eq!(fitted("nnclr", "queue", 65536, 3, 2), 2);
        assert_eq!(fitted("mocov2plus", "queue", 32768, 50000, 256), 32768);
        assert_eq!(fitted("swav", "queue", 0, 1000, 128), 0);
        assert_eq!(fitted("swav", "prototypes", 3000, 1000, 128), 100);
        assert_eq!(fitted("dino", "prototypes", 4096, 1000, 128), 4096);
        assert_eq!(fitted("ibot", "prototypes", 8192, 1000, 128), 8192);
        assert_eq!(fitted("dinov2", "prototypes", 65536, 1000, 128), 8192);
        assert_eq!(fitted("byol", "dim", 256, 10, 2), 256);
        assert_eq!(fitted("all4one", "queue", 98304, 3, 2), 6);
        assert_eq!(["whitening_size", "dim"].map(|key| fitted("wmse", key, 128, 70, 16)), [16, 8]);
    }

    #[test]
    fn an_encoder_that_was_trained_before_goes_on_at_a_third_of_the_rate() {
        for (name, rate) in [("simclr", 0.12), ("wmse", 6e-4), ("lejepa", 1.5e-4)] {
            assert_eq!(of(name, true).lr, rate, "{name}");
        }
    }

    #[test]
    fn epochs_shrink_as_sets_grow() {
        let of = |goes_on: bool| [10, 50_000, 10_000_000].map(|images| epochs(images, goes_on));
        assert_eq!(of(false), [500, 40, 20]);
        assert_eq!(of(true), [50, 20, 20]);
    }
}
