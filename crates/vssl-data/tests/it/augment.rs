//! The optimised resize and blur against their definitions, written out pixel by pixel, over many
//! shapes.

use vssl_data::{
    Image,
    augment::{Canvas, Interpolation, Region},
    rng::{Stream, below, rng, uniform},
};

fn noise(width: usize, height: usize, seed: usize) -> Image {
    let value = |i: usize| ((i + seed * 7_919).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u8;
    Image { width, height, values: (0..width * height * 3).map(value).collect() }
}

/// A plane of one channel with any accessor.
fn image_of(width: usize, height: usize, value: impl Fn(usize, usize, usize) -> u8) -> Image {
    let values = (0..width * height * 3).map(|i| value(i / 3 / width, i / 3 % width, i % 3));
    Image { width, height, values: values.collect() }
}

fn at(image: &Image, y: usize, x: usize, channel: usize) -> u8 {
    image.values[(y * image.width + x) * 3 + channel]
}

fn kernel(interpolation: Interpolation, x: f64) -> f64 {
    let x = x.abs();
    match interpolation {
        Interpolation::Bilinear => (1.0 - x).max(0.0),
        Interpolation::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
        Interpolation::Bicubic if x < 2.0 => -0.5 * (((x - 5.0) * x + 8.0) * x - 4.0),
        Interpolation::Bicubic => 0.0,
    }
}

/// One output of one pass.
fn sample(
    n: usize,
    m: usize,
    output: usize,
    interpolation: Interpolation,
    input: impl Fn(usize) -> u8,
) -> u8 {
    let scale = n as f64 / m as f64;
    let stretch = scale.max(1.0);
    let support = stretch * if interpolation == Interpolation::Bicubic { 2.0 } else { 1.0 };
    let centre = (output as f64 + 0.5) * scale;
    let from = ((centre - support + 0.5) as i64).max(0) as usize;
    let to = ((centre + support + 0.5) as usize).min(n);
    let weight = |k: usize| kernel(interpolation, (k as f64 - centre + 0.5) * (1.0 / stretch));
    let total: f64 = (from..to).map(weight).sum();
    let fixed = |k| (weight(k) / total * 4_194_304.0).round() as i64;
    let sum: i64 = (from..to).map(|k| fixed(k) * i64::from(input(k))).sum();
    ((sum + (1 << 21)) >> 22).clamp(0, 255) as u8
}

fn defined_resize(image: &Image, size: (usize, usize), interpolation: Interpolation) -> Image {
    let (width, height) = size;
    let horizontal = |image: &Image| {
        if image.width == width {
            return image.clone();
        }
        image_of(width, image.height, |y, x, c| {
            sample(image.width, width, x, interpolation, |k| at(image, y, k, c))
        })
    };
    let vertical = |image: &Image| {
        if image.height == height {
            return image.clone();
        }
        image_of(image.width, height, |y, x, c| {
            sample(image.height, height, y, interpolation, |k| at(image, k, x, c))
        })
    };
    let lost = image.height as i64 - height as i64;
    if lost > 0 && lost > 2 * (image.width as i64 - width as i64) {
        horizontal(&vertical(image))
    } else {
        vertical(&horizontal(image))
    }
}

#[test]
fn resize_equals_its_definition_for_many_shapes() {
    for case in 0..300 {
        let mut rng = rng(1, Stream::Evaluation, 0, case);
        let mut side = |most: u64| 1 + below(&mut rng, most) as usize;
        let (width, height) =
            if case % 5 == 0 { (side(4), side(150)) } else { (side(70), side(70)) };
        let size = if case % 3 == 0 { (side(40), height) } else { (side(90), side(90)) };
        let image = noise(width, height, case as usize);
        let (h, w) = (side(height as u64), side(width as u64));
        let region = Region { top: height - h, left: (width - w) / 2, height: h, width: w };
        let cut = image_of(w, h, |y, x, c| at(&image, region.top + y, region.left + x, c));
        for interpolation in [Interpolation::Bicubic, Interpolation::Bilinear] {
            let got = Canvas::resized(&image, region, size, interpolation).to_image();
            let expected = defined_resize(&cut, size, interpolation);
            assert!(
                got == expected,
                "{region:?} of {width}x{height} to {size:?}, {interpolation:?}"
            );
        }
    }
}

fn defined_box(line: &[u8], radius: f32) -> Vec<u8> {
    let whole = (16_777_216.0 / (2.0 * radius + 1.0)) as u64;
    let r = radius as i64;
    let end = (16_777_216 - (2 * r as u64 + 1) * whole) / 2;
    let value = |x: i64| u64::from(line[x.clamp(0, line.len() as i64 - 1) as usize]);
    let output = |x: i64| {
        let inner: u64 = (x - r..=x + r).map(value).sum();
        ((inner * whole + (value(x - r - 1) + value(x + r + 1)) * end + (1 << 23)) >> 24) as u8
    };
    (0..line.len() as i64).map(output).collect()
}

fn defined_blur(image: &Image, sigma: f64) -> Image {
    let variance = (sigma as f32).powi(2) / 3.0;
    let length = (12.0 * f64::from(variance) + 1.0).sqrt() as f32;
    let l = ((length - 1.0) / 2.0).floor();
    let radius = l
        + (2.0 * l + 1.0) * (l * (l + 1.0) - 3.0 * variance)
            / (6.0 * (variance - (l + 1.0).powi(2)));
    let thrice = |line: Vec<u8>| (0..3).fold(line, |line, _| defined_box(&line, radius));
    let Image { width, height, .. } = *image;
    let row = |y, c| thrice((0..width).map(|x| at(image, y, x, c)).collect());
    let rows = (0..height).map(|y| [row(y, 0), row(y, 1), row(y, 2)]).collect::<Vec<_>>();
    let column = |x: usize, c: usize| thrice(rows.iter().map(|row| row[c][x]).collect());
    let columns =
        (0..width).map(|x| [column(x, 0), column(x, 1), column(x, 2)]).collect::<Vec<_>>();
    image_of(width, height, |y, x, c| columns[x][c][y])
}

#[test]
fn blur_equals_its_definition_for_many_shapes() {
    for case in 0..200 {
        let mut rng = rng(2, Stream::Evaluation, 0, case);
        let most = if case % 4 == 0 { 4 } else { 40 };
        let width = 1 + below(&mut rng, most) as usize;
        let height = 1 + below(&mut rng, 40) as usize;
        let sigma = uniform(&mut rng, 0.05, if case % 2 == 0 { 2.0 } else { 12.0 });
        let image = noise(width, height, case as usize);
        let mut canvas = Canvas::from_image(&image);
        canvas.blur(sigma);
        assert!(canvas.to_image() == defined_blur(&image, sigma), "{width}x{height}, {sigma}");
    }
}
