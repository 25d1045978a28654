//! Imports encoders of other programs: state dicts of solo-learn, Lightning, lightly, torchvision and
//! timm.
//!
//! [`read`] finds the encoder in a file, infers its architecture from the tensors and reports on every
//! tensor: matched, missing, of another shape, unexpected, or left out because it does not belong to
//! an encoder. [`ImportReport::write`] writes a file as [`export`](mod@crate::encoder::export) does, so that
//! everything that takes an encoder takes it. Called by `vssl import`.

mod architectures;
mod arrays;
mod container;
mod contradiction;
mod dinov3;
mod error;
mod hints;
mod images;
mod infer;
mod names;
mod purpose;
mod source;
mod storages;
mod strided;
mod tensors;
mod transformer;
mod verify;

use std::{collections::BTreeMap, path::Path};

use burn::tensor::{Device, TensorData};
use serde::Serialize;
use vssl_data::Normalisation;

use crate::{
    backbone::{Architecture, Backbone, BackboneConfig, Pooling, Stem},
    encoder::{Input, export},
    layers::{Init, budget},
    method::learner::Network,
    tensors::state::{self, Tensors},
};

pub use error::ForeignError;

use container::Opened;
use hints::Hints;
use names::Layout;
use source::Sources;

/// What the user says of a file: settings that it does not hold, and expectations that are checked.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Architecture that the file must have.
    pub architecture: Option<Architecture>,
    /// Stem that the file must have.
    pub stem: Option<Stem>,
    /// Padding of a 3×3 stem, which no file states.
    pub stem_padding: Option<usize>,
    /// Number of attention heads of a transformer, which few files state.
    pub heads: Option<usize>,
    /// Pooling of a transformer, which few files state.
    pub pooling: Option<Pooling>,
    /// Side of the images in pixels.
    pub size: Option<usize>,
    /// Length of the images' shorter side before the centre is cut out.
    pub resize: Option<usize>,
    /// Mean and standard deviation of the images' channels.
    pub normalisation: Option<Normalisation>,
    /// The network to import, where the file has a moving average as well.
    pub network: Network,
    /// Prefix of the encoder's names, where the file has several encoders.
    pub prefix: Option<String>,
}

/// How a tensor of the file or of the network was matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchStatus {
    /// File and network have the tensor, in the same shape.
    Matched,
    /// The network has the tensor, the file does not.
    Missing,
    /// File and network have the tensor, in different shapes.
    Mismatched,
    /// The file has the tensor, and its purpose is unknown.
    Unexpected,
    /// The file has the tensor, which does not belong to an encoder.
    LeftOut,
}

impl MatchStatus {
    /// Returns whether a tensor of this status makes an import incomplete.
    pub fn is_fault(self) -> bool {
        matches!(self, Self::Missing | Self::Mismatched | Self::Unexpected)
    }
}

/// One tensor in the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// How the tensor was matched.
    pub status: MatchStatus,
    /// Name in the file; `None` where the tensor is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Name in the network; `None` for a tensor that does not belong to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Shape in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<usize>>,
    /// Shape in the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<Vec<usize>>,
    /// What a tensor is that was left out or is unexpected, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

impl Row {
    /// Returns the name in the file, or else in the network, and what the tensor is if it is unexpected.
    pub fn label(&self) -> String {
        let name = self.key.as_ref().or(self.name.as_ref()).cloned().unwrap_or_default();
        match self.reason {
            Some(reason) => format!("{name} ({reason})"),
            None => name,
        }
    }
}

/// An encoder of another program, with a report on every tensor of its file.
#[derive(Debug)]
pub struct ImportReport {
    /// The network.
    pub config: BackboneConfig,
    /// Size and normalisation of its images.
    pub input: Input,
    /// Prefix of the encoder's names in the file.
    pub prefix: String,
    /// Whether the network is the student or its moving average; `None` where the file does not say.
    pub network: Option<Network>,
    /// Every tensor, sorted by status and name.
    pub rows: Vec<Row>,
    /// The tensors by their names in the network; a tensor that did not match has initial values.
    tensors: Tensors,
}

/// Reads the encoder in `path`. [`ImportReport::check`] says whether every tensor matched.
///
/// # Errors
/// All of [`ForeignError`] but `Incomplete` and `Write`.
pub fn read(path: &Path, request: &Request) -> Result<ImportReport, ForeignError> {
    let Opened { mut sources, metadata } = container::open(path)?;
    let copies = names::copies(&sources);
    let told = metadata.get(export::NETWORK).and_then(|name| export::network_of(name));
    // A file of this program says what its only network is.
    let wanted = match (copies.len(), told) {
        (1, Some(told)) if told == request.network => Network::Student,
        _ => request.network,
    };
    let chosen = names::choose(&sources, &copies, wanted, request.prefix.as_deref())?;
    chosen.check(&sources)?;
    match chosen.layout {
        Layout::Dinov3 => dinov3::split_biases(&mut sources, &chosen.prefix),
        Layout::Dinov3Vit => dinov3::join_layers(&mut sources, &chosen.prefix),
        _ => {}
    }
    let mut keys = BTreeMap::new();
    for key in sources.keys() {
        if let Some(rest) = key.strip_prefix(&chosen.prefix) {
            keys.insert(chosen.name(rest), key.clone());
        }
    }
    let shapes = keys.iter().map(|(name, key)| (name.clone(), sources[key].shape.as_slice()));
    let hints = Hints { told: described(&metadata), ..names::hints(&sources, &chosen) };
    let (config, input) = infer::network(&shapes.collect(), request, &hints)?;
    let device = Device::flex();
    let init = Init::new(&device, 0).with_channels(input.channels());
    let expected = budget::fitted(|| Backbone::new(&config, &init)).map_err(|space| {
        ForeignError::Architecture(format!("the network of its shapes takes {space}"))
    })?;
    let expected = state::collect(&expected);
    let (mut rows, tensors) = matched(path, &sources, &keys, expected, &config)?;
    let used: Vec<&String> = rows.iter().filter_map(|row| row.key.as_ref()).collect();
    let rest = sources.iter().filter(|(key, _)| !used.contains(key)).map(|(key, source)| {
        let (status, reason) = purpose::purpose(key, source, &copies, &chosen);
        let (key, shape) = (Some(key.clone()), Some(source.shape.clone()));
        Row { status, key, name: None, shape, expected: None, reason }
    });
    let rest: Vec<Row> = rest.collect();
    rows.extend(rest);
    rows.sort_by(|a, b| (a.status, &a.key, &a.name).cmp(&(b.status, &b.key, &b.name)));
    let network = told.or(chosen.is_teacher().then_some(Network::Teacher));
    Ok(ImportReport { config, input, prefix: chosen.prefix, network, rows, tensors })
}

/// The network and input of a file that this program wrote.
fn described(metadata: &BTreeMap<String, String>) -> Option<(BackboneConfig, Input)> {
    let config = serde_json::from_str(metadata.get(export::CONFIG)?).ok()?;
    let input = serde_json::from_str(metadata.get(export::INPUT)?).ok()?;
    Some((BackboneConfig::stored(config).ok()?, input))
}

/// Whether a tensor of the file can stand for one of the network. In ConvNeXts, 1×1 convolutions stand for linear
/// layers and images of one pixel for factors: the same numbers with more axes.
fn fits(config: &BackboneConfig, found: &[usize], wanted: &[usize]) -> bool {
    let long = |shape: &[usize]| -> Vec<usize> {
        shape.iter().copied().filter(|&size| size != 1).collect()
    };
    match config {
        BackboneConfig::ConvNext(_) => long(found) == long(wanted),
        _ => found == wanted,
    }
}

/// Fates of the network's own tensors, and their values.
fn matched(
    path: &Path,
    sources: &Sources,
    keys: &BTreeMap<String, String>,
    expected: Tensors,
    config: &BackboneConfig,
) -> Result<(Vec<Row>, Tensors), ForeignError> {
    let (mut rows, mut tensors) = (Vec::new(), Tensors::new());
    for (name, initial) in expected {
        let wanted = initial.shape().as_slice().to_vec();
        let key = keys.get(&name).cloned();
        let source = key.as_ref().map(|key| &sources[key]);
        let (status, values): (MatchStatus, TensorData) = match (&key, source) {
            (Some(key), Some(source)) if fits(config, &source.shape, &wanted) => {
                let values = source.read(path, key)?;
                let dtype = values.dtype();
                let shaped = TensorData::from_bytes(values.into_bytes(), wanted.clone(), dtype);
                (MatchStatus::Matched, shaped)
            }
            (Some(_), _) => (MatchStatus::Mismatched, initial),
            (None, _) => (MatchStatus::Missing, initial),
        };
        let shape = source.map(|source| source.shape.clone());
        tensors.insert(name.clone(), values);
        rows.push(Row {
            status,
            key,
            name: Some(name),
            shape,
            expected: Some(wanted),
            reason: None,
        });
    }
    Ok((rows, tensors))
}

impl ImportReport {
    /// Returns the tensors of the network by their names in it; a tensor that did not match has initial values.
    pub(crate) fn into_tensors(self) -> Tensors {
        self.tensors
    }

    /// Number of tensors with a status.
    pub fn count(&self, status: MatchStatus) -> usize {
        self.rows.iter().filter(|row| row.status == status).count()
    }

    /// Checks that the file has exactly the network's tensors, apart from those left out.
    ///
    /// # Errors
    /// [`ForeignError::Incomplete`].
    pub fn check(&self) -> Result<(), ForeignError> {
        let [missing, mismatched, unexpected] =
            [MatchStatus::Missing, MatchStatus::Mismatched, MatchStatus::Unexpected]
                .map(|status| self.count(status));
        match missing + mismatched + unexpected {
            0 => Ok(()),
            _ => {
                let tensors = self.rows.iter().filter(|row| row.status.is_fault());
                let tensors = tensors.map(Row::label).collect();
                Err(ForeignError::Incomplete { missing, mismatched, unexpected, tensors })
            }
        }
    }

    /// Checks that at least one tensor was taken over.
    ///
    /// # Errors
    /// [`ForeignError::Nothing`].
    pub fn check_partial(&self) -> Result<(), ForeignError> {
        match self.count(MatchStatus::Matched) {
            0 => Err(ForeignError::Nothing),
            _ => Ok(()),
        }
    }

    /// Returns what the weights do not tell and is taken for granted: whoever imports a network that differs
    /// in one of these points gets other features.
    pub fn assumptions(&self) -> Vec<String> {
        verify::assumptions(&self.config, &self.input)
    }

    /// Returns the side of a test picture and its features, by which the import can be compared with the
    /// network that the weights come from.
    pub fn test_features(&self) -> (usize, Vec<f32>) {
        let side = verify::side(&self.config, &self.input);
        let image = (side, self.input.channels());
        (side, verify::features(&self.config, &self.tensors, image))
    }

    /// Writes the encoder to `to`, as [`export`](mod@crate::encoder::export) writes one.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, to: &Path, from: &Path) -> Result<(), ForeignError> {
        let name = from.file_name().map(|name| name.to_string_lossy().into_owned());
        let mut origin = vec![("imported_from", name.unwrap_or_default())];
        if let Some(network) = self.network {
            origin.push((export::NETWORK, export::name_of(network).to_owned()));
        }
        Ok(export::write_tensors(to, &self.tensors, &self.config, &self.input, &origin)?)
    }
}
