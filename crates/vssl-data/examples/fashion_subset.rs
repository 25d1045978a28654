//! Makes `data/fashion-mnist-tenth/` from the full Fashion-MNIST: the first 1,000 training and 200 test
//! images of each class, in the order of the files.
//!
//! ```text
//! cargo run --release -p vssl-data --example fashion_subset -- <folder with the four .gz> <out>
//! ```
//!
//! The same input gives the same bytes: gzip level 9, no name, time 0.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use flate2::{Compression, GzBuilder};

const CLASSES: usize = 10;
const SIDE: usize = 28;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to] = arguments.as_slice() else {
        return Err("expected two folders: the full set and where to write the subset".into());
    };
    fs::create_dir_all(to)?;
    split(Path::new(from), Path::new(to), "train", 1000)?;
    split(Path::new(from), Path::new(to), "t10k", 200)
}

fn split(from: &Path, to: &Path, split: &str, each: usize) -> Result<(), Box<dyn Error>> {
    let images_file = format!("{split}-images-idx3-ubyte.gz");
    let labels_file = format!("{split}-labels-idx1-ubyte.gz");
    let images = unpack(&from.join(&images_file), 16)?;
    let labels = unpack(&from.join(&labels_file), 8)?;
    if images.len() != labels.len() * SIDE * SIDE {
        return Err(
            format!("{images_file}: {} bytes for {} labels", images.len(), labels.len()).into()
        );
    }
    let mut taken = [0; CLASSES];
    let mut kept_images = Vec::new();
    let mut kept_labels = Vec::new();
    for (image, &label) in images.chunks_exact(SIDE * SIDE).zip(&labels) {
        let count = taken.get_mut(usize::from(label)).ok_or("a label above 9")?;
        if *count < each {
            *count += 1;
            kept_images.extend_from_slice(image);
            kept_labels.push(label);
        }
    }
    if taken != [each; CLASSES] {
        return Err(format!("{labels_file}: {taken:?} images of the classes, not {each}").into());
    }
    let count = kept_labels.len() as u32;
    pack(&to.join(images_file), &[0x803, count, SIDE as u32, SIDE as u32], &kept_images)?;
    pack(&to.join(labels_file), &[0x801, count], &kept_labels)
}

/// The values of an IDX file behind its header.
fn unpack(path: &Path, header: usize) -> Result<Vec<u8>, Box<dyn Error>> {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut bytes = Vec::new();
    MultiGzDecoder::new(BufReader::new(file)).read_to_end(&mut bytes)?;
    if bytes.len() < header {
        return Err(format!("{}: shorter than its header", path.display()).into());
    }
    Ok(bytes.split_off(header))
}

fn pack(path: &Path, header: &[u32], values: &[u8]) -> Result<(), Box<dyn Error>> {
    let header: Vec<u8> = header.iter().flat_map(|word| word.to_be_bytes()).collect();
    let bytes = [&header, values].concat();
    // 255: unknown system; the writer's default would be that of the machine.
    let mut packed =
        GzBuilder::new().mtime(0).operating_system(255).read(bytes.as_slice(), Compression::best());
    let mut file = Vec::new();
    packed.read_to_end(&mut file)?;
    fs::write(path, file)?;
    Ok(())
}
