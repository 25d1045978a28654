//! The size and the normalisation of the images that an encoder of another program takes. Called by [`super::infer`].

use vssl_data::{
    Normalisation, counted,
    dataset::{Format, IMAGENET},
};

use super::{ForeignError, Request, hints::Hints};
use crate::{
    backbone::{BackboneConfig, Stem},
    encoder::Input,
};

/// Settles the size and normalisation of the images: as the arguments say, or else as the file says, or else
/// as usual.
pub(super) fn input(
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
            "--normalisation is for {}, the stem of these tensors takes {}; give as many means and as many deviations, \
             or MEAN,STD for all channels",
            counted(given.channels(), "channel"),
            counted(channels, "channel")
        ))
    })
}
