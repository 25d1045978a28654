//! Checkpoints: everything that a run needs to go on, whole or not there at all.
//!
//! `checkpoints/step-00001200/` holds one safetensors file for each kind of state and a manifest
//! with their checksums and its own. A checkpoint is written to a hidden folder, synced and renamed;
//! the file `latest` moves after that. Whatever moment the machine stops at, `latest` names a
//! checkpoint that was complete.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{digest::sha256, images::Images};
use crate::{
    optim::LossScale,
    tensors::{
        file::{self, TensorFileError},
        state::{StateError, Tensors},
    },
};

/// The folder of all checkpoints in a run folder.
pub const FOLDER: &str = "checkpoints";
/// The name of the newest checkpoint, and the file that says which one that is.
pub const LATEST: &str = "latest";
/// The same of the checkpoint with the best nearest neighbours.
pub const BEST: &str = "best";

const MANIFEST: &str = "checkpoint.json";
/// What is written. Format 1 knew nothing of the images.
const FORMAT: u32 = 2;
const OLDEST_FORMAT: u32 = 1;

/// Why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A tensor file.
    #[error(transparent)]
    Tensors(#[from] TensorFileError),
    /// Content that does not match its checksum, or is no manifest.
    #[error("{}: damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        what: String,
    },
    /// Written by a version whose format this one does not read.
    #[error(
        "{}: checkpoint format {got}, this version of vssl reads formats {OLDEST_FORMAT} to {FORMAT}",
        path.display()
    )]
    Format {
        /// The manifest.
        path: PathBuf,
        /// Its number.
        got: u32,
    },
    /// A network of another method, width or architecture.
    #[error(
        "{}: {source}; the checkpoint is of another method, architecture or width than the recipe, or of a \
         method that remembers every image and of another number of images", path.display()
    )]
    OtherNetwork {
        /// The tensor file.
        path: PathBuf,
        /// The first difference.
        source: Box<StateError>,
    },
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> CheckpointError {
    let path = path.to_owned();
    move |source| CheckpointError::Io { path, source }
}

/// Where a run stands, apart from its tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Optimiser steps done.
    pub step: u64,
    /// Seconds of training so far, over all starts.
    pub seconds: f64,
    /// Bad images replaced so far.
    pub replaced: u64,
    /// The probe's last accuracy on the validation split, percent.
    pub online: Option<f64>,
    /// The best kNN accuracy so far and its step.
    pub best: Option<(f64, u64)>,
    /// How the loss is scaled, in a precision that wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScale>,
    /// What else the training has to remember, in a form of its own; `null` for a pretraining.
    #[serde(default, alias = "heads", skip_serializing_if = "Value::is_null")]
    pub task: Value,
}

/// Everything that is saved.
pub struct Checkpoint {
    /// Where the run stands.
    pub position: Position,
    /// Name of the method.
    pub method: String,
    /// The resolved recipe, as TOML.
    pub recipe: String,
    /// Which images it learnt from; `None` in checkpoints of format 1.
    pub images: Option<Images>,
    /// State by kind: `student`, `memory`, `optimizer`, `probe`.
    pub tensors: BTreeMap<String, Tensors>,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    format: u32,
    vssl: String,
    method: String,
    position: Position,
    recipe: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    images: Option<Images>,
    /// SHA-256 of each file.
    files: BTreeMap<String, String>,
    /// SHA-256 of this manifest without white space and with an empty string here. It comes last.
    digest: String,
}

impl Manifest {
    /// As text, with the digest.
    fn signed(mut self) -> Vec<u8> {
        self.digest = String::new();
        self.digest = sha256([serde_json::to_vec(&self).expect("a manifest is plain data")]);
        serde_json::to_vec_pretty(&self).expect("a manifest is plain data")
    }
}

/// The digest that a manifest should have whose text is `text` and which says of itself `digest`.
fn digest_of(text: &[u8], digest: &str) -> String {
    let text = without_white_space(text);
    let end = format!("\"digest\":\"{digest}\"}}");
    sha256([text.strip_suffix(end.as_bytes()).unwrap_or(&text), b"\"digest\":\"\"}"])
}

/// JSON without the white space between its parts.
fn without_white_space(json: &[u8]) -> Vec<u8> {
    let (mut in_text, mut escaped) = (false, false);
    let is_kept = |&&byte: &&u8| {
        if in_text {
            in_text = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            return true;
        }
        in_text = byte == b'"';
        !byte.is_ascii_whitespace()
    };
    json.iter().filter(is_kept).copied().collect()
}

/// The folder `checkpoints` of a run.
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// Of the run folder `run`; nothing is created yet.
    pub fn of(run: &Path) -> Self {
        Self { folder: run.join(FOLDER) }
    }

    /// The folder of the checkpoint after `step` steps.
    pub fn folder_of(&self, step: u64) -> PathBuf {
        self.folder.join(Self::name(step))
    }

    /// Name of the checkpoint after `step` steps.
    pub fn name(step: u64) -> String {
        format!("step-{step:08}")
    }

    /// Writes `checkpoint`, then moves `latest` to it, and `best` if `is_best`; then removes all
    /// but the last `keep` and the best. Returns its folder.
    ///
    /// # Errors
    /// When anything cannot be written: what was there before is untouched.
    pub fn save(
        &self,
        checkpoint: &Checkpoint,
        is_best: bool,
        keep: usize,
    ) -> Result<PathBuf, CheckpointError> {
        let name = Self::name(checkpoint.position.step);
        let temporary = self.folder.join(format!(".{name}"));
        let written = self.write(checkpoint, &temporary, &name);
        if written.is_err() {
            // Half a checkpoint only takes the space that the next try needs.
            let _ = fs::remove_dir_all(&temporary);
        }
        let folder = written?;
        if is_best {
            self.point(BEST, &name)?;
        }
        self.point(LATEST, &name)?;
        self.prune(keep.max(1), &name)?;
        Ok(folder)
    }

    fn write(
        &self,
        checkpoint: &Checkpoint,
        temporary: &Path,
        name: &str,
    ) -> Result<PathBuf, CheckpointError> {
        if temporary.exists() {
            fs::remove_dir_all(temporary).map_err(io(temporary))?;
        }
        fs::create_dir_all(temporary).map_err(io(temporary))?;
        let mut manifest = Manifest {
            format: FORMAT,
            vssl: env!("CARGO_PKG_VERSION").to_owned(),
            method: checkpoint.method.clone(),
            position: checkpoint.position.clone(),
            recipe: checkpoint.recipe.clone(),
            images: checkpoint.images.clone(),
            files: BTreeMap::new(),
            digest: String::new(),
        };
        for (kind, tensors) in &checkpoint.tensors {
            let file = format!("{kind}.safetensors");
            let path = temporary.join(&file);
            let bytes = file::bytes(&path, tensors, &[])?;
            write_synced(&path, &bytes)?;
            manifest.files.insert(file, sha256([&bytes]));
        }
        write_synced(&temporary.join(MANIFEST), &manifest.signed())?;
        sync_folder(temporary)?;
        let folder = self.folder.join(name);
        if folder.exists() {
            // Written by a start of this run that was killed before `latest` moved.
            fs::remove_dir_all(&folder).map_err(io(&folder))?;
        }
        fs::rename(temporary, &folder).map_err(io(&folder))?;
        sync_folder(&self.folder)?;
        Ok(folder)
    }

    fn point(&self, pointer: &str, name: &str) -> Result<(), CheckpointError> {
        let (path, temporary) =
            (self.folder.join(pointer), self.folder.join(format!(".{pointer}")));
        write_synced(&temporary, format!("{name}\n").as_bytes())?;
        fs::rename(&temporary, &path).map_err(io(&path))?;
        sync_folder(&self.folder)
    }

    /// Leaves the last `keep` up to `newest`, which was just written, and the best. Later ones are of a
    /// start that went further before this one went on from an earlier step.
    fn prune(&self, keep: usize, newest: &str) -> Result<(), CheckpointError> {
        let best = self.pointer(BEST)?;
        let (own, overtaken): (Vec<String>, _) =
            self.list()?.into_iter().partition(|name| name.as_str() <= newest);
        let old = own.len().saturating_sub(keep);
        let superfluous = own.into_iter().take(old).chain(overtaken);
        // A start was killed while it wrote these.
        let halves = self.names_with(".step-")?;
        for name in superfluous.filter(|name| Some(name) != best.as_ref()).chain(halves) {
            let folder = self.folder.join(name);
            fs::remove_dir_all(&folder).map_err(io(&folder))?;
        }
        Ok(())
    }

    /// Names of all checkpoints, oldest first.
    ///
    /// # Errors
    /// When the folder cannot be read; a folder that is not there has none.
    pub fn list(&self) -> Result<Vec<String>, CheckpointError> {
        self.names_with("step-")
    }

    fn names_with(&self, prefix: &str) -> Result<Vec<String>, CheckpointError> {
        let mut names = Vec::new();
        if !self.folder.exists() {
            return Ok(names);
        }
        for entry in fs::read_dir(&self.folder).map_err(io(&self.folder))? {
            let name = entry.map_err(io(&self.folder))?.file_name().to_string_lossy().into_owned();
            if name.starts_with(prefix) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// What `latest`, `best` or another pointer names; `None` before there is one.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    pub fn pointer(&self, pointer: &str) -> Result<Option<String>, CheckpointError> {
        let path = self.folder.join(pointer);
        match fs::read_to_string(&path) {
            Ok(name) => Ok(Some(name.trim().to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io(&path)(error)),
        }
    }

    /// Reads the checkpoint `name` (`latest`, `best` or `step-…`) and verifies every byte of it.
    /// `None` when the run has not saved one yet.
    ///
    /// # Errors
    /// When it is missing, damaged or of another format.
    pub fn load(&self, name: &str) -> Result<Option<Checkpoint>, CheckpointError> {
        let name = match name {
            LATEST | BEST => match self.pointer(name)? {
                Some(name) => name,
                None => return Ok(None),
            },
            name => name.to_owned(),
        };
        let folder = self.folder.join(name);
        let manifest = read_manifest(&folder.join(MANIFEST))?;
        let mut tensors = BTreeMap::new();
        for (file, digest) in &manifest.files {
            let path = folder.join(file);
            let bytes = fs::read(&path).map_err(io(&path))?;
            let got = sha256([&bytes]);
            if got != *digest {
                let what = format!(
                    "SHA-256 is {got}, the manifest says {digest} ({} bytes read)",
                    bytes.len()
                );
                return Err(CheckpointError::Damaged { path, what });
            }
            let kind = file.trim_end_matches(".safetensors").to_owned();
            tensors.insert(kind, file::parse(&path, &bytes)?);
        }
        let Manifest { position, method, recipe, images, .. } = manifest;
        Ok(Some(Checkpoint { position, method, recipe, images, tensors }))
    }
}

fn read_manifest(path: &Path) -> Result<Manifest, CheckpointError> {
    let text = fs::read(path).map_err(io(path))?;
    let damaged = |what: String| CheckpointError::Damaged { path: path.to_owned(), what };
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    if !(OLDEST_FORMAT..=FORMAT).contains(&manifest.format) {
        return Err(CheckpointError::Format { path: path.to_owned(), got: manifest.format });
    }
    let (got, expected) = (digest_of(&text, &manifest.digest), &manifest.digest);
    if got != *expected {
        return Err(damaged(format!("its SHA-256 is {got}, it says {expected}")));
    }
    Ok(manifest)
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let mut file = File::create(path).map_err(io(path))?;
    file.write_all(bytes).map_err(io(path))?;
    file.sync_all().map_err(io(path))
}

/// Puts the names in `folder` on the disk.
fn sync_folder(folder: &Path) -> Result<(), CheckpointError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io(folder))
}
