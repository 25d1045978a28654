//! Images per second on one core: two SimCLR views of each image, without decoding.
//!
//! `cargo run --release -p vssl-data --example augment_speed -- <view size> [image side] [seconds]`

use std::time::{Duration, Instant};

use vssl_data::{Image, Normalisation, Pipeline, ViewGroup, augment::Scratch};

fn main() {
    let argument = |position, default: usize| {
        std::env::args().nth(position).map_or(default, |text| text.parse().expect("a number"))
    };
    let size = argument(1, 32);
    let side = argument(2, 32);
    let duration = Duration::from_secs(argument(3, 2) as u64);
    let group = ViewGroup {
        size,
        crop_scale: [0.2, 1.0],
        blur: if size > 32 { 0.5 } else { 0.0 },
        ..ViewGroup::default()
    };
    let imagenet = Normalisation { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
    let pipeline = Pipeline::new(vec![group], imagenet, 0).expect("valid settings");
    let images = (0..64).map(|seed| noise(side, seed)).collect::<Vec<_>>();
    let mut scratch = Scratch::default();
    let mut out = vec![0.0; size * size * 3];
    let mut sum = 0.0;
    let start = Instant::now();
    let mut made = 0u64;
    while start.elapsed() < duration {
        for (index, image) in images.iter().enumerate() {
            for view in 0..2 {
                pipeline
                    .view(image, made, index as u64, view, &mut scratch, &mut out)
                    .expect("a consistent image");
                sum += out[0];
            }
        }
        made += images.len() as u64;
    }
    let rate = made as f64 / start.elapsed().as_secs_f64();
    println!("{size} px views of {side} px images: {rate:.0} images/s on one core (check {sum})");
}

fn noise(side: usize, seed: usize) -> Image {
    let rgb = (0..side * side * 3)
        .map(|i| ((i + seed * 7_919).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u8)
        .collect();
    Image { width: side, height: side, rgb }
}
