//! How the tokens of a transformer become one feature.

use serde::{Deserialize, Serialize};

/// The ways in which the tokens of a transformer become one feature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The class token after the last norm.
    #[default]
    Token,
    /// The mean of the patches after the last norm, without the class token and the registers: timm's
    /// `global_pool="avg"` with `fc_norm=False`.
    Mean,
    /// The mean of the patches, and a norm of it: timm's `global_pool="avg"`, whose norm is called `fc_norm`.
    #[serde(alias = "fc-norm")]
    FcNorm,
    /// The class token and then the mean of the patches, both after the last norm: twice the numbers, as in the linear
    /// evaluation of DINOv2 (Oquab et al. 2024, arXiv:2304.07193). It is of evaluations: no network is trained with it.
    #[serde(alias = "token-mean")]
    TokenMean,
}

impl Pooling {
    /// Returns the name in a recipe.
    pub fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Mean => "mean",
            Self::FcNorm => "fc_norm",
            Self::TokenMean => "token_mean",
        }
    }

    /// Returns the feature in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Token => "the class token",
            Self::Mean => "the mean of the patches",
            Self::FcNorm => "the norm of the mean of the patches",
            Self::TokenMean => "the class token beside the mean of the patches",
        }
    }

    /// Returns whether the class token is in the feature.
    pub(crate) fn has_token(self) -> bool {
        matches!(self, Self::Token | Self::TokenMean)
    }

    /// Returns whether the mean of the patches is in the feature.
    pub(crate) fn has_patches(self) -> bool {
        self != Self::Token
    }
}

/// Why a network cannot have a pooling.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pooling {pooling} of {architecture}: {expected}")]
pub struct PoolingError {
    pub(super) pooling: &'static str,
    pub(super) architecture: &'static str,
    pub(super) expected: &'static str,
}
