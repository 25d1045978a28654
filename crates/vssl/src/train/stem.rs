//! Makes the stem of an encoder take images of another number of channels, as `init.stem_channels` says. Called by
//! [`super::start`].
//!
//! Both ways multiply the weights by the number of channels that the stem had over the number that it gets, so that what
//! comes out stays as large as it was: with the mean, an image whose channels are all equal gives exactly what it gave.

use burn::tensor::TensorData;
use vssl_data::counted;

use super::TrainError;
use crate::{
    backbone::BackboneConfig,
    recipe::{InitSection, StemChannels},
    tensors::state::Tensors,
};

/// Checks that an encoder whose stem takes `own` channels can start a run on images of `wanted` channels. Returns a note
/// where the stem has to be changed for it, and where the key has no effect: not for the copy of a run that was begun
/// (`is_copy`), whose stem may have been changed already.
///
/// # Errors
/// The numbers differ and `init` does not say what becomes of the stem, or nobody knows which tensor the stem is.
pub(super) fn check(
    config: &BackboneConfig,
    (own, wanted): (usize, usize),
    init: &InitSection,
    is_copy: bool,
) -> Result<Option<String>, TrainError> {
    if own == wanted {
        let said = init.stem_channels.filter(|_| !is_copy).map(|_| {
            format!(
                "init.stem_channels has no effect: the encoder takes images of {}, as the recipe has them",
                counted(own, "channel")
            )
        });
        return Ok(said);
    }
    let differ = format!(
        "the encoder at {} takes images of {}, the recipe has images of {wanted} (data.channels)",
        init.from.display(),
        counted(own, "channel")
    );
    let Some(how) = init.stem_channels else {
        return Err(TrainError::Setting(format!(
            "{differ}; expected equal numbers, or init.stem_channels = \"mean\" (every channel starts with the mean of \
             the weights) or \"repeat\" (the weights of the channels are taken again and again)"
        )));
    };
    match config.stem() {
        Some(stem) => Ok(Some(format!(
            "{differ}: {stem} starts with {} (init.stem_channels)",
            match how {
                StemChannels::Mean => "the mean of its weights over the channels",
                StemChannels::Repeat => "its weights repeated over the channels",
            }
        ))),
        None => Err(TrainError::Setting(format!(
            "{differ}; which tensor of a backbone of a program's own meets the channels is not known: expected equal \
             numbers"
        ))),
    }
}

/// Brings the stem among `weights` to `wanted` channels, where it has another number. [`check`] has passed.
pub(super) fn fit(
    weights: &mut Tensors,
    config: &BackboneConfig,
    wanted: usize,
    how: Option<StemChannels>,
) {
    let (Some(stem), Some(how)) = (config.stem(), how) else { return };
    if let Some(weight) = weights.get_mut(stem)
        && let &[output, own, height, width] = weight.shape().as_slice()
        && own != wanted
        && let Ok(values) = weight.as_slice::<f32>()
    {
        let fitted = fitted(values, [own, height * width], wanted, how);
        *weight = TensorData::new(fitted, [output, wanted, height, width]);
    }
}

/// The weights `[out, own, area]` as `[out, wanted, area]`.
fn fitted(values: &[f32], [own, area]: [usize; 2], wanted: usize, how: StemChannels) -> Vec<f32> {
    let scale = own as f64 / wanted as f64;
    let mut fitted = Vec::with_capacity(values.len() / own * wanted);
    for filter in values.chunks_exact(own * area) {
        for channel in 0..wanted {
            for at in 0..area {
                let weight = |channel: usize| f64::from(filter[channel * area + at]);
                let value = match how {
                    StemChannels::Repeat => weight(channel % own),
                    StemChannels::Mean => (0..own).map(weight).sum::<f64>() / own as f64,
                };
                fitted.push((value * scale) as f32);
            }
        }
    }
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbone::Architecture;

    #[test]
    fn equal_channels_give_what_they_gave() {
        // Two filters of three channels and two places.
        let values: Vec<f32> = (0..12).map(|at| (at * 7 % 11) as f32 - 4.0).collect();
        for how in [StemChannels::Mean, StemChannels::Repeat] {
            for wanted in [1, 2, 3, 4, 6, 13] {
                let fitted = fitted(&values, [3, 2], wanted, how);
                assert_eq!(fitted.len(), 4 * wanted);
                for (filter, own) in fitted.chunks(2 * wanted).zip(values.chunks(6)) {
                    for at in 0..2 {
                        let sum = |part: &[f32]| part.iter().skip(at).step_by(2).sum::<f32>();
                        // Repeated weights are those of all channels only where each is taken as often.
                        if how == StemChannels::Mean || wanted.is_multiple_of(3) {
                            assert!((sum(filter) - sum(own)).abs() < 1e-5, "{how:?} {wanted}");
                        }
                    }
                }
            }
        }
        assert_eq!(fitted(&values, [3, 2], 4, StemChannels::Repeat)[6..8], [-3.0, 2.25]);
        assert_eq!(fitted(&values, [3, 2], 1, StemChannels::Mean)[..2], [-3.0, 7.0]);
    }

    #[test]
    fn only_a_new_run_is_told_of_a_key_without_effect() {
        let config = BackboneConfig::of(Architecture::Resnet18);
        let mut init = InitSection::of("first");
        init.stem_channels = Some(StemChannels::Mean);
        let said = |is_copy| check(&config, (4, 4), &init, is_copy).unwrap();
        let told = "init.stem_channels has no effect: the encoder takes images of 4 channels, as the recipe has them";
        assert_eq!((said(false).as_deref(), said(true)), (Some(told), None));
        assert!(
            check(&config, (3, 4), &init, false)
                .unwrap()
                .unwrap()
                .contains("the mean of its weights")
        );
    }
}
