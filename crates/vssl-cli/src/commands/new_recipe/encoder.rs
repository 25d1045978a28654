//! The encoder that a new recipe starts from: it is read here as `vssl pretrain` will read it, so that the recipe says
//! its architecture and normalisation and has views that it can take.

use std::path::Path;

use anyhow::anyhow;
use vssl::{
    backbone::BackboneConfig,
    encoder::foreign::ForeignError,
    recipe::InitSection,
    train::{Role, Start, TrainError},
};

use crate::{commands::pretrain, failure::Failure};

/// The number of channels of the images, unless the recipe says another one.
pub(super) const CHANNELS: usize = 3;

/// Returns the path of an encoder that is there, the value of this option, as text.
///
/// # Errors
/// There is none, or its name is one that no recipe can hold.
pub(super) fn named<'a>(option: &str, path: &'a Path) -> Result<&'a str, Failure> {
    path.to_str().filter(|_| path.exists()).ok_or_else(|| {
        Failure::usage(anyhow!(
            "{option} {}: not found, or a name that no recipe can hold; expected a run folder, a file that `vssl export` \
             or `vssl import` wrote, or another program's weights",
            path.display()
        ))
    })
}

/// An encoder to start from.
pub(super) struct Encoder {
    /// Its path from the root, as the recipe has it.
    pub(super) path: String,
    /// What was read; `None` for another program's file that does not tell all about its encoder.
    pub(super) start: Option<Start>,
    /// The notes on it.
    pub(super) notes: Vec<String>,
}

impl Encoder {
    /// Opens the encoder at `path`.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let text = named("--from", path)?;
        match Start::read(Role::Start, &InitSection::of(path), None) {
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

    /// Returns the size of views nearest to `size` that the encoder can take.
    pub(super) fn fitting(&self, size: usize) -> usize {
        match self.start.as_ref().map(|start| &start.config) {
            Some(BackboneConfig::Vit(config)) => size.next_multiple_of(config.patch.max(1)),
            Some(BackboneConfig::ConvNext(config)) => size.max(8 * config.patch),
            _ => size,
        }
    }
}
