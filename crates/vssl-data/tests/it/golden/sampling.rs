//! The distribution of the random crops against the reference's stored statistics.

use serde_json::Value;
use vssl_data::{
    augment::{Region, random_region},
    rng::{Stream, rng},
};

use super::case::json;

const DRAWS: u64 = 40_000;

/// Image size and scale range from a name such as `landscape_500x375_scale_0.08_1`.
fn setting(name: &str) -> ((usize, usize), [f64; 2]) {
    let (shape, scale) = name.split_once("_scale_").expect("a name with _scale_");
    let (low, high) = scale.split_once('_').expect("two ends of the scale");
    let size = shape.rsplit('_').next().expect("a size");
    let (width, height) = size.split_once('x').unwrap_or((size, size));
    let side = |text: &str| text.parse().expect("a side");
    let share = |text: &str| text.parse().expect("a share");
    ((side(width), side(height)), [share(low), share(high)])
}

/// Deviations of at most one percent of a quantity's range pass: with 40000 draws on both sides
/// that is more than three standard errors of every mean and quantile here.
#[test]
fn crops_are_distributed_as_the_reference_draws_them() {
    let all = json("augment/sampling_statistics.json");
    let cases = all["resized_crop"].as_object().expect("resized_crop");
    assert!(!cases.is_empty());
    for (number, (name, expected)) in cases.iter().enumerate() {
        let ((width, height), scale) = setting(name);
        let draw = |i| {
            let mut rng = rng(3, Stream::View(0), number as u64, i);
            random_region(&mut rng, (width, height), scale, [3.0 / 4.0, 4.0 / 3.0])
        };
        let regions = (0..DRAWS).map(draw).collect::<Vec<_>>();
        let total = (width * height) as f64;
        let area = |r: &Region| (r.width * r.height) as f64 / total;
        let aspect = |r: &Region| r.width as f64 / r.height as f64;
        check(name, &expected["area_fraction_mean"], mean(&regions, area), 1.0);
        check_quantiles(name, &expected["area_fraction_quantiles"], &regions, area);
        check(name, &expected["aspect_w_over_h_mean"], mean(&regions, aspect), 0.6);
        check_quantiles(name, &expected["aspect_quantiles"], &regions, aspect);
        let (w, h) = (width as f64, height as f64);
        check(name, &expected["top_mean"], mean(&regions, |r| r.top as f64), h);
        check(name, &expected["left_mean"], mean(&regions, |r| r.left as f64), w);
        check(name, &expected["height_mean"], mean(&regions, |r| r.height as f64), h);
        check(name, &expected["width_mean"], mean(&regions, |r| r.width as f64), w);
        let whole = |r: &Region| f64::from(u8::from((r.width, r.height) == (width, height)));
        check(name, &expected["full_image_fraction"], mean(&regions, whole), 0.2);
    }
    println!("sampling: {} cases checked", cases.len());
}

fn mean(regions: &[Region], value: impl Fn(&Region) -> f64) -> f64 {
    regions.iter().map(value).sum::<f64>() / regions.len() as f64
}

fn check(name: &str, expected: &Value, got: f64, range: f64) {
    let expected = expected.as_f64().expect("a number");
    assert!((got - expected).abs() <= 0.01 * range, "{name}: {got}, not {expected}");
}

/// A quantile of whole pixels jumps from one fraction to the next, so the share of draws below the
/// expected value is compared instead: it has to be the quantile's, within one percent.
fn check_quantiles(
    name: &str,
    expected: &Value,
    regions: &[Region],
    value: impl Fn(&Region) -> f64,
) {
    for (percent, quantile) in expected.as_object().expect("quantiles") {
        let share = percent.parse::<f64>().expect("a percentage") / 100.0;
        let quantile = quantile.as_f64().expect("a number");
        let below = mean(regions, |r| f64::from(u8::from(value(r) < quantile - 1e-9)));
        let up_to = mean(regions, |r| f64::from(u8::from(value(r) <= quantile + 1e-9)));
        assert!(
            below <= share + 0.01 && up_to >= share - 0.01,
            "{name}, {percent} %: {below} to {up_to} of the draws are below {quantile}"
        );
    }
}
