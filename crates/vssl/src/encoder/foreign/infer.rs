//! Infers a network and its input from its tensors, the arguments and what the file says.
//!
//! Settings that the tensors do not hold (the padding of a 3×3 stem, the normalisation of small images, the
//! number of heads, the pooling of a transformer) are asked for, never guessed: a wrong guess gives other
//! features without an error. Called by [`super::read`].

use serde::Serialize;
use vssl_data::{
    Normalisation, counted,
    dataset::{Format, IMAGENET},
};

use crate::{
    backbone::{BackboneConfig, Interpolation, Pooling, Stem, VitConfig, VitSize},
    encoder::Input,
};

use super::{
    ForeignError, Request,
    architectures::{self, Shapes},
};

/// What a file says of its network by more than tensors.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Hints {
    /// Who names the tensors of transformers like this, for messages.
    pub(super) author: &'static str,
    /// The number of attention heads.
    pub(super) heads: Option<usize>,
    /// The pooling of the tokens.
    pub(super) pooling: Option<Pooling>,
    /// How the program that wrote the file interpolates positions.
    pub(super) interpolation: Option<Interpolation>,
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
    let mut config = architectures::of(shapes)?;
    if let Some((told, _)) = &hints.told {
        agreeing(told, &config)?;
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
    let channels = architectures::channels(shapes);
    let input = input((&config, channels), request, hints, &mut unknown)?;
    match unknown.is_empty() {
        true => Ok((config, input)),
        false => Err(ForeignError::Unknown(unknown.join("; "))),
    }
}

/// Checks that the description of a file and its tensors are of one kind of network. Whether each tensor fits is
/// checked by name later; one network may have several names.
fn agreeing(told: &BackboneConfig, found: &BackboneConfig) -> Result<(), ForeignError> {
    let named = match (told, found) {
        (BackboneConfig::Vit(_), BackboneConfig::Vit(_)) => return Ok(()),
        (BackboneConfig::ConvNext(_), BackboneConfig::ConvNext(_)) => return Ok(()),
        (told, found) => (told.architecture(), found.architecture()),
    };
    contradiction("the file's description", Some(named.0), named.1)
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
            "{argument} is for {kind}; the tensors are those of {}",
            config.architecture().name()
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

/// Settles the heads and the pooling of a transformer. Of the known sizes only ViT-B exists with one number of
/// heads: ViT-Tiny has 12 in MAE-Lite, and ViT-S has 12 in MoCo V3.
fn attending(
    vit: &mut VitConfig,
    request: &Request,
    hints: &Hints,
    unknown: &mut Vec<&'static str>,
) -> Result<(), ForeignError> {
    let (width, usual) = (vit.width(), vit.size.shape().2);
    let has_own_heads =
        matches!(vit.size, VitSize::Dinov2(_) | VitSize::Dinov2Registers(_) | VitSize::Dinov3(_));
    if hints.told.is_none()
        && let Some(interpolation) = hints.interpolation
    {
        vit.interpolation = interpolation;
    }
    let known = hints.told.as_ref().map(|_| (vit.heads(), vit.pooling));
    // The names tell the author, who has published one ViT-S; a network of another width is a reader's own.
    let named = hints.heads.filter(|_| vit.size == VitSize::Small);
    let heads = known.map(|(heads, _)| heads).or(named);
    // The norm behind the mean has a name of its own.
    let shown = (vit.pooling == Pooling::FcNorm).then_some(Pooling::FcNorm);
    let pooling = known.map(|(_, pooling)| pooling).or(shown).or(hints.pooling);
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
        Some(heads) if vit.is_rotary() && !(width / heads).is_multiple_of(4) => {
            return Err(ForeignError::Contradiction(format!(
                "--heads {heads}: rotary positions turn queries whose length is a multiple of 4, and with a width of \
                 {width} these have {}",
                width / heads
            )));
        }
        Some(heads) => {
            vit.heads = (heads != usual).then_some(heads);
        }
        None if has_own_heads => {}
        None if vit.width.is_some() => unknown.push(
            "the number of attention heads is not in the weights, and the network is none that has a name: \
             give --heads",
        ),
        None if vit.size == VitSize::Small => unknown.push(
            "the number of attention heads is not in the weights, and ViT-S exists with two: give \
             --heads 6 for timm, DeiT and DINO, or --heads 12 for MoCo V3",
        ),
        None if vit.size == VitSize::Tiny => unknown.push(
            "the number of attention heads is not in the weights, and ViT-Tiny exists with two: give \
             --heads 3 for timm and DeiT, or --heads 12 for MAE-Lite",
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
    if vit.pooling == Pooling::Token && !vit.class_token {
        return Err(ForeignError::Contradiction(
            "--pooling token: the tensors have no class token; give --pooling mean".to_owned(),
        ));
    }
    if vit.pooling == Pooling::FcNorm && shown.is_none() && hints.told.is_none() {
        return Err(ForeignError::Contradiction(
            "--pooling fc-norm: the tensors have no fc_norm; give --pooling token or mean"
                .to_owned(),
        ));
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
    (config, channels): (&BackboneConfig, usize),
    request: &Request,
    hints: &Hints,
    unknown: &mut Vec<&'static str>,
) -> Result<Input, ForeignError> {
    let told = hints.told.as_ref().map(|(_, input)| *input);
    let small = matches!(config, BackboneConfig::Resnet(resnet) if resnet.stem == Stem::Cifar);
    let photographs = !small && !matches!(config, BackboneConfig::WideResnet(_));
    let given = request.normalisation.or(told.map(|input| input.normalisation));
    let normalisation = normalisation(given, channels, photographs, unknown)?;
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
    if let BackboneConfig::ConvNext(network) = config
        && size < network.smallest()
    {
        return Err(ForeignError::Contradiction(format!(
            "--size {size}: expected at least {}, eight times the patch",
            network.smallest()
        )));
    }
    let format = if photographs { Format::Folder } else { Format::Cifar10 };
    let mut input = Input::new(size, format, normalisation);
    if let Some(told) = told
        && told.size == size
    {
        input.resize = told.resize;
    }
    input.resize = request.resize.or(input.resize);
    match request.resize {
        Some(resize) if resize < size => Err(ForeignError::Contradiction(format!(
            "--resize {resize}: smaller than the square of {size} pixels that is cut out; expected at least \
             {size}, or a smaller --size"
        ))),
        _ => Ok(input),
    }
}

/// Settles the normalisation of images of so many channels; `given` is what the arguments or the file say.
fn normalisation(
    given: Option<Normalisation>,
    channels: usize,
    photographs: bool,
    unknown: &mut Vec<&'static str>,
) -> Result<Normalisation, ForeignError> {
    let Some(given) = given else {
        if channels != 3 {
            unknown.push(
                "the normalisation of images that have not three channels is not in the file: give --normalisation \
                 with a mean for each channel of the stem and then a deviation for each, or MEAN,STD for all of them",
            );
        } else if !photographs {
            unknown.push(
                "the normalisation of small images is not in the file: give --normalisation cifar10, cifar100, \
                 imagenet or six numbers",
            );
        }
        return Ok(IMAGENET);
    };
    given.spread_over(channels).ok_or_else(|| {
        ForeignError::Contradiction(format!(
            "--normalisation is for {}, the stem of these tensors takes {}; give as many \
             means and as many deviations, or MEAN,STD for all channels",
            counted(given.channels(), "channel"),
            counted(channels, "channel")
        ))
    })
}

fn contradiction<T: PartialEq + Serialize>(
    argument: &str,
    said: Option<T>,
    told: T,
) -> Result<(), ForeignError> {
    match said {
        Some(said) if said != told => Err(ForeignError::Contradiction(format!(
            "{argument} says {}, the tensors are those of {}; leave the argument out or take another file",
            spelt(&said),
            spelt(&told)
        ))),
        _ => Ok(()),
    }
}

/// Returns a value as recipes and arguments spell it.
fn spelt(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).expect("settings are plain values");
    text.trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbone::Architecture;

    /// What becomes of the shapes of a ViT-S.
    fn vit_small(
        request: &Request,
        hints: &Hints,
    ) -> Result<(BackboneConfig, Input), ForeignError> {
        vit(384, request, hints)
    }

    fn vit(
        width: usize,
        request: &Request,
        hints: &Hints,
    ) -> Result<(BackboneConfig, Input), ForeignError> {
        let (patch, positions) = ([width, 3, 16, 16], [1, 197, width]);
        let mut shapes = Shapes::new();
        shapes.insert("patch_embed.proj.weight".to_owned(), &patch);
        shapes.insert("pos_embed".to_owned(), &positions);
        for block in 0..12 {
            shapes.insert(format!("blocks.{block}.norm1.weight"), &positions[2..]);
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

    /// MAE-Lite's ViT-Tiny has 12 heads; the names of MoCo V3 tell the heads of its own ViT-S only.
    #[test]
    fn only_a_base_transformer_has_a_usual_number_of_heads() {
        let token = Some(Pooling::Token);
        let request = Request { pooling: token, ..Request::default() };
        let moco = Hints { author: "MoCo V3", heads: Some(12), pooling: token, ..Hints::default() };
        for hints in [&Hints::default(), &moco] {
            let asked = vit(192, &request, hints).unwrap_err().to_string();
            assert!(asked.contains("--heads 3") && asked.contains("--heads 12"), "{asked}");
            for (width, given, expected) in [(192, 3, 3), (192, 12, 12), (768, 6, 6)] {
                let request = Request { heads: Some(given), ..request.clone() };
                let (config, _) = vit(width, &request, hints).unwrap();
                assert_eq!(config.vit().unwrap().heads(), expected);
            }
            let (config, _) = vit(768, &request, hints).unwrap();
            assert_eq!(config.vit().unwrap().heads(), 12);
        }
    }

    #[test]
    fn images_are_not_made_smaller_than_what_is_cut_out_of_them() {
        let vit = VitConfig { size: VitSize::Small, heads: Some(12), ..VitConfig::default() };
        let input =
            Input { size: 96, resize: Some(110), normalisation: vssl_data::dataset::CIFAR10 };
        let hints = Hints { told: Some((vit.into(), input)), ..Hints::default() };
        let with =
            |resize| vit_small(&Request { resize: Some(resize), ..Request::default() }, &hints);
        assert_eq!(with(96).unwrap().1.resize, Some(96));
        let refused = with(95).unwrap_err().to_string();
        assert!(refused.contains("--resize 95") && refused.contains("at least 96"), "{refused}");
    }

    #[test]
    fn a_contradiction_is_spelt_as_arguments_are() {
        let request = Request { architecture: Some(Architecture::Resnet50), ..Request::default() };
        let refused = vit_small(&request, &Hints::default()).unwrap_err().to_string();
        assert!(refused.contains("says resnet50, the tensors are those of vit-small"), "{refused}");
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
