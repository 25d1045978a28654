//! Rotation of the hue through 8-bit hue, saturation and value, byte for byte as Pillow does it.
//!
//! The definition mixes single and double precision; its results depend on those roundings. The
//! loop here uses single precision only, in forms whose results are the same for *every* input:
//! the tests compare all 2^24 colours in both directions with the definition.

use super::{
    canvas::{Pixel, pack, unpack},
    simd::{nearest, vectorised, whole},
};

/// Adds `shift` (a share of the colour circle, cut to 1/255 steps) to the hue of every pixel.
pub(super) fn rotate_hue(pixels: &mut [Pixel], shift: f64) {
    let steps = ((shift * 255.0) as i32).rem_euclid(256) as f32;
    vectorised(
        #[inline(always)]
        || {
            for pixel in pixels {
                let [hue, saturation, value] = to_hsv(unpack(*pixel).map(|v| v as f32));
                let turned = hue + steps;
                let hue = if turned >= 256.0 { turned - 256.0 } else { turned };
                *pixel = pack(to_rgb([hue, saturation, value]).map(nearest));
            }
        },
    );
}

// Comparisons instead of `f32::max`, whose care for NaN costs two more instructions each.
#[inline(always)]
fn max(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
fn min(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// `trunc(255 · share)` of the exact product, for a share in [0, 1].
#[inline(always)]
fn level(share: f32) -> f32 {
    let rounded = whole(share * 255.0);
    // `256 · share − n` is exact, where `255 · share` is not.
    let excess = share * 256.0 - rounded;
    if excess < share { rounded - 1.0 } else { rounded }
}

/// Hue, saturation and value of a colour; all numbers are whole, from 0 to 255.
#[inline(always)]
fn to_hsv([r, g, b]: [f32; 3]) -> [f32; 3] {
    let value = max(max(r, g), b);
    let least = min(min(r, g), b);
    let range = value - least;
    let middle = r + g + b - value - least;
    // Of the three distances to the maximum, one is 0 and one is the range; this is the third.
    let third = (value - middle) / max(range, 1.0);
    let (base, sign) = if r == value {
        if b == least { (1.0, -1.0) } else { (-1.0, 1.0) }
    } else if g == value {
        if b == least { (1.0, 1.0) } else { (3.0, -1.0) }
    } else if r == least {
        (3.0, 1.0)
    } else {
        (5.0f32, -1.0f32)
    };
    let sixth = (base + sign * third) / 6.0;
    let hue = level(if sixth < 0.0 { 1.0 + sixth } else { sixth });
    let saturation = level(range / max(value, 1.0));
    // The hue of grey is 0; its saturation is 0 by the formula.
    [if range == 0.0 { 0.0 } else { hue }, saturation, value]
}

/// Red, green and blue of an 8-bit hue, saturation and value.
///
/// Around the circle each channel is a trapezium: what it lacks of `value` grows from 0 to
/// `value · saturation / 255` over a sixth of the circle, stays for two sixths, and vanishes again.
#[inline(always)]
fn to_rgb([hue, saturation, value]: [f32; 3]) -> [f32; 3] {
    // Whole numbers below 2^24 at every step, hence exact up to the last product.
    let product = value * saturation;
    let channel = |start: f32| {
        let turned = hue * 6.0 + start;
        let angle = if turned >= 1530.0 { turned - 1530.0 } else { turned };
        let share = max(min(min(angle, 1020.0 - angle), 255.0), 0.0);
        value - whole(product * share * (1.0 / 65_025.0))
    };
    [channel(1275.0), channel(765.0), channel(255.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, with its mixture of precisions.
    fn defined_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
        let (most, least) = (r.max(g).max(b), r.min(g).min(b));
        if most == least {
            return [0, 0, most];
        }
        let range = f32::from(most - least);
        let distance = |channel: u8| f64::from(f32::from(most - channel) / range);
        let (red, green, blue) = (distance(r), distance(g), distance(b));
        let hue = if r == most {
            blue - green
        } else if g == most {
            2.0 + red - blue
        } else {
            4.0 + green - red
        };
        let circle = (f64::from(hue as f32) / 6.0 + 1.0).fract() as f32;
        let saturation = range / f32::from(most);
        [(255.0 * f64::from(circle)) as u8, (255.0 * f64::from(saturation)) as u8, most]
    }

    fn defined_rgb([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
        let v = f64::from(value);
        let y = 6.0 * f64::from(hue) / 255.0;
        let f = f64::from((y - y.floor()) as f32);
        let s = f64::from((f64::from(saturation) / 255.0) as f32);
        let p = (v * (1.0 - s)).round() as u8;
        let q = (v * (1.0 - s * f)).round() as u8;
        let t = (v * (1.0 - s * (1.0 - f))).round() as u8;
        match y.floor() as u32 % 6 {
            0 => [value, t, p],
            1 => [q, value, p],
            2 => [p, value, t],
            3 => [p, q, value],
            4 => [t, p, value],
            _ => [value, p, q],
        }
    }

    #[test]
    fn every_colour_agrees_with_the_definition_in_both_directions() {
        for a in 0..=255u8 {
            for b in 0..=255 {
                for c in 0..=255 {
                    let triple = [a, b, c].map(f32::from);
                    assert_eq!(to_hsv(triple), defined_hsv([a, b, c]).map(f32::from), "{triple:?}");
                    assert_eq!(to_rgb(triple), defined_rgb([a, b, c]).map(f32::from), "{triple:?}");
                }
            }
        }
    }
}
