//! The network of a fine-tuning as an encoder: its backbone, without the classifier.
//!
//! The folder of a fine-tuning says in `encoder.json` what its checkpoints do not: the architecture, and how
//! images are brought to it. Folders of earlier versions lack the file; there the encoder that was fine-tuned
//! says it, as long as it is where it was. Called by [`super::Encoder::open`].

use std::{
    fs,
    path::{Path, PathBuf},
};

use burn::{module::Module, tensor::Device};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Encoder, EncoderError, Input,
    export::{ExportError, checkpoint_of},
    file::{self, ImportError},
};
use crate::{
    backbone::{Backbone, BackboneConfig},
    layers::{Init, budget},
    methods,
    run::{
        checkpoint::Checkpoint,
        folder::{self, ENCODER},
    },
    tensors::state::{self, Tensors},
};

/// The task of a fine-tuning, as its checkpoints and results call it.
const TASK: &str = "finetune";
/// The kind of the tensors in a checkpoint, and the name of the backbone among them.
const KIND: &str = "network";
const BACKBONE: &str = "backbone.";

/// The content of `encoder.json`.
#[derive(Serialize, Deserialize)]
struct Description {
    backbone: BackboneConfig,
    input: Input,
}

/// Returns the text of the file that describes the networks which are fine-tuned from `encoder`.
pub fn description(encoder: &Encoder) -> String {
    let description = Description { backbone: encoder.config.clone(), input: encoder.input };
    serde_json::to_string(&description).expect("settings are plain values") + "\n"
}

/// Opens the network of the fine-tuning in the folder `path` at `checkpoint`.
///
/// # Errors
/// The folder is of another training on labels, the checkpoint is missing or damaged, or nothing describes the
/// network.
pub(super) fn open(
    path: &Path,
    checkpoint: &str,
    device: &Device,
) -> Result<Encoder, EncoderError> {
    let result = folder::summary_of::<Value>(path).ok().flatten().unwrap_or_default();
    let said = |key: &str| result.get(key).and_then(Value::as_str).map(str::to_owned);
    let began_with = said("encoder").map(PathBuf::from);
    let frozen = || EncoderError::Frozen { path: path.to_owned(), encoder: began_with.clone() };
    if said("task").is_some_and(|task| task != TASK) {
        return Err(frozen());
    }
    let Checkpoint { position, method, mut tensors, .. } = checkpoint_of(path, checkpoint)?;
    let network = tensors.remove(KIND).filter(|_| method == TASK).ok_or_else(frozen)?;
    let (config, input) = described(path, began_with, device)?;
    let backbone = network.into_iter().filter_map(|(name, tensor)| {
        name.strip_prefix(BACKBONE).map(|name| (name.to_owned(), tensor))
    });
    let init = Init::blank(device).with_channels(input.channels());
    let fresh = budget::fitted(|| Backbone::new(&config, &init));
    let fresh = fresh.map_err(|source| ImportError::TooLarge { path: path.to_owned(), source })?;
    let backbone = state::restore(fresh, backbone.collect::<Tensors>())
        .map_err(|source| ImportError::Tensors { path: path.to_owned(), source })?
        .no_grad();
    Ok(Encoder {
        backbone: backbone.into(),
        config,
        input,
        path: path.to_owned(),
        recipe: None,
        network: None,
        step: Some(position.step),
        loss_head: None,
        pooling: None,
        device: device.clone(),
    })
}

/// Returns the architecture and the input of the network in `path`, which was fine-tuned from `began_with`.
fn described(
    path: &Path,
    began_with: Option<PathBuf>,
    device: &Device,
) -> Result<(BackboneConfig, Input), EncoderError> {
    let file = path.join(ENCODER);
    if file.is_file() {
        let damaged = |problem: String| EncoderError::Description { path: file.clone(), problem };
        let text = fs::read(&file).map_err(|error| damaged(error.to_string()))?;
        let Description { backbone, input } =
            serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        return Ok((backbone, input));
    }
    match began_with {
        Some(run) if folder::is_run(&run) => {
            let recipe = folder::recipe_of(&run).map_err(ExportError::from)?;
            let recipe = methods::recipe_from(&recipe)
                .map_err(|source| ExportError::Recipe { run, source: Box::new(source) })?;
            Ok((recipe.backbone.clone(), Input::of(&recipe)))
        }
        Some(encoder) if encoder.is_file() => {
            let encoder = file::import(&encoder, device)?;
            Ok((encoder.config, encoder.input))
        }
        encoder => Err(EncoderError::Undescribed { path: path.to_owned(), encoder }),
    }
}
