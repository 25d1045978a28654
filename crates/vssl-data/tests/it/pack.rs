//! Sets written into tar shards and read back.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tempfile::tempdir;
use vssl_data::dataset::{self, Format, Labels, Range, Tones};
use vssl_data::pack::{PackPlan, PackSplit, Packed, pack, verify};
use vssl_data::{DataConfig, DataError, Dataset, OnBadImage};

use crate::dataset::{assert_says, open, png, write};

const PLAN: PackPlan = PackPlan {
    side: None,
    quality: 95,
    shard_bytes: 4000,
    workers: 2,
    on_bad_image: OnBadImage::Stop,
    tones: Tones { bits_used: 16, range: Range::Full },
    channels: 3,
};

fn split(images: &Arc<dyn Dataset>) -> [PackSplit; 1] {
    [PackSplit { name: "train", images: Arc::clone(images) }]
}

fn packed(images: &Arc<dyn Dataset>, to: &Path, plan: &PackPlan) -> Result<Packed, DataError> {
    let splits = split(images);
    let packed = pack(&splits, to, plan, &|_| {})?;
    Ok(packed.into_iter().next().unwrap())
}

#[test]
fn larger_images_are_scaled_to_the_smaller_side_and_the_others_stay_as_they_are() {
    let place = tempdir().unwrap();
    let gradient =
        image::RgbImage::from_fn(90, 60, |x, y| image::Rgb([x as u8 * 2, y as u8 * 4, 99]));
    let mut large = std::io::Cursor::new(Vec::new());
    gradient.write_to(&mut large, image::ImageFormat::Png).unwrap();
    let small = png(20, 70, [1, 2, 3]);
    write(place.path().join("train/a/1.png"), large.get_ref());
    write(place.path().join("train/b/2.png"), &small);
    let images = open(Format::Folder, place.path(), Labels::Fine).unwrap().train;
    let to = place.path().join("shards");
    let own = packed(&images, &to, &PackPlan { side: Some(20), ..PLAN }).unwrap();
    assert_eq!((own.images, own.scaled, own.encoded), (2, 1, 0));
    let shards = open(Format::Tar, &to, Labels::Fine).unwrap().train;
    assert_eq!(shards.classes(), ["a", "b"]);
    assert!(shards.file(1).unwrap().unwrap() == small);
    let scaled = shards.image(0).unwrap();
    assert_eq!((scaled.width, scaled.height), (30, 20));
    let middle = &scaled.values[(10 * 30 + 15) * 3..][..3];
    for (value, expected) in middle.iter().zip([93_i32, 124, 99]) {
        assert!((i32::from(*value) - expected).abs() < 6, "{middle:?}");
    }
    assert!(shards.name(0).ends_with("train/000000.tar/000000000.jpg"));
}

#[test]
fn images_that_are_no_files_become_pngs_with_the_same_pixels() {
    let place = tempdir().unwrap();
    let header = |magic: u32, sizes: &[u32]| -> Vec<u8> {
        [magic].iter().chain(sizes).flat_map(|value| value.to_be_bytes()).collect()
    };
    let pixels: Vec<u8> = (0..3 * 4 * 5).collect();
    write(
        place.path().join("train-images-idx3-ubyte"),
        &[header(0x803, &[3, 4, 5]), pixels].concat(),
    );
    write(
        place.path().join("train-labels-idx1-ubyte"),
        &[header(0x801, &[3]), vec![7, 0, 9]].concat(),
    );
    let images = open(Format::Idx, place.path(), Labels::Auto).unwrap().train;
    let to = place.path().join("shards");
    let own = packed(&images, &to, &PLAN).unwrap();
    assert_eq!((own.images, own.encoded, own.shards), (3, 3, 2));
    let bytes =
        ["0", "1"].map(|at| fs::metadata(to.join(format!("train/00000{at}.tar"))).unwrap().len());
    assert_eq!(own.bytes, bytes.iter().sum::<u64>());
    let shards = open(Format::Tar, &to, Labels::Auto).unwrap().train;
    assert_eq!(shards.labels(), images.labels());
    assert!((0..3).all(|at| shards.image(at).unwrap() == images.image(at).unwrap()));
}

#[test]
fn bad_images_stop_the_packing_or_are_left_out_and_named() {
    let place = tempdir().unwrap();
    for (name, bytes) in
        [("1", png(2, 2, [1; 3])), ("2", b"hello".to_vec()), ("3", png(2, 2, [3; 3]))]
    {
        write(place.path().join(format!("{name}.png")), &bytes);
    }
    let images = open(Format::Folder, place.path(), Labels::Auto).unwrap().train;
    let to = place.path().join("shards");
    for side in [None, Some(1)] {
        let error = packed(&images, &to.join("stop"), &PackPlan { side, ..PLAN }).unwrap_err();
        assert_says(&error.to_string(), &["2.png (image 1)"]);
        assert!(!to.join("stop").exists());
    }
    fs::remove_dir_all(&to).unwrap();
    let skip = PackPlan { on_bad_image: OnBadImage::Skip, ..PLAN };
    let own = packed(&images, &to, &skip).unwrap();
    assert_eq!((own.images, own.left_out.len(), own.left_out[0].index), (2, 1, 1));
    let message = packed(&images, &to, &skip).unwrap_err().to_string();
    assert_says(&message, &["is not empty"]);
    let wrong = |plan| packed(&images, &place.path().join("x"), &plan).unwrap_err().to_string();
    assert_says(&wrong(PackPlan { quality: 0, ..PLAN }), &["quality 0"]);
    assert_says(&wrong(PackPlan { side: Some(0), ..PLAN }), &["smaller side of 0"]);
}

#[test]
fn a_second_packing_into_one_folder_is_refused_while_the_first_runs() {
    let place = tempdir().unwrap();
    for number in 0..3 {
        write(place.path().join(format!("images/{number}.png")), &png(2, 2, [number; 3]));
    }
    let images = open(Format::Folder, &place.path().join("images"), Labels::Auto).unwrap().train;
    let to = place.path().join("shards");
    let second = std::sync::Mutex::new(None);
    let splits = split(&images);
    let during = |_: vssl_data::pack::PackProgress| {
        let mut second = second.lock().unwrap();
        second.get_or_insert_with(|| packed(&images, &to, &PLAN).unwrap_err().to_string());
    };
    pack(&splits, &to, &PLAN, &during).unwrap();
    let message = second.into_inner().unwrap().unwrap();
    assert_says(&message, &["shards.part", "another packing"]);
    assert_eq!(open(Format::Tar, &to, Labels::Auto).unwrap().train.len(), 3);
    // What a packing left that was killed is in nobody's way.
    fs::create_dir(place.path().join("other.part")).unwrap();
    write(place.path().join("other.part/.vssl-pack"), b"");
    write(place.path().join("other.part/train/000000.tar"), b"half");
    packed(&images, &place.path().join("other"), &PLAN).unwrap();
    assert!(!place.path().join("other.part").exists());
    assert!(!place.path().join("other/.vssl-pack").exists());
}

#[test]
fn what_was_changed_on_the_disk_is_noticed() {
    let place = tempdir().unwrap();
    for number in 0..3 {
        write(place.path().join(format!("{number}.png")), &png(2, 2, [number; 3]));
    }
    let images = open(Format::Folder, place.path(), Labels::Auto).unwrap().train;
    let to = place.path().join("shards");
    let splits = split(&images);
    let packed = pack(&splits, &to, &PLAN, &|_| {}).unwrap();
    let check = || verify((&splits, &packed), &to, &PLAN, &|_| {});
    check().unwrap();
    let shard = to.join("train/000000.tar");
    let bytes = fs::read(&shard).unwrap();
    // The last byte of the first picture, behind its pixels.
    let mut changed = bytes.clone();
    let end = bytes.windows(4).position(|window| window == b"IEND").unwrap();
    changed[end + 7] ^= 1;
    fs::write(&shard, changed).unwrap();
    assert_says(&check().unwrap_err().to_string(), &["train"]);
    fs::remove_dir_all(to.join("train")).unwrap();
    check().unwrap_err();
}

#[test]
fn a_picture_that_is_cut_short_is_a_bad_image_also_where_its_file_would_be_copied() {
    let place = tempdir().unwrap();
    let mut random = 1_u32;
    let noise = image::RgbImage::from_fn(40, 40, |_, _| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        image::Rgb([(random >> 24) as u8; 3])
    });
    let mut whole = std::io::Cursor::new(Vec::new());
    noise.write_to(&mut whole, image::ImageFormat::Png).unwrap();
    let whole = whole.into_inner();
    write(place.path().join("1.png"), &whole[..whole.len() / 2]);
    write(place.path().join("2.png"), &whole);
    let images = open(Format::Folder, place.path(), Labels::Auto).unwrap().train;
    let to = place.path().join("shards");
    let message = packed(&images, &to, &PLAN).unwrap_err().to_string();
    assert_says(&message, &["1.png (image 0)"]);
    assert!(!message.contains("disk"), "{message}");
    let skip = PackPlan { on_bad_image: OnBadImage::Skip, ..PLAN };
    let own = packed(&images, &to, &skip).unwrap();
    assert_eq!((own.images, own.left_out.len(), own.left_out[0].index), (1, 1, 0));
}

#[test]
fn files_that_need_a_range_are_read_back_with_it() {
    let place = tempdir().unwrap();
    let stored = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tones/float_rgb.tif");
    write(place.path().join("photos/1.tif"), &fs::read(stored).unwrap());
    let range = Range::Between([0.0, 1.0]);
    let config = DataConfig { path: place.path().join("photos"), range, ..DataConfig::default() };
    let images = dataset::open(&config, None).unwrap().train;
    let to = place.path().join("shards");
    packed(&images, &to, &PackPlan { tones: config.tones(), ..PLAN }).unwrap();
    let config = DataConfig { format: Format::Tar, path: to, ..config };
    let shards = dataset::open(&config, None).unwrap().train;
    assert!(shards.image(0).unwrap() == images.image(0).unwrap());
}

#[test]
fn the_folder_gets_its_name_when_all_is_read_back() {
    let place = tempdir().unwrap();
    for number in 0..3 {
        write(place.path().join(format!("photos/{number}.png")), &png(2, 2, [number; 3]));
    }
    write(place.path().join("photos/3.png"), b"hello");
    let images = open(Format::Folder, &place.path().join("photos"), Labels::Auto).unwrap().train;
    let (to, part) = (place.path().join("shards"), place.path().join("shards.part"));
    // An empty folder may be there.
    fs::create_dir(&to).unwrap();
    packed(&images, &to, &PLAN).unwrap_err();
    assert!(part.join("train").exists() && fs::read_dir(&to).unwrap().next().is_none());
    // What the failed packing left does not come into the next one.
    write(part.join("train/000009.tar"), b"left");
    let skip = PackPlan { on_bad_image: OnBadImage::Skip, ..PLAN };
    let was_whole = |_| assert!(part.exists() && !to.join("train").exists());
    pack(&split(&images), &to, &skip, &was_whole).unwrap();
    assert!(!part.exists() && !to.join(".vssl-pack").exists());
    assert_eq!(open(Format::Tar, &to, Labels::Auto).unwrap().train.len(), 3);
    let refusal = |to: &Path| packed(&images, to, &skip).unwrap_err().to_string();
    // A folder with the name that somebody else made stays.
    write(place.path().join("mine.part/x"), b"x");
    assert_says(&refusal(&place.path().join("mine")), &["mine.part", "not of an earlier packing"]);
    assert!(place.path().join("mine.part/x").exists());
    // The same folder by a way that is not there yet.
    assert_says(&refusal(&place.path().join("new/../photos")), &["is not empty"]);
    assert!(!place.path().join("photos.part").exists());
    assert_says(&refusal(&place.path().join("photos/..")), &["expected the name of a new folder"]);
}
