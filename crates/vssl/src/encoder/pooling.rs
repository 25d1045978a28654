//! Another feature of the same transformer: its class token, the mean of its patches, or both. Called by the commands that
//! evaluate.
//!
//! Papers evaluate their transformers in different ways: MoCo V3 and DINO by the class token, MAE by either, I-JEPA by the
//! mean of the patches, DINOv2 by both beside each other. The weights are the same for all of them.

use super::{Encoder, EncoderError};
use crate::backbone::Pooling;

impl Encoder {
    /// Returns the encoder with another pooling of its tokens. With the pooling that the network has anyway it stays as it
    /// is; with another one it has no head that predicts losses, since that head reads the network's own feature.
    ///
    /// # Errors
    /// The network is no transformer, or has not the token or the norm that the pooling needs.
    pub fn with_pooling(self, pooling: Pooling) -> Result<Self, EncoderError> {
        let refused = |source| EncoderError::Pooling { path: self.path.clone(), source };
        let config = self.config.pooled(pooling).map_err(refused)?;
        if config == self.config {
            return Ok(self);
        }
        let backbone = (*self.backbone).clone().pooled(pooling).into();
        Ok(Self { backbone, config, pooling: Some(pooling), loss_head: None, ..self })
    }

    /// Returns the feature of a transformer in words, for tables and results; `None` for other networks.
    pub fn feature_in_words(&self) -> Option<&'static str> {
        self.config.pooling().map(Pooling::words)
    }
}
