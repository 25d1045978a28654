//! Images that changed after a training, cannot be read, or lie where no split takes them: each is told.

use std::fs;

use serde_json::Value;

use super::{
    own_images::{picture, pictures, text, trained},
    run,
};

#[test]
fn a_finished_training_whose_images_changed_is_shown_and_its_evaluations_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let (images, out) = (folder.path().join("images"), folder.path().join("run"));
    pictures(&images, &["train", "val"], &["a", "b"], 4);
    trained(&images, &out, &[]);
    let out = text(&out);
    let short = ["--set", "train.epochs=1", "--set", "train.batch=4", "--quiet"];
    for command in ["linear", "finetune"] {
        run(&[&[command, out][..], &short].concat()).succeeded();
    }
    let knn = ["knn", out, "--k", "2"];
    assert!(!run(&knn).error.contains("the images are not those"));
    picture(&images.join("train/b/9.bmp"), 200);
    let changed = "training images: 8 then, 9 now";
    for command in ["linear", "finetune"] {
        let done = run(&[command, out, "--resume"]);
        done.succeeded();
        for part in [changed, "finished before; nothing is left to do"] {
            assert!(done.error.contains(part), "{part:?} is not in\n{}", done.error);
        }
        let longer = ["--resume", "--set", "train.epochs=2"];
        run(&[&[command, out][..], &longer].concat())
            .refused(1, &[changed, "--allow-changed-data"]);
    }
    let page = folder.path().join("page.html");
    let report = run(&["report", out, "--to", text(&page)]);
    report.succeeded();
    assert_eq!(report.error.matches(changed).count(), 1, "{}", report.error);
    let to = folder.path().join("features.npy");
    let embed = ["embed", out, "--to", text(&to)];
    for command in [&knn[..], &["evaluate", out], &embed, &["linear", out, "--cached"]] {
        let done = run(command);
        done.succeeded();
        assert!(done.error.contains(changed), "{command:?}: {}", done.error);
    }
    let test = run(&[&knn[..], &["--images", text(&images)]].concat());
    assert!(!test.error.contains("then"), "these are not its own: {}", test.error);
    // So few images that no batch is full are other images in the first place.
    for number in 0..4 {
        fs::remove_file(images.join(format!("train/a/{number}.bmp"))).unwrap();
        fs::remove_file(images.join(format!("train/b/{number}.bmp"))).unwrap();
    }
    picture(&images.join("train/a/0.bmp"), 1);
    let done = run(&["pretrain", "--resume", out]);
    done.succeeded();
    assert!(done.error.contains("training images: 8 then, 2 now"), "{}", done.error);
}

#[test]
fn images_that_were_added_to_those_of_a_finished_training_are_not_called_unreadable() {
    let folder = tempfile::tempdir().unwrap();
    let (images, out) = (folder.path().join("images"), folder.path().join("run"));
    pictures(&images, &["train", "val"], &["a", "b"], 4);
    trained(&images, &out, &[]);
    let out = text(&out);
    let short = ["--set", "train.epochs=1", "--set", "train.batch=4", "--quiet"];
    for command in ["linear", "finetune"] {
        run(&[&[command, out][..], &short].concat()).succeeded();
    }
    picture(&images.join("val/b/9.bmp"), 200);
    for command in ["linear", "finetune"] {
        let done = run(&[command, out, "--resume"]);
        done.succeeded();
        assert!(done.error.contains("8 then, 9 now"), "{}", done.error);
        assert!(!done.error.contains("could not be read"), "{}", done.error);
    }
}

#[test]
fn a_class_without_an_image_that_can_be_read_is_told_wherever_accuracies_are() {
    let folder = tempfile::tempdir().unwrap();
    let (images, out) = (folder.path().join("images"), folder.path().join("run"));
    pictures(&images, &["train", "val"], &["a", "b", "c"], 4);
    for number in 0..4 {
        fs::write(images.join(format!("train/c/{number}.bmp")), "no picture").unwrap();
    }
    let check = run(&["data", "check", text(&images)]);
    check.refused(
        1,
        &["4 images cannot be used", "classes without a train image that can be used: c"],
    );
    assert!(check.out.contains("no image of this class can be used: c"), "{}", check.out);
    trained(&images, &out, &["data.on_bad_image=\"skip\""]);
    let lost = "1 class has no training image that can be read (c; 4 in all)";
    let unknown = "4 of 12 images have classes without known images (c): they count as errors";
    let summary = fs::read_to_string(out.join("summary.json")).unwrap();
    assert!(summary.contains(lost) && summary.contains(unknown), "{summary}");
    let out = text(&out);
    for command in [&["knn", out, "--k", "2"][..], &["evaluate", out]] {
        let done = run(command);
        done.succeeded();
        for part in [lost, unknown] {
            assert!(done.error.contains(part), "{part:?} is not in\n{}", done.error);
        }
    }
    let short = ["--set", "train.epochs=2", "--set", "train.batch=4"];
    for command in [&["linear", out][..], &["finetune", out], &["linear", out, "--cached"]] {
        let done = run(&[command, &short].concat());
        let said = format!("{}{}", done.succeeded(), done.error);
        assert!(said.contains(lost), "{command:?}: {said}");
    }
}

#[test]
fn images_beside_the_folders_of_the_splits_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    pictures(&images, &["train", "val"], &["a", "b"], 4);
    for name in ["cover.bmp", "other.heic", "readme.txt"] {
        fs::write(images.join(name), "x").unwrap();
    }
    let check = run(&["data", "check", text(&images)]);
    let expected = "2 beside the folders of the splits, such as cover.bmp";
    assert!(check.succeeded().contains(expected), "{}", check.out);
    fs::write(images.join("train/a/0.bmp"), "no picture").unwrap();
    let recipe = folder.path().join("new.toml");
    let made = ["new-recipe", "byol", "--data", text(&images), "--out", text(&recipe)];
    let done = run(&made);
    done.succeeded();
    for part in ["2 beside the folders of the splits", "1 of the 8 images that were looked at"] {
        assert!(done.error.contains(part), "{part:?} is not in\n{}", done.error);
    }
    let done = run(&[&made[..], &["--force", "--json"]].concat());
    let said: Value = serde_json::from_str(done.succeeded()).unwrap();
    assert_eq!((&said["unreadable"], &said["looked_at"]), (&1.into(), &8.into()));
    assert!(said["notes"].to_string().contains("beside the folders of the splits"), "{said}");
}

#[test]
fn a_training_on_labels_with_a_batch_of_all_images_goes_on_after_one_was_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (images, out) = (folder.path().join("images"), folder.path().join("run"));
    pictures(&images, &["train", "val"], &["a", "b"], 4);
    trained(&images, &out, &[]);
    let out = text(&out);
    let of = |command, more: &[&str]| run(&[&[command, out, "--quiet"], more].concat());
    for command in ["linear", "finetune"] {
        of(command, &["--set", "train.epochs=1"]).succeeded();
    }
    fs::remove_file(images.join("train/a/0.bmp")).unwrap();
    let longer = ["--resume", "--set", "train.epochs=2"];
    let allowed = "--allow-changed-data";
    for command in ["linear", "finetune"] {
        of(command, &longer).refused(1, &["training images: 8 then, 7 now", allowed]);
        let same = run(&[command, out, "--continue", "--set", "train.epochs=1"]);
        same.succeeded();
        assert!(same.error.contains("8 then, 7 now"), "{}", same.error);
        let other = [longer.as_slice(), &["--set", "train.batch=4", allowed]].concat();
        of(command, &other).refused(2, &["train.batch: 8 -> 4"]);
        let done = run(&[&[command, out], longer.as_slice(), &[allowed]].concat());
        done.succeeded();
        let told = format!("{}{}", done.out, done.error);
        for part in ["fewer than the 8 of a batch so far: train.batch is 7", "8 then, 7 now"] {
            assert!(told.contains(part), "{part:?} is not in\n{told}");
        }
        of(command, &["--resume", "--set", "train.epochs=3"]).succeeded();
    }
}

#[test]
fn a_damaged_result_does_not_hide_that_images_changed() {
    let folder = tempfile::tempdir().unwrap();
    let (images, out) = (folder.path().join("images"), folder.path().join("run"));
    pictures(&images, &["train", "val"], &["a", "b"], 4);
    trained(&images, &out, &[]);
    let short = ["linear", text(&out), "--set", "train.epochs=1", "--quiet"];
    run(&short).succeeded();
    fs::write(out.join("linear/summary.json"), "").unwrap();
    picture(&images.join("train/b/9.bmp"), 200);
    let parts = ["training images: 8 then, 9 now", "--allow-changed-data"];
    run(&["linear", text(&out), "--resume"]).refused(1, &parts);
    fs::write(out.join("summary.json"), "").unwrap();
    run(&["pretrain", "--resume", text(&out)]).refused(1, &parts);
}
