//! Infers a network from the names and shapes of its tensors.
//!
//! Settings that the tensors do not hold (the padding of a 3×3 stem, the normalisation of small images, the
//! number of heads, the pooling of a transformer) are asked for, never guessed: a wrong guess gives other
//! features without an error. Called by [`super::read`].

use vssl_data::{
    Normalisation,
    dataset::{Format, IMAGENET},
};

use crate::{
    backbone::{
        BackboneConfig, Pooling, ResnetConfig, ResnetDepth, Stem, VitConfig, VitSize,
        WideResnetConfig,
    },
    encoder::Input,
};

use super::{ForeignError, Request};

/// Shapes of the tensors by their names in this program's networks.
pub(super) type Shapes<'a> = std::collections::BTreeMap<String, &'a [usize]>;

/// What a file says of its network by more than tensors.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Hints {
    /// Who names the tensors of transformers like this, for messages.
    pub(super) author: &'static str,
    /// The number of attention heads.
    pub(super) heads: Option<usize>,
    /// The pooling of the tokens.
    pub(super) pooling: Option<Pooling>,
    /// The network and input that the metadata of a file of this program describe.
    pub(super) told: Option<(BackboneConfig, Input)>,
}

/// The network, and the size and normalisation of its images.
///
/// # Errors
/// A network of another kind, arguments that contradict the tensors, or settings that neither
/// tells.
pub(super) fn network(
    shapes: &Shapes,
    request: &Request,
    hints: &Hints,
) -> Result<(BackboneConfig, Input), ForeignError> {
    let mut config = if shapes.contains_key("patch_embed.proj.weight") {
        transformer(shapes)?
    } else if shapes.contains_key("block1.layer.0.conv1.weight") {
        wide_resnet(shapes)?
    } else {
        resnet(shapes)?
    };
    if let Some((told, _)) = &hints.told {
        contradiction("the file's description", Some(told.architecture()), config.architecture())?;
        config = told.clone();
    }
    contradiction("--architecture", request.architecture, config.architecture())?;
    match &config {
        BackboneConfig::Resnet(resnet) => contradiction("--stem", request.stem, resnet.stem)?,
        _ => unfit("--stem", request.stem.is_some(), "ResNets", &config)?,
    }
    let transformer = config.vit().is_some();
    unfit("--heads", request.heads.is_some() && !transformer, "transformers", &config)?;
    unfit("--pooling", request.pooling.is_some() && !transformer, "transformers", &config)?;
    let mut unknown = Vec::new();
    padded(&mut config, request, hints, &mut unknown)?;
    if let BackboneConfig::Vit(vit) = &mut config {
        attending(vit, request, hints, &mut unknown)?;
    }
    let input = input(&config, request, hints, &mut unknown)?;
    match unknown.is_empty() {
        true => Ok((config, input)),
        false => Err(ForeignError::Unknown(unknown.join("; "))),
    }
}

fn unfit(
    argument: &str,
    given: bool,
    kind: &str,
    config: &BackboneConfig,
) -> Result<(), ForeignError> {
    match given {
        false => Ok(()),
        true => Err(ForeignError::Contradiction(format!(
            "{argument} is for {kind}; the tensors are those of {:?}",
            config.architecture()
        ))),
    }
}

/// Settles the padding of a 3×3 stem.
fn padded(
    config: &mut BackboneConfig,
    request: &Request,
    hints: &Hints,
    unknown: &mut Vec<&'static str>,
) -> Result<(), ForeignError> {
    let stem = match config {
        BackboneConfig::Resnet(resnet) if resnet.stem == Stem::Cifar => Some(resnet),
        _ => None,
    };
    match (request.stem_padding, stem) {
        (Some(padding), Some(resnet)) if hints.told.is_some() => {
            contradiction("--stem-padding", Some(padding), resnet.stem_padding)?;
        }
        (Some(padding), Some(resnet)) => resnet.stem_padding = padding,
        (Some(_), None) => {
            return Err(ForeignError::Contradiction(
                "--stem-padding is for 3×3 stems, which these tensors do not have".to_owned(),
            ));
        }
        (None, Some(_)) if hints.told.is_none() => {
            unknown.push(
                "the padding of the 3×3 stem is not in the weights: give --stem-padding 1, the \
                 usual one, or 2, that of solo-learn's recipes",
            );
        }
        (None, _) => {}
    }
    Ok(())
}

/// Settles the heads and the pooling of a transformer. Of the known sizes only ViT-S exists with two numbers
/// of heads.
fn attending(
    vit: &mut VitConfig,
    request: &Request,
    hints: &Hints,
    unknown: &mut Vec<&'static str>,
) -> Result<(), ForeignError> {
    let (width, _, usual) = vit.size.shape();
    let known = hints.told.as_ref().map(|_| (vit.heads(), vit.pooling));
    let heads = known.map(|(heads, _)| heads).or(hints.heads);
    let pooling = known.map(|(_, pooling)| pooling).or(hints.pooling);
    if let Some(told) = heads {
        contradiction("--heads", request.heads, told).map_err(|error| whose(error, hints))?;
    }
    if let Some(told) = pooling {
        contradiction("--pooling", request.pooling, told).map_err(|error| whose(error, hints))?;
    }
    match heads.or(request.heads) {
        Some(0) => {
            return Err(ForeignError::Contradiction("--heads 0: expected at least 1".into()));
        }
        Some(heads) if !width.is_multiple_of(heads) => {
            return Err(ForeignError::Contradiction(format!(
                "--heads {heads}: expected a divisor of the width, {width}"
            )));
        }
        Some(heads) => vit.heads = (heads != usual).then_some(heads),
        None if vit.size == VitSize::Small => unknown.push(
            "the number of attention heads is not in the weights, and ViT-S exists with two: give \
             --heads 6 for timm, DeiT and DINO, or --heads 12 for MoCo V3",
        ),
        None => {}
    }
    match pooling.or(request.pooling) {
        Some(pooling) => vit.pooling = pooling,
        None => unknown.push(
            "which tokens become the feature is not in the weights: give --pooling token for the \
             class token, which timm, DeiT, DINO and MoCo V3 take, or --pooling mean for the mean \
             of the patches (global_pool=\"avg\" with fc_norm=False in timm)",
        ),
    }
    Ok(())
}

fn whose(error: ForeignError, hints: &Hints) -> ForeignError {
    match error {
        ForeignError::Contradiction(text) if !hints.author.is_empty() => {
            ForeignError::Contradiction(format!("{text} (the names are those of {})", hints.author))
        }
        other => other,
    }
}

/// Settles the size and normalisation of the images: as the arguments say, or else as the file says, or else
/// as usual.
fn input(
    config: &BackboneConfig,
    request: &Request,
    hints: &Hints,
    unknown: &mut Vec<&'static str>,
) -> Result<Input, ForeignError> {
    let told = hints.told.as_ref().map(|(_, input)| *input);
    let small = matches!(config, BackboneConfig::Resnet(resnet) if resnet.stem == Stem::Cifar);
    let photographs = !small && !matches!(config, BackboneConfig::WideResnet(_));
    let normalisation: Option<Normalisation> =
        request.normalisation.or(told.map(|input| input.normalisation));
    if normalisation.is_none() && !photographs {
        unknown.push(
            "the normalisation of small images is not in the file: give --normalisation cifar10, cifar100, \
             imagenet or six numbers",
        );
    }
    let usual = match (photographs, config.vit()) {
        (_, Some(vit)) => vit.image_size,
        (true, None) => 224,
        (false, None) => 32,
    };
    let size = request.size.or(told.map(|input| input.size)).unwrap_or(usual);
    if let Some(vit) = config.vit()
        && (size == 0 || !size.is_multiple_of(vit.patch))
    {
        return Err(ForeignError::Contradiction(format!(
            "--size {size}: expected a multiple of the patch, {} pixels",
            vit.patch
        )));
    }
    let format = if photographs { Format::Folder } else { Format::Cifar10 };
    let mut input = Input::new(size, format, normalisation.unwrap_or(IMAGENET));
    if let Some(told) = told
        && told.size == size
    {
        input.resize = told.resize;
    }
    input.resize = request.resize.or(input.resize);
    Ok(input)
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
    let [width, channels, patch, other] = shape(shapes, "patch_embed.proj.weight")?;
    if channels != 3 || patch != other || patch == 0 {
        return Err(ForeignError::Architecture(format!(
            "its patches are {patch}×{other} on {channels} channels; known are squares on 3"
        )));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const VIT_S: [(&str, &[usize]); 2] =
        [("patch_embed.proj.weight", &[384, 3, 16, 16]), ("pos_embed", &[1, 197, 384])];

    /// What becomes of the shapes of a ViT-S.
    fn vit_small(
        request: &Request,
        hints: &Hints,
    ) -> Result<(BackboneConfig, Input), ForeignError> {
        let mut shapes: Shapes =
            VIT_S.iter().map(|&(name, shape)| (name.to_owned(), shape)).collect();
        for block in 0..12 {
            shapes.insert(format!("blocks.{block}.norm1.weight"), &[384]);
        }
        network(&shapes, request, hints)
    }

    fn heads(request: &Request, hints: &Hints) -> Result<(usize, Pooling), String> {
        let (config, _) = vit_small(request, hints).map_err(|error| error.to_string())?;
        let vit = config.vit().unwrap();
        Ok((vit.heads(), vit.pooling))
    }

    #[test]
    fn heads_and_pooling_are_asked_for_unless_the_names_tell() {
        let token = Some(Pooling::Token);
        let asked = heads(&Request::default(), &Hints::default()).unwrap_err();
        assert!(asked.contains("--heads 6") && asked.contains("--pooling token"), "{asked}");
        let told = Request { heads: Some(6), pooling: token, ..Request::default() };
        assert_eq!(heads(&told, &Hints::default()), Ok((6, Pooling::Token)));
        let mean = Request { pooling: Some(Pooling::Mean), ..told.clone() };
        assert_eq!(heads(&mean, &Hints::default()), Ok((6, Pooling::Mean)));
        let moco = Hints { author: "MoCo V3", heads: Some(12), pooling: token, ..Hints::default() };
        assert_eq!(heads(&Request::default(), &moco), Ok((12, Pooling::Token)));
        let refused = heads(&told, &moco).unwrap_err();
        assert!(refused.contains("--heads") && refused.contains("MoCo V3"), "{refused}");
        for wrong in [0, 7] {
            let request = Request { heads: Some(wrong), ..told.clone() };
            let refused = heads(&request, &Hints::default()).unwrap_err();
            assert!(refused.contains(&format!("--heads {wrong}")), "{refused}");
        }
    }

    #[test]
    fn a_file_of_this_program_says_what_it_is() {
        let vit = VitConfig {
            size: VitSize::Small,
            heads: Some(12),
            pooling: Pooling::Mean,
            ..VitConfig::default()
        };
        let input =
            Input { size: 96, resize: Some(110), normalisation: vssl_data::dataset::CIFAR10 };
        let hints = Hints { told: Some((vit.into(), input)), ..Hints::default() };
        let found = vit_small(&Request::default(), &hints).unwrap();
        assert_eq!(found, (vit.into(), input));
        let request = Request { size: Some(64), ..Request::default() };
        let (_, other) = vit_small(&request, &hints).unwrap();
        assert_eq!((other.size, other.normalisation), (64, input.normalisation));
        let request = Request { heads: Some(6), ..Request::default() };
        assert!(vit_small(&request, &hints).unwrap_err().to_string().contains("--heads"));
    }
}
