//! Finds the checkpoints of a run and reads them.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{
    BEST, Checkpoint, CheckpointError, FOLDER, LATEST, StandIn, Stated,
    error::io,
    manifest::{self, Manifest},
};
use crate::{
    run::{
        digest::sha256,
        replacement::{self, ASIDE},
    },
    tensors::file,
};

/// The folder `checkpoints` of a run.
pub struct Store {
    pub(super) folder: PathBuf,
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
    pub(super) fn replaced(&self) -> Result<Vec<String>, CheckpointError> {
        let aside = self.names_with(ASIDE)?;
        Ok(aside.iter().filter_map(|name| Some(name.strip_prefix(ASIDE)?.to_owned())).collect())
    }

    fn path_of(&self, name: &str) -> PathBuf {
        replacement::path_of(&self.folder, name)
    }

    pub(super) fn names_with(&self, prefix: &str) -> Result<Vec<String>, CheckpointError> {
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
    pub(in crate::run) fn name_of_latest(&self) -> Result<Option<String>, CheckpointError> {
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
            manifest::read(&self.path_of(&name).join(manifest::FILE))?;
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
        let manifest = manifest::read(&folder.join(manifest::FILE))?;
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
