//! Writes checkpoints, complete or not at all, and removes those that are not kept.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    panic::resume_unwind,
    path::{Path, PathBuf},
    thread,
};

use super::{
    BEST, Checkpoint, CheckpointError, FORMAT, LATEST, Store,
    error::io,
    manifest::{self, Manifest},
};
use crate::{
    run::{
        digest::sha256,
        replacement::{self, ASIDE},
    },
    tensors::{file, state::Tensors},
};

impl Store {
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
        write_synced(&temporary.join(manifest::FILE), &manifest.signed())?;
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
