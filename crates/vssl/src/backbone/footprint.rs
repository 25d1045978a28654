//! How much memory one image takes on its way through a network. By what it takes without gradients, the number of images
//! of a forward pass is chosen; by what it takes with them, a run is refused that no memory can hold.

use super::{
    BackboneConfig, ConvNextConfig, Mlp, ResnetConfig, StemShape, VitConfig, WideResnetConfig,
};

impl BackboneConfig {
    /// Returns the bytes of the activations of one image of `size` × `size` pixels that are alive at once without
    /// gradients, from above. The pixels themselves are not counted.
    pub fn inference_bytes(&self, size: usize) -> usize {
        let numbers = match self {
            Self::Resnet(config) => resnet(config, size),
            Self::WideResnet(config) => wide_resnet(config, size),
            Self::Vit(config) => vit(config, size),
            Self::ConvNext(config) => convnext(config, size),
            Self::Own(config) => config.0.activations(size),
        };
        (numbers * size_of::<f32>() as f64).max(1.0) as usize
    }

    /// Returns the bytes of the activations of one image of `size` × `size` pixels that the backward pass needs, from
    /// below; 0 for a backbone of a program's own. A step of SimCLR on two cores of a Xeon took, for each view of 64
    /// pixels more, 24 MiB with a ViT-Tiny of patches of 4 (19 here), 15 MiB with a ResNet-18 (8 here) and 6 MiB with a
    /// ConvNeXt-Atto of patches of 2 (4 here), on 28 November 2026.
    pub fn training_bytes(&self, size: usize) -> u64 {
        let numbers = match self {
            Self::Resnet(config) => {
                let shape = config.shape();
                let stem = match shape.stem {
                    StemShape::Cifar(..) => size,
                    StemShape::Imagenet(_) | StemShape::Deep(_) => size.div_ceil(4),
                };
                // The middle and the output of each block.
                let stage = |stage: usize| {
                    let channels = shape.inner(stage) + shape.outputs()[stage];
                    shape.blocks[stage] as f64 * images(stem.div_ceil(1 << stage), channels)
                };
                (0..4).map(stage).sum()
            }
            Self::WideResnet(config) => {
                let stage =
                    |at: usize| 8.0 * images(size.div_ceil(1 << at), (16 * config.widen) << at);
                (0..3).map(stage).sum()
            }
            Self::Vit(config) => {
                let side = size / config.patch.max(1);
                let tokens = images(side, 1) + config.prefix() as f64;
                // The residual stream, query, key and value, and the hidden layer of each block.
                let of_block = (4 * config.width() + config.hidden()) as f64;
                config.depth() as f64 * tokens * of_block
            }
            Self::ConvNext(config) => {
                let shape = config.shape();
                let side = size / config.patch.max(1);
                // The input and the hidden layer of four widths of each block.
                let stages = shape.depths.iter().enumerate();
                let stage = |(at, depth): (usize, &usize)| {
                    *depth as f64 * images(side >> at, (5 * config.width()) << at)
                };
                stages.map(stage).sum()
            }
            Self::Own(_) => 0.0,
        };
        (numbers * size_of::<f32>() as f64) as u64
    }
}

/// The numbers of `channels` images of `side` × `side` pixels. A size that no image has is no overflow.
fn images(side: usize, channels: usize) -> f64 {
    (side as f64).powi(2) * channels as f64
}

fn resnet(config: &ResnetConfig, size: usize) -> f64 {
    let shape = config.shape();
    let (mut side, mut channels) = match shape.stem {
        StemShape::Imagenet(width) => (size.div_ceil(2), width),
        StemShape::Deep(width) => (size.div_ceil(2), 2 * width),
        StemShape::Cifar(width, padding) => {
            (size.saturating_add(2 * padding).saturating_sub(2), width)
        }
    };
    let mut most = images(side, channels);
    match shape.stem {
        StemShape::Imagenet(_) | StemShape::Deep(_) => {
            let pooled = side.div_ceil(2);
            most += images(pooled, channels);
            side = pooled;
        }
        StemShape::Cifar(..) => {}
    }
    if let StemShape::Deep(width) = shape.stem {
        most = most.max(images(size.div_ceil(2), 3 * width));
    }
    for stage in 0..4 {
        let (inner, output) = (shape.inner(stage), shape.outputs()[stage]);
        let (from, before) = (side, channels);
        side = if stage > 0 { side.div_ceil(2) } else { side };
        // The input, two activations of the inner width (of which a bottleneck's first has the size of its
        // input), the shortcut and the output.
        let inner = images(from, inner) + images(side, inner);
        let first = images(from, before) + inner + 2.0 * images(side, output);
        let others = 3.0 * images(side, output) + inner;
        most = most.max(first).max(others);
        channels = output;
    }
    most
}

fn wide_resnet(config: &WideResnetConfig, size: usize) -> f64 {
    // The first stage has the largest images: its input, the activated input, the shortcut, one inner
    // activation and the output.
    images(size, 5 * 16 * config.widen)
}

fn vit(config: &VitConfig, size: usize) -> f64 {
    let (width, side) = (config.width(), size / config.patch.max(1));
    let tokens = images(side, 1) + config.prefix() as f64;
    let stream = tokens * width as f64;
    // The residual stream and its normalised copy, then query, key and value twice and the logits with
    // their softmax, or the hidden layer with the parts of its GELU or of its gate.
    let attention = 9.0 * stream + 3.0 * config.heads() as f64 * tokens.powi(2);
    let copies = match config.mlp {
        Mlp::Gelu => 4.0,
        Mlp::Swiglu => 6.0,
    };
    attention.max(2.0 * stream + copies * tokens * config.hidden() as f64)
}

fn convnext(config: &ConvNextConfig, size: usize) -> f64 {
    // The first stage has the largest images: its input, the branch before and after its convolution, and the hidden
    // layer of four widths with the parts of its GELU and of its response normalisation.
    images(size / config.patch.max(1), 20 * config.width()).max(images(size, 3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbone::{Architecture, Stem};

    #[test]
    fn larger_images_and_wider_networks_take_more() {
        let mib = |architecture, size| {
            BackboneConfig::of(architecture).inference_bytes(size) as f64 / f64::from(1 << 20)
        };
        // The stem's output is 112 × 112 × 64 numbers, 3.1 MiB.
        let usual = mib(Architecture::Resnet18, 224);
        assert!((3.1..6.0).contains(&usual), "{usual}");
        assert!(mib(Architecture::Resnet50, 224) > usual);
        assert!(mib(Architecture::Resnet18, 448) > 3.0 * usual);
        assert!(mib(Architecture::VitBase, 224) > mib(Architecture::VitSmall, 224));
        assert!(mib(Architecture::WideResnet28, 64) > mib(Architecture::WideResnet28, 32));
    }

    #[test]
    fn a_backward_pass_needs_at_least_what_its_blocks_keep() {
        let vit = VitConfig { patch: 2, ..VitConfig::default() };
        let (tokens, width) = (112 * 112 + vit.prefix(), vit.width());
        let expected = vit.depth() * tokens * (4 * width + vit.hidden()) * 4;
        assert_eq!(BackboneConfig::Vit(vit).training_bytes(224), expected as u64);
        // Two blocks a stage of two images each: 64 · 64 pixels of 64 channels, and half as many numbers a stage.
        let resnet = ResnetConfig { stem: Stem::Cifar, ..ResnetConfig::default() };
        let expected = 4 * 64 * 64 * 64 * 4 * 15 / 8;
        assert_eq!(BackboneConfig::Resnet(resnet).training_bytes(64), expected as u64);
    }

    #[test]
    fn senseless_sizes_have_a_footprint_as_well() {
        for architecture in Architecture::ALL {
            for size in [0, 1, usize::MAX / 2] {
                let _ = BackboneConfig::of(architecture).training_bytes(size);
                assert!(BackboneConfig::of(architecture).inference_bytes(size) > 0);
            }
        }
    }
}
