//! `vssl data`.

use std::{fs, thread};

use serde_json::Value;

use super::{done, run, vssl};

#[test]
fn the_images_that_ship_are_whole() {
    for source in ["data/fashion-mnist-tenth", "fashion-mnist-tenth", "recipes/quickstart.toml"] {
        let checked = run(&["data", "check", source]);
        let expected = "train: 10000 images, 10 classes, 28 pixels wide and 28 high\n\
                        validation: 2000 images, 10 classes, 28 pixels wide and 28 high\n";
        assert_eq!(checked.succeeded(), expected, "{source}");
    }
}

#[test]
fn a_bad_image_is_named_and_the_code_is_1() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("not.jpg"), "a text").unwrap();
    let source = folder.path().to_str().unwrap();
    let checked = run(&["data", "check", source]);
    checked.refused(1, &["1 image cannot be used"]);
    assert!(checked.out.contains("not.jpg"), "{}", checked.out);

    let checked = run(&["data", "check", source, "--json"]);
    let value: Value = serde_json::from_str(&checked.out).unwrap();
    assert_eq!(value["images"], 1);
    assert!(value["bad"][0]["name"].as_str().unwrap().ends_with("not.jpg"));
}

#[test]
fn images_are_drawn_with_their_views_and_the_parameters_of_a_seed() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("sheet.png");
    let to = to.to_str().unwrap();
    let pictures =
        ["png_rgb.png", "jpeg_odd.jpg"].map(|name| format!("crates/vssl-data/tests/images/{name}"));
    let [a, b] = &pictures;
    let alone = run(&["data", "show", a, b, "--to", to]);
    assert!(alone.succeeded().contains("sheet.png: 2 images\n"), "{}", alone.out);
    let size =
        |bytes: &[u8]| [16, 20].map(|at| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()));
    assert_eq!(size(&fs::read(to).unwrap()), [384, 2 * 384 + 4]);

    let views = |more: &[&str]| {
        let recipe =
            ["data", "show", a, b, "--to", to, "--recipe", "recipes/quickstart.toml", "--json"];
        let shown = run(&[&recipe[..], more].concat());
        let value: Value = serde_json::from_str(shown.succeeded()).unwrap();
        (value, fs::read(to).unwrap())
    };
    let (told, sheet) = views(&["--draws", "3"]);
    let [width, height] = size(&sheet);
    assert_eq!((&told["width"], &told["height"]), (&width.into(), &height.into()));
    assert_eq!(told["seed"], 0);
    let draws = told["images"][1]["draws"].as_array().unwrap();
    assert_eq!((draws.len(), draws[2]["views"].as_array().unwrap().len()), (3, 2));
    assert!(draws[0]["views"][0]["crop"]["width"].is_u64(), "{told}");
    assert_eq!(views(&["--draws", "3"]), (told.clone(), sheet.clone()), "the same again");
    let (other, other_sheet) = views(&["--draws", "3", "--seed", "7"]);
    assert!(other["seed"] == 7 && other["images"] != told["images"] && other_sheet != sheet);

    run(&["data", "show", a, "--to", "a.jpg"]).refused(2, &["a.jpg", ".png"]);
    run(&["data", "show", "no/such.png", "--to", to]).refused(1, &["no/such.png"]);
    run(&["data", "show", a, "--to", to, "--draws", "2"]).refused(2, &["--recipe"]);
    run(&["data", "show", a, "--to", to, "--recipe", "no.toml"]).refused(2, &["no.toml"]);
}

#[test]
fn what_is_not_there_is_named() {
    run(&["data", "check", "no/such/folder"]).refused(1, &["no/such/folder"]);
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().to_str().unwrap();
    run(&["data", "check", source]).refused(1, &[source]);
    run(&["data", "check", source, "--format", "cifar10"]).refused(1, &[source]);
}

#[test]
fn fetching_without_a_server_fails_with_the_address() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = vssl(&["data", "fetch", "cifar10", "--data"]);
    // Port 1 is reserved and nothing listens there.
    command.arg(folder.path()).env("VSSL_MIRROR", "http://127.0.0.1:1");
    done(command.output().unwrap()).refused(1, &["127.0.0.1:1/cifar-10-binary.tar.gz"]);
}

/// A server on this machine that the environment names: the answer is asked for by the name of the
/// published file, and what is not the published file does not stay.
#[test]
fn a_fetched_file_that_is_not_the_published_one_is_removed() {
    let server = tiny_http::Server::http("127.0.0.1:0").unwrap();
    let address = format!("http://{}/mirror/", server.server_addr());
    let serving = thread::spawn(move || {
        let request = server.recv().unwrap();
        let asked = request.url().to_owned();
        request.respond(tiny_http::Response::from_data(vec![7; 100_000])).unwrap();
        asked
    });
    let folder = tempfile::tempdir().unwrap();
    let mut command = vssl(&["data", "fetch", "cifar10", "--data"]);
    command.arg(folder.path()).env("VSSL_MIRROR", &address);
    let expected = "c32a1d4ab5d03f1284b67883e8d87530";
    done(command.output().unwrap()).refused(1, &["cifar-10-binary.tar.gz", expected]);
    assert_eq!(serving.join().unwrap(), "/mirror/cifar-10-binary.tar.gz");
    let left: Vec<_> = fs::read_dir(folder.path().join("cifar10")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
