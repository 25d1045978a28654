//! Another feature of the same transformer: its class token, the mean of its patches, or both. Called by the
//! commands that evaluate, and by the Python module.
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

    /// Returns the pooling that the recipe of the encoder's run evaluates, if it says one.
    pub fn usual_pooling(&self) -> Option<Pooling> {
        self.recipe.as_ref()?.evaluation.pooling
    }

    /// Returns the encoder with the pooling that is `asked` for, or else with the one that the recipe of its run evaluates,
    /// and a note where the feature is not the network's own. `option` is what a person asks by, as `--pooling`.
    ///
    /// # Errors
    /// The errors of [`Encoder::with_pooling`].
    pub fn evaluated(
        self,
        asked: Option<Pooling>,
        option: &str,
    ) -> Result<(Self, Option<String>), EncoderError> {
        let Some(pooling) = asked.or(self.usual_pooling()) else { return Ok((self, None)) };
        let had_head = self.loss_head.is_some();
        let encoder = self.with_pooling(pooling)?;
        let lost = match had_head && encoder.loss_head.is_none() {
            true => {
                "; the head of [uncertainty] reads the network's own, so losses are not predicted"
            }
            false => "",
        };
        let by = if asked.is_some() { option } else { "evaluation.pooling of its recipe" };
        let path = encoder.path.display();
        let note = encoder
            .pooling
            .map(|pooling| format!("{path}: the feature is {} ({by}){lost}", pooling.words()));
        Ok((encoder, note))
    }
}
