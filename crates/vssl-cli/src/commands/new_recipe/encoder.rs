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
    /// The number of channels of the images that it takes.
    pub(super) channels: usize,
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
                let (notes, channels) = (start.notes.clone(), start.input.channels());
                Ok(Self { path: text.to_owned(), start: Some(start), channels, notes })
            }
            Err(error) => match &error {
                TrainError::ForeignStart {
                    source: ForeignError::Unknown { channels, .. }, ..
                } => {
                    let note = format!("{error}. Give these keys of the recipe their values first");
                    let (path, channels) = (text.to_owned(), *channels);
                    Ok(Self { path, start: None, channels, notes: vec![note] })
                }
                _ => Err(pretrain::classified(error)),
            },
        }
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
