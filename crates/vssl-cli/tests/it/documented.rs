//! Every command of the README and of the book, as it is written there, on a few images and narrow networks.
//!
//! The commands run in a folder that looks like the root of the repository: it has the same recipes with
//! fewer steps, runs of the names that the book uses, and files that a reader would have.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{Done, done, embed::photographs, root, run};

/// The beginnings of documented commands that are not run here, each with the reason.
const LEFT_OUT: [(&str, &str); 14] = [
    ("vssl data fetch", "it needs the network"),
    ("vssl bench agreement --device cuda", "it needs a GPU"),
    ("vssl import byol.ckpt", "it needs another program's weights; tests/it/import.rs makes some"),
    ("vssl import resnet50.pth", "it needs another program's weights, as above"),
    ("target/release/vssl pretrain recipes/quickstart.toml --device libtorch", "it needs LibTorch"),
    ("srun", "it needs Slurm; tests/mpi/slurm runs it"),
    ("mpirun", "it needs MPI; tests/mpi/run runs it"),
    ("vssl pretrain RECIPE", "it stands for any recipe"),
    ("vssl config RECIPE", "it stands for any recipe"),
    ("cargo ", "it builds or tests this very program"),
    ("pip ", "it installs other programs"),
    ("maturin ", "it builds the Python package; .ci/run does that"),
    ("jq ", "it is another program"),
    ("tensorboard ", "it is another program"),
];

/// The first words of lines that belong to the shell, or that prepare a machine.
const SHELL: [&str; 11] = [
    "#",
    "#!/bin/bash",
    "python3",
    "source",
    "export",
    "sudo",
    "run=runs/imagenet100-vssl-0",
    "code=$?",
    "exit",
    "if",
    "else",
];

/// What makes any recipe quick.
const SMALL: [&str; 12] = [
    "data.format=idx",
    "data.path=data/fashion-mnist-tenth",
    "data.limit_train=64",
    "data.limit_validation=32",
    "backbone.width=2",
    "vssl.hidden=16",
    "vssl.dim=8",
    "train.batch=32",
    "train.max_steps=3",
    "checkpoint.every_steps=1",
    "log.every_steps=1",
    "optimizer.scale_lr=false",
];

/// `vssl` in the folder `world`.
fn vssl(world: &Path, arguments: &[&str]) -> Command {
    let mut command = super::vssl(arguments);
    command.current_dir(world);
    command
}

#[track_caller]
fn works(world: &Path, arguments: &[&str]) -> Done {
    let done = done(vssl(world, arguments).output().unwrap());
    assert_eq!(done.code, Some(0), "vssl {}\n{}{}", arguments.join(" "), done.out, done.error);
    done
}

/// Writes the recipe `name` of the repository into `world`, made quick by `settings`.
fn recipe(world: &Path, name: &str, settings: &[&str]) {
    let from = root().join(name);
    let mut arguments = vec!["config", from.to_str().unwrap()];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", *setting]));
    let resolved = run(&arguments);
    let to = world.join(name);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::write(to, resolved.succeeded()).unwrap();
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }
}

/// Makes the folder in which the commands run.
fn make(world: &Path) {
    fs::create_dir_all(world.join("data")).unwrap();
    let images = root().join("data/fashion-mnist-tenth").canonicalize().unwrap();
    symlink(&images, world.join("data/fashion-mnist-tenth")).unwrap();
    // The documents' CIFAR-10 stands for any set of images.
    symlink(&images, world.join("data/cifar10")).unwrap();
    for name in
        ["recipes/quickstart.toml", "recipes/cifar10/vssl.toml", "recipes/cifar10-small/vssl.toml"]
    {
        recipe(world, name, &SMALL);
    }
    let of_all: Vec<&str> =
        SMALL.into_iter().filter(|setting| !setting.starts_with("vssl.")).collect();
    recipe(world, "recipes/cifar10-small/distill.toml", &of_all);
    let (photos, plain) = (world.join("photos"), photographs(&world.join("made")));
    for split in ["train", "val"] {
        copy(&plain, &photos.join(split));
    }
    for name in ["my-images", "plants"] {
        copy(&plain, &world.join(name));
    }
    let channels = root().join("crates/vssl-data/tests/channels");
    copy(&channels.join("tiff_4_chunky_16.tif"), &world.join("tiles/tile.tif"));
    let picture = plain.join("light/08.bmp");
    for name in
        ["query.jpg", "leaf.jpg", "root.png", "plane.png", "truck.png", "ship.png", "frog.png"]
    {
        copy(&picture, &world.join(name));
    }
    for name in ["my.toml", "my-recipe.toml"] {
        copy(&world.join("recipes/quickstart.toml"), &world.join(name));
    }
    fs::write(
        world.join("study.toml"),
        "recipes = [\"recipes/cifar10-small/vssl.toml\", \"recipes/cifar10/vssl.toml\"]\nseeds = [0, 1]\n\
         out = \"runs/study\"\nset = [\"train.epochs=50\"]\n",
    )
    .unwrap();
    works(world, &["pretrain", "recipes/quickstart.toml", "--quiet"]);
    let run = world.join("runs/quickstart-0");
    for name in ["c10", "cifar10-small-vssl-0", "cifar10-vssl", "simclr-0", "vssl-0"] {
        copy(&run, &world.join("runs").join(name));
    }
    for (split, name) in [("train", "a"), ("validation", "b")] {
        for ending in ["npy", "safetensors", "parquet"] {
            let to = format!("{name}.{ending}");
            works(world, &["embed", "runs/quickstart-0", "--split", split, "--to", &to]);
        }
    }
    for (from, to) in [
        ("a.labels.npy", "y.npy"),
        ("b.labels.npy", "z.npy"),
        ("a.npy", "train.npy"),
        ("b.npy", "val.npy"),
        ("a.labels.npy", "train-y.npy"),
        ("b.labels.npy", "val-y.npy"),
        ("a.safetensors", "train.safetensors"),
        ("b.safetensors", "val.safetensors"),
    ] {
        copy(&world.join(from), &world.join(to));
    }
    works(world, &["embed", "runs/quickstart-0", "--to", "features.parquet"]);
    works(world, &["export", "runs/quickstart-0", "--to", "encoder.safetensors"]);
}

/// The lines of the shell's blocks of a document, without comments.
fn commands(text: &str) -> Vec<String> {
    let (mut found, mut in_shell) = (Vec::new(), false);
    // A line that ends in a backslash goes on in the next one.
    for line in text.replace("\\\n", "").lines() {
        if line.trim_start().starts_with("```") {
            in_shell = line.trim() == "```sh";
        } else if in_shell {
            let line = line.split(" #").next().unwrap_or_default().trim();
            found.push(line.to_owned());
        }
    }
    found.retain(|line| !line.is_empty());
    found
}

/// The arguments of a line that calls `vssl`; `None` for a line that is left out.
///
/// # Panics
/// The line is neither.
fn arguments(line: &str) -> Option<Vec<&str>> {
    if let Some(rest) = line.strip_prefix("cargo run --release -- ") {
        return Some(rest.split_whitespace().collect());
    }
    let first = line.split_whitespace().next().unwrap_or_default();
    let is_shell = SHELL.contains(&first) || first.starts_with("#SBATCH") || first == "fi";
    if is_shell || LEFT_OUT.iter().any(|(start, _)| line.starts_with(start)) {
        return None;
    }
    let rest = line.strip_prefix("vssl ");
    let rest = rest.unwrap_or_else(|| panic!("nobody knows what to do with the command: {line}"));
    Some(rest.split_whitespace().collect())
}

/// The run folder that a command begins, which must not be there yet.
fn begins(arguments: &[&str]) -> Option<PathBuf> {
    let ["pretrain", recipe, rest @ ..] = arguments else { return None };
    if recipe.starts_with("--") {
        return None;
    }
    let out = rest.iter().position(|argument| *argument == "--out");
    Some(match out {
        Some(at) => rest[at + 1].into(),
        None => {
            let name = recipe.trim_start_matches("recipes/").trim_end_matches(".toml");
            Path::new("runs").join(format!("{}-0", name.replace('/', "-")))
        }
    })
}

/// Starts a server, waits until it says its address, and ends it.
fn serves(world: &Path, arguments: &[&str]) {
    let arguments = [arguments, &["--port", "0"]].concat();
    let mut command = vssl(world, &arguments);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.contains("http://127.0.0.1:"), "{line}");
}

/// Runs a documented command in `world`.
fn obey(world: &Path, arguments: &[&str]) {
    if let Some(run) = begins(arguments) {
        let run = world.join(run);
        if run.exists() {
            fs::remove_dir_all(run).unwrap();
        }
    }
    match arguments {
        ["watch", ..] => return serves(world, arguments),
        // What the command before it wrote is for a whole night.
        ["pretrain", "byol.toml"] => {
            let quick = [
                "backbone.width=2",
                "byol.projector_hidden=8",
                "byol.predictor_hidden=8",
                "train.max_steps=2",
            ];
            let settings = quick.iter().flat_map(|setting| ["--set", *setting]);
            let call: Vec<&str> = ["config", "byol.toml"].into_iter().chain(settings).collect();
            let text = works(world, &call).out;
            fs::write(world.join("byol.toml"), text).unwrap();
        }
        _ => {}
    }
    match arguments {
        // The shell would do this.
        [command @ .., ">", file] => {
            let file = world.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, works(world, command).out).unwrap();
        }
        _ => drop(works(world, arguments)),
    }
}

#[test]
fn every_documented_command_works_as_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base");
    make(&base);
    let mut documents = vec![root().join("README.md")];
    let chapters = fs::read_dir(root().join("docs/src")).unwrap();
    documents.extend(chapters.map(|entry| entry.unwrap().path()));
    documents.retain(|path| path.extension().is_some_and(|ending| ending == "md"));
    documents.sort();
    let mut count = 0;
    for document in documents {
        let lines = commands(&fs::read_to_string(&document).unwrap());
        let lines: Vec<_> = lines.iter().filter_map(|line| arguments(line)).collect();
        if lines.is_empty() {
            continue;
        }
        // A chapter does not see what another one has written.
        let world = folder.path().join(document.file_stem().unwrap());
        copy_world(&base, &world);
        for line in lines {
            obey(&world, &line);
            count += 1;
        }
    }
    assert!(count >= 45, "only {count} commands were found");
}

/// Copies the files of `base`; the images stay links.
fn copy_world(base: &Path, world: &Path) {
    fs::create_dir_all(world).unwrap();
    for entry in fs::read_dir(base).unwrap() {
        let entry = entry.unwrap();
        match entry.file_name() == "data" {
            true => symlink(entry.path(), world.join("data")).unwrap(),
            false => copy(&entry.path(), &world.join(entry.file_name())),
        }
    }
}
