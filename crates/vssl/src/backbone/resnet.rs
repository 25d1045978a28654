//! ResNet (He et al. 2016, arXiv:1512.03385) with torchvision's parameter names and without the classifier.
//! Called by [`super::Backbone`].

mod inference;

use burn::{module::Module, tensor::Tensor};

pub(super) use inference::InferenceResnet;

use super::{ResnetConfig, ResnetDepth, Stem};
use crate::layers::{BatchNorm, Conv2d, Init, Mode};

/// A stem, four stages and global average pooling.
#[derive(Module, Debug)]
pub struct Resnet {
    conv1: Conv2d,
    bn1: BatchNorm,
    layer1: Vec<Block>,
    layer2: Vec<Block>,
    layer3: Vec<Block>,
    layer4: Vec<Block>,
    max_pool: bool,
}

impl Resnet {
    /// Makes a network with initial values. The last normalisation of a block starts at γ = 1, not 0, as in
    /// the published recipes.
    pub fn new(config: &ResnetConfig, init: &Init) -> Self {
        let width = config.width;
        let conv1 = match config.stem {
            Stem::Imagenet => Conv2d::he_normal([width, 3, 7, 7], 2, 3, init),
            Stem::Cifar => Conv2d::plain([width, 3, 3, 3], 1, config.stem_padding, init),
        };
        let bn1 = BatchNorm::new(width, init);
        let mut channels = width;
        let mut stage = |index: usize| {
            let inner = width << index;
            let depth = config.depth.blocks()[index];
            let blocks = (0..depth).map(|block| {
                let stride = if index > 0 && block == 0 { 2 } else { 1 };
                let input = channels;
                channels = inner * config.depth.expansion();
                Block::new(config.depth, input, inner, stride, init)
            });
            blocks.collect()
        };
        Self {
            conv1,
            bn1,
            layer1: stage(0),
            layer2: stage(1),
            layer3: stage(2),
            layer4: stage(3),
            max_pool: config.stem == Stem::Imagenet,
        }
    }

    /// # Shapes — `[n, 3, h, w]` to `[n, dim]`.
    pub fn forward(&self, x: Tensor<4>, mode: Mode) -> Tensor<2> {
        let mut x = self.bn1.forward(self.conv1.forward(x), None, true, mode);
        if self.max_pool {
            x = vssl_kernels::max_pool2d(x, 3, 2, 1);
        }
        for stage in [&self.layer1, &self.layer2, &self.layer3, &self.layer4] {
            x = stage.iter().fold(x, |x, block| block.forward(x, mode));
        }
        vssl_kernels::global_average_pool(x)
    }
}

/// A basic block (two 3×3) or a bottleneck (1×1, 3×3, 1×1); only the bottleneck has a third convolution.
#[derive(Module, Debug)]
struct Block {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
    conv3: Option<Conv2d>,
    bn3: Option<BatchNorm>,
    downsample: Option<(Conv2d, BatchNorm)>,
}

impl Block {
    fn new(depth: ResnetDepth, input: usize, inner: usize, stride: usize, init: &Init) -> Self {
        let output = inner * depth.expansion();
        let bottleneck = depth.expansion() > 1;
        let (conv1, conv2) = if bottleneck {
            (
                Conv2d::he_normal([inner, input, 1, 1], 1, 0, init),
                Conv2d::he_normal([inner, inner, 3, 3], stride, 1, init),
            )
        } else {
            (
                Conv2d::he_normal([inner, input, 3, 3], stride, 1, init),
                Conv2d::he_normal([inner, inner, 3, 3], 1, 1, init),
            )
        };
        let downsample = (stride != 1 || input != output).then(|| {
            let conv = Conv2d::he_normal([output, input, 1, 1], stride, 0, init);
            (conv, BatchNorm::new(output, init))
        });
        Self {
            conv1,
            bn1: BatchNorm::new(inner, init),
            conv2,
            bn2: BatchNorm::new(inner, init),
            conv3: bottleneck.then(|| Conv2d::he_normal([output, inner, 1, 1], 1, 0, init)),
            bn3: bottleneck.then(|| BatchNorm::new(output, init)),
            downsample,
        }
    }

    fn forward(&self, x: Tensor<4>, mode: Mode) -> Tensor<4> {
        let shortcut = match &self.downsample {
            Some((conv, norm)) => norm.forward(conv.forward(x.clone()), None, false, mode),
            None => x.clone(),
        };
        let y = self.bn1.forward(self.conv1.forward(x), None, true, mode);
        let y = self.conv2.forward(y);
        match (&self.conv3, &self.bn3) {
            (Some(conv3), Some(bn3)) => {
                let y = self.bn2.forward(y, None, true, mode);
                bn3.forward(conv3.forward(y), Some(shortcut), true, mode)
            }
            _ => self.bn2.forward(y, Some(shortcut), true, mode),
        }
    }
}
