//! The architectures that names and shapes of tensors show. Called by [`super::infer`].

use std::collections::BTreeMap;

use vssl_data::MOST_CHANNELS;

use crate::backbone::{
    BackboneConfig, ConvNextConfig, ConvNextSize, ConvNextVersion, Dinov2Size, Dinov3Size, Mlp,
    Placed, Pooling, Positions, ResnetConfig, ResnetDepth, ResnetVariant, Stem, VitConfig, VitSize,
    WideResnetConfig,
};

use super::ForeignError;

/// Shapes of the tensors by their names in this program's networks.
pub(super) type Shapes<'a> = BTreeMap<String, &'a [usize]>;

/// A name that only ConvNeXts have.
const CONVNEXT: &str = "stages.0.blocks.0.conv_dw.weight";

/// Returns the network that has these tensors, with usual values for what they do not show.
///
/// # Errors
/// The network is none that this program has.
pub(super) fn of(shapes: &Shapes) -> Result<BackboneConfig, ForeignError> {
    if shapes.contains_key("patch_embed.proj.weight") {
        transformer(shapes)
    } else if shapes.contains_key("block1.layer.0.conv1.weight") {
        wide_resnet(shapes)
    } else if shapes.contains_key(CONVNEXT) {
        convnext(shapes)
    } else {
        resnet(shapes)
    }
}

/// Returns the number of channels of the images that the network with these tensors takes; 3 where no tensor shows it.
pub(super) fn channels(shapes: &Shapes) -> usize {
    let stems = ["patch_embed.proj.weight", "stem.0.weight", "conv1.0.weight", "conv1.weight"];
    let stem = stems.iter().find_map(|name| shapes.get(*name));
    stem.and_then(|shape| shape.get(1)).copied().unwrap_or(3)
}

/// Returns whether images may have so many channels.
fn is_number(channels: usize) -> bool {
    (1..=MOST_CHANNELS).contains(&channels)
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

/// Returns whether any block in `list` has the tensor `end`.
fn any(shapes: &Shapes, list: &str, end: &str) -> bool {
    shapes.keys().any(|name| name.starts_with(list) && name.ends_with(end))
}

fn resnet(shapes: &Shapes) -> Result<BackboneConfig, ForeignError> {
    let deep = shapes.contains_key("conv1.0.weight");
    let first = if deep { "conv1.0.weight" } else { "conv1.weight" };
    let [own, channels, kernel, _] = shape(shapes, first)?;
    let width = if deep { 2 * own } else { own };
    let depths = [1, 2, 3, 4].map(|layer| count(shapes, &format!("layer{layer}.")));
    let bottleneck = any(shapes, "layer", ".conv3.weight");
    let depth = match (depths, bottleneck) {
        ([2, 2, 2, 2], false) => ResnetDepth::Resnet18,
        ([3, 4, 6, 3], false) => ResnetDepth::Resnet34,
        ([3, 4, 6, 3], true) => ResnetDepth::Resnet50,
        ([3, 4, 23, 3], true) => ResnetDepth::Resnet101,
        ([3, 8, 36, 3], true) => ResnetDepth::Resnet152,
        _ => {
            let blocks = if bottleneck { "bottlenecks" } else { "basic blocks" };
            return Err(ForeignError::Architecture(format!(
                "its stages have {depths:?} {blocks}; known are ResNet-18 and -34 (basic, 2 2 2 2 \
                 and 3 4 6 3) and ResNet-50, -101 and -152 (bottlenecks, 3 4 6 3, 3 4 23 3 and 3 8 36 3)"
            )));
        }
    };
    let stem = match kernel {
        _ if !is_number(channels) => {
            return Err(ForeignError::Architecture(format!(
                "its first convolution is on {channels} channels; known are 1 to {MOST_CHANNELS}"
            )));
        }
        3 if deep => Stem::Imagenet,
        7 if !deep => Stem::Imagenet,
        3 => Stem::Cifar,
        _ => {
            return Err(ForeignError::Architecture(format!(
                "its first convolution is {kernel}×{kernel} on {channels} channels; known are 7×7 \
                 and 3×3"
            )));
        }
    };
    // A ResNeXt has bottlenecks of this width too, but its filters see a group of the channels.
    let wide = [2 * width, 2 * width, 3, 3];
    let is_wide = bottleneck && shape::<4>(shapes, "layer1.0.conv2.weight").ok() == Some(wide);
    let variant = match (deep, is_wide, depth) {
        (true, _, _) => ResnetVariant::Deep,
        (_, true, ResnetDepth::Resnet50 | ResnetDepth::Resnet101) => ResnetVariant::Wide,
        _ => ResnetVariant::Plain,
    };
    Ok(ResnetConfig { depth, variant, width, stem, ..ResnetConfig::default() }.into())
}

fn convnext(shapes: &Shapes) -> Result<BackboneConfig, ForeignError> {
    let [width, channels, patch, other] = shape(shapes, "stem.0.weight")?;
    if !is_number(channels) || patch != other || patch == 0 {
        return Err(ForeignError::Architecture(format!(
            "its patches are {patch}×{other} on {channels} channels; known are squares on 1 to \
             {MOST_CHANNELS}"
        )));
    }
    let depths = [0, 1, 2, 3].map(|stage| count(shapes, &format!("stages.{stage}.blocks.")));
    let version = match any(shapes, "stages.", ".mlp.grn.weight") {
        true => ConvNextVersion::V2,
        false => ConvNextVersion::V1,
    };
    use ConvNextSize::{Atto, Base, Femto, Nano, Pico, Small, Tiny};
    let sizes = [Atto, Femto, Pico, Nano, Tiny, Small, Base];
    let whole = sizes.into_iter().find(|size| size.shape() == (width, depths));
    let known = whole.or_else(|| sizes.into_iter().find(|size| size.shape().1 == depths));
    let Some(size) = known else {
        return Err(ForeignError::Architecture(format!(
            "a ConvNeXt whose stages have {depths:?} blocks; known are 2 2 6 2, 2 2 8 2, 3 3 9 3 and 3 3 27 3"
        )));
    };
    let width = (width != size.shape().0).then_some(width);
    Ok(ConvNextConfig { size, version, width, patch }.into())
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
    if !is_number(channels) || patch != other || patch == 0 {
        return Err(ForeignError::Architecture(format!(
            "its patches are {patch}×{other} on {channels} channels; known are squares on 1 to \
             {MOST_CHANNELS}"
        )));
    }
    let depth = count(shapes, "blocks.");
    if !shapes.contains_key("pos_embed") && any(shapes, "blocks.", ".gamma_1") {
        return rotary(shapes, width, patch, depth);
    }
    let [_, positions, _] = shape(shapes, "pos_embed")?;
    let is_square = |count: usize| count.isqrt().pow(2) == count;
    // Positions that can only be those of patches and a class token tell that the token is missing.
    let has_place = !is_square(positions) && positions > 1 && is_square(positions - 1);
    let class_token = shapes.contains_key("cls_token") || has_place;
    let registers = match shapes.get("reg_token") {
        Some(_) => shape::<3>(shapes, "reg_token")?[1],
        None => 0,
    };
    let (side, placed) = placed(positions, class_token, registers)?;
    let has_scale = any(shapes, "blocks.", ".ls1.gamma") || any(shapes, "blocks.", ".ls2.gamma");
    let (mlp, hidden) = mlp(shapes, width)?;
    let shown = VitConfig {
        patch,
        image_size: side * patch,
        placed,
        class_token,
        registers,
        layer_scale: if has_scale { 1e-5 } else { 0.0 },
        mlp,
        qkv_bias: any(shapes, "blocks.", ".attn.qkv.bias")
            || !any(shapes, "blocks.", ".attn.qkv.weight"),
        pooling: if shapes.contains_key("fc_norm.weight") {
            Pooling::FcNorm
        } else {
            Pooling::Token
        },
        ..VitConfig::default()
    };
    let mut config = named(shown, width, depth);
    config.hidden = (config.hidden() != hidden).then_some(hidden);
    Ok(config.into())
}

/// Returns a transformer with rotary positions. Tensors do not show the angles: other networks that have them have no
/// registers, or no class token.
fn rotary(
    shapes: &Shapes,
    width: usize,
    patch: usize,
    depth: usize,
) -> Result<BackboneConfig, ForeignError> {
    let class_token = shapes.contains_key("cls_token");
    let registers = match shapes.get("reg_token") {
        Some(_) => shape::<3>(shapes, "reg_token")?[1],
        None => 0,
    };
    if !class_token || registers == 0 {
        return Err(ForeignError::Architecture(
            "it has no table of positions, \"pos_embed\"; known are the rotary positions of DINOv3, whose networks have a class token and \
             registers"
                .to_owned(),
        ));
    }
    let is_gated = any(shapes, "blocks.", ".mlp.fc1_g.weight");
    let (_, hidden) = mlp(shapes, width)?;
    let with_norm = shapes.contains_key("fc_norm.weight");
    let shown = VitConfig {
        patch,
        image_size: 16 * patch,
        positions: Positions::Rotary,
        registers,
        layer_scale: 1e-5,
        mlp: if is_gated { Mlp::Swiglu } else { Mlp::Gelu },
        qkv_bias: any(shapes, "blocks.", ".attn.q_bias"),
        pooling: if with_norm { Pooling::FcNorm } else { Pooling::Token },
        ..VitConfig::default()
    };
    let published = |size: Dinov3Size| {
        let same = registers == 4 && patch == 16 && is_gated == size.is_gated();
        same.then_some(VitSize::Dinov3(size))
    };
    use Dinov3Size::{Base, HugePlus, Large, Small, SmallPlus};
    let named = [Small, SmallPlus, Base, Large, HugePlus].into_iter().filter_map(published);
    let plain = [VitSize::Tiny, VitSize::Small, VitSize::Base, VitSize::Large];
    let has_shape = |size: &VitSize| (size.shape().0, size.shape().1) == (width, depth);
    let mut config = match named.chain(plain).find(has_shape) {
        Some(size) => VitConfig { size, ..shown },
        None => VitConfig { width: Some(width), depth: Some(depth), ..shown },
    };
    config.hidden = (config.hidden() != hidden).then_some(hidden);
    Ok(config.into())
}

/// Returns the side of the square of positions, and the tokens that have one.
fn placed(
    positions: usize,
    class_token: bool,
    registers: usize,
) -> Result<(usize, Placed), ForeignError> {
    let class = usize::from(class_token);
    let mut cases = vec![(class, Placed::Class), (class + registers, Placed::All)];
    cases.push((0, Placed::Patches));
    // With registers timm's networks of DINOv2 have positions of the patches alone.
    if registers > 0 {
        cases.rotate_right(1);
    }
    let fitting = cases.into_iter().find_map(|(prefix, placed)| {
        let patches = positions.checked_sub(prefix).filter(|&patches| patches > 0)?;
        let side = patches.isqrt();
        (side * side == patches).then_some((side, placed))
    });
    fitting.ok_or_else(|| {
        ForeignError::Architecture(format!(
            "{positions} positions are not a square of patches, with or without a class token and \
             {registers} registers"
        ))
    })
}

/// Returns the kind and the hidden width of the second part of a block.
fn mlp(shapes: &Shapes, width: usize) -> Result<(Mlp, usize), ForeignError> {
    let block = |end: &str| {
        let with =
            shapes.iter().find(|(name, _)| name.starts_with("blocks.") && name.ends_with(end));
        with.and_then(|(_, shape)| <[usize; 2]>::try_from(*shape).ok())
    };
    match (block(".mlp.fc1.weight"), block(".mlp.fc2.weight")) {
        (Some([inner, _]), Some([_, hidden])) if inner == 2 * hidden => Ok((Mlp::Swiglu, hidden)),
        (_, Some([_, hidden])) => Ok((Mlp::Gelu, hidden)),
        _ => Ok((Mlp::Gelu, 4 * width)),
    }
}

/// Returns the network with the name that its sizes have.
fn named(shown: VitConfig, width: usize, depth: usize) -> VitConfig {
    let dinov2 = |size: Dinov2Size| {
        let gated = size == Dinov2Size::Giant;
        let is_dinov2 = shown.patch == 14
            && shown.layer_scale > 0.0
            && shown.class_token
            && (shown.mlp == Mlp::Swiglu) == gated;
        match shown.registers {
            0 if is_dinov2 => Some(VitSize::Dinov2(size)),
            4 if is_dinov2 => Some(VitSize::Dinov2Registers(size)),
            _ => None,
        }
    };
    let (plain, dinov2) = match (width, depth) {
        (192, 12) => (Some(VitSize::Tiny), None),
        (384, 12) => (Some(VitSize::Small), dinov2(Dinov2Size::Small)),
        (768, 12) => (Some(VitSize::Base), dinov2(Dinov2Size::Base)),
        (1024, 24) => (Some(VitSize::Large), dinov2(Dinov2Size::Large)),
        (1536, 40) => (None, dinov2(Dinov2Size::Giant)),
        _ => (None, None),
    };
    match dinov2.or(plain) {
        Some(size) => VitConfig { size, ..shown },
        None => VitConfig { width: Some(width), depth: Some(depth), ..shown },
    }
}
