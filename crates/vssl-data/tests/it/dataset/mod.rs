//! Datasets on disk: what opens, and what the errors say.

mod channels;
mod cifar;
mod config;
mod decode;
mod folder;
mod idx;
mod imagenet100;
mod jpeg;
mod left_out;
mod packed;
mod shard_splits;
mod shards;
mod split_folders;
mod stl10;

use std::fs;
use std::path::Path;

use vssl_data::dataset::{self, Format, Labels};
use vssl_data::{DataConfig, DataError, Splits};

/// Opens everything at `path`.
pub fn open(format: Format, path: &Path, labels: Labels) -> Result<Splits, DataError> {
    dataset::open(&DataConfig { format, path: path.into(), labels, ..Default::default() }, None)
}

/// The message of what must fail.
pub fn refusal(result: Result<Splits, DataError>) -> String {
    match result {
        Ok(splits) => panic!("opened {} images", splits.train.len()),
        Err(error) => error.to_string(),
    }
}

/// Asserts that the message has all the parts.
pub fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
}

/// Writes a file and the folders above it.
pub fn write(path: impl AsRef<Path>, bytes: &[u8]) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A PNG file of one colour.
pub fn png(width: u32, height: u32, colour: [u8; 3]) -> Vec<u8> {
    let picture = image::RgbImage::from_pixel(width, height, image::Rgb(colour));
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Gzipped bytes.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
