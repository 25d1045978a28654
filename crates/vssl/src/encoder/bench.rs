//! Measures how fast a set of images becomes features, from files to vectors, as everything that uses a finished
//! encoder does it. Called by `vssl bench embed`.

use std::{sync::Arc, time::Instant};

use burn::{module::Module, tensor::Device};
use vssl_data::{Dataset, dataset::Format};

use super::{Encoder, EncoderError, Input, Prepared, Reading};
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
        backbone,
        config,
        input: Input::new(size, Format::Folder, Format::Folder.normalisation()),
        path: "random".into(),
        recipe: None,
        network: None,
        step: None,
        device: device.clone(),
        prepared: Prepared::default(),
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
    let batch = batch.unwrap_or_else(|| encoder.batch());
    let (began, mut rows) = (Instant::now(), 0);
    encoder.each_batch_of::<EncoderError>(batch, images, reading, |_, features| {
        rows += features.rows;
        Ok(())
    })?;
    let (seconds, peak_rss_mib) = (began.elapsed().as_secs_f64(), space::peak_rss_mib());
    Ok(EmbedSpeed { images: rows, batch, seconds, peak_rss_mib })
}
