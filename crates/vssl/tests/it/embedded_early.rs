//! Embeddings that end early or are not what they should be: what is said, and what is left.

use std::fs;

use vssl::{
    embed::{Form, Index, embed},
    features,
};
use vssl_data::OnBadImage;

use super::embedded::{FORMS, encoder, expected, job, pictures};

#[test]
fn another_encoder_and_another_file_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("images");
    pictures(&root);
    let (own, other) = (encoder(1), encoder(2));
    let job = job(&own, &root, OnBadImage::Stop);
    let to = folder.path().join("a.parquet");
    embed(&job, &to, Form::Parquet, &mut |_, _| {}).unwrap();
    let index = Index::open(&to).unwrap();
    let error = index.check(&other).unwrap_err().to_string();
    assert!(error.contains("its weights differ") && error.contains("after step 7"), "{error}");
    let mut wide = encoder(1);
    wide.input.size = 24;
    let error = index.check(&wide).unwrap_err().to_string();
    assert!(error.contains("another size"), "{error}");
    let error = |name: &str| Index::open(&folder.path().join(name)).err().unwrap().to_string();
    assert!(error("a.csv").contains(".parquet or .safetensors"));
    assert!(error("none.parquet").contains("none.parquet: does not exist (No such file"));
    fs::write(folder.path().join("b.parquet"), "text").unwrap();
    assert!(error("b.parquet").contains("vssl embed"), "{}", error("b.parquet"));
    let bytes = fs::read(&to).unwrap();
    fs::write(folder.path().join("c.parquet"), &bytes[..bytes.len() / 2]).unwrap();
    assert!(error("c.parquet").contains("c.parquet"));
}

#[test]
fn unreadable_images_stop_or_leave_no_gap() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("images");
    pictures(&root);
    fs::write(root.join("dog/03.png"), "no picture").unwrap();
    let encoder = encoder(3);
    for (form, ending) in FORMS {
        let to = folder.path().join(format!("out.{ending}"));
        let stopping = job(&encoder, &root, OnBadImage::Stop);
        let error = embed(&stopping, &to, form, &mut |_, _| {}).unwrap_err().to_string();
        assert!(error.contains("dog/03.png"), "{error}");
        let left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().contains(ending)), "{left:?}");
        let skipping = job(&encoder, &root, OnBadImage::Skip);
        let (features, mut paths) = expected(&skipping);
        paths.retain(|path| path != "dog/03.png");
        let mut named = Vec::new();
        let mut hear = |_: usize, left_out: &[vssl_data::DataError]| {
            named.extend(left_out.iter().map(ToString::to_string));
        };
        let done = embed(&skipping, &to, form, &mut hear).unwrap();
        assert_eq!((done.rows, done.left_out), (18, 1));
        assert!(named.len() == 1 && named[0].contains("dog/03.png"), "{named:?}");
        if matches!(form, Form::Npy | Form::Safetensors) {
            let rows = features::open(&to, None).unwrap().load().unwrap();
            assert_eq!((&rows.values, &rows.labels), (&features.values, &features.labels));
        }
        if matches!(form, Form::Parquet | Form::Safetensors) {
            let index = Index::open(&to).unwrap();
            let last = index.entry(17).unwrap();
            assert_eq!((last.image, &last.path), (18, &paths[17]));
            if form == Form::Safetensors {
                let bytes = fs::read(&to).unwrap();
                safetensors::SafeTensors::deserialize(&bytes).unwrap();
            }
        }
        for entry in fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
            if entry.path().is_file() {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }
    for entry in fs::read_dir(root.join("dog")).unwrap() {
        fs::write(entry.unwrap().path(), "text").unwrap();
    }
    fs::remove_dir_all(root.join("cät, \"wild\"")).unwrap();
    let none = job(&encoder, &root, OnBadImage::Skip);
    let to = folder.path().join("none.npy");
    let error = embed(&none, &to, Form::Npy, &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.contains("none of 7 images"), "{error}");
}

#[test]
fn who_stops_an_embedding_keeps_the_old_file_and_has_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (root, out) = (folder.path().join("images"), folder.path().join("out"));
    pictures(&root);
    fs::create_dir(&out).unwrap();
    let encoder = encoder(3);
    let job = job(&encoder, &root, OnBadImage::Stop);
    for (form, ending) in FORMS {
        let to = out.join(format!("out.{ending}"));
        fs::write(&to, "old").unwrap();
        let stop_after_one_batch = &mut |_: usize, _: &[vssl_data::DataError]| job.stop.request();
        let error = embed(&job, &to, form, stop_after_one_batch).unwrap_err().to_string();
        assert!(error.contains("stopped after 5 of 19 images"), "{error}");
        assert_eq!(fs::read_to_string(&to).unwrap(), "old");
        assert_eq!(fs::read_dir(&out).unwrap().count(), 1, "{ending}");
        fs::remove_file(&to).unwrap();
    }
}
