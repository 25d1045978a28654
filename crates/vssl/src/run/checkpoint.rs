//! Checkpoints: the whole state that a run needs to go on, complete or absent.
//!
//! `checkpoints/step-00001200/` holds one safetensors file for each kind of state and a manifest with their
//! checksums and its own. A checkpoint is written to a hidden folder, synced and renamed; the file `latest`
//! changes after that. So `latest` names a complete checkpoint at any moment, also when the machine stops. A
//! checkpoint of a step that has one already replaces it, and the earlier one stays under a hidden name until then.
//! Where somebody removed or changed `latest`, the newest whole checkpoint is taken: see [`StandIn`].

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Write,
    panic::resume_unwind,
    path::{Path, PathBuf},
    thread,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use super::stand_in::StandIn;
use super::{
    digest::sha256,
    images::Images,
    replacement::{self, ASIDE},
};
use crate::{
    optim::LossScale,
    tensors::{
        file::{self, TensorFileError},
        state::{StateError, Tensors},
    },
};

/// The name of the folder of all checkpoints in a run folder.
pub const FOLDER: &str = "checkpoints";
/// The name for the newest checkpoint, and the file that holds the newest checkpoint's own name.
pub const LATEST: &str = "latest";
/// The name for the checkpoint with the best nearest neighbours, and the file that holds its own name.
pub const BEST: &str = "best";

const MANIFEST: &str = "checkpoint.json";
/// The format that is written. Format 1 had no fingerprint of the images.
const FORMAT: u32 = 2;
const OLDEST_FORMAT: u32 = 1;

/// Why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("{}: {}", path.display(), vssl_data::explained(path, source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// A tensor file could not be written or read.
    #[error(transparent)]
    Tensors(#[from] TensorFileError),
    /// A file does not match its checksum, or a manifest is not valid.
    #[error("{}: damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The content that was found, and the content that was expected.
        what: String,
    },
    /// The checkpoint has a format that this version does not read.
    #[error(
        "{}: checkpoint format {got}, this version of vssl reads formats {OLDEST_FORMAT} to {FORMAT}",
        path.display()
    )]
    Format {
        /// The manifest.
        path: PathBuf,
        /// The number of the format.
        got: u32,
    },
    /// `latest` leads to no checkpoint, and no other checkpoint is whole.
    #[error(
        "{}: {reason}, and {}; expected a whole checkpoint step-…: bring one back from a copy, or train \
         again with another --out or with --force", folder.display(), none_whole(damaged)
    )]
    NoneWhole {
        /// The folder of the checkpoints.
        folder: PathBuf,
        /// The reason why `latest` leads to no checkpoint, as a clause.
        reason: String,
        /// The damaged checkpoints, newest first, each with the damage; empty if there are none.
        damaged: Vec<(String, String)>,
    },
    /// The checkpoint that `latest` names is damaged.
    #[error("{source}; {}", advice(folder, other.as_deref()))]
    LatestDamaged {
        /// The folder of the checkpoint.
        folder: PathBuf,
        /// The name of the newest whole checkpoint, if there is one.
        other: Option<String>,
        /// The damage.
        source: Box<CheckpointError>,
    },
    /// The checkpoint is of another method, width or architecture.
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

impl CheckpointError {
    /// Returns whether the checkpoint is there but not whole. A file that cannot be read for another reason,
    /// or is of a later version, may be whole.
    fn is_damage(&self) -> bool {
        use std::io::ErrorKind::{NotADirectory, NotFound};
        match self {
            Self::Io { source, .. } => matches!(source.kind(), NotFound | NotADirectory),
            Self::Tensors(TensorFileError::Io { .. }) => false,
            Self::Tensors(_) | Self::Damaged { .. } => true,
            _ => false,
        }
    }
}

/// Returns what to do about the damaged checkpoint in `folder`. An older checkpoint is not taken in silence:
/// it has other weights, and the damaged one may come back from a copy.
fn advice(folder: &Path, other: Option<&str>) -> String {
    let folder = folder.display();
    match other {
        Some(other) => format!(
            "bring {folder} back from a copy, or move it away to go on from {other}, the newest whole checkpoint"
        ),
        None => format!(
            "bring {folder} back from a copy: no other checkpoint is whole. Or train again with another --out \
             or with --force"
        ),
    }
}

fn none_whole(damaged: &[(String, String)]) -> String {
    if damaged.is_empty() {
        return "there is no other checkpoint".to_owned();
    }
    let damages: Vec<&str> = damaged.iter().map(|(_, damage)| damage.as_str()).collect();
    format!("no checkpoint is whole ({})", damages.join("; "))
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> CheckpointError {
    let path = path.to_owned();
    move |source| CheckpointError::Io { path, source }
}

/// The position of a run, apart from its tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// The number of optimiser steps done.
    pub step: u64,
    /// The seconds of training so far, over all starts.
    pub seconds: f64,
    /// The number of bad images that were replaced so far.
    pub replaced: u64,
    /// The probe's last accuracy on the validation split, percent.
    pub online: Option<f64>,
    /// The best kNN accuracy so far and its step.
    pub best: Option<(f64, u64)>,
    /// The state of loss scaling, in a precision that needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScale>,
    /// Whether the evaluation that is due after this step was left out, because the run was asked to stop.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unevaluated: bool,
    /// The notes on how the run came here that its result has to repeat, such as that its images changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The remarks of the last evaluation of a training on labels, such as that all images got the same scores.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// The number of validation images that this evaluation left out, because they could not be read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: usize,
    /// The training images of a training on labels that could not be read so far.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unreadable: BTreeSet<usize>,
    /// Further state of a training, in a form of its own; `null` for a pretraining.
    #[serde(default, alias = "heads", skip_serializing_if = "Value::is_null")]
    pub task: Value,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// The content of a checkpoint.
pub struct Checkpoint {
    /// The position of the run.
    pub position: Position,
    /// The name of the method.
    pub method: String,
    /// The resolved recipe, as TOML.
    pub recipe: String,
    /// The fingerprints of the images of the run; `None` in checkpoints of format 1.
    pub images: Option<Images>,
    /// The tensors by kind: `student`, `memory`, `optimizer`, `probe`, and `uncertainty` with `uncertainty_optimizer`
    /// where the recipe has a table `[uncertainty]`.
    pub tensors: BTreeMap<String, Tensors>,
}

/// What a checkpoint says of itself, without its tensors.
pub struct Stated {
    /// The position of the run.
    pub position: Position,
    /// The resolved recipe, as TOML.
    pub recipe: String,
    /// The fingerprints of the images of the run; `None` in checkpoints of format 1.
    pub images: Option<Images>,
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
    /// The SHA-256 of each file.
    files: BTreeMap<String, String>,
    /// The SHA-256 of this manifest without white space and with an empty string in this field, which comes
    /// last.
    digest: String,
}

impl Manifest {
    /// Returns the text of the manifest with its digest.
    fn signed(mut self) -> Vec<u8> {
        self.digest = String::new();
        self.digest = sha256([serde_json::to_vec(&self).expect("a manifest is plain data")]);
        serde_json::to_vec_pretty(&self).expect("a manifest is plain data")
    }
}

/// Returns the digest of a manifest whose text is `text` and whose field `digest` is `digest`.
fn digest_of(text: &[u8], digest: &str) -> String {
    let text = without_white_space(text);
    let end = format!("\"digest\":\"{digest}\"}}");
    sha256([text.strip_suffix(end.as_bytes()).unwrap_or(&text), b"\"digest\":\"\"}"])
}

/// Returns JSON without the white space between its parts.
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
    /// Returns the checkpoints of the run folder `run`; creates nothing yet.
    pub fn of(run: &Path) -> Self {
        Self { folder: run.join(FOLDER) }
    }

    /// Returns the folder of the checkpoint after `step` steps.
    pub fn folder_of(&self, step: u64) -> PathBuf {
        self.folder.join(Self::name(step))
    }

    /// Returns the name of the checkpoint after `step` steps.
    pub fn name(step: u64) -> String {
        format!("step-{step:08}")
    }

    /// Writes `checkpoint` and makes `latest` name it, and `best` if `is_best`; then removes all checkpoints
    /// but the last `keep` and the best. Returns its folder.
    ///
    /// # Errors
    /// A file cannot be written; the earlier checkpoints are untouched.
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
            // Half a checkpoint only takes the space that the next attempt needs.
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
        for name in self.replaced()? {
            replacement::bring_back(&self.folder, &name).map_err(io(&self.folder.join(&name)))?;
        }
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
            let (file, sum) = write_tensors(temporary, kind, tensors)?;
            manifest.files.insert(file, sum);
        }
        write_synced(&temporary.join(MANIFEST), &manifest.signed())?;
        sync_folder(temporary)?;
        let folder = self.folder.join(name);
        // A checkpoint of this step may be there already: of a start that was killed before `latest` changed, or
        // of a start that was stopped before the evaluation after this step.
        replacement::replace(&self.folder, name, temporary).map_err(io(&folder))?;
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

    /// Keeps the last `keep` checkpoints up to `newest`, which was just written, and the best. Later
    /// checkpoints are of a start that had gone further before this start resumed from an earlier step.
    fn prune(&self, keep: usize, newest: &str) -> Result<(), CheckpointError> {
        let best = self.pointer(BEST)?;
        let (own, overtaken): (Vec<String>, _) =
            self.list()?.into_iter().partition(|name| name.as_str() <= newest);
        let old = own.len().saturating_sub(keep);
        let superfluous = own.into_iter().take(old).chain(overtaken);
        // A start was killed while it wrote these folders.
        let halves = self.names_with(".step-")?;
        // Checkpoints of the same steps have taken the places of these.
        let replaced = self.names_with(ASIDE)?;
        let superfluous = superfluous.filter(|name| Some(name) != best.as_ref());
        for name in superfluous.chain(halves).chain(replaced) {
            let folder = self.folder.join(name);
            fs::remove_dir_all(&folder).map_err(io(&folder))?;
        }
        Ok(())
    }

    /// Returns the names of all checkpoints, oldest first.
    ///
    /// # Errors
    /// The folder cannot be read; a missing folder has no checkpoints.
    pub fn list(&self) -> Result<Vec<String>, CheckpointError> {
        let mut names = self.names_with("step-")?;
        names.extend(self.replaced()?);
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Returns the names that checkpoints had before others of the same steps were to replace them.
    fn replaced(&self) -> Result<Vec<String>, CheckpointError> {
        let aside = self.names_with(ASIDE)?;
        Ok(aside.iter().filter_map(|name| Some(name.strip_prefix(ASIDE)?.to_owned())).collect())
    }

    fn path_of(&self, name: &str) -> PathBuf {
        replacement::path_of(&self.folder, name)
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

    /// Returns the checkpoint that `latest`, `best` or another pointer names; `None` if the pointer is
    /// missing or empty.
    ///
    /// # Errors
    /// The pointer cannot be read.
    pub fn pointer(&self, pointer: &str) -> Result<Option<String>, CheckpointError> {
        let path = self.folder.join(pointer);
        match fs::read_to_string(&path) {
            Ok(name) => Ok(Some(name.trim().to_owned()).filter(|name| !name.is_empty())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io(&path)(error)),
        }
    }

    /// Returns whether the run has saved a checkpoint, whole or not: without one, the run starts again.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn has_saved(&self) -> Result<bool, CheckpointError> {
        Ok(self.exists(LATEST)? || !self.by_step()?.is_empty())
    }

    fn exists(&self, name: &str) -> Result<bool, CheckpointError> {
        let path = self.path_of(name);
        path.try_exists().map_err(io(&path))
    }

    /// Returns the names of all checkpoints, newest first, without folders whose names only begin like them.
    fn by_step(&self) -> Result<Vec<String>, CheckpointError> {
        let mut names = self.list()?;
        let step = |name: &String| name.strip_prefix("step-")?.parse::<u64>().ok();
        names.retain(|name| step(name).is_some_and(|step| Self::name(step) == *name));
        names.sort_by_key(|name| Reverse(step(name)));
        Ok(names)
    }

    /// Returns the checkpoint that `latest` names, or the reason why there is none.
    fn latest(&self) -> Result<Result<String, String>, CheckpointError> {
        Ok(match self.pointer(LATEST)? {
            Some(name) if self.exists(&name)? => Ok(name),
            Some(name) => Err(format!("{LATEST} names {name}, which is not there")),
            None if self.exists(LATEST)? => Err(format!("{LATEST} is empty")),
            None => Err(format!("{LATEST} is missing")),
        })
    }

    /// Returns the checkpoint that is taken for `latest` where that leads to none; `None` where `latest`
    /// names a checkpoint that is there, and before the first checkpoint.
    ///
    /// # Errors
    /// No checkpoint is whole, or a file cannot be read.
    pub fn stand_in(&self) -> Result<Option<StandIn>, CheckpointError> {
        match self.latest()? {
            Ok(_) => Ok(None),
            Err(reason) => Ok(self.newest_whole(reason)?.map(|(_, stand_in)| stand_in)),
        }
    }

    /// Returns the name of the checkpoint that [`Store::load`] reads as `latest`, if there is one.
    pub(super) fn name_of_latest(&self) -> Result<Option<String>, CheckpointError> {
        match self.latest()? {
            Ok(name) => Ok(Some(name)),
            Err(reason) => Ok(self.newest_whole(reason)?.map(|(_, stand_in)| stand_in.name)),
        }
    }

    fn newest_whole(
        &self,
        reason: String,
    ) -> Result<Option<(Checkpoint, StandIn)>, CheckpointError> {
        let mut damaged = Vec::new();
        for name in self.by_step()? {
            match self.read(&name) {
                Ok(checkpoint) => {
                    return Ok(Some((checkpoint, StandIn { name, reason, left_out: damaged })));
                }
                Err(error) if error.is_damage() => damaged.push((name, error.to_string())),
                Err(error) => return Err(error),
            }
        }
        match self.has_saved()? {
            false => Ok(None),
            true => {
                Err(CheckpointError::NoneWhole { folder: self.folder.clone(), reason, damaged })
            }
        }
    }

    /// Reads the checkpoint `name` (`latest`, `best` or `step-…`) and verifies every byte of it. Returns
    /// `None` when the run has not saved a checkpoint yet. Where `latest` leads to no checkpoint, the newest
    /// whole one is read.
    ///
    /// # Errors
    /// The checkpoint is missing, damaged or of another format.
    pub fn load(&self, name: &str) -> Result<Option<Checkpoint>, CheckpointError> {
        Ok(self.find(name)?.map(|(checkpoint, _)| checkpoint))
    }

    /// Reads a checkpoint as [`Store::load`] does, and tells if it is not the one that `latest` names.
    ///
    /// # Errors
    /// The errors of [`Store::load`].
    pub fn find(
        &self,
        name: &str,
    ) -> Result<Option<(Checkpoint, Option<StandIn>)>, CheckpointError> {
        let name = match name {
            LATEST => match self.latest()? {
                Ok(name) => {
                    let read = self.read(&name).map_err(|error| self.advised(&name, error));
                    return Ok(Some((read?, None)));
                }
                Err(reason) => {
                    let found = self.newest_whole(reason)?;
                    return Ok(found.map(|(checkpoint, stand_in)| (checkpoint, Some(stand_in))));
                }
            },
            BEST => match self.pointer(BEST)? {
                Some(name) => name,
                None => return Ok(None),
            },
            name => name.to_owned(),
        };
        Ok(Some((self.read(&name)?, None)))
    }

    /// Returns what the checkpoint `name` says of itself, without its tensors; `None` as in [`Store::load`]. Where
    /// `latest` leads to no checkpoint, the tensors of others are read to find the newest whole one.
    ///
    /// # Errors
    /// The manifest is missing, damaged or of another format; or `latest` leads to no checkpoint, and no other
    /// one is whole.
    pub fn stated(&self, name: &str) -> Result<Option<Stated>, CheckpointError> {
        let name = match name {
            LATEST => self.name_of_latest()?,
            BEST => self.pointer(BEST)?,
            name => Some(name.to_owned()),
        };
        let Some(name) = name else { return Ok(None) };
        let Manifest { position, recipe, images, .. } =
            read_manifest(&self.path_of(&name).join(MANIFEST))?;
        Ok(Some(Stated { position, recipe, images }))
    }

    /// Adds to the error of the checkpoint `name`, which `latest` names, what to do about it.
    fn advised(&self, name: &str, error: CheckpointError) -> CheckpointError {
        if !error.is_damage() {
            return error;
        }
        let others = self.by_step().unwrap_or_default().into_iter().filter(|other| other != name);
        let other = others.into_iter().find(|other| self.read(other).is_ok());
        let folder = self.path_of(name);
        CheckpointError::LatestDamaged { folder, other, source: Box::new(error) }
    }

    fn read(&self, name: &str) -> Result<Checkpoint, CheckpointError> {
        let folder = self.path_of(name);
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
        Ok(Checkpoint { position, method, recipe, images, tensors })
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

/// Writes the file of one kind of tensors into `folder`. Returns its name and its SHA-256, which is computed while
/// the system writes, because the run waits for its checkpoint.
fn write_tensors(
    folder: &Path,
    kind: &str,
    tensors: &Tensors,
) -> Result<(String, String), CheckpointError> {
    let name = format!("{kind}.safetensors");
    let path = folder.join(&name);
    let bytes = file::bytes(&path, tensors, &[])?;
    let (written, sum) = thread::scope(|scope| {
        let summing = scope.spawn(|| sha256([&bytes]));
        let written = write_synced(&path, &bytes);
        (written, summing.join())
    });
    written?;
    Ok((name, sum.unwrap_or_else(|panic| resume_unwind(panic))))
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let mut file = File::create(path).map_err(io(path))?;
    file.write_all(bytes).map_err(io(path))?;
    file.sync_all().map_err(io(path))
}

/// Syncs the names in `folder` to the disk.
fn sync_folder(folder: &Path) -> Result<(), CheckpointError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io(folder))
}
