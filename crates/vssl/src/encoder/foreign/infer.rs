//! Infers a network and its input from its tensors, the arguments and what the file says.
//!
//! Settings that the tensors do not hold (the padding of a 3×3 stem, the normalisation of small images, the
//! number of heads, the pooling of a transformer) are asked for, never guessed: a wrong guess gives other
//! features without an error. Called by [`super::read`].

use super::{
    ForeignError, Request,
    architectures::{self, Shapes},
    contradiction::{contradiction, unfit},
    hints::Hints,
    images::input,
    transformer,
};
use crate::{
    backbone::{BackboneConfig, Stem},
    encoder::Input,
};

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
        transformer::settle(vit, request, hints, &mut unknown)?;
    }
    let channels = architectures::channels(shapes);
    let input = input((&config, channels), request, hints, &mut unknown)?;
    match unknown.is_empty() {
        true => Ok((config, input)),
        false => Err(ForeignError::Unknown { what: unknown.join("; "), channels }),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbone::{Architecture, Pooling, VitConfig, VitSize};

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
        vit_of(3, width, request, hints)
    }

    fn vit_of(
        channels: usize,
        width: usize,
        request: &Request,
        hints: &Hints,
    ) -> Result<(BackboneConfig, Input), ForeignError> {
        let (patch, positions) = ([width, channels, 16, 16], [1, 197, width]);
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
    fn the_channels_are_known_of_a_file_that_does_not_tell_all() {
        for wanted in [1, 3, 5] {
            let found = vit_of(wanted, 384, &Request::default(), &Hints::default());
            let Err(ForeignError::Unknown { what, channels }) = found else {
                panic!("{found:?}");
            };
            assert!(channels == wanted && what.contains("--heads 6"), "{channels} {what}");
        }
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
