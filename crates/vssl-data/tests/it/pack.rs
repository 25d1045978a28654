//! Sets written into tar shards and read back.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tempfile::tempdir;
use vssl_data::dataset::{Format, Labels};
use vssl_data::pack::{PackPlan, PackSplit, Packed, pack, verify};
use vssl_data::{DataError, Dataset, OnBadImage};

use crate::dataset::{assert_says, open, png, write};

const PLAN: PackPlan = PackPlan {
    side: None,
    quality: 95,
    shard_bytes: 4000,
    workers: 2,
    on_bad_image: OnBadImage::Stop,
};

fn split(images: &Arc<dyn Dataset>) -> [PackSplit; 1] {
    [PackSplit { name: "train", images: Arc::clone(images) }]
}

fn packed(images: &Arc<dyn Dataset>, to: &Path, plan: &PackPlan) -> Result<Packed, DataError> {
    let splits = split(images);
    let packed = pack(&splits, to, plan, &mut |_, _| {})?;
    verify((&splits, &packed), to, 2, &|_, _| {})?;
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
    let middle = &scaled.rgb[(10 * 30 + 15) * 3..][..3];
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
        fs::remove_dir_all(&to).unwrap();
    }
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
fn what_was_changed_on_the_disk_is_noticed() {
    let place = tempdir().unwrap();
    for number in 0..3 {
        write(place.path().join(format!("{number}.png")), &png(2, 2, [number; 3]));
    }
    let images = open(Format::Folder, place.path(), Labels::Auto).unwrap().train;
    let to = place.path().join("shards");
    let splits = split(&images);
    let packed = pack(&splits, &to, &PLAN, &mut |_, _| {}).unwrap();
    let check = || verify((&splits, &packed), &to, 1, &|_, _| {});
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
