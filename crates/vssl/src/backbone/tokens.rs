//! A transformer's class token and patches in one pass, of whole images and of images some of whose patches are masked.
//! Called by the methods that compare patches.

use burn::tensor::Tensor;

use super::{Backbone, Masked, Vit};
use crate::layers::Mode;

/// What a transformer makes of images.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// The features, `[n, dim]`.
    pub features: Tensor<2>,
    /// The class token after the last norm, `[n, dim]`.
    pub class: Tensor<2>,
    /// The patches after the last norm, row by row, `[n, patches, dim]`.
    pub patches: Tensor<3>,
}

impl Backbone {
    /// Returns the features, the class token and the patches of a transformer with a class token and a norm of its tokens;
    /// `None` for other networks. In [`Mode::Heads`] they carry no gradient. A transformer has no statistics of a batch, so
    /// all other modes are alike.
    ///
    /// # Shapes — `[n, 3, h, w]` to those of [`Tokens`].
    pub fn forward_tokens(
        &self,
        x: Tensor<4>,
        masked: Option<Masked>,
        mode: Mode,
    ) -> Option<Tokens> {
        let Self::Vit(network) = self else { return None };
        // Without a gradient the network runs outside of the graph, and the mask has to be there as well.
        let is_outside =
            matches!(mode, Mode::Heads(_)) && x.gradient_checkpointing_strategy().is_some();
        let masked = match masked {
            Some(Masked { mask, token }) if is_outside => {
                Some(Masked { mask: mask.inner(), token: token.inner() })
            }
            masked => masked,
        };
        let tokens = self.tokens_by(x, mode, &|network, x| tokens(network, x, masked.clone()))?;
        let ([n, count, width], prefix) = (tokens.dims(), network.prefix());
        Some(Tokens {
            features: network.feature_of_visible(tokens.clone()),
            class: tokens.clone().narrow(1, 0, 1).reshape([n, width]), // [n, 1, width] -> [n, width]
            patches: tokens.narrow(1, prefix, count - prefix),
        })
    }
}

/// # Shapes — `[n, 3, h, w]` to `[n, tokens, dim]`.
fn tokens(network: &Vit, x: Tensor<4>, masked: Option<Masked>) -> Tensor<3> {
    match masked {
        Some(masked) => network.masked_tokens(x, masked),
        None => network.tokens(x),
    }
}
