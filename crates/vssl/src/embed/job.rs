//! From images to a file of their features, block by block. Called by `vssl embed`.

use std::{path::Path, sync::Arc};

use burn::tensor::Tensor;
use vssl_data::{DataError, Dataset, EvaluationLoader};

use super::{
    Block, EmbedError, Form, Layout, Origin, PosteriorBlock, PosteriorLayout, Rows,
    columns::Columns, numpy::Numpy, tensors::Tensors, text::Text,
};
use crate::{
    encoder::{
        Encoder, EncoderError, Reading,
        images::{OwnMemory, features},
    },
    method::learner::Network,
    posterior::{self, Posteriors},
    run::stop::Stop,
};

/// Which features are to be written.
pub struct Job<'a> {
    /// The encoder that makes the features.
    pub encoder: &'a Encoder,
    /// The networks of the same run and checkpoint, when the posterior is wanted too.
    pub posteriors: Option<&'a Posteriors>,
    /// Which copy of the run's encoder `encoder` is. The posterior is always the student's.
    pub network: Network,
    /// The images.
    pub images: Arc<dyn Dataset>,
    /// Where the encoder and the images come from.
    pub origin: Origin,
    /// How images are read.
    pub reading: Reading,
    /// Images of one forward pass; `None` for as many as [`Encoder::batch`] says.
    pub batch: Option<usize>,
    /// Whether the patch tokens of a transformer are written as well.
    pub tokens: bool,
    /// This is asked after each forward pass.
    pub stop: Stop,
}

/// What was written.
#[derive(Debug)]
pub struct Embedded {
    /// Images in the file.
    pub rows: usize,
    /// Images that could not be read and were left out.
    pub left_out: usize,
    /// Numbers in a feature.
    pub dim: usize,
    /// What the file has of the posterior.
    pub posterior: Option<PosteriorLayout>,
    /// Whether the file has the loss that the encoder's head predicts.
    pub predicted_loss: bool,
}

/// Writes the features of all images of `job` to `to`, which is replaced only when the new file is
/// whole. `progress` is told how many images are done, and which images were left out.
///
/// Memory: the batches that wait, one block of rows, and for Parquet a row group of 16 MiB.
///
/// # Errors
/// Images that cannot be read, numbers that are not finite, a file that cannot be written; a stop that
/// was asked for.
pub fn embed(
    job: &Job<'_>,
    to: &Path,
    form: Form,
    progress: &mut dyn FnMut(usize, &[DataError]),
) -> Result<Embedded, EmbedError> {
    job.check_tokens(form)?;
    let mut plan = job.encoder.plan(&job.reading);
    plan.batch = job.batch().min(job.images.len()).max(1);
    // Before the long part: a place that cannot be written to.
    drop(super::partial::Partial::create(to)?);
    let data = |error: DataError| EmbedError::from(EncoderError::from(error));
    let images = job.images.len();
    let _memory = OwnMemory::begin();
    let loader = EvaluationLoader::new(Arc::clone(&job.images), plan).map_err(data)?;
    let mut file: Option<(Layout, Box<dyn Rows>)> = None;
    let (mut done, mut rows, mut last) = (0, 0, None);
    for batch in loader {
        let mut batch = batch.map_err(data)?;
        done += batch.indices.len() + batch.left_out.len();
        if !batch.indices.is_empty() {
            let (block, dim, posterior) = job.block(&batch.indices, &batch.pixels);
            let (layout, file) = match &mut file {
                Some(file) => file,
                None => {
                    let layout = job.layout(dim, posterior);
                    let rows = create(to, form, layout.clone())?;
                    file.insert((layout, rows))
                }
            };
            block.check(layout)?;
            file.write(&block)?;
            rows += batch.indices.len();
        }
        progress(done, &batch.left_out);
        last = batch.left_out.pop().or(last);
        if job.stop.requested() && done < images {
            return Err(EmbedError::Stopped { done, images, path: to.to_owned() });
        }
    }
    let Some((layout, file)) = file else {
        let last = last.map_or_else(|| "the set is empty".to_owned(), |error| error.to_string());
        return Err(EmbedError::Nothing { images, last });
    };
    file.finish()?;
    let Layout { dim, posterior, predicted_loss, .. } = layout;
    Ok(Embedded { rows, left_out: images - rows, dim, posterior, predicted_loss })
}

/// A file of `form` that takes blocks of the shape `layout` and gets the name `to` when it is finished.
///
/// # Errors
/// A place that cannot be written to.
pub fn create(to: &Path, form: Form, layout: Layout) -> Result<Box<dyn Rows>, EmbedError> {
    Ok(match form {
        Form::Parquet => Box::new(Columns::create(to, layout)?),
        Form::Csv => Box::new(Text::create(to, layout)?),
        Form::Npy => Box::new(Numpy::create(to, layout)?),
        Form::Safetensors => Box::new(Tensors::create(to, layout)?),
    })
}

impl Job<'_> {
    /// Returns the number of images of one forward pass.
    pub fn batch(&self) -> usize {
        self.batch.unwrap_or_else(|| self.encoder.batch())
    }

    /// Checks that there are patch tokens, if they are wanted, and that the format has a place for them.
    fn check_tokens(&self, form: Form) -> Result<(), EmbedError> {
        match (self.tokens, self.encoder.config.vit(), form) {
            (false, ..) | (true, Some(_), Form::Npy | Form::Safetensors) => Ok(()),
            (true, None, _) => Err(EmbedError::NoTokens {
                architecture: self.encoder.config.architecture().name(),
            }),
            (true, Some(_), _) => Err(EmbedError::NoRoomForTokens),
        }
    }

    /// The number of patches of an image, and of the numbers of each.
    fn token_layout(&self) -> Option<[usize; 2]> {
        let vit = self.encoder.config.vit().filter(|_| self.tokens)?;
        Some([(self.encoder.input.size / vit.patch).pow(2), vit.width()])
    }

    /// Rows, numbers in a feature, and what the posterior consists of.
    fn block(&self, indices: &[usize], pixels: &[f32]) -> (Block, usize, Option<PosteriorLayout>) {
        let images = &*self.images;
        let known = images.labels();
        let mut block = Block {
            images: indices.iter().map(|&index| index as i64).collect(),
            paths: indices.iter().map(|&index| self.origin.relative(images, index)).collect(),
            labels: known.map(|known| indices.iter().map(|&at| i64::from(known[at])).collect()),
            ..Block::default()
        };
        let whole = self.tokens.then(|| self.encoder.embed_with_tokens(pixels, indices.len()));
        let (own, tokens) = whole.flatten().unzip();
        block.tokens = tokens;
        let Some(posteriors) = self.posteriors else {
            let part = own.unwrap_or_else(|| self.encoder.embed(pixels, indices.len()));
            block.predicted_loss = self.encoder.predicted_losses(&part);
            block.features = part.values;
            return (block, part.dim, None);
        };
        let all = posteriors.of(pixels, indices.len());
        let layout = PosteriorLayout {
            dim: all.student.gaussian.mean.dims()[1],
            free_variance: all.free_variance,
        };
        let numbers = |x: Tensor<2>| features(x).values;
        let uncertainty = posterior::score(&all).unsqueeze_dim(1); // [n] -> [n, 1]
        let of = if self.network == Network::Teacher { all.teacher } else { all.student.clone() };
        let part = match self.encoder.pooling {
            None => features(of.features),
            // The posterior is of the network's own feature.
            Some(_) => own.unwrap_or_else(|| self.encoder.embed(pixels, indices.len())),
        };
        block.predicted_loss = self.encoder.predicted_losses(&part);
        block.features = part.values;
        block.posterior = Some(PosteriorBlock {
            mean: numbers(all.student.gaussian.mean),
            variance: numbers(all.student.gaussian.variance),
            uncertainty: numbers(uncertainty),
        });
        (block, part.dim, Some(layout))
    }

    fn layout(&self, dim: usize, posterior: Option<PosteriorLayout>) -> Layout {
        let (images, origin) = (&*self.images, &self.origin);
        let mut origin = origin.clone();
        origin.classes = images.classes().to_vec();
        origin.uncertainty = posterior.map(|_| posterior::SCORE.to_owned());
        let path = |index| origin.relative(images, index).len() as u64;
        Layout {
            images: images.len(),
            path_bytes: (0..images.len()).map(path).sum(),
            dim,
            labels: images.labels().is_some(),
            posterior,
            predicted_loss: self.encoder.loss_head.is_some(),
            tokens: self.token_layout(),
            origin,
        }
    }
}
