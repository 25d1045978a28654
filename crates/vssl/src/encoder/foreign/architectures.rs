//! The architectures that names and shapes of tensors show. Called by [`super::infer`].

use std::collections::BTreeMap;

use crate::backbone::{
    BackboneConfig, ResnetConfig, ResnetDepth, Stem, VitConfig, VitSize, WideResnetConfig,
};

use super::ForeignError;

/// Shapes of the tensors by their names in this program's networks.
pub(super) type Shapes<'a> = BTreeMap<String, &'a [usize]>;

/// Returns the network that has these tensors, with usual values for what they do not show.
///
/// # Errors
/// The network is none that this program has.
pub(super) fn of(shapes: &Shapes) -> Result<BackboneConfig, ForeignError> {
    if shapes.contains_key("patch_embed.proj.weight") {
        transformer(shapes)
    } else if shapes.contains_key("block1.layer.0.conv1.weight") {
        wide_resnet(shapes)
    } else {
        resnet(shapes)
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

/// Returns one more than the largest number that stands behind `before` in the names, up to a point: the number of
/// blocks, also where a tensor of a block or a whole block is missing.
fn count(shapes: &Shapes, before: &str) -> usize {
    let number =
        |name: &String| name.strip_prefix(before)?.split('.').next()?.parse::<usize>().ok();
    shapes.keys().filter_map(number).max().map_or(0, |last| last.saturating_add(1))
}

fn resnet(shapes: &Shapes) -> Result<BackboneConfig, ForeignError> {
    let [width, channels, kernel, _] = shape(shapes, "conv1.weight")?;
    let depths = [1, 2, 3, 4].map(|layer| count(shapes, &format!("layer{layer}.")));
    let is_third = |name: &String| name.starts_with("layer") && name.ends_with(".conv3.weight");
    let bottleneck = shapes.keys().any(is_third);
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
    let depths = [1, 2, 3].map(|block| count(shapes, &format!("block{block}.layer.")));
    if depths != [4, 4, 4] || width == 0 || !width.is_multiple_of(16) {
        return Err(ForeignError::Architecture(format!(
            "a Wide ResNet of {depths:?} blocks and {width} channels in the first stage; known is \
             Wide ResNet-28, of 4 4 4 and a multiple of 16"
        )));
    }
    Ok(WideResnetConfig { widen: width / 16 }.into())
}

fn transformer(shapes: &Shapes) -> Result<BackboneConfig, ForeignError> {
    let [width, channels, patch, other] = shape(shapes, "patch_embed.proj.weight")?;
    if channels != 3 || patch != other || patch == 0 {
        return Err(ForeignError::Architecture(format!(
            "its patches are {patch}×{other} on {channels} channels; known are squares on 3"
        )));
    }
    let blocks = count(shapes, "blocks.");
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
