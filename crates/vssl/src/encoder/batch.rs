//! How many images go through a network together when an encoder is used.
//!
//! Two things bound the number: memory, of which the images and their activations get half a gibibyte, so that
//! a process with its weights, its decoders and its output stays below one; and speed. A forward pass of few
//! images reads the weights too often; one of many images moves its activations through memory that is slower
//! than the caches, and makes the decoders and the network wait for each other at the beginning and at the end.

use burn::tensor::Device;
use vssl_kernels::accelerates;

use crate::backbone::BackboneConfig;

/// The bytes of the pixels and activations of a forward pass, and of the batches that wait.
const ROOM: usize = 512 << 20;
/// The batches of pixels in memory at once: one in the network, one that was returned, and those that wait.
const BATCHES: usize = 6;
/// The bytes of activations of a forward pass from which on more images make it no faster. Measured on two
/// cores of a Xeon with AVX-512, the best of three runs in turn: ResNet-18 at 224 × 224 ran at 107, 108, 109
/// and 106 images/s with 8, 16, 24 and 33 images, ResNet-50 at 34, 33, 35 and 36 with 4, 8, 12 and 16; ResNet-18
/// with the stem for small images at 399, 533, 567, 545 and 541 with 16, 32, 64, 98 and 256 of 32 × 32.
const FAST: usize = 96 << 20;
/// The largest number of images of a forward pass, and the number on other devices.
const MOST: usize = 256;

/// Returns how many images of `size` × `size` pixels go through a network together.
pub(crate) fn images_of_a_pass(config: &BackboneConfig, size: usize, device: &Device) -> usize {
    if !accelerates(device) {
        return MOST;
    }
    let activations = config.inference_bytes(size);
    let pixels = size.saturating_mul(size).saturating_mul(3 * size_of::<f32>());
    let fit = ROOM / activations.saturating_add(pixels.saturating_mul(BATCHES));
    (FAST / activations).min(fit).clamp(1, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbone::{Architecture, ResnetConfig, Stem};

    const ALL: [Architecture; 7] = [
        Architecture::Resnet18,
        Architecture::Resnet34,
        Architecture::Resnet50,
        Architecture::WideResnet28,
        Architecture::VitTiny,
        Architecture::VitSmall,
        Architecture::VitBase,
    ];

    #[test]
    fn no_size_of_images_takes_more_than_its_room_and_every_size_gets_an_image() {
        for architecture in ALL {
            let config = BackboneConfig::of(architecture);
            let mut last = MOST;
            for size in [16, 32, 64, 96, 128, 224, 384, 512, 1024, 4096] {
                let batch = images_of_a_pass(&config, size, &Device::flex());
                assert!((1..=last).contains(&batch), "{architecture:?}, {size}: {batch}");
                let pixels = size * size * 12 * BATCHES;
                let bytes = batch * (config.inference_bytes(size) + pixels);
                assert!(batch == 1 || bytes <= ROOM, "{architecture:?}, {size}: {bytes}");
                last = batch;
            }
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
            let batch = images_of_a_pass(&config, size, &Device::flex());
            assert!((8..=MOST).contains(&batch), "{config:?}: {batch}");
        }
    }
}
