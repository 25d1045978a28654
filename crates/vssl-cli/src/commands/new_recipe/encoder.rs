//! The encoders of a new recipe, the one that it starts from and the frozen teacher: they are read here as `vssl pretrain`
//! will read them, so that the recipe says architecture and normalisation and has views that the encoder can take.

use std::path::Path;

use anyhow::anyhow;
use vssl::{
    backbone::BackboneConfig,
    encoder::foreign::ForeignError,
    recipe::InitSection,
    train::{Role, Start, TrainError},
};

use crate::{commands::pretrain, failure::Failure};

/// An encoder to start from, or a frozen teacher.
pub(super) struct Encoder {
    /// Its path from the root, as the recipe has it: a relative one would lead to it from some folders only.
    pub(super) path: String,
    /// What was read; `None` for another program's file that does not tell all about its encoder.
    pub(super) start: Option<Start>,
    /// The notes on it.
    pub(super) notes: Vec<String>,
}

impl Encoder {
    /// Opens the encoder at `path`, the value of `--from` or `--teacher`.
    ///
    /// # Errors
    /// There is none, it cannot be read, or its name is one that no recipe can hold.
    pub(super) fn open(role: Role, path: &Path) -> Result<Self, Failure> {
        let option = match role {
            Role::Start => "--from",
            Role::Teacher => "--teacher",
        };
        let place = path.canonicalize().ok();
        let text = place.as_deref().and_then(Path::to_str).ok_or_else(|| {
            Failure::usage(anyhow!(
                "{option} {}: not found, or a name that no recipe can hold; expected a run folder, a file that `vssl \
                 export` or `vssl import` wrote, or another program's weights",
                path.display()
            ))
        })?;
        match Start::read(role, &InitSection::of(path), None) {
            Ok(start) => {
                let notes = start.notes.clone();
                Ok(Self { path: text.to_owned(), start: Some(start), notes })
            }
            Err(error @ TrainError::ForeignStart { source: ForeignError::Unknown(_), .. }) => {
                let note = format!("{error}. Give these keys of the recipe their values first");
                Ok(Self { path: text.to_owned(), start: None, notes: vec![note] })
            }
            Err(error) => Err(pretrain::classified(error)),
        }
    }

    /// Returns the number of channels of the images that it takes, if that is known.
    pub(super) fn channels(&self) -> Option<usize> {
        self.start.as_ref().map(|start| start.input.channels())
    }

    /// Returns what it is in one line, if that is known.
    pub(super) fn words(&self) -> Option<String> {
        let start = self.start.as_ref()?;
        let (size, normalisation) = (start.input.size, start.input.normalisation);
        Some(format!(
            "{}, trained on images of {size} pixels, mean {:?}, std {:?}.",
            start.config.architecture().name(),
            normalisation.mean,
            normalisation.std
        ))
    }

    /// Returns the size of views nearest to `size` that the encoder can take.
    pub(super) fn fitting(&self, size: usize) -> usize {
        match self.start.as_ref().map(|start| &start.config) {
            Some(BackboneConfig::Vit(config)) => size.next_multiple_of(config.patch.max(1)),
            Some(BackboneConfig::ConvNext(config)) => size.max(8 * config.patch),
            _ => size,
        }
    }
}
