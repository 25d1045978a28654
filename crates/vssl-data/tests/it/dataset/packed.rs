//! The batches of a training from shards against those from the folder, and shards that are made now.

use std::fs;
use std::sync::Arc;

use tempfile::tempdir;
use vssl_data::Dataset;
use vssl_data::dataset::{Format, Labels};

use super::shards::{assert_same, kind, stored};
use super::{open, png, write};

/// What is in a batch: the numbers of the images, their labels, the views.
type Content = (Vec<usize>, Option<Vec<u32>>, Vec<f32>);

/// All batches of a loader.
fn batches(
    set: &Arc<dyn Dataset>,
    workers: usize,
    seed: u64,
    steps: std::ops::Range<u64>,
) -> Vec<Content> {
    use vssl_data::{Loader, LoaderPlan, Normalisation, OnBadImage, Pipeline, Share, ViewGroup};
    let views = vec![ViewGroup { size: 6, ..ViewGroup::default() }];
    let normalisation = Normalisation::new([0.5; 3], [0.25; 3]);
    let pipeline = Arc::new(Pipeline::new(views, normalisation, seed).unwrap());
    let plan = LoaderPlan {
        seed,
        batch: 4.min(set.len()),
        share: Share::WHOLE,
        workers,
        prefetch: workers,
        on_bad_image: OnBadImage::Stop,
        start_step: steps.start,
        end_step: steps.end,
    };
    Loader::new(Arc::clone(set), pipeline, plan)
        .unwrap()
        .map(|batch| {
            let batch = batch.unwrap();
            let pixels = batch.views.iter().flat_map(|view| view.pixels.iter().copied());
            (batch.indices, batch.labels, pixels.collect())
        })
        .collect()
}

/// Packs a set of `count` pictures of random sizes into shards of random length; the same batches come from both,
/// whatever the number of workers, and from any step on.
#[test]
fn any_set_gives_the_same_batches_from_shards_as_from_its_folder() {
    use vssl_data::OnBadImage;
    use vssl_data::dataset::Tones;
    use vssl_data::pack::{PackPlan, PackSplit, pack};
    use vssl_data::rng::{Stream, below, rng};
    for case in 0..12 {
        let mut random = rng(7, Stream::Evaluation, case, 0);
        let mut number = |below_this: u64| below(&mut random, below_this) as u32;
        let place = tempdir().unwrap();
        let count = [1, 2, 3, 7, 40][number(5) as usize];
        for index in 0..count {
            let colour = [number(256) as u8, number(256) as u8, number(256) as u8];
            let picture = png(1 + number(40), 1 + number(40), colour);
            write(place.path().join(format!("train/c{}/{index:03}.png", number(3))), &picture);
        }
        let folder = open(Format::Folder, place.path(), Labels::Fine).unwrap().train;
        let split = PackSplit { name: "train", images: Arc::clone(&folder) };
        let plan = PackPlan {
            side: None,
            quality: 90,
            shard_bytes: [1, 3000, 1 << 20][number(3) as usize],
            workers: 1 + number(3) as usize,
            on_bad_image: OnBadImage::Stop,
            tones: Tones::default(),
            channels: 3,
        };
        let to = place.path().join("shards");
        pack(&[split], &to, &plan, &|_| {}).unwrap();
        let shards = open(Format::Tar, &to, Labels::Fine).unwrap().train;
        assert_same(&*shards, &*folder, "packed");
        let seed = u64::from(number(1000));
        let expected = batches(&folder, 0, seed, 0..9);
        for workers in [0, 1, 3] {
            assert!(batches(&shards, workers, seed, 0..9) == expected, "case {case}");
        }
        assert!(batches(&shards, 2, seed, 5..9) == expected[5..], "case {case}");
    }
}

/// Bytes and pixels of every shard that the packages make now, where a Python has them.
#[test]
fn shards_that_the_packages_make_now_are_read() {
    let Some(python) = std::env::var_os("VSSL_PYTHON") else {
        println!("skipped: VSSL_PYTHON names no Python");
        return;
    };
    let modules = "import webdataset, datasets, pyarrow, PIL";
    let has = std::process::Command::new(&python).args(["-c", modules]).output().unwrap();
    if !has.status.success() {
        println!("skipped: this Python has not all of webdataset, datasets, pyarrow and Pillow");
        return;
    }
    let place = tempdir().unwrap();
    fs::copy(stored("make.py"), place.path().join("make.py")).unwrap();
    let made =
        std::process::Command::new(&python).arg(place.path().join("make.py")).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let expected = open(Format::Folder, &place.path().join("folder"), Labels::Fine).unwrap();
    for name in ["tar_cls", "tar_json", "parquet_datasets", "parquet_gzip", "parquet_second"] {
        let splits = open(kind(name), &place.path().join(name), Labels::Fine).unwrap();
        assert_same(&*splits.train, &*expected.train, name);
    }
}
