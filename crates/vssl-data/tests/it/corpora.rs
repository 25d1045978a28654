//! The inputs of the fuzz targets (`fuzz/`), and the images of `tests/images`, through the same functions.

use std::fs;
use std::path::Path;

#[path = "../../fuzz/src/targets.rs"]
mod targets;

/// Runs every file of a folder, and each cut short in several places; returns the number of files.
fn replay(folder: &str, target: fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        target(&bytes);
        for parts in 1..8 {
            target(&bytes[..bytes.len() * parts / 8]);
        }
        files += 1;
    }
    files
}

#[test]
fn stored_inputs_of_the_fuzz_targets_do_no_harm() {
    assert!(replay("tests/images", targets::image) > 150);
    assert!(replay("tests/tones", targets::image) > 35);
    replay("fuzz/corpus/image", targets::image);
    assert!(replay("fuzz/corpus/idx", targets::idx) >= 8);
    assert!(replay("fuzz/corpus/cifar", targets::cifar) >= 6);
    for folder in ["tar_cls/train", "tar_json/train"] {
        assert!(replay(&format!("tests/shards/{folder}"), targets::tar_shard) >= 3);
    }
    for folder in ["datasets", "plain", "snappy_pages", "gzip", "second", "zstd", "delta", "nulls"]
    {
        assert!(replay(&format!("tests/shards/parquet_{folder}"), targets::parquet_shard) >= 1);
    }
}
