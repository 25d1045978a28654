//! A transformer's class token and patches in one pass, of whole images and of images some of whose patches are masked.
//! Called by the methods that compare patches.

use burn::{module::Module, tensor::Tensor};
use vssl_kernels::breakdown::{self, Part};

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
        let is_frozen = matches!(mode, Mode::Heads(_));
        let strategy = x.gradient_checkpointing_strategy().filter(|_| is_frozen);
        let tokens = breakdown::network(Part::Backbone, || match strategy {
            None => tokens(network, x, masked),
            Some(strategy) => {
                let inner = |masked: Masked| Masked {
                    mask: masked.mask.inner(),
                    token: masked.token.inner(),
                };
                let tokens = tokens(&network.valid(), x.inner(), masked.map(inner));
                Tensor::from_inner(tokens).with_gradient_checkpointing_strategy(strategy)
            }
        });
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
