//! A frozen encoder and its input: the starting point of every evaluation.
//!
//! An encoder comes out of a run folder, out of the folder of a fine-tuning, or out of a file that
//! [`export`](mod@crate::encoder::export) wrote. It knows the size, crop and normalisation of its images, because
//! features of images that were prepared in another way have no meaning. Called by the commands that evaluate.

mod batch;
pub mod bench;
pub mod export;
pub mod file;
pub mod fine_tuned;
pub mod foreign;
mod frozen;
pub mod images;
mod input;
mod loss_head;
pub mod onnx;
mod other_file;
mod pooling;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use vssl_data::{DataError, Dataset, EvaluationPlan};

use export::{ExportError, Stored};
use file::{ImportError, Imported};
use images::{each_evaluated, features, features_of_set, pixels_to_tensor};

pub(crate) use batch::{images_of_a_pass, within_room};
pub use frozen::FrozenBackbone;
pub use input::{Input, Reading};

use crate::{
    backbone::{Backbone, BackboneConfig, InferenceNetwork, Pooling, PoolingError},
    features::{FeatureError, FeatureRows, Features, SpillWriter},
    layers::{Init, LossHead, budget},
    method::learner::Network,
    recipe::Recipe,
    run::folder,
    tensors::state,
};

/// Why an encoder cannot be read, or features cannot be computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncoderError {
    /// There is neither a file nor a folder at the path.
    #[error(
        "{}: does not exist; expected a run folder, or a file that `vssl export` or `vssl import` \
         wrote", path.display()
    )]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// The teacher was requested of a file, which holds one network and does not say that it is a teacher.
    #[error(
        "{}: this is one network, and it is not said to be a teacher; leave --network teacher out, or name the \
         run folder", path.display()
    )]
    OneNetwork {
        /// The file, or the folder of a fine-tuning.
        path: PathBuf,
    },
    /// The folder is of classifiers on a frozen encoder.
    #[error(
        "{}: the folder of a linear evaluation, which holds classifiers on a frozen encoder and no encoder of its \
         own; name the encoder that it evaluates{}", path.display(), known(encoder.as_deref())
    )]
    Frozen {
        /// The folder.
        path: PathBuf,
        /// The run folder or file of the frozen encoder, where the folder tells it.
        encoder: Option<PathBuf>,
    },
    /// The file that describes a fine-tuned network is damaged.
    #[error(
        "{}: {problem}; expected the architecture and the input of the fine-tuned network, as `vssl finetune` \
         writes them. Bring the file back from a copy", path.display()
    )]
    Description {
        /// The file.
        path: PathBuf,
        /// The fault of the file.
        problem: String,
    },
    /// An earlier version fine-tuned a network and did not describe it, and the encoder that it began with is not
    /// there.
    #[error(
        "{}: fine-tuned by an earlier version, which did not note the architecture: the encoder that it began \
         with says it and is not there any more{}; bring that encoder back, or fine-tune again", path.display(),
        known(encoder.as_deref())
    )]
    Undescribed {
        /// The folder of the fine-tuning.
        path: PathBuf,
        /// The run folder or file of the encoder that it began with, where the folder tells it.
        encoder: Option<PathBuf>,
    },
    /// The encoder of a run cannot be read.
    #[error(transparent)]
    Run(#[from] ExportError),
    /// The encoder of a file cannot be read.
    #[error(transparent)]
    File(#[from] ImportError),
    /// The network cannot have the pooling that was asked for.
    #[error("{}: {source}", path.display())]
    Pooling {
        /// The run folder or file.
        path: PathBuf,
        /// What the network has instead.
        source: PoolingError,
    },
    /// The images cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The features are not valid.
    #[error(transparent)]
    Features(#[from] FeatureError),
}

fn known(encoder: Option<&Path>) -> String {
    encoder.map_or_else(String::new, |encoder| format!(", {}", encoder.display()))
}

/// A frozen encoder, off the autodiff device.
pub struct Encoder {
    /// The network.
    pub backbone: FrozenBackbone,
    /// The architecture of the network.
    pub config: BackboneConfig,
    /// The preparation of the images that the network expects.
    pub input: Input,
    /// The run folder, folder of a fine-tuning or file that the encoder was read from.
    pub path: PathBuf,
    /// The recipe that trained the encoder; `None` for a file and for a fine-tuning.
    pub recipe: Option<Recipe>,
    /// Whether the network is the student of its run or the teacher; `None` where the file does not say.
    pub network: Option<Network>,
    /// The number of training steps; `None` where the file does not say.
    pub step: Option<u64>,
    /// The head that predicts the loss of an image; `None` where the encoder was trained without one, and for a teacher.
    pub loss_head: Option<LossHead>,
    /// The pooling that the network has instead of its own: see [`Encoder::with_pooling`]. `None` for its own.
    pub pooling: Option<Pooling>,
    /// The device on which the network computes.
    pub device: Device,
}

impl Encoder {
    /// Opens the encoder of the run folder `path` at `checkpoint` (`latest`, `best` or `step-N`), or the
    /// encoder in the exported file `path`, or the backbone of the fine-tuning in the folder `path`. For a file,
    /// `checkpoint` has no effect. The teacher is refused of a file that is not said to be one, and of a
    /// fine-tuning.
    ///
    /// # Errors
    /// The errors of [`export::export`] for a folder and of [`file::import`] for a file; also, a folder of a
    /// training on labels holds no encoder, or nothing describes it.
    pub fn open(
        path: &Path,
        checkpoint: &str,
        network: Network,
        device: &Device,
    ) -> Result<Self, EncoderError> {
        if !path.exists() {
            return Err(EncoderError::Missing { path: path.to_owned() });
        }
        if path.is_file() {
            return Self::of_file(path, network, device);
        }
        if folder::is_on_labels(path) && !folder::is_run(path) {
            return match network {
                Network::Student => fine_tuned::open(path, checkpoint, device),
                Network::Teacher => Err(EncoderError::OneNetwork { path: path.to_owned() }),
            };
        }
        let Stored { recipe, step, encoder, head } = Stored::read(path, checkpoint, network)?;
        let config = recipe.backbone.clone();
        let input = Input::of(&recipe);
        let init = Init::blank(device).with_channels(input.channels());
        let fresh = budget::fitted(|| Backbone::new(&config, &init));
        let fresh =
            fresh.map_err(|source| ImportError::TooLarge { path: path.to_owned(), source })?;
        let of_run = |source| ImportError::Tensors { path: path.to_owned(), source };
        let backbone = state::restore(fresh, encoder).map_err(of_run)?.no_grad();
        let stored = |head| LossHead::stored(head, config.dim(), device).map_err(of_run);
        let loss_head = head.map(stored).transpose()?;
        let (path, device) = (path.to_owned(), device.clone());
        let (recipe, step, network) = (Some(recipe), Some(step), Some(network));
        let (backbone, pooling) = (backbone.into(), None);
        Ok(Self {
            backbone,
            config,
            input,
            path,
            recipe,
            network,
            step,
            loss_head,
            pooling,
            device,
        })
    }

    fn of_file(path: &Path, network: Network, device: &Device) -> Result<Self, EncoderError> {
        let Imported { backbone, config, input, step, network: own, loss_head } =
            file::import(path, device)?;
        if network == Network::Teacher && own != Some(Network::Teacher) {
            return Err(EncoderError::OneNetwork { path: path.to_owned() });
        }
        let (path, device) = (path.to_owned(), device.clone());
        Ok(Self {
            backbone: backbone.into(),
            config,
            input,
            path,
            recipe: None,
            network: own,
            step,
            loss_head,
            pooling: None,
            device,
        })
    }

    /// Returns how the images of this encoder's run are read: those that cannot be read are treated as in
    /// the run. For a file, they stop an evaluation.
    pub fn reading(&self) -> Reading {
        let recipe = self.recipe.as_ref();
        let on_bad_image = recipe.map(|recipe| recipe.data.on_bad_image).unwrap_or_default();
        Reading { on_bad_image, ..Reading::default() }
    }

    /// Returns how many images go through the network together: as many as are fast and leave a process on the
    /// CPU below 1 GiB, by the architecture and the size of the images. It changes no feature.
    pub fn batch(&self) -> usize {
        images_of_a_pass(&self.config, (self.input.size, self.input.channels()), &self.device)
    }

    /// Returns how a set of images is read for this encoder, in batches of [`Encoder::batch`] images. On the CPU,
    /// fewer workers read and fewer batches wait than `reading` says where the process would outgrow 1 GiB.
    pub fn plan(&self, reading: &Reading) -> EvaluationPlan {
        let plan = EvaluationPlan {
            transform: self.input.transform(),
            normalisation: self.input.normalisation,
            batch: self.batch(),
            workers: reading.workers,
            prefetch: reading.prefetch,
            on_bad_image: reading.on_bad_image,
        };
        within_room(plan, &self.config, &self.device)
    }

    /// Returns the features of normalised images, one row an image. All of them go through the network together.
    ///
    /// `pixels`: `count · size · size · channels`, channels last.
    pub fn embed(&self, pixels: impl AsRef<[f32]>, count: usize) -> Features {
        let x = pixels_to_tensor(pixels.as_ref(), count, self.input.size, &self.device);
        features(self.network().forward(x))
    }

    /// Returns the features of normalised images as [`Encoder::embed`] does, and their patch tokens after the last
    /// norm, `count · patches · dim` numbers, image by image and row by row; `None` if the network is no transformer.
    ///
    /// `pixels`: `count · size · size · channels`, channels last.
    pub fn embed_with_tokens(&self, pixels: &[f32], count: usize) -> Option<(Features, Vec<f32>)> {
        let x = pixels_to_tensor(pixels, count, self.input.size, &self.device);
        let (own, tokens) = self.backbone.forward_with_patches(x)?;
        let [n, patches, dim] = tokens.dims();
        let tokens = features(tokens.reshape([n * patches, dim])).values;
        Some((features(own), tokens))
    }

    /// Returns the features of normalised images on the device. At most [`Encoder::batch`] images go through the
    /// network together.
    ///
    /// `pixels`: `count · size · size · channels`, channels last.
    ///
    /// # Shapes — returns `[count, dim]`.
    pub(crate) fn embed_on_device(&self, pixels: &[f32], count: usize) -> Tensor<2> {
        let (image, batch) = (pixels.len() / count.max(1), self.batch());
        let part = |pixels: &[f32]| {
            let x = pixels_to_tensor(pixels, pixels.len() / image, self.input.size, &self.device);
            self.network().forward(x)
        };
        if count <= batch {
            return part(pixels);
        }
        Tensor::cat(pixels.chunks(batch * image).map(part).collect(), 0)
    }

    /// Returns the network as it runs.
    pub(crate) fn network(&self) -> &InferenceNetwork {
        self.backbone.prepared()
    }

    /// Returns the features of all images, in their order and with their labels; images that could not be
    /// read are left out.
    ///
    /// # Errors
    /// An image cannot be read.
    pub fn features(
        &self,
        images: &Arc<dyn Dataset>,
        reading: &Reading,
    ) -> Result<Features, EncoderError> {
        let rows = self.features_within("features", images, reading, u64::MAX)?;
        Ok(rows.into_memory()?)
    }

    /// Computes the features as [`Encoder::features`] does. They stay in memory if they take at most `limit`
    /// bytes; otherwise they go into a temporary file in the folder that the environment's `TMPDIR` names.
    /// `set` is the name of the images in messages.
    ///
    /// # Errors
    /// An image cannot be read, or the temporary file cannot be written.
    pub fn features_within(
        &self,
        set: &'static str,
        images: &Arc<dyn Dataset>,
        reading: &Reading,
        limit: u64,
    ) -> Result<FeatureRows, EncoderError> {
        let writer = SpillWriter::new(set, images.len(), limit);
        let embed = |pixels: &[f32], count| Ok(self.embed(pixels, count));
        let (rows, _) = features_of_set::<EncoderError>(images, self.plan(reading), writer, embed)?;
        Ok(rows)
    }

    /// Calls `each` with the features of all images batch by batch and with the images' numbers, so that only
    /// one batch has to be in memory. Batches whose images were all left out are skipped. Returns how many
    /// images were left out.
    ///
    /// # Errors
    /// An image cannot be read, or `each` failed.
    pub fn each_batch<Error: From<EncoderError>>(
        &self,
        images: &Arc<dyn Dataset>,
        reading: &Reading,
        each: impl FnMut(&[usize], Features) -> Result<(), Error>,
    ) -> Result<usize, Error> {
        self.each_batch_of(self.batch(), images, reading, each)
    }

    /// Calls `each` as [`Encoder::each_batch`] does, with batches of `batch` images.
    ///
    /// # Errors
    /// An image cannot be read, or `each` failed.
    pub fn each_batch_of<Error: From<EncoderError>>(
        &self,
        batch: usize,
        images: &Arc<dyn Dataset>,
        reading: &Reading,
        mut each: impl FnMut(&[usize], Features) -> Result<(), Error>,
    ) -> Result<usize, Error> {
        let data = |error: DataError| Error::from(EncoderError::from(error));
        let plan = EvaluationPlan { batch, ..self.plan(reading) };
        each_evaluated(images, plan, data, |indices, pixels| {
            each(indices, self.embed(pixels, indices.len()))
        })
    }
}
