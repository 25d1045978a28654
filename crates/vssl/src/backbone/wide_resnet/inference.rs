//! A Wide ResNet that is only used: each second normalisation of a block is folded into the convolution before
//! it. The first ones follow a sum that the shortcut needs as well, and are maps of their own. Called by
//! [`super::super::InferenceNetwork`].

use burn::tensor::Tensor;
use vssl_kernels::{FoldedConv, Rectifier, accelerates, affine, global_average_pool};

use super::{Block, Convolution, SLOPE, WideResnet};
use crate::layers::BatchNorm;

/// The convolutions of a [`WideResnet`] with all that follows them.
#[derive(Clone, Debug)]
pub(in super::super) struct InferenceWideResnet {
    stem: FoldedConv,
    blocks: Vec<InferenceBlock>,
    last: [Tensor<1>; 2],
}

#[derive(Clone, Debug)]
struct InferenceBlock {
    /// The scale and the shift of the first normalisation; `None` where the network leaves it out.
    norm: Option<[Tensor<1>; 2]>,
    shortcut: Option<FoldedConv>,
    first: FoldedConv,
    second: FoldedConv,
}

const LEAKY: Rectifier = Rectifier::Leaky(SLOPE);

impl WideResnet {
    /// Returns the network with folded normalisations; `None` where its device has no fast path for them.
    /// `keep` is that of [`FoldedConv::new`].
    pub(in super::super) fn for_inference(&self, keep: bool) -> Option<InferenceWideResnet> {
        if !accelerates(&self.conv1.weight.val().device()) {
            return None;
        }
        let stages = [&self.block1, &self.block2, &self.block3];
        let blocks = stages.into_iter().flat_map(|stage| &stage.layer);
        Some(InferenceWideResnet {
            stem: self.conv1.plain(keep),
            blocks: blocks.map(|block| block.for_inference(keep)).collect(),
            last: self.bn1.scale_and_shift(),
        })
    }
}

impl Block {
    fn for_inference(&self, keep: bool) -> InferenceBlock {
        let normalises = self.convShortcut.is_none() || self.activate_before_residual;
        InferenceBlock {
            norm: normalises.then(|| self.bn1.scale_and_shift()),
            shortcut: self.convShortcut.as_ref().map(|conv| conv.plain(keep)),
            first: self.conv1.activated(&self.bn2, keep),
            second: self.conv2.plain(keep),
        }
    }
}

impl Convolution {
    /// Returns the convolution with its bias.
    fn plain(&self, keep: bool) -> FoldedConv {
        let bias = self.bias.val();
        self.folded([bias.ones_like(), bias], Rectifier::None, keep)
    }

    /// Returns the convolution with its bias, the normalisation and the activation.
    fn activated(&self, norm: &BatchNorm, keep: bool) -> FoldedConv {
        let [scale, shift] = norm.scale_and_shift();
        let shift = shift + self.bias.val() * scale.clone();
        self.folded([scale, shift], LEAKY, keep)
    }

    fn folded(&self, factors: [Tensor<1>; 2], activation: Rectifier, keep: bool) -> FoldedConv {
        let padding = self.weight.dims()[2] / 2;
        FoldedConv::new(self.weight.val(), factors, self.stride, padding, activation, keep)
    }
}

impl InferenceWideResnet {
    /// # Shapes — `[n, channels, h, w]` to `[n, dim]`.
    pub(in super::super) fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.stem.forward(x, None);
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        global_average_pool(affine(x, self.last.clone(), LEAKY))
    }
}

impl InferenceBlock {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let activated = match &self.norm {
            Some(norm) => affine(x.clone(), norm.clone(), LEAKY),
            None => x.clone(),
        };
        let shortcut = match &self.shortcut {
            Some(conv) => conv.forward(activated.clone(), None),
            None => x,
        };
        let y = self.first.forward(activated, None);
        self.second.forward(y, Some(shortcut))
    }
}
