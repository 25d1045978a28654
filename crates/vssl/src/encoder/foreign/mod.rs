//! Encoders of other programs: state dicts of solo-learn, Lightning, lightly, torchvision and timm.
//!
//! [`read`] finds the encoder in the file, tells its architecture from the tensors and accounts for
//! every tensor: taken over, missing, of another shape, unexpected, or left out because it is no
//! part of an encoder. [`Found::write`] writes the file that [`export`](mod@crate::encoder::export) writes, so
//! that everything that takes an encoder takes it. Called by `vssl import`.

mod names;
mod source;
mod told;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use burn::tensor::{Device, TensorData};
use serde::Serialize;
use vssl_data::Normalisation;

use crate::{
    backbone::{Architecture, Backbone, BackboneConfig, Stem},
    encoder::{
        Input,
        export::{self, ExportError},
    },
    layers::Init,
    method::learner::Network,
    tensors::state::{self, Tensors},
};

use source::Sources;

/// Why another program's file gave no encoder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForeignError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Neither format, or cut short.
    #[error(
        "{}: {problem}; expected a state dict that torch.save wrote (.pth, .pt, .ckpt) or a \
         safetensors file. A whole pickled model has to be saved as its state_dict() first",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What its reader said.
        problem: String,
    },
    /// A tensor of the encoder that holds no floats.
    #[error("{}: tensor {key:?} holds no floats (expected 16, 32 or 64 bits)", path.display())]
    Type {
        /// The file.
        path: PathBuf,
        /// The tensor.
        key: String,
    },
    /// No name is one of an encoder.
    #[error(
        "none of the {tensors} tensors is the first layer of a known encoder (ResNet, Wide \
         ResNet-28, vision transformer); the first names are {keys:?}"
    )]
    NoEncoder {
        /// Tensors in the file.
        tensors: usize,
        /// The first few names.
        keys: Vec<String>,
    },
    /// The prefix that was asked for.
    #[error("there is no encoder at {wanted:?}; there are encoders at {available:?}")]
    Prefix {
        /// As asked.
        wanted: String,
        /// Those that there are.
        available: Vec<String>,
    },
    /// More than one.
    #[error("there are several encoders, at {available:?}; choose one with --prefix")]
    Several {
        /// Their prefixes.
        available: Vec<String>,
    },
    /// No moving average.
    #[error("no encoder has the name of a teacher; there are encoders at {available:?}")]
    NoTeacher {
        /// Their prefixes.
        available: Vec<String>,
    },
    /// Another network than those known here.
    #[error("not a known architecture: {0}")]
    Architecture(String),
    /// An argument that the tensors contradict.
    #[error("{0}")]
    Contradiction(String),
    /// What neither tensors nor arguments tell.
    #[error("{0}")]
    Unknown(String),
    /// The tensors are not exactly those of the network.
    #[error(
        "{missing} tensors are missing, {mismatched} have another shape and {unexpected} are \
         unexpected; --allow-partial takes over what fits and leaves the rest at its initial values"
    )]
    Incomplete {
        /// Tensors that the network has and the file has not.
        missing: usize,
        /// Tensors of another shape.
        mismatched: usize,
        /// Tensors that nothing explains.
        unexpected: usize,
    },
    /// Writing.
    #[error(transparent)]
    Write(#[from] ExportError),
}

/// What the file alone does not tell, and what is checked against it.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Which architecture it has to be.
    pub architecture: Option<Architecture>,
    /// Which stem it has to be.
    pub stem: Option<Stem>,
    /// Padding of a 3×3 stem; no file tells it.
    pub stem_padding: Option<usize>,
    /// Side of the images in pixels.
    pub size: Option<usize>,
    /// Length of their shorter side before the centre is cut out.
    pub resize: Option<usize>,
    /// Mean and standard deviation of their channels.
    pub normalisation: Option<Normalisation>,
    /// Which copy, where there is a moving average as well.
    pub network: Network,
    /// Which copy, by what stands before its names.
    pub prefix: Option<String>,
}

/// What became of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Taken over.
    Matched,
    /// The network has it, the file has not.
    Missing,
    /// Both have it, in different shapes.
    Mismatched,
    /// The file has it, and nothing explains it.
    Unexpected,
    /// No part of an encoder.
    LeftOut,
}

/// One tensor in the account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What became of it.
    pub fate: Fate,
    /// Its name in the file; `None` where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its name here; `None` where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its shape in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<usize>>,
    /// The shape that the network wants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<Vec<usize>>,
    /// Why it was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

/// An encoder of another program, and the account of its file.
#[derive(Debug)]
pub struct Found {
    /// Which network it is.
    pub config: BackboneConfig,
    /// What its images have to be.
    pub input: Input,
    /// What stands before the encoder's names.
    pub prefix: String,
    /// Every tensor, sorted by fate and name.
    pub rows: Vec<Row>,
    /// What was taken over, by our names; initial values where the file had none.
    tensors: Tensors,
}

/// Reads the encoder in `path`, with the account of what fitted. Whether all did, [`Found::check`]
/// says.
///
/// # Errors
/// All of [`ForeignError`] but `Incomplete` and `Write`.
pub fn read(path: &Path, request: &Request) -> Result<Found, ForeignError> {
    let sources = source::open(path)?;
    let copies = names::copies(&sources);
    let chosen = names::choose(&sources, &copies, request.network, request.prefix.as_deref())?;
    if chosen.layout == names::Layout::Numbered(2) {
        return Err(ForeignError::Architecture(
            "a Sequential over the children of a ResNet without a max-pool, as lightly's \
             ResNetGenerator gives it, has no activation after its first normalisation (that is in \
             forward(), not a child), so it is no ResNet and its features would differ"
                .to_owned(),
        ));
    }
    let mut keys = BTreeMap::new();
    for key in sources.keys() {
        if let Some(rest) = key.strip_prefix(&chosen.prefix) {
            keys.insert(chosen.name(rest), key.clone());
        }
    }
    let shapes = keys.iter().map(|(name, key)| (name.clone(), sources[key].shape.as_slice()));
    let (config, input) = told::network(&shapes.collect(), request)?;
    let expected = state::collect(&Backbone::new(&config, &Init::new(&Device::flex(), 0)));
    let (mut rows, tensors) = matched(path, &sources, &keys, expected)?;
    let used: Vec<&String> = rows.iter().filter_map(|row| row.key.as_ref()).collect();
    let rest = sources.iter().filter(|(key, _)| !used.contains(key)).map(|(key, source)| {
        let reason = names::left_out(key, &copies, &chosen);
        let fate = if reason.is_some() { Fate::LeftOut } else { Fate::Unexpected };
        let (key, shape) = (Some(key.clone()), Some(source.shape.clone()));
        Row { fate, key, name: None, shape, expected: None, reason }
    });
    let rest: Vec<Row> = rest.collect();
    rows.extend(rest);
    rows.sort_by(|a, b| (a.fate, &a.key, &a.name).cmp(&(b.fate, &b.key, &b.name)));
    Ok(Found { config, input, prefix: chosen.prefix, rows, tensors })
}

/// Fates of the network's own tensors, and their values.
fn matched(
    path: &Path,
    sources: &Sources,
    keys: &BTreeMap<String, String>,
    expected: Tensors,
) -> Result<(Vec<Row>, Tensors), ForeignError> {
    let (mut rows, mut tensors) = (Vec::new(), Tensors::new());
    for (name, initial) in expected {
        let wanted = initial.shape().as_slice().to_vec();
        let key = keys.get(&name).cloned();
        let source = key.as_ref().map(|key| &sources[key]);
        let (fate, values): (Fate, TensorData) = match (&key, source) {
            (Some(key), Some(source)) if source.shape == wanted => {
                (Fate::Matched, source.read(path, key)?)
            }
            (Some(_), _) => (Fate::Mismatched, initial),
            (None, _) => (Fate::Missing, initial),
        };
        let shape = source.map(|source| source.shape.clone());
        tensors.insert(name.clone(), values);
        rows.push(Row { fate, key, name: Some(name), shape, expected: Some(wanted), reason: None });
    }
    Ok((rows, tensors))
}

impl Found {
    /// How many tensors had this fate.
    pub fn count(&self, fate: Fate) -> usize {
        self.rows.iter().filter(|row| row.fate == fate).count()
    }

    /// Whether the file has exactly the network's tensors, apart from those left out.
    ///
    /// # Errors
    /// [`ForeignError::Incomplete`].
    pub fn check(&self) -> Result<(), ForeignError> {
        let [missing, mismatched, unexpected] =
            [Fate::Missing, Fate::Mismatched, Fate::Unexpected].map(|fate| self.count(fate));
        match missing + mismatched + unexpected {
            0 => Ok(()),
            _ => Err(ForeignError::Incomplete { missing, mismatched, unexpected }),
        }
    }

    /// Writes the encoder to `to`, as [`export`](mod@crate::encoder::export) writes one.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, to: &Path, from: &Path) -> Result<(), ForeignError> {
        let name = from.file_name().map(|name| name.to_string_lossy().into_owned());
        let origin = [("imported_from", name.unwrap_or_default())];
        Ok(export::write_tensors(to, &self.tensors, &self.config, &self.input, &origin)?)
    }
}
