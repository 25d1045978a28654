//! A ResNet that is only used: each normalisation is folded into the convolution before it. Called by
//! [`super::super::InferenceNetwork`].

use burn::tensor::Tensor;
use vssl_kernels::{FoldedConv, Rectifier, accelerates, global_average_pool, halved, max_pool2d};

use super::{Block, First, Resnet, Shortcut};

/// The convolutions of a [`Resnet`] with all that follows them.
#[derive(Clone, Debug)]
pub(in super::super) struct InferenceResnet {
    stem: Vec<FoldedConv>,
    max_pool: bool,
    blocks: Vec<InferenceBlock>,
}

/// The convolutions of a block in their order; the residual images are added behind the last one.
#[derive(Clone, Debug)]
struct InferenceBlock {
    shortcut: Option<FoldedShortcut>,
    inner: Vec<FoldedConv>,
    last: FoldedConv,
}

/// What makes the input of a block as large as its output.
#[derive(Clone, Debug)]
struct FoldedShortcut {
    averages: bool,
    conv: FoldedConv,
}

impl Resnet {
    /// Returns the network with folded normalisations; `None` where its device has no fast path for them.
    /// `keep` is that of [`FoldedConv::new`].
    pub(in super::super) fn for_inference(&self, keep: bool) -> Option<InferenceResnet> {
        let (First::One(first) | First::Three((first, ..))) = &self.conv1;
        if !accelerates(&first.weight.val().device()) {
            return None;
        }
        let relu = Rectifier::Relu;
        let stem = match &self.conv1 {
            First::One(conv) => vec![conv.folded(&self.bn1, relu, keep)],
            First::Three((first, first_norm, _, second, second_norm, _, third)) => vec![
                first.folded(first_norm, relu, keep),
                second.folded(second_norm, relu, keep),
                third.folded(&self.bn1, relu, keep),
            ],
        };
        let stages = [&self.layer1, &self.layer2, &self.layer3, &self.layer4];
        let blocks = stages.into_iter().flatten().map(|block| block.for_inference(keep));
        Some(InferenceResnet { stem, max_pool: self.max_pool, blocks: blocks.collect() })
    }
}

impl Block {
    fn for_inference(&self, keep: bool) -> InferenceBlock {
        let first = self.conv1.folded(&self.bn1, Rectifier::Relu, keep);
        let second = self.conv2.folded(&self.bn2, Rectifier::Relu, keep);
        let third = self.conv3.as_ref().zip(self.bn3.as_ref());
        let (inner, last) = match third {
            Some((conv, norm)) => (vec![first, second], conv.folded(norm, Rectifier::Relu, keep)),
            None => (vec![first], second),
        };
        let shortcut = self.downsample.as_ref();
        let shortcut = shortcut.map(|shortcut| match shortcut {
            Shortcut::Strided((conv, norm)) => {
                FoldedShortcut { averages: false, conv: conv.folded(norm, Rectifier::None, keep) }
            }
            Shortcut::Averaged((_, conv, norm, averages)) => FoldedShortcut {
                averages: *averages,
                conv: conv.folded(norm, Rectifier::None, keep),
            },
        });
        InferenceBlock { shortcut, inner, last }
    }
}

impl InferenceResnet {
    /// # Shapes — `[n, channels, h, w]` to `[n, dim]`.
    pub(in super::super) fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = self.stem.iter().fold(x, |x, conv| conv.forward(x, None));
        if self.max_pool {
            x = max_pool2d(x, 3, 2, 1);
        }
        global_average_pool(self.blocks.iter().fold(x, |x, block| block.forward(x)))
    }
}

impl InferenceBlock {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let shortcut = match &self.shortcut {
            Some(FoldedShortcut { averages: true, conv }) => conv.forward(halved(x.clone()), None),
            Some(FoldedShortcut { conv, .. }) => conv.forward(x.clone(), None),
            None => x.clone(),
        };
        let y = self.inner.iter().fold(x, |x, conv| conv.forward(x, None));
        self.last.forward(y, Some(shortcut))
    }
}
