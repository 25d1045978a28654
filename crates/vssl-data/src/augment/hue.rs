//! Rotation of the hue through 8-bit hue, saturation and value, byte for byte as Pillow does it.
//!
//! The definition mixes single and double precision; its results depend on those roundings. The
//! loop here uses single precision only, in forms whose results are the same for *every* input:
//! the tests compare all 2^24 colours in both directions with the definition.

use super::{
    canvas::Pixel,
    colour::{pack, unpack},
    simd::{nearest, vectorised},
};

/// Adds `shift` (a share of the colour circle, cut to 1/255 steps) to the hue of every pixel.
pub(super) fn rotate_hue(pixels: &mut [Pixel], shift: f64) {
    let steps = (shift * 255.0) as i32;
    vectorised(
        #[inline(always)]
        || {
            for pixel in pixels {
                let [hue, saturation, value] = to_hsv(unpack(*pixel));
                *pixel = pack(to_rgb([(hue + steps) & 255, saturation, value]));
            }
        },
    );
}

/// `trunc(255 · share)` of the exact product, for a share in [0, 1].
#[inline(always)]
fn level(share: f32) -> i32 {
    let rounded = nearest(share * 255.0);
    // `256 · share − n` is exact, where `255 · share` is not.
    let excess = share * 256.0 - rounded as f32;
    rounded - i32::from(excess < share)
}

/// Hue, saturation and value, 0 to 255 each.
#[inline(always)]
fn to_hsv([r, g, b]: [i32; 3]) -> [i32; 3] {
    let value = r.max(g).max(b);
    let least = r.min(g).min(b);
    let range = value - least;
    let middle = r + g + b - value - least;
    // Of the three distances to the maximum one is 0, one is the range and this is the third.
    let third = (value - middle) as f32 / range.max(1) as f32;
    let red = r == value;
    let green = g == value;
    let (base, sign) = if red {
        if b == least { (1.0, -1.0) } else { (-1.0, 1.0) }
    } else if green {
        if b == least { (1.0, 1.0) } else { (3.0, -1.0) }
    } else if r == least {
        (3.0, 1.0)
    } else {
        (5.0f32, -1.0f32)
    };
    let sixth = (base + sign * third) / 6.0;
    let circle = if sixth < 0.0 { 1.0 + sixth } else { sixth };
    let hue = level(circle);
    let saturation = level(range as f32 / value.max(1) as f32);
    // Grey has neither; its saturation is 0 by the formula already.
    [if range == 0 { 0 } else { hue }, saturation, value]
}

/// Red, green and blue of 8-bit hue, saturation and value.
#[inline(always)]
fn to_rgb([hue, saturation, value]: [i32; 3]) -> [i32; 3] {
    let sixfold = hue * 6;
    // floor(x / 255) for x below 2^16.
    let sector = (sixfold * 0x8081) >> 23;
    let fraction = sixfold - 255 * sector;
    let odd = sector & 1 == 1;
    let slope = if odd { fraction } else { 255 - fraction };
    // All products are whole numbers below 2^24, hence exact.
    let product = (value * saturation) as f32;
    let low = value - nearest(product * (1.0 / 255.0));
    let mid = value - nearest(product * slope as f32 * (1.0 / 65_025.0));
    // Hue 255 is the start of a seventh sector, which is the first again.
    let sector = if sector == 6 { 0 } else { sector };
    let pick = |value_at: [i32; 2], mid_at: [i32; 2]| {
        if sector == value_at[0] || sector == value_at[1] {
            value
        } else if sector == mid_at[0] || sector == mid_at[1] {
            mid
        } else {
            low
        }
    };
    [pick([0, 5], [1, 4]), pick([1, 2], [0, 3]), pick([3, 4], [2, 5])]
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
                    let triple = [a, b, c].map(i32::from);
                    assert_eq!(to_hsv(triple), defined_hsv([a, b, c]).map(i32::from), "{triple:?}");
                    assert_eq!(to_rgb(triple), defined_rgb([a, b, c]).map(i32::from), "{triple:?}");
                }
            }
        }
    }
}
