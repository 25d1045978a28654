//! How many images go through a network together when an encoder is used.
//!
//! Two things bound the number: memory, of which the images and their activations get half a gibibyte, so that
//! a process with its weights, its decoders and its output stays below one; and speed. A forward pass of few
//! images reads the weights too often; one of many images moves its activations through memory that is slower
//! than the caches, and makes the decoders and the network wait for each other at the beginning and at the end.

use burn::tensor::Device;
use vssl_data::EvaluationPlan;
use vssl_kernels::accelerates;

use crate::backbone::BackboneConfig;

/// The bytes of the pixels and activations of a forward pass, and of the batches that wait.
const ROOM: usize = 512 << 20;
/// The batches of pixels in memory at once that there is room for in any case, if a batch has several images.
const BATCHES: usize = 6;
/// The batches in memory beside those that wait or are in the making: one in the network, and one that was
/// returned.
const BESIDE: usize = 2;
/// The bytes of activations of a forward pass from which on more images make it no faster. Measured on two
/// cores of a Xeon with AVX-512, the best of three runs in turn: ResNet-18 at 224 × 224 ran at 107, 108, 109
/// and 106 images/s with 8, 16, 24 and 33 images, ResNet-50 at 34, 33, 35 and 36 with 4, 8, 12 and 16; ResNet-18
/// with the stem for small images at 399, 533, 567, 545 and 541 with 16, 32, 64, 98 and 256 of 32 × 32.
const FAST: usize = 96 << 20;
/// The largest number of images of a forward pass, and the number on other devices.
const MOST: usize = 256;

/// Returns how many images of `size` × `size` pixels and so many channels go through a network together.
pub(crate) fn images_of_a_pass(
    config: &BackboneConfig,
    (size, channels): (usize, usize),
    device: &Device,
) -> usize {
    if !accelerates(device) {
        return MOST;
    }
    let activations = config.inference_bytes(size);
    let fit = ROOM / activations.saturating_add(pixels(size, channels).saturating_mul(BATCHES));
    (FAST / activations).min(fit).clamp(1, MOST)
}

/// Returns `plan` with as many workers and waiting batches as there is room for, at least one of each. Each worker
/// makes a batch of its own, so many cores would take much memory. Other devices hold the activations themselves,
/// and their batches are as large as they are for speed: there the plan stays as it is.
pub(crate) fn within_room(
    plan: EvaluationPlan,
    config: &BackboneConfig,
    device: &Device,
) -> EvaluationPlan {
    if !accelerates(device) {
        return plan;
    }
    let size = plan.transform.crop;
    let activations = config.inference_bytes(size).saturating_mul(plan.batch);
    let pixels = pixels(size, plan.normalisation.channels());
    let batches = ROOM.saturating_sub(activations) / pixels.saturating_mul(plan.batch).max(1);
    let waiting = batches.saturating_sub(BESIDE).max(1);
    EvaluationPlan {
        workers: plan.workers.min(waiting),
        prefetch: plan.prefetch.min(waiting),
        ..plan
    }
}

/// The bytes of the pixels of one image.
fn pixels(size: usize, channels: usize) -> usize {
    size.saturating_mul(size).saturating_mul(channels * size_of::<f32>())
}

#[cfg(test)]
mod tests {
    use vssl_data::{EvaluationTransform, OnBadImage, dataset::Format};

    use super::*;
    use crate::backbone::{Architecture, ResnetConfig, Stem};

    #[test]
    fn no_size_of_images_takes_more_than_its_room_and_every_size_gets_an_image() {
        for architecture in Architecture::ALL {
            let config = BackboneConfig::of(architecture);
            let mut last = MOST;
            for size in [16, 32, 64, 96, 128, 224, 384, 512, 1024, 4096] {
                let batch = images_of_a_pass(&config, (size, 3), &Device::flex());
                assert!((1..=last).contains(&batch), "{architecture:?}, {size}: {batch}");
                let pixels = size * size * 12 * BATCHES;
                let bytes = batch * (config.inference_bytes(size) + pixels);
                assert!(batch == 1 || bytes <= ROOM, "{architecture:?}, {size}: {bytes}");
                last = batch;
            }
        }
    }

    fn plan(batch: usize, size: usize, workers: usize, prefetch: usize) -> EvaluationPlan {
        EvaluationPlan {
            transform: EvaluationTransform { resize: None, crop: size },
            normalisation: Format::Folder.normalisation(),
            batch,
            workers,
            prefetch,
            on_bad_image: OnBadImage::Stop,
        }
    }

    #[test]
    fn many_cores_take_no_more_memory_than_the_room() {
        let device = Device::flex();
        for architecture in Architecture::ALL {
            let config = BackboneConfig::of(architecture);
            for size in [16, 32, 96, 224, 384, 512, 4096] {
                let batch = images_of_a_pass(&config, (size, 3), &device);
                for (workers, prefetch) in [(64, 2), (256, 2), (2, 300), (1, 1), (0, 2)] {
                    let got = within_room(plan(batch, size, workers, prefetch), &config, &device);
                    let case = format!("{architecture:?}, {size}, {workers}, {prefetch}: {got:?}");
                    assert!(got.workers >= workers.min(1) && got.workers <= workers, "{case}");
                    assert!((1..=prefetch).contains(&got.prefetch), "{case}");
                    let batches = got.workers.max(got.prefetch) + BESIDE;
                    let bytes = batch * (config.inference_bytes(size) + batches * size * size * 12);
                    let is_least = got.workers <= 1 && got.prefetch == 1;
                    assert!(bytes <= ROOM || is_least, "{case}: {bytes}");
                }
            }
        }
    }

    #[test]
    fn a_few_cores_all_read() {
        let device = Device::flex();
        let config = BackboneConfig::of(Architecture::Resnet18);
        for size in [32, 224] {
            let batch = images_of_a_pass(&config, (size, 3), &device);
            let got = within_room(plan(batch, size, 16, 2), &config, &device);
            assert_eq!((got.workers, got.prefetch), (16, 2), "{size}");
        }
    }

    #[test]
    fn the_book_names_the_numbers_that_are_chosen() {
        let cifar = ResnetConfig { stem: Stem::Cifar, ..ResnetConfig::default() }.into();
        for (config, size, images) in [
            (BackboneConfig::of(Architecture::Resnet18), 224, 25),
            (BackboneConfig::of(Architecture::Resnet50), 224, 8),
            (cifar, 32, 76),
        ] {
            assert_eq!(images_of_a_pass(&config, (size, 3), &Device::flex()), images, "{config:?}");
        }
    }

    #[test]
    fn usual_encoders_get_some_dozens_of_images() {
        let cifar = ResnetConfig { stem: Stem::Cifar, ..ResnetConfig::default() }.into();
        for (config, size) in [
            (BackboneConfig::of(Architecture::Resnet18), 224),
            (BackboneConfig::of(Architecture::Resnet50), 224),
            (BackboneConfig::of(Architecture::VitSmall), 224),
            (cifar, 32),
        ] {
            let batch = images_of_a_pass(&config, (size, 3), &Device::flex());
            assert!((8..=MOST).contains(&batch), "{config:?}: {batch}");
        }
    }
}
