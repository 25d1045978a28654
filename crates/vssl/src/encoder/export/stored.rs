//! The encoder that lies in a checkpoint of a run. Read by [`super::export()`] and by all that takes the folder of a run for an
//! encoder.

use std::path::Path;

use super::ExportError;
use crate::{
    method::learner::Network,
    methods,
    recipe::Recipe,
    run::{
        checkpoint::{Checkpoint, Store},
        folder,
    },
    tensors::state::Tensors,
};

/// The name of the encoder in the student of every method.
const STUDENT: &[&str] = &["backbone."];
/// The names of the encoder in the memory of the methods with a momentum network: the memory is the teacher,
/// or holds the teacher beside a queue or a centre.
const TEACHER: &[&str] = &["backbone.", "teacher.backbone."];
/// The kind of the head's tensors in a checkpoint.
const HEAD_KIND: &str = "uncertainty";

/// The encoder in a checkpoint, and the recipe that trained it.
pub(crate) struct Stored {
    /// The resolved recipe of the run.
    pub recipe: Recipe,
    /// The number of training steps.
    pub step: u64,
    /// The tensors of the encoder, by the backbone's paths.
    pub encoder: Tensors,
    /// The tensors of the head that predicts losses, where the run has one; it is the student's.
    pub head: Option<Tensors>,
}

impl Stored {
    /// Reads the encoder of a run.
    ///
    /// # Errors
    /// The folder is not a run, the checkpoint is missing or damaged, or the method has no teacher.
    pub fn read(run: &Path, checkpoint: &str, network: Network) -> Result<Self, ExportError> {
        folder::recipe_of(run)?;
        let Checkpoint { position, method, mut tensors, recipe, .. } =
            checkpoint_of(run, checkpoint)?;
        let recipe = methods::recipe_from(&recipe).map_err(|source| ExportError::Recipe {
            run: run.to_owned(),
            source: Box::new(source),
        })?;
        let (kind, prefixes) = match network {
            Network::Student => ("student", STUDENT),
            Network::Teacher => ("memory", TEACHER),
        };
        let behind = |path: &str| {
            let rest = prefixes.iter().find_map(|prefix| path.strip_prefix(prefix));
            rest.map(str::to_owned)
        };
        let encoder = tensors
            .get(kind)
            .into_iter()
            .flatten()
            .filter_map(|(path, tensor)| Some((behind(path)?, tensor.clone())))
            .collect::<Tensors>();
        let frozen = run.join(folder::TEACHER);
        if encoder.is_empty() && frozen.is_file() {
            let run = run.to_owned();
            return Err(ExportError::FrozenTeacher { run, file: frozen, method });
        }
        if encoder.is_empty() {
            return Err(ExportError::NoTeacher { run: run.to_owned(), method });
        }
        let head = tensors.remove(HEAD_KIND).filter(|_| network == Network::Student);
        Ok(Self { recipe, step: position.step, encoder, head })
    }
}

/// Reads the checkpoint of a run that the user calls `latest`, `best` or `step-N`.
///
/// # Errors
/// The checkpoint is missing or damaged.
pub(crate) fn checkpoint_of(run: &Path, wanted: &str) -> Result<Checkpoint, ExportError> {
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
