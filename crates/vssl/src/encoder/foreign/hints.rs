//! What a file says of its network by more than tensors: names that only one program gives, and descriptions in its
//! metadata. Found by [`super::names`], used by [`super::infer`].

use crate::{
    backbone::{BackboneConfig, Interpolation, Pooling},
    encoder::Input,
};

/// What a file says of its network by more than tensors.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Hints {
    /// Who names the tensors of transformers like this, for messages.
    pub(super) author: &'static str,
    /// The number of attention heads.
    pub(super) heads: Option<usize>,
    /// The pooling of the tokens.
    pub(super) pooling: Option<Pooling>,
    /// How the program that wrote the file interpolates positions.
    pub(super) interpolation: Option<Interpolation>,
    /// The network and input that the metadata of a file of this program describe.
    pub(super) told: Option<(BackboneConfig, Input)>,
}
