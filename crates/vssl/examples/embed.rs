//! Features of a folder of images: `cargo run --release -p vssl --example embed -- ENCODER IMAGES`.

use std::{
    error::Error,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use vssl::{DeviceChoice, Encoder, Network, encoder::Reading};
use vssl_data::dataset::{self, DataConfig, Format};

/// Writes a line for each image to `out`.
pub fn run(encoder: &str, images: &str, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let device = "cpu".parse::<DeviceChoice>()?.resolve()?;
    let encoder = Encoder::open(Path::new(encoder), "latest", Network::Student, &device)?;
    let config = DataConfig { format: Format::Folder, path: images.into(), ..Default::default() };
    let images = dataset::open(&config, None)?.train;
    encoder.each_batch::<Box<dyn Error>>(&images, &Reading::default(), |indices, features| {
        for (&index, row) in indices.iter().zip(features.values.chunks(features.dim)) {
            let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            let name = images.name(index);
            writeln!(out, "{name}: {} numbers, length {length:.3}", row.len())?;
        }
        Ok(())
    })?;
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [encoder, images] = arguments.as_slice() else {
        eprintln!("usage: embed ENCODER IMAGES");
        return ExitCode::from(2);
    };
    match run(encoder, images, &mut io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
