//! Images of other numbers of channels than three: every file of `tests/channels` (made by `make.py` there) becomes the
//! bytes that stand beside it.

use std::fs;
use std::path::PathBuf;

use tempfile::tempdir;
use vssl_data::dataset::{self, Folder, Format, Range, Tones};
use vssl_data::statistics::statistics;
use vssl_data::{DataConfig, Dataset, Image, OnBadImage};

use super::{assert_says, png, refusal, write};

const PLACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/channels");

/// The file of a name without its ending.
fn file_of(stem: &str) -> PathBuf {
    let files = fs::read_dir(PLACE).unwrap().map(|entry| entry.unwrap().path());
    let is_it = |path: &PathBuf| {
        path.file_stem().is_some_and(|name| name == stem) && path.extension().is_some()
    };
    files.into_iter().find(is_it).unwrap_or_else(|| panic!("no {stem}"))
}

fn read(stem: &str, channels: usize, range: Range) -> Result<Image, String> {
    let set = Folder::of_files(vec![file_of(stem)]).with_channels(channels);
    let set = set.with_tones(Tones { range, ..Tones::default() });
    set.image(0).map_err(|error| error.to_string())
}

#[test]
fn channels_are_those_that_tifffile_and_pillow_wrote() {
    let mut checked = 0;
    for entry in fs::read_dir(PLACE).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let Some((stem, label)) = name.strip_suffix(".expected").and_then(|n| n.split_once('@'))
        else {
            continue;
        };
        let (channels, range) = match label.split_once('_') {
            None => (label, Range::Full),
            Some((channels, "percentiles")) => (channels, Range::Percentiles),
            Some((channels, ends)) => {
                let (low, high) = ends.split_once('_').unwrap();
                (channels, Range::Between([low.parse().unwrap(), high.parse().unwrap()]))
            }
        };
        let channels: usize = channels.parse().unwrap();
        let image = read(stem, channels, range).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((image.width, image.height, image.channels()), (7, 5, channels), "{name}");
        assert_eq!(image.values, fs::read(&path).unwrap(), "{name}");
        checked += 1;
    }
    assert!(checked >= 34, "{checked}");
    println!("{checked} pictures checked");
}

#[test]
fn another_number_of_channels_is_refused_with_both_numbers() {
    for (stem, channels, parts) in [
        ("refused_rgb", 1, &["in colour", "3 channels", "expected 1"][..]),
        ("refused_rgb", 4, &["has 3 channels", "expected 4", "data.channels"]),
        ("refused_cmyk", 4, &["CMYK", "expected 4"]),
        ("tiff_5_planar_16", 4, &["has 5 channels", "expected 4"]),
        ("tiff_5_chunky_8", 3, &["5 channels that are not colours", "data.channels = 5"]),
        ("tiff_4_planar_16", 1, &["has 4 channels", "expected 1"]),
        ("png_l", 2, &["has 1 channel;", "expected 2"]),
        ("gif_l", 4, &["3 channels or is grey", "expected 4"]),
        ("tiff_6_chunky_float", 6, &["floating-point", "data.range"]),
    ] {
        assert_says(&read(stem, channels, Range::Full).unwrap_err(), parts);
    }
    let read = read("tiff_4_chunky_8", 4, Range::Full).unwrap();
    assert_eq!(read.values.len(), 4 * 35);
}

#[test]
fn with_three_channels_all_is_as_it_was() {
    for stem in ["png_l", "png_la", "png_rgba", "tiff_grey_16", "tiff_rgba_8", "gif_l"] {
        assert_eq!(read(stem, 3, Range::Full).unwrap().channels(), 3, "{stem}");
    }
}

#[test]
fn a_set_has_the_channels_that_are_asked_for() {
    let folder = tempdir().unwrap();
    for (at, name) in ["tiff_5_planar_16", "tiff_5_chunky_16", "tiff_5_chunky_8"].iter().enumerate()
    {
        let to = folder.path().join(format!("train/{}/{name}.tif", at % 2));
        write(to, &fs::read(file_of(name)).unwrap());
    }
    let path = folder.path().to_path_buf();
    let config = DataConfig { path: path.clone(), channels: 5, ..DataConfig::default() };
    let set = dataset::open(&config, None).unwrap().train;
    assert!((0..3).all(|index| set.image(index).unwrap().channels() == 5));
    let measured = statistics(&*set, 5, OnBadImage::Stop, 2, &|_| {}).unwrap();
    let images: Vec<Image> = (0..3).map(|index| set.image(index).unwrap()).collect();
    for channel in 0..5 {
        let values = images.iter().flat_map(|image| image.values.iter().skip(channel).step_by(5));
        let values: Vec<f64> = values.map(|&value| f64::from(value) / 255.0).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        assert!((measured.mean[channel] - mean).abs() < 1e-12, "{channel}");
    }
    for (channels, format, parts) in [
        (0, Format::Folder, &["data.channels = 0", "1 to 64"][..]),
        (65, Format::Folder, &["data.channels = 65", "1 to 64"]),
        (1, Format::Cifar10, &["data.channels = 1", "RGB"]),
        (4, Format::Idx, &["data.channels = 4", "grey"]),
    ] {
        let config = DataConfig { path: path.clone(), channels, format, ..DataConfig::default() };
        assert_says(&refusal(dataset::open(&config, None)), parts);
    }
    // RGB among them is a bad image.
    write(folder.path().join("train/0/a.png"), &png(2, 2, [1, 2, 3]));
    let set = dataset::open(&config, None).unwrap().train;
    assert_says(&set.image(0).unwrap_err().to_string(), &["a.png", "3 channels", "expected 5"]);
}

#[test]
fn the_header_of_a_file_says_how_many_channels_its_picture_has() {
    for (stem, channels, has_alpha) in [
        ("png_l", 1, false),
        ("png_la", 1, true),
        ("png_rgba", 3, true),
        ("png_grey_as_rgb", 3, false),
        ("pgm_l", 1, false),
        ("gif_l", 3, false),
        ("webp_rgba", 3, true),
        ("refused_cmyk", 3, false),
        ("tiff_grey_16", 1, false),
        ("tiff_grey_alpha_8", 1, true),
        ("tiff_2_planar_8", 2, false),
        ("tiff_4_chunky_8", 4, false),
        ("tiff_rgb_infrared_16", 4, false),
        ("tiff_rgb_two_more_8", 5, false),
        ("tiff_rgba_8", 3, true),
        ("tiff_6_chunky_float", 6, false),
        ("tiff_13_planar_16", 13, false),
    ] {
        let set = Folder::of_files(vec![file_of(stem)]);
        let stored = dataset::stored(&set, 0).unwrap();
        assert_eq!((stored.channels, stored.has_alpha), (channels, has_alpha), "{stem}");
        let image = read(stem, channels, Range::Percentiles);
        assert!(image.is_ok() && stored.is_whole_in(channels), "{stem}: {image:?}");
    }
    let folder = tempdir().unwrap();
    write(folder.path().join("no.png"), b"a text");
    let set = Folder::of_files(vec![folder.path().join("no.png"), folder.path().join("none.png")]);
    assert_eq!([dataset::stored(&set, 0), dataset::stored(&set, 1)], [None, None]);
}
