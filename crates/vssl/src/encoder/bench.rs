//! Measures how fast a set of images becomes features, from files to vectors, as everything that uses a finished
//! encoder does it. Called by `vssl bench embed`.

use std::{sync::Arc, time::Instant};

use burn::{module::Module, tensor::Device};
use vssl_data::{Dataset, dataset::Format};

use super::{Encoder, EncoderError, Input, Reading};
use crate::{
    backbone::{Backbone, BackboneConfig},
    layers::{
        Init,
        budget::{self, TooLarge},
    },
    run::space,
};

/// The seed of the weights.
const SEED: u64 = 0;

/// The result of a benchmark.
#[derive(Clone, Copy, Debug)]
pub struct EmbedSpeed {
    /// The number of images that became features.
    pub images: usize,
    /// The number of images of a forward pass.
    pub batch: usize,
    /// The seconds from the first file to the last feature, with what is done once for an encoder.
    pub seconds: f64,
    /// The largest resident memory of the process so far, where the system tells it.
    pub peak_rss_mib: Option<u64>,
}

/// Returns an encoder with random weights for photographs, of which it sees squares of `size` pixels.
///
/// # Errors
/// The network does not fit into the memory of the machine.
pub fn random(config: BackboneConfig, size: usize, device: &Device) -> Result<Encoder, TooLarge> {
    let backbone = budget::fitted(|| Backbone::new(&config, &Init::new(device, SEED)))?.no_grad();
    Ok(Encoder {
        backbone: backbone.into(),
        config,
        input: Input::new(size, Format::Folder, Format::Folder.normalisation()),
        path: "random".into(),
        recipe: None,
        network: None,
        step: None,
        loss_head: None,
        pooling: None,
        device: device.clone(),
    })
}

/// Computes the features of all images in batches of `batch`, or as many as [`Encoder::batch`] says.
///
/// # Errors
/// An image cannot be read.
pub fn run(
    encoder: &Encoder,
    images: &Arc<dyn Dataset>,
    batch: Option<usize>,
    reading: &Reading,
) -> Result<EmbedSpeed, EncoderError> {
    // A pass cannot have more images than there are.
    let batch = batch.unwrap_or_else(|| encoder.batch()).min(images.len().max(1));
    let (began, mut rows) = (Instant::now(), 0);
    encoder.each_batch_of::<EncoderError>(batch, images, reading, |_, features| {
        rows += features.rows;
        Ok(())
    })?;
    let (seconds, peak_rss_mib) = (began.elapsed().as_secs_f64(), space::peak_rss_mib());
    Ok(EmbedSpeed { images: rows, batch, seconds, peak_rss_mib })
}

#[cfg(test)]
mod tests {
    use vssl_data::bench::Noise;

    use super::*;
    use crate::{backbone::WideResnetConfig, tensors::reading};

    #[test]
    fn more_images_than_a_forward_pass_takes_have_the_features_of_each_alone() {
        let (size, device) = (128, Device::flex());
        let encoder = random(WideResnetConfig { widen: 1 }.into(), size, &device).unwrap();
        let count = encoder.batch() + 1;
        let image = size * size * 3;
        let pixels: Vec<f32> = (0..count * image).map(|at| (at * 7919 % 1009) as f32).collect();
        let together = reading::rows(encoder.embed_on_device(&pixels, count));
        for (pixels, features) in pixels.chunks(image).zip(together.chunks(64)).skip(count - 3) {
            assert_eq!(encoder.embed(pixels, 1).values, features);
        }
    }

    #[test]
    fn every_image_is_counted_and_a_batch_is_as_large_as_asked_for_or_as_the_set() {
        let encoder = random(WideResnetConfig { widen: 1 }.into(), 8, &Device::flex()).unwrap();
        let images: Arc<dyn Dataset> = Arc::new(Noise::new(5, 8));
        assert!(encoder.batch() > 5);
        for (batch, used) in [(Some(2), 2), (Some(100), 5), (None, 5)] {
            let speed = run(&encoder, &images, batch, &Reading::default()).unwrap();
            assert_eq!((speed.images, speed.batch), (5, used));
            assert!(speed.seconds > 0.0);
        }
    }
}
