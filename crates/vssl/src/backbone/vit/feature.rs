//! The feature of a transformer: its class token, the mean of its patches, the norm of that mean, or the first two beside
//! each other. Called by [`super::Vit`].

use burn::tensor::Tensor;

use super::{Pooling, Vit};

impl Vit {
    /// Returns the same network with another pooling of its tokens, which
    /// [`BackboneConfig::pooled`](crate::backbone::BackboneConfig::pooled) allows.
    pub(in crate::backbone) fn pooled(self, pooling: Pooling) -> Self {
        let (pools_token, pools_patches) = (pooling.has_token(), pooling.has_patches());
        Self { pools_token, pools_patches, ..self }
    }

    /// Returns the feature of images of which some patches are seen.
    ///
    /// # Shapes — the result of [`Vit::visible_tokens`], `[n, tokens, dim]`, to `[n, dim]`.
    pub fn feature_of_visible(&self, tokens: Tensor<3>) -> Tensor<2> {
        let [n, count, width] = tokens.dims();
        let row = |x: Tensor<3>| x.reshape([n, width]); // [n, 1, width] -> [n, width]
        let token = self.pools_token.then(|| row(tokens.clone().narrow(1, 0, 1)));
        let (prefix, patches) = (self.prefix(), count - self.prefix());
        let mean = self.pools_patches.then(|| row(tokens.narrow(1, prefix, patches).mean_dim(1)));
        beside(token, mean)
    }

    /// # Shapes — the tokens before the last norm, `[n, tokens, dim]`, to `[n, dim]`.
    pub(super) fn feature_of(&self, x: Tensor<3>) -> Tensor<2> {
        let [n, tokens, width] = x.dims();
        let row = |x: Tensor<3>| x.reshape([n, width]); // [n, 1, width] -> [n, width]
        let token = self.pools_token.then(|| row(self.normalised(x.clone().narrow(1, 0, 1))));
        let mean = self.pools_patches.then(|| {
            let (prefix, patches) = (self.prefix(), tokens - self.prefix());
            let mean = row(self.normalised(x.narrow(1, prefix, patches)).mean_dim(1));
            match &self.fc_norm {
                Some(norm) => norm.forward(mean),
                None => mean,
            }
        });
        beside(token, mean)
    }
}

/// # Shapes — `[n, dim]` each to `[n, dim]`, or `[n, 2 · dim]` of both.
fn beside(token: Option<Tensor<2>>, mean: Option<Tensor<2>>) -> Tensor<2> {
    match (token, mean) {
        (Some(token), Some(mean)) => Tensor::cat(vec![token, mean], 1),
        (one, other) => {
            one.or(other).expect("every pooling is of the class token or of the patches")
        }
    }
}
