//! The encoder of a run as a file of its own, for tools that know nothing of runs.
//!
//! A safetensors file without a classifier; its metadata say which network it is. Parameters have
//! torchvision's names for ResNets (`layer1.0.bn1.bias`), timm's for vision transformers
//! (`blocks.0.attn.qkv.weight`) and solo-learn's for Wide ResNets (`block1.layer.0.bn1.bias`).
//! Called by `vssl export`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use burn::{module::Module, tensor::Device};
use safetensors::SafeTensors;
use serde::de::DeserializeOwned;

use crate::{
    backbone::{Backbone, BackboneConfig},
    encoder::Input,
    layers::Init,
    methods,
    recipe::{Recipe, RecipeError},
    train::{
        checkpoint::{Checkpoint, CheckpointError, Store},
        learner::Network,
        run_folder::{self, RunFolderError},
        state::{self, StateError, Tensors},
        tensor_file::{self, TensorFileError},
    },
};

/// Every method's student and teacher call their encoder this.
const BACKBONE: &str = "backbone.";
/// Key of the metadata under which the file tells its [`BackboneConfig`], as JSON.
const CONFIG: &str = "backbone";
/// That of its [`Input`], likewise, and that of the steps it was trained for.
const INPUT: &str = "input";
const STEP: &str = "step";

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The run folder.
    #[error(transparent)]
    Folder(#[from] RunFolderError),
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// There is no such checkpoint.
    #[error("{}: no checkpoint {wanted}; there {}", run.display(), listed(available))]
    Missing {
        /// The run folder.
        run: PathBuf,
        /// `latest`, `best` or `step-…`.
        wanted: String,
        /// Names of those that there are.
        available: Vec<String>,
    },
    /// The recipe inside the checkpoint.
    #[error("{}: the recipe of its checkpoint: {source}", run.display())]
    Recipe {
        /// The run folder.
        run: PathBuf,
        /// What is wrong with it.
        source: Box<RecipeError>,
    },
    /// The method has no teacher.
    #[error("{}: the method {method:?} has no teacher; export the student", run.display())]
    NoTeacher {
        /// The run folder.
        run: PathBuf,
        /// Its method.
        method: String,
    },
    /// Writing the tensors.
    #[error(transparent)]
    Write(#[from] TensorFileError),
    /// Moving the file to its name.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "is none yet".to_owned(),
        [name] => format!("is {name}"),
        names => format!("are {}", names.join(", ")),
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Steps that the checkpoint had done.
    pub step: u64,
    /// Tensors in the file.
    pub tensors: usize,
}

/// Writes the encoder of the run in the folder `run`, as it was in `checkpoint` (`latest`, `best`
/// or `step-N`), to `to`, which it replaces only when the new file is whole.
///
/// # Errors
/// A folder that is no run, a checkpoint that is missing or damaged, a method without a teacher, a
/// file that cannot be written.
pub fn export(
    run: &Path,
    checkpoint: &str,
    network: Network,
    to: &Path,
) -> Result<Exported, ExportError> {
    let Stored { recipe, step, encoder } = Stored::read(run, checkpoint, network)?;
    let config = serde_json::to_string(&recipe.backbone).expect("settings are plain values");
    let input = serde_json::to_string(&Input::of(&recipe)).expect("settings are plain values");
    let steps = step.to_string();
    let name = match network {
        Network::Student => "student",
        Network::Teacher => "teacher",
    };
    // `format` is what PyTorch's loaders look for.
    let metadata = [
        ("format", "pt"),
        (CONFIG, config.as_str()),
        (INPUT, input.as_str()),
        ("method", recipe.method.as_str()),
        ("network", name),
        (STEP, steps.as_str()),
        ("vssl", env!("CARGO_PKG_VERSION")),
    ];
    let mut temporary = to.as_os_str().to_owned();
    temporary.push(".part");
    let temporary = PathBuf::from(temporary);
    tensor_file::write(&temporary, &encoder, &metadata)?;
    fs::rename(&temporary, to).map_err(|source| ExportError::Io { path: to.to_owned(), source })?;
    Ok(Exported { step, tensors: encoder.len() })
}

/// The encoder in a checkpoint, and the recipe that trained it.
pub(crate) struct Stored {
    /// Resolved.
    pub recipe: Recipe,
    /// Steps done.
    pub step: u64,
    /// Its tensors, by the backbone's own paths.
    pub encoder: Tensors,
}

impl Stored {
    /// # Errors
    /// A folder that is no run, a checkpoint that is missing or damaged, a method without a teacher.
    pub fn read(run: &Path, checkpoint: &str, network: Network) -> Result<Self, ExportError> {
        run_folder::recipe_of(run)?;
        let Checkpoint { position, method, tensors, recipe } = checkpoint_of(run, checkpoint)?;
        let recipe = methods::recipe_from(&recipe).map_err(|source| ExportError::Recipe {
            run: run.to_owned(),
            source: Box::new(source),
        })?;
        let kind = match network {
            Network::Student => "student",
            Network::Teacher => "memory",
        };
        let encoder = tensors
            .get(kind)
            .into_iter()
            .flatten()
            .filter_map(|(path, tensor)| {
                Some((path.strip_prefix(BACKBONE)?.to_owned(), tensor.clone()))
            })
            .collect::<Tensors>();
        if encoder.is_empty() {
            return Err(ExportError::NoTeacher { run: run.to_owned(), method });
        }
        Ok(Self { recipe, step: position.step, encoder })
    }
}

fn checkpoint_of(run: &Path, wanted: &str) -> Result<Checkpoint, ExportError> {
    let store = Store::of(run);
    let step = wanted.strip_prefix("step-").and_then(|step| step.parse().ok());
    let name = step.map_or_else(|| wanted.to_owned(), Store::name);
    let available = store.list()?;
    let missing = || {
        let (run, wanted) = (run.to_owned(), wanted.to_owned());
        ExportError::Missing { run, wanted, available: available.clone() }
    };
    if step.is_some() && !available.contains(&name) {
        return Err(missing());
    }
    store.load(&name)?.ok_or_else(missing)
}

/// Why a file gave no encoder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Not a file of tensors, or one that cannot be read.
    #[error(transparent)]
    Read(#[from] TensorFileError),
    /// Its metadata do not say which network it is.
    #[error(
        "{}: the metadata have no readable {key:?} ({problem}); expected a file that `vssl \
         export` wrote",
        path.display()
    )]
    Metadata {
        /// The file.
        path: PathBuf,
        /// What is missing.
        key: &'static str,
        /// What was found.
        problem: String,
    },
    /// Its tensors are of another network than its metadata say.
    #[error("{}: {source}", path.display())]
    Tensors {
        /// The file.
        path: PathBuf,
        /// The tensor that does not fit.
        source: StateError,
    },
}

/// What [`import`] found in a file.
#[derive(Debug)]
pub struct Imported {
    /// The network, frozen.
    pub backbone: Backbone,
    /// Which network it is.
    pub config: BackboneConfig,
    /// What it expects its images to be.
    pub input: Input,
    /// Steps it was trained for, if the file says.
    pub step: Option<u64>,
}

/// Reads an encoder that [`export`] wrote.
///
/// # Errors
/// A file that cannot be read, that is not one of [`export`]'s, or whose tensors do not fit.
pub fn import(path: &Path, device: &Device) -> Result<Imported, ImportError> {
    let bytes =
        fs::read(path).map_err(|source| TensorFileError::Io { path: path.to_owned(), source })?;
    let tensors = tensor_file::parse(path, &bytes)?;
    let config: BackboneConfig = metadatum(path, &bytes, CONFIG)?;
    let input = metadatum(path, &bytes, INPUT)?;
    let step = metadatum(path, &bytes, STEP).ok();
    let fresh = Backbone::new(&config, &Init::new(device, 0));
    match state::restore(fresh, tensors) {
        Ok(backbone) => Ok(Imported { backbone: backbone.no_grad(), config, input, step }),
        Err(source) => Err(ImportError::Tensors { path: path.to_owned(), source }),
    }
}

fn metadatum<T: DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
    key: &'static str,
) -> Result<T, ImportError> {
    let read = || {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
        let text = header.metadata().as_ref().and_then(|metadata| metadata.get(key));
        serde_json::from_str(text.ok_or("there is none")?).map_err(|error| error.to_string())
    };
    read().map_err(|problem| ImportError::Metadata { path: path.to_owned(), key, problem })
}
