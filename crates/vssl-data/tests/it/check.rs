//! Checking a dataset before a run.

use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::tempdir;
use vssl_data::check::{Report, Sizes, check};
use vssl_data::dataset::{Format, Labels};

use crate::dataset::{open, png, write};

fn report(workers: usize) -> (Report, usize) {
    let folder = tempdir().unwrap();
    for number in 0..20_u32 {
        let bytes =
            if number % 7 == 3 { b"text".to_vec() } else { png(number + 1, 40 - number, [0; 3]) };
        write(folder.path().join(format!("{number:02}.png")), &bytes);
    }
    let set = open(Format::Folder, folder.path(), Labels::Auto).unwrap().train;
    let most = AtomicUsize::new(0);
    let mut report = check(&*set, workers, &|done| {
        most.fetch_max(done, Ordering::Relaxed);
    });
    for bad in &mut report.bad {
        assert!(bad.name.starts_with(&folder.path().display().to_string()));
        bad.name = bad.name.rsplit('/').next().unwrap().into();
    }
    (report, most.into_inner())
}

#[test]
fn bad_images_are_found_with_name_and_reason() {
    let (report, done) = report(1);
    assert_eq!((report.images, done), (20, 20));
    let bad: Vec<_> = report.bad.iter().map(|bad| (bad.index, bad.name.as_str())).collect();
    assert_eq!(bad, [(3, "03.png"), (10, "10.png"), (17, "17.png")]);
    assert!(report.bad[0].what.contains("this is a text file"));
    assert_eq!(report.sizes, Some(Sizes { width: (1, 20), height: (21, 40) }));
}

#[test]
fn the_report_does_not_depend_on_the_number_of_workers() {
    let (one, _) = report(1);
    for workers in [0, 2, 5, 100] {
        assert_eq!(report(workers).0, one, "{workers} workers");
    }
}

#[test]
fn a_set_without_good_images_has_no_sizes() {
    let folder = tempdir().unwrap();
    write(folder.path().join("1.jpg"), b"text");
    let set = open(Format::Folder, folder.path(), Labels::Auto).unwrap().train;
    let report = check(&*set, 2, &|_| {});
    assert_eq!((report.images, report.bad.len(), report.sizes), (1, 1, None));
}

#[test]
fn images_of_sixteen_bits_are_counted_with_their_largest_sample() {
    let folder = tempdir().unwrap();
    write(folder.path().join("0.png"), &png(2, 2, [255; 3]));
    for (name, largest) in [("1.png", 700_u16), ("2.png", 4000), ("3.png", 0)] {
        let image =
            image::ImageBuffer::<image::Luma<u16>, _>::from_raw(1, 1, vec![largest]).unwrap();
        image.save(folder.path().join(name)).unwrap();
    }
    let set = open(Format::Folder, folder.path(), Labels::Auto).unwrap().train;
    let found = check(&*set, 2, &|_| {}).sixteen_bits.unwrap();
    assert_eq!((found.images, found.largest, found.bits()), (3, 4000, 12));
}
