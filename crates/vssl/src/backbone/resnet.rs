//! ResNet (He et al. 2016, arXiv:1512.03385) with torchvision's parameter names, and ResNet-D (He et al. 2019,
//! arXiv:1812.01187) with timm's, without the classifier. Called by [`super::Backbone`].

mod inference;

use burn::{module::Module, tensor::Tensor};

pub(super) use inference::InferenceResnet;

use super::{Grid, ResnetConfig, ResnetShape, StemShape};
use crate::layers::{BatchNorm, Conv2d, Init, Mode};

/// A stem, four stages and global average pooling.
#[derive(Module, Debug)]
pub struct Resnet {
    conv1: First,
    bn1: BatchNorm,
    layer1: Vec<Block>,
    layer2: Vec<Block>,
    layer3: Vec<Block>,
    layer4: Vec<Block>,
    max_pool: bool,
}

/// A place in a list of layers whose layer has no parameters.
type Bare = Option<Conv2d>;

/// The convolutions before the first normalisation of every ResNet.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant, reason = "a network has one")]
enum First {
    One(Conv2d),
    /// Convolution, normalisation and ReLU; the same; convolution.
    Three((Conv2d, BatchNorm, Bare, Conv2d, BatchNorm, Bare, Conv2d)),
}

/// What makes an input as large as the output of a block.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant, reason = "the layers are the same")]
enum Shortcut {
    Strided((Conv2d, BatchNorm)),
    /// The mean of 2×2 pixels where the block has a stride, then a convolution without one.
    Averaged((Bare, Conv2d, BatchNorm, bool)),
}

impl Resnet {
    /// Makes a network with initial values. The last normalisation of a block starts at γ = 1, not 0, as in
    /// the published recipes.
    pub fn new(config: &ResnetConfig, init: &Init) -> Self {
        Self::of(&config.shape(), init)
    }

    /// Makes a network of any sizes, with initial values as [`Resnet::new`] has them.
    pub fn of(shape: &ResnetShape, init: &Init) -> Self {
        let (conv1, mut channels) = First::new(shape.stem, init);
        let bn1 = BatchNorm::new(channels, init);
        let mut stage = |index: usize| {
            let blocks = (0..shape.blocks[index]).map(|block| {
                let stride = if index > 0 && block == 0 { 2 } else { 1 };
                let input = channels;
                channels = shape.outputs()[index];
                Block::new(shape, index, input, stride, init)
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
            max_pool: !matches!(shape.stem, StemShape::Cifar(..)),
        }
    }

    /// # Shapes — `[n, channels, h, w]` to `[n, dim]`.
    pub fn forward(&self, x: Tensor<4>, mode: Mode) -> Tensor<2> {
        vssl_kernels::global_average_pool(self.map(x, mode))
    }

    /// Returns the features and the last map.
    ///
    /// # Shapes — `[n, 3, h, w]` to `[n, dim]` and a grid of `[n, rows · columns, dim]`.
    pub fn forward_with_grid(&self, x: Tensor<4>, mode: Mode) -> (Tensor<2>, Grid) {
        let map = self.map(x, mode);
        (vssl_kernels::global_average_pool(map.clone()), Grid::of_map(map))
    }

    /// # Shapes — `[n, 3, h, w]` to `[n, dim, rows, columns]`.
    fn map(&self, x: Tensor<4>, mode: Mode) -> Tensor<4> {
        let mut x = self.bn1.forward(self.conv1.forward(x, mode), None, true, mode);
        if self.max_pool {
            x = vssl_kernels::max_pool2d(x, 3, 2, 1);
        }
        for stage in [&self.layer1, &self.layer2, &self.layer3, &self.layer4] {
            x = stage.iter().fold(x, |x, block| block.forward(x, mode));
        }
        x
    }
}

impl First {
    /// Makes the convolutions, and tells the number of their output channels.
    fn new(shape: StemShape, init: &Init) -> (Self, usize) {
        let channels = init.channels();
        match shape {
            StemShape::Imagenet(width) => {
                (Self::One(Conv2d::he_normal([width, channels, 7, 7], 2, 3, init)), width)
            }
            StemShape::Cifar(width, padding) => {
                (Self::One(Conv2d::plain([width, channels, 3, 3], 1, padding, init)), width)
            }
            StemShape::Deep(width) => {
                let conv = |output: usize, input: usize, stride: usize| {
                    Conv2d::he_normal([output, input, 3, 3], stride, 1, init)
                };
                let norm = || BatchNorm::new(width, init);
                let layers = (
                    conv(width, channels, 2),
                    norm(),
                    None,
                    conv(width, width, 1),
                    norm(),
                    None,
                    conv(2 * width, width, 1),
                );
                (Self::Three(layers), 2 * width)
            }
        }
    }

    fn forward(&self, x: Tensor<4>, mode: Mode) -> Tensor<4> {
        match self {
            Self::One(conv) => conv.forward(x),
            Self::Three((first, first_norm, _, second, second_norm, _, third)) => {
                let x = first_norm.forward(first.forward(x), None, true, mode);
                third.forward(second_norm.forward(second.forward(x), None, true, mode))
            }
        }
    }
}

impl Shortcut {
    fn new(average: bool, input: usize, output: usize, stride: usize, init: &Init) -> Self {
        let conv = |stride: usize| Conv2d::he_normal([output, input, 1, 1], stride, 0, init);
        match average {
            true => Self::Averaged((None, conv(1), BatchNorm::new(output, init), stride > 1)),
            false => Self::Strided((conv(stride), BatchNorm::new(output, init))),
        }
    }

    fn forward(&self, x: Tensor<4>, mode: Mode) -> Tensor<4> {
        match self {
            Self::Strided((conv, norm)) => norm.forward(conv.forward(x), None, false, mode),
            Self::Averaged((_, conv, norm, averages)) => {
                let x = if *averages { vssl_kernels::halved(x) } else { x };
                norm.forward(conv.forward(x), None, false, mode)
            }
        }
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
    downsample: Option<Shortcut>,
}

impl Block {
    fn new(shape: &ResnetShape, stage: usize, input: usize, stride: usize, init: &Init) -> Self {
        let (inner, output) = (shape.inner(stage), shape.outputs()[stage]);
        let bottleneck = shape.bottleneck;
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
        let downsample = (stride != 1 || input != output)
            .then(|| Shortcut::new(shape.average_down, input, output, stride, init));
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
            Some(shortcut) => shortcut.forward(x.clone(), mode),
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
