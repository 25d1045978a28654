//! Infers a network from the names and shapes of its tensors.
//!
//! Settings that the tensors do not hold (the padding of a 3×3 stem, the normalisation of small
//! images) are asked for, never guessed: a wrong guess gives other features without an error. Called
//! by [`super::read`].

use vssl_data::dataset::{Format, IMAGENET};

use crate::{
    backbone::{
        BackboneConfig, ResnetConfig, ResnetDepth, Stem, VitConfig, VitSize, WideResnetConfig,
    },
    encoder::Input,
};

use super::{ForeignError, Request};

/// Shapes of the tensors by their names in this program's networks.
pub(super) type Shapes<'a> = std::collections::BTreeMap<String, &'a [usize]>;

/// The network, and the size and normalisation of its images.
///
/// # Errors
/// A network of another kind, arguments that contradict the tensors, or settings that neither
/// tells.
pub(super) fn network(
    shapes: &Shapes,
    request: &Request,
) -> Result<(BackboneConfig, Input), ForeignError> {
    let config = if shapes.contains_key("patch_embed.proj.weight") {
        transformer(shapes)?
    } else if shapes.contains_key("block1.layer.0.conv1.weight") {
        wide_resnet(shapes)?
    } else {
        resnet(shapes)?
    };
    contradiction("--architecture", request.architecture, config.architecture())?;
    match &config {
        BackboneConfig::Resnet(resnet) => contradiction("--stem", request.stem, resnet.stem)?,
        _ if request.stem.is_some() => {
            return Err(ForeignError::Contradiction(format!(
                "--stem is for ResNets; the tensors are those of {:?}",
                config.architecture()
            )));
        }
        _ => {}
    }
    completed(config, request)
}

fn completed(
    mut config: BackboneConfig,
    request: &Request,
) -> Result<(BackboneConfig, Input), ForeignError> {
    let small_stem = match &mut config {
        BackboneConfig::Resnet(resnet) if resnet.stem == Stem::Cifar => Some(resnet),
        _ => None,
    };
    let small = small_stem.is_some();
    let mut unknown = Vec::new();
    match (request.stem_padding, small_stem) {
        (Some(padding), Some(resnet)) => resnet.stem_padding = padding,
        (Some(_), None) => {
            return Err(ForeignError::Contradiction(
                "--stem-padding is for 3×3 stems, which these tensors do not have".to_owned(),
            ));
        }
        (None, Some(_)) => {
            unknown.push(
                "the padding of the 3×3 stem is not in the weights: give --stem-padding 1, the \
                 usual one, or 2, that of solo-learn's recipes",
            );
        }
        (None, None) => {}
    }
    let photographs = !small && !matches!(config, BackboneConfig::WideResnet(_));
    if request.normalisation.is_none() && !photographs {
        unknown.push(
            "the normalisation of small images is not in the file: give --normalisation cifar10, cifar100, \
             imagenet or six numbers",
        );
    }
    if !unknown.is_empty() {
        return Err(ForeignError::Unknown(unknown.join("; ")));
    }
    let size = request.size.unwrap_or(match (photographs, config.vit()) {
        (_, Some(vit)) => vit.image_size,
        (true, None) => 224,
        (false, None) => 32,
    });
    if let Some(vit) = config.vit()
        && (size == 0 || !size.is_multiple_of(vit.patch))
    {
        return Err(ForeignError::Contradiction(format!(
            "--size {size}: expected a multiple of the patch, {} pixels",
            vit.patch
        )));
    }
    let format = if photographs { Format::Folder } else { Format::Cifar10 };
    let mut input = Input::new(size, format, request.normalisation.unwrap_or(IMAGENET));
    input.resize = request.resize.or(input.resize);
    Ok((config, input))
}

fn contradiction<T: PartialEq + std::fmt::Debug>(
    argument: &str,
    said: Option<T>,
    told: T,
) -> Result<(), ForeignError> {
    match said {
        Some(said) if said != told => Err(ForeignError::Contradiction(format!(
            "{argument} says {said:?}, the tensors are those of {told:?}; leave the argument out \
             or take another file"
        ))),
        _ => Ok(()),
    }
}

fn shape<const D: usize>(shapes: &Shapes, name: &str) -> Result<[usize; D], ForeignError> {
    let found = shapes.get(name).copied();
    found.and_then(|shape| shape.try_into().ok()).ok_or_else(|| {
        ForeignError::Architecture(match found {
            Some(found) => format!("{name:?} has shape {found:?}, expected {D} dimensions"),
            None => format!("there is no {name:?}"),
        })
    })
}

/// Counts the numbers 0, 1, … that occur between `before` and `after` in the names.
fn count(shapes: &Shapes, before: &str, after: &str) -> usize {
    (0..).take_while(|index| shapes.contains_key(&format!("{before}{index}{after}"))).count()
}

fn resnet(shapes: &Shapes) -> Result<BackboneConfig, ForeignError> {
    let [width, channels, kernel, _] = shape(shapes, "conv1.weight")?;
    let depths =
        [1, 2, 3, 4].map(|layer| count(shapes, &format!("layer{layer}."), ".conv1.weight"));
    let bottleneck = shapes.contains_key("layer1.0.conv3.weight");
    let depth = match (depths, bottleneck) {
        ([2, 2, 2, 2], false) => ResnetDepth::Resnet18,
        ([3, 4, 6, 3], false) => ResnetDepth::Resnet34,
        ([3, 4, 6, 3], true) => ResnetDepth::Resnet50,
        _ => {
            let blocks = if bottleneck { "bottlenecks" } else { "basic blocks" };
            return Err(ForeignError::Architecture(format!(
                "its stages have {depths:?} {blocks}; known are ResNet-18 and -34 (basic, 2 2 2 2 \
                 and 3 4 6 3) and ResNet-50 (bottlenecks, 3 4 6 3)"
            )));
        }
    };
    let stem = match (channels, kernel) {
        (3, 7) => Stem::Imagenet,
        (3, 3) => Stem::Cifar,
        _ => {
            return Err(ForeignError::Architecture(format!(
                "its first convolution is {kernel}×{kernel} on {channels} channels; known are 7×7 \
                 and 3×3 on 3"
            )));
        }
    };
    Ok(ResnetConfig { depth, width, stem, ..ResnetConfig::default() }.into())
}

fn wide_resnet(shapes: &Shapes) -> Result<BackboneConfig, ForeignError> {
    let [width, ..] = shape::<4>(shapes, "block1.layer.0.conv1.weight")?;
    let depths =
        [1, 2, 3].map(|block| count(shapes, &format!("block{block}.layer."), ".conv1.weight"));
    if depths != [4, 4, 4] || width == 0 || !width.is_multiple_of(16) {
        return Err(ForeignError::Architecture(format!(
            "a Wide ResNet of {depths:?} blocks and {width} channels in the first stage; known is \
             Wide ResNet-28, of 4 4 4 and a multiple of 16"
        )));
    }
    Ok(WideResnetConfig { widen: width / 16 }.into())
}

fn transformer(shapes: &Shapes) -> Result<BackboneConfig, ForeignError> {
    let [width, _, patch, _] = shape(shapes, "patch_embed.proj.weight")?;
    let blocks = count(shapes, "blocks.", ".norm1.weight");
    let size = match (width, blocks) {
        (192, 12) => VitSize::Tiny,
        (384, 12) => VitSize::Small,
        (768, 12) => VitSize::Base,
        _ => {
            return Err(ForeignError::Architecture(format!(
                "a transformer of width {width} with {blocks} blocks; known are 192, 384 and 768 \
                 with 12"
            )));
        }
    };
    let [_, tokens, _] = shape(shapes, "pos_embed")?;
    let side = tokens.saturating_sub(1).isqrt();
    if side == 0 || side * side + 1 != tokens {
        return Err(ForeignError::Architecture(format!(
            "{tokens} positions are not a square of patches and a class token"
        )));
    }
    let image_size = side * patch;
    Ok(VitConfig { size, patch, image_size, ..VitConfig::default() }.into())
}
