//! The reports of a training to the files of its folder and to its observer. Both training loops use them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use serde::Serialize;
use vssl_data::Batch;

use super::{
    checkpoint::{Checkpoint, Store},
    events::{Event, Observer},
    folder::{RunFolder, RunFolderError},
    history::Entry,
};

/// The time for which a checkpoint that could not be written waits for the rest of the folder to be removed.
const REMOVAL: Duration = Duration::from_millis(200);
/// Largest number of bad images that a warning on the screen names.
const TOLD: usize = 3;

/// The open folder of a training, and the training's observer.
pub struct Journal<'a> {
    folder: RunFolder,
    observer: &'a mut dyn Observer,
    /// The epoch in which each kind of warning was last shown to the observer.
    warned: BTreeMap<&'static str, u64>,
    /// The number of optimiser steps done.
    step: u64,
}

impl<'a> Journal<'a> {
    /// Makes the journal of a training in `folder` that `observer` watches.
    pub fn new(folder: RunFolder, observer: &'a mut dyn Observer) -> Self {
        Self { folder, observer, warned: BTreeMap::new(), step: 0 }
    }

    /// Returns the path of the run folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Reports an event that is not a warning: see [`Journal::warn`].
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn tell(&mut self, event: &Event) -> Result<(), RunFolderError> {
        match event {
            Event::Started { first_step: step, .. }
            | Event::Step { step, .. }
            | Event::Evaluated { step, .. } => self.step = *step,
            _ => {}
        }
        if let Some(entry) = Entry::of(event, self.step) {
            self.folder.note(&entry)?;
        }
        if let Event::Started { notes, first_step, .. } = event {
            for message in notes.iter().cloned() {
                self.folder.note(&Entry::Note { step: *first_step, message })?;
            }
        }
        self.observer.event(event);
        Ok(())
    }

    /// Returns the observer, for a piece of work that reports its own progress.
    pub fn observer(&mut self) -> &mut dyn Observer {
        self.observer
    }

    /// Notes the error that ends the training after `step` steps. A folder that cannot be written does not
    /// hide the error.
    pub fn failed(&mut self, step: u64, error: &dyn std::error::Error) {
        let _ = self.folder.note(&Entry::Failed { step, message: error.to_string() });
    }

    /// Warns after `step` steps. The folder gets every warning, the observer one of each kind in each epoch,
    /// because a warning that scrolls by at every step is not read.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn warn(
        &mut self,
        kind: &'static str,
        step: u64,
        epoch: u64,
        message: String,
    ) -> Result<(), RunFolderError> {
        self.folder.note(&Entry::Warning { step, message: message.clone() })?;
        self.tell_once(kind, step, epoch, message);
        Ok(())
    }

    /// Warns the observer, unless there was a warning of this kind in this epoch.
    fn tell_once(&mut self, kind: &'static str, step: u64, epoch: u64, message: String) {
        if self.warned.insert(kind, epoch) != Some(epoch) {
            self.observer.event(&Event::Warning { step, message });
        }
    }

    /// Warns that unreadable images were replaced by other images, if this batch had any. The folder gets the
    /// name of each, the observer those of the first few.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn warn_of_replaced(
        &mut self,
        batch: &Batch,
        step: u64,
        epoch: u64,
    ) -> Result<(), RunFolderError> {
        if batch.replaced.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = batch.replaced.iter().map(|bad| bad.error.to_string()).collect();
        let message =
            |names: &[String]| format!("replaced unreadable images: {}", names.join(", "));
        self.folder.note(&Entry::Warning { step, message: message(&names) })?;
        let mut told = message(&names[..names.len().min(TOLD)]);
        if names.len() > TOLD {
            told.push_str(&format!(" and {} more; events.jsonl names all", names.len() - TOLD));
        }
        self.tell_once("replaced", step, epoch, told);
        Ok(())
    }

    /// Writes a line of figures about `step`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn record(&mut self, step: u64, line: &impl Serialize) -> Result<(), RunFolderError> {
        self.folder.record(step, line)
    }

    /// Writes the file `name` of the folder completely or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<(), RunFolderError> {
        self.folder.write(name, text)
    }

    /// Saves a checkpoint, as the best so far if `is_best`, and removes all checkpoints but the last `keep`.
    ///
    /// # Errors
    /// The checkpoint cannot be written; the error says which earlier checkpoint stays.
    pub fn save(
        &mut self,
        checkpoint: &Checkpoint,
        is_best: bool,
        keep: usize,
    ) -> Result<(), RunFolderError> {
        let step = checkpoint.position.step;
        let store = |refuge: &Option<PathBuf>| match refuge {
            Some(refuge) => Store::of(refuge),
            None => self.folder.checkpoints(),
        };
        let mut refuge = self.folder.refuge();
        let mut saved = store(&refuge).save(checkpoint, is_best, keep);
        if saved.is_err() && refuge.is_none() {
            // The folder may have moved in the middle of it, or its removal may be on the way.
            refuge = self.folder.refuge().or_else(|| {
                thread::sleep(REMOVAL);
                self.folder.refuge()
            });
            if refuge.is_some() {
                saved = store(&refuge).save(checkpoint, is_best, keep);
            }
        }
        let path =
            saved.map_err(|source| RunFolderError::not_saved(&store(&refuge), step, source))?;
        self.tell(&Event::Checkpoint { step, path })?;
        match refuge {
            Some(saved) => Err(RunFolderError::Lost { path: self.path().to_owned(), step, saved }),
            None => Ok(()),
        }
    }

    /// Writes the result of a training that ended after `step` steps, on request if it was `interrupted`. The
    /// observer is not notified: see [`Event::Finished`].
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(
        &mut self,
        summary: &impl Serialize,
        step: u64,
        interrupted: bool,
    ) -> Result<(), RunFolderError> {
        self.folder.summarise(summary)?;
        self.folder.note(&Entry::Finished { step, interrupted })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{super::checkpoint::Position, *};

    struct Silent;

    impl Observer for Silent {
        fn event(&mut self, _: &Event) {}
    }

    #[test]
    fn a_folder_that_is_removed_during_a_checkpoint_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let open = RunFolder::create(&run, "seed = 0", false, false).unwrap();
        let mut silent = Silent;
        let mut journal = Journal::new(open, &mut silent);
        // The checkpoint cannot be written while the folder is still there.
        fs::write(run.join("checkpoints"), "in the way").unwrap();
        let removed = run.clone();
        let remover = thread::spawn(move || {
            thread::sleep(REMOVAL / 4);
            fs::remove_dir_all(removed).unwrap();
        });
        let checkpoint = Checkpoint {
            position: Position { step: 3, ..Position::default() },
            method: "simclr".to_owned(),
            recipe: "seed = 0".to_owned(),
            images: None,
            tensors: BTreeMap::new(),
        };
        let saved = journal.save(&checkpoint, false, 1);
        remover.join().unwrap();
        assert!(matches!(saved, Err(RunFolderError::Lost { step: 3, .. })), "{saved:?}");
        let found = Store::of(&run).load("latest").unwrap().unwrap();
        assert_eq!(found.position.step, 3);
        assert_eq!(fs::read_to_string(run.join("recipe.toml")).unwrap(), "seed = 0");
    }
}
