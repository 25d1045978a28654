//! Normalisations by name or in numbers, as `init.normalisation` and `vssl import --normalisation` take them.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};
use vssl_data::{
    Normalisation, PerChannel,
    dataset::{CIFAR10, CIFAR100, IMAGENET},
};

use super::sections::short::Wide;

/// Returns the normalisation that `text` names, as `vssl import --normalisation` takes it: `imagenet`, `cifar10`,
/// `cifar100`, `MEAN,STD` for all of three channels, or the means of all channels and then their deviations.
///
/// # Errors
/// The text is none of these; the error says what was expected.
pub fn normalisation_of(text: &str) -> Result<Normalisation, String> {
    let numbers: Result<Vec<f32>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    let given = match (text, numbers.as_deref()) {
        ("imagenet", _) => IMAGENET,
        ("cifar10", _) => CIFAR10,
        ("cifar100", _) => CIFAR100,
        (_, Ok(&[mean, std])) => Normalisation::new([mean; 3], [std; 3]),
        (_, Ok(numbers)) if numbers.len().is_multiple_of(2) => {
            let (mean, std) = numbers.split_at(numbers.len() / 2);
            Normalisation { mean: PerChannel::of(mean)?, std: PerChannel::of(std)? }
        }
        _ => {
            return Err(
                "expected imagenet, cifar10, cifar100, MEAN,STD for all channels, or the means of all channels and \
                        then their deviations, as in 0.5,0.5,0.5,0.5,0.5,0.5"
                    .to_owned(),
            );
        }
    };
    let positive = given.std.iter().all(|std| std.is_finite() && *std > 0.0);
    match positive && given.mean.iter().all(|mean| mean.is_finite()) {
        true => Ok(given),
        false => Err("expected finite numbers and deviations above 0".to_owned()),
    }
}

/// Reads a normalisation: a text, or a table as `data.normalisation` has it.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Normalisation>, D::Error> {
    struct Reader;
    impl<'de> Visitor<'de> for Reader {
        type Value = Normalisation;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(
                "a name such as \"imagenet\", numbers in quotes, or a table of mean and std",
            )
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Normalisation, E> {
            normalisation_of(text)
                .map_err(|expected| E::custom(format!("got {text:?}, {expected}")))
        }

        fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Normalisation, A::Error> {
            let wide = Wide::deserialize(MapAccessDeserializer::new(table))?;
            wide.narrow().map_err(A::Error::custom)
        }
    }
    deserializer.deserialize_any(Reader).map(Some)
}
