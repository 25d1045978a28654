//! Single-precision numbers in a recipe keep their short decimal form: widened to double precision
//! as they are, 0.4914 would be written 0.49140000343322754. Called by serde for
//! [`super::DataSection::normalisation`].

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use vssl_data::Normalisation;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wide {
    mean: [f64; 3],
    std: [f64; 3],
}

/// The double-precision number with the decimal form of `x`; narrowing it gives `x` again.
fn widen(x: f32) -> f64 {
    x.to_string().parse().expect("a number in decimal form is a number")
}

pub(super) fn serialize<S: Serializer>(
    value: &Option<Normalisation>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let wide = |n: &Normalisation| Wide { mean: n.mean.map(widen), std: n.std.map(widen) };
    value.as_ref().map(wide).serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Normalisation>, D::Error> {
    let narrow = |Wide { mean, std }| Normalisation {
        mean: mean.map(|x| x as f32),
        std: std.map(|x| x as f32),
    };
    Ok(Option::<Wide>::deserialize(deserializer)?.map(narrow))
}
