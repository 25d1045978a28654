//! The network of an encoder, which is trained no more. Called by `encoder`.

use std::{ops::Deref, sync::OnceLock};

use crate::backbone::{Backbone, InferenceNetwork};

/// A backbone whose weights no longer change, with the network that was made of it to run it: see
/// [`InferenceNetwork`]. That network is made at the first use, and once only.
#[derive(Clone, Debug)]
pub struct FrozenBackbone {
    backbone: Backbone,
    prepared: OnceLock<InferenceNetwork>,
}

impl FrozenBackbone {
    /// Returns the network as it runs.
    pub(crate) fn prepared(&self) -> &InferenceNetwork {
        self.prepared.get_or_init(|| self.backbone.for_inference())
    }
}

impl From<Backbone> for FrozenBackbone {
    fn from(backbone: Backbone) -> Self {
        Self { backbone, prepared: OnceLock::new() }
    }
}

impl Deref for FrozenBackbone {
    type Target = Backbone;

    fn deref(&self) -> &Backbone {
        &self.backbone
    }
}
