//! How an import is compared with the network that the weights come from: features of a picture that is easy
//! to make in PyTorch, and the list of what the weights do not tell. Called by [`super::ImportReport`].

use burn::{module::Module, tensor::Device};

use crate::{
    backbone::{Backbone, BackboneConfig, Interpolation, Mlp, ResnetDepth, ResnetVariant, Stem},
    encoder::{
        Input,
        images::{self, images_to_tensor},
    },
    layers::{Init, Mode},
    tensors::state::{self, Tensors},
};

/// The largest side of the test picture: larger pictures would take minutes.
const LARGEST: usize = 512;

/// Returns the side of the test picture: that of the images, unless they are large. For a transformer it is the
/// side that the positions are for: other programs refuse every other side, or resample the positions in
/// their own way.
pub(super) fn side(config: &BackboneConfig, input: &Input) -> usize {
    match config.vit() {
        Some(vit) => vit.image_size,
        None => input.size.min(LARGEST),
    }
}

/// Returns the value of the test picture at `index` of its numbers, counted by channel, row and column:
/// `index · 7919 mod 1009`, brought to −1 … 1. All steps are exact in single precision until the division.
fn value(index: usize) -> f32 {
    ((index * 7919) % 1009) as f32 / 504.0 - 1.0
}

/// Returns the test picture of `side × side` pixels, channels last.
fn image(side: usize, channels: usize) -> Vec<f32> {
    let at = |pixel: usize, channel: usize| value(channel * side * side + pixel);
    (0..side * side)
        .flat_map(|pixel| (0..channels).map(move |channel| at(pixel, channel)))
        .collect()
}

/// Returns the features of the test picture.
pub(super) fn features(
    config: &BackboneConfig,
    tensors: &Tensors,
    (side, channels): (usize, usize),
) -> Vec<f32> {
    let device = Device::flex();
    let fresh = Backbone::new(config, &Init::new(&device, 0).with_channels(channels));
    let network =
        state::restore(fresh, tensors.clone()).expect("they are the network's own tensors");
    let x = images_to_tensor(image(side, channels), 1, side, &device);
    images::features(network.no_grad().forward(x, Mode::Eval)).values
}

/// Returns what the weights do not tell of a network.
pub(super) fn assumptions(config: &BackboneConfig, input: &Input) -> Vec<String> {
    let mut assumptions = of_network(config);
    if let Some(vit) = config.vit()
        && vit.image_size != input.size
        && !vit.is_rotary()
    {
        assumptions.push(format!(
            "positions that are resampled from images of {} pixels to images of {}; the test \
             picture has {} pixels, so its features do not show the resampling",
            vit.image_size, input.size, vit.image_size
        ));
    }
    let size = input.size;
    assumptions.push(match input.resize {
        Some(side) if side != size => format!(
            "images whose shorter side is scaled to {side} pixels before the centre of {size} is cut out (resize = {size} \
             takes images of {size} pixels as they are)"
        ),
        _ => format!("images whose shorter side is scaled to {size} pixels, and their centre"),
    });
    assumptions
}

fn of_network(config: &BackboneConfig) -> Vec<String> {
    match config {
        BackboneConfig::Resnet(resnet) => vec![
            match resnet.stem {
                Stem::Imagenet if resnet.variant == ResnetVariant::Deep => {
                    "three convolutions as a stem, the first of stride 2, with a max-pool behind them, and shortcuts \
                     that average 2×2 pixels (timm's avg_down)"
                        .to_owned()
                }
                Stem::Imagenet => "a stem of stride 2 with a max-pool behind it".to_owned(),
                Stem::Cifar => {
                    format!("a stem of stride 1, padding {} and no max-pool", resnet.stem_padding)
                }
            },
            match resnet.depth {
                ResnetDepth::Resnet50 | ResnetDepth::Resnet101 | ResnetDepth::Resnet152 => {
                    "strides of 1, 2, 2 and 2, on the 3×3 convolution of a bottleneck as in \
                     torchvision, without dilation (output_stride 32) or blur pooling"
                }
                _ => "strides of 1, 2, 2 and 2 without dilation (output_stride 32) or blur pooling",
            }
            .to_owned(),
            "ReLU, and ε = 1e-5 in the norms".to_owned(),
        ],
        BackboneConfig::WideResnet(_) => {
            vec!["LeakyReLU of slope 0.1, and ε = 1e-3 in the norms".to_owned()]
        }
        BackboneConfig::Vit(vit) => vec![
            format!("{} attention heads", vit.heads()),
            format!("{} as the feature", vit.pooling.words()),
            {
                let mlp = match vit.mlp {
                    Mlp::Gelu => "the exact GELU",
                    Mlp::Swiglu => "SwiGLU whose gate is the first half, with SiLU",
                };
                format!("{mlp}, and ε = {:e} in the norms", vit.eps())
            },
            match vit.interpolation {
                _ if vit.is_rotary() => {
                    "rotary positions as DINOv3 has them: periods of 100, coordinates from -1 to 1 for rows and columns"
                }
                Interpolation::Antialiased => "positions of other sizes by antialiased interpolation",
                Interpolation::Offset => {
                    "positions of other sizes by DINOv2's interpolation with an offset of 0.1"
                }
            }
            .to_owned(),
        ],
        BackboneConfig::Own(_) => Vec::new(),
        BackboneConfig::ConvNext(_) => vec![
            "depthwise kernels of 7×7 with a padding of 3, and a norm of the mean over positions as the feature"
                .to_owned(),
            "the exact GELU, and ε = 1e-6 in the norms".to_owned(),
        ],
    }
}

#[cfg(test)]
mod tests {
    use vssl_data::dataset::{Format, IMAGENET};

    use super::*;
    use crate::backbone::{ResnetConfig, VitConfig};

    #[test]
    fn a_transformer_is_compared_at_the_side_of_its_positions() {
        let input = Input::new(96, Format::Folder, IMAGENET);
        let vit = VitConfig { patch: 16, image_size: 224, ..VitConfig::default() }.into();
        let said = assumptions(&vit, &input).join("; ");
        assert_eq!(side(&vit, &input), 224);
        assert!(said.contains("resampled from images of 224 pixels to images of 96"), "{said}");
        let resnet = ResnetConfig { depth: ResnetDepth::Resnet50, ..Default::default() }.into();
        let said = assumptions(&resnet, &input).join("; ");
        assert_eq!(side(&resnet, &input), 96);
        assert!(said.contains("3×3 convolution of a bottleneck"), "{said}");
    }

    #[test]
    fn the_picture_is_the_one_that_pytorch_makes() {
        // (torch.arange(3 * 4 * 4) * 7919 % 1009 / 504 - 1).reshape(1, 3, 4, 4)[0, :, 0, :2]
        let image = image(4, 3);
        let expected = [-1.0, 0.6984, 0.1488, -0.1548, -0.7044, 0.9940];
        let found = [image[0], image[3], image[1], image[4], image[2], image[5]];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        }
    }
}
