//! The head of `[uncertainty]`: it learns beside the encoder and changes nothing of it, goes on bit for bit, and comes
//! along into files.

use std::{fs, path::Path, thread, time::Duration};

use burn::tensor::Device;
use serde_json::Value;
use tempfile::TempDir;
use vssl::{
    collective::{Group, Threads},
    encoder::{
        Encoder,
        export::{Form, Options, export, write, write_with},
        onnx::Pixels,
    },
    features::Features,
    method::learner::Network,
    methods::METHODS,
    recipe::Recipe,
    run::{
        checkpoint::{Checkpoint, Store},
        events::{Event, Observer},
        stop::Stop,
    },
    train::{Environment, Plan, pretrain},
};

use super::training::{self, Silent, environment, recipe, train};

const HEAD: &str = "[uncertainty]\nhidden = [12, 6]\nobjective = ";

/// Two epochs of four steps.
fn text(method: &str, more: &str) -> String {
    let train = "epochs = 2\naccumulate = 2\nclip_norm = 0.5";
    training::text(method, &format!("{train}\n[log]\nevery_steps = 1\n{more}"))
}

fn checkpoint(run: &Path) -> Checkpoint {
    Store::of(run).load("latest").unwrap().unwrap()
}

/// The lines of steps, without what may differ: the clock, and the head's own loss, which is returned beside them.
fn lines(run: &Path) -> (Vec<Value>, Vec<f64>) {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let mut losses = Vec::new();
    let lines = text.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("time");
        if let Some(parts) = line.get_mut("parts").and_then(Value::as_object_mut) {
            losses.extend(parts.remove("uncertainty_loss").and_then(|loss| loss.as_f64()));
        }
        line
    });
    let lines = lines.collect();
    (lines, losses)
}

#[test]
fn a_head_changes_no_bit_of_what_the_method_learns() {
    let folder = TempDir::new().unwrap();
    let small = "\nhidden = 16\ndim = 8";
    for (method, settings) in [
        ("simclr", "[simclr]\nprojector_hidden = 16\ndim = 8".to_owned()),
        ("vssl", format!("[vssl]{small}")),
        ("mocov2plus", "[mocov2plus]\nprojector_hidden = 16\ndim = 8\nqueue = 48".to_owned()),
    ] {
        let [without, with] = ["without", "with"].map(|n| folder.path().join(method).join(n));
        train(&without, &text(method, &settings));
        train(&with, &text(method, &format!("{settings}\n{HEAD}\"squared\"")));
        let [mut a, mut b] = [&without, &with].map(|run| checkpoint(run).tensors);
        let head = b.remove("uncertainty").unwrap();
        assert_eq!(head["layers.0.weight"].shape().as_slice(), [12, 16], "{method}");
        assert_eq!(head["layers.2.weight"].shape().as_slice(), [1, 6], "{method}");
        assert!(b.remove("uncertainty_optimizer").is_some_and(|state| !state.is_empty()));
        let names: Vec<_> = a.keys().cloned().collect();
        assert_eq!(names, ["memory", "optimizer", "probe", "student"], "{method}");
        for name in names {
            assert_eq!(a.remove(&name), b.remove(&name), "{method}: {name}");
        }
        assert!(b.is_empty(), "{method}: {:?}", b.keys());
        let ((plain, none), (beside, losses)) = (lines(&without), lines(&with));
        assert_eq!(plain, beside, "{method}");
        assert!(none.is_empty() && losses.len() == 8, "{method}: {losses:?}");
        assert!(losses.iter().all(|loss| loss.is_finite()), "{method}: {losses:?}");
    }
}

#[test]
fn a_head_learns_the_losses() {
    let folder = TempDir::new().unwrap();
    let more = format!("{HEAD}\"squared\"\nlr = 0.02\n[simclr]\nprojector_hidden = 16\ndim = 8");
    let text = text("simclr", &more).replace("epochs = 2", "epochs = 12");
    train(folder.path(), &text);
    let (_, losses) = lines(folder.path());
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&losses[..4]), mean(&losses[losses.len() - 8..]));
    assert!(last < 0.5 * first, "{first} and {last}");
}

/// Asks for a stop at the third step.
struct StopAtThird(Stop);

impl Observer for StopAtThird {
    fn event(&mut self, event: &Event) {
        if let Event::Step { step: 3, .. } = event {
            self.0.request();
        }
    }
}

#[test]
fn a_stopped_run_goes_on_with_its_head_bit_for_bit() {
    let folder = TempDir::new().unwrap();
    let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(name));
    let text = text(
        "byol",
        &format!("{HEAD}\"order\"\n[byol]\nprojector_hidden = 16\npredictor_hidden = 16"),
    );
    train(&whole, &text);
    let stop = Stop::default();
    let plan = Plan::new(recipe(&text), &parts, environment(Device::flex())).unwrap();
    let summary = pretrain(&plan, &stop, &mut StopAtThird(stop.clone())).unwrap();
    assert!(summary.interrupted && summary.steps < 8);
    let again = Plan::resume(recipe(&text), &parts, "latest", environment(Device::flex()));
    pretrain(&again.unwrap(), &Stop::default(), &mut Silent).unwrap();
    assert_eq!(checkpoint(&whole).tensors, checkpoint(&parts).tensors);
    assert_eq!(lines(&whole), lines(&parts));
}

#[test]
fn two_ranks_train_the_head_of_one_process() {
    let settings = "[simclr]\nprojector_hidden = 16\ndim = 8";
    two_ranks_are_one(&text("simclr", &format!("{HEAD}\"squared\"\n{settings}")));
}

/// Ranks hold different numbers of masked patches, and images without a mask.
#[test]
fn two_ranks_know_the_losses_of_masked_images_and_the_head_changes_no_bit() {
    let heads = "projector_hidden = 16\ndim = 8\nprototypes = 12";
    let small = |name: &str| format!("{name}_width = 16\n{name}_depth = 1\n{name}_heads = 2");
    for (method, settings) in [
        ("ibot", heads.to_owned()),
        ("dinov2", heads.to_owned()),
        ("mae", small("decoder")),
        ("ijepa", format!("{}\nmin_context = 2", small("predictor"))),
    ] {
        let vit = "\"vit-tiny\"\nvit = { width = 12, depth = 1, patch = 4, image_size = 28 }";
        let text = |more: &str| {
            text(method, &format!("{more}[{method}]\n{settings}"))
                .replace("\"resnet18\"", vit)
                .replace("width = 2\n        stem = \"imagenet\"", "")
        };
        let folder = TempDir::new().unwrap();
        let [without, with] = ["without", "with"].map(|name| folder.path().join(name));
        let head = format!("{HEAD}\"squared\"\n");
        train(&without, &text(""));
        train(&with, &text(&head));
        let [a, b] = [&without, &with].map(|run| checkpoint(run).tensors);
        for name in a.keys() {
            assert_eq!(a[name], b[name], "{method}: {name}");
        }
        two_ranks_are_one(&text(&head));
    }
}

fn two_ranks_are_one(text: &str) {
    let folder = TempDir::new().unwrap();
    let [alone, joint] = ["alone", "joint"].map(|name| folder.path().join(name));
    train(&alone, text);
    thread::scope(|scope| {
        let ranks = Threads::new(2, Duration::from_secs(60)).into_iter();
        let running: Vec<_> = ranks
            .map(|rank| {
                let joint = &joint;
                scope.spawn(move || {
                    let group = Group::new(rank);
                    let environment = Environment { group, ..environment(Device::flex()) };
                    let plan = Plan::new(recipe(text), joint, environment).unwrap();
                    pretrain(&plan, &Stop::default(), &mut Silent).unwrap();
                })
            })
            .collect();
        running.into_iter().for_each(|rank| rank.join().unwrap());
    });
    let (alone, joint) = (lines(&alone).1, lines(&joint).1);
    assert_eq!((alone.len(), joint.len()), (8, 8));
    for (a, b) in alone.iter().zip(&joint) {
        assert!((a - b).abs() < 1e-3 * a.abs().max(0.1), "{alone:?} and {joint:?}");
    }
}

#[test]
fn a_method_without_losses_of_images_refuses_a_head() {
    let parse =
        |method: &str, more: &str| Recipe::parse(&text(method, more), "a.toml", &[], METHODS);
    let error = parse("barlow", "[uncertainty]").unwrap_err().to_string();
    assert!(error.contains("uncertainty") && error.contains("barlow"), "{error}");
    for (wrong, key) in [
        ("hidden = [0]", "uncertainty.hidden"),
        ("lr = -1.0", "uncertainty.lr"),
        ("leeway = -1.0", "uncertainty.leeway"),
        ("objective = \"rank\"", "order"),
    ] {
        let error = parse("simclr", &format!("[uncertainty]\n{wrong}")).unwrap_err().to_string();
        assert!(error.contains(key), "{wrong}: {error}");
    }
    let (recipe, _) = parse("simclr", "[uncertainty]").unwrap();
    let again = Recipe::parse(&recipe.to_toml(), "b.toml", &[], METHODS).unwrap().0;
    assert_eq!(recipe, again);
    assert!(!parse("simclr", "").unwrap().0.to_toml().contains("uncertainty"));
}

#[test]
fn files_of_an_encoder_hold_its_head() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let settings = "[byol]\nprojector_hidden = 16\npredictor_hidden = 16";
    train(&run, &text("byol", &format!("{HEAD}\"order\"\n{settings}")));
    let open = |path: &Path, network| Encoder::open(path, "latest", network, &Device::flex());
    let encoder = open(&run, Network::Student).unwrap();
    let values = (0..3 * 16).map(|i| (i as f32 * 0.7).sin()).collect();
    let features = Features { rows: 3, dim: 16, values, labels: None };
    let expected = encoder.predicted_losses(&features).unwrap();
    assert!(expected.iter().all(|&loss| loss > 0.0) && expected[0] != expected[1]);
    assert!(open(&run, Network::Teacher).unwrap().predicted_losses(&features).is_none());
    let [plain, again, half] =
        ["a", "b", "c"].map(|name| folder.path().join(name).with_extension("safetensors"));
    export(&run, "latest", Network::Student, &plain).unwrap();
    write(&encoder, &again, Form::Safetensors).unwrap();
    for file in [&plain, &again] {
        let found = open(file, Network::Student).unwrap().predicted_losses(&features);
        assert_eq!(found.as_ref(), Some(&expected));
    }
    write_with(&encoder, &half, Form::Safetensors, Options { half: true, any_size: false })
        .unwrap();
    let found = open(&half, Network::Student).unwrap().predicted_losses(&features).unwrap();
    assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-2 * b.abs()));
    let onnx = folder.path().join("encoder.onnx");
    write(&encoder, &onnx, Form::Onnx(Pixels::Normalised)).unwrap();
    same_in_onnxruntime(folder.path(), &encoder);
}

/// Feeds the pixels in `x.f32` to `encoder.onnx`.
const PEER: &str = r#"
import sys
try:
    import numpy, onnx, onnxruntime
except ImportError:
    sys.exit(77)
folder = sys.argv[1]
onnx.checker.check_model(onnx.load(folder + "/encoder.onnx"), full_check=True)
session = onnxruntime.InferenceSession(folder + "/encoder.onnx")
x = numpy.fromfile(folder + "/x.f32", numpy.float32).reshape(4, 3, 28, 28)
y, loss = session.run(["features", "predicted_loss"], {"images": x})
assert y.shape == (4, 16) and loss.shape == (4,), (y.shape, loss.shape)
loss.astype(numpy.float32).tofile(folder + "/y.f32")
"#;

/// Runs where a Python with onnx and onnxruntime is (`VSSL_PYTHON`, or `python3`).
fn same_in_onnxruntime(folder: &Path, encoder: &Encoder) {
    // Channels first for the other program, last for this one.
    let pixel = |image: usize, channel: usize, at: usize| {
        (((image * 3 + channel) * 28 * 28 + at) as f32 * 0.37).sin()
    };
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for image in 0..4 {
        first.extend((0..3).flat_map(|c| (0..28 * 28).map(move |at| pixel(image, c, at))));
        last.extend((0..28 * 28).flat_map(|at| (0..3).map(move |c| pixel(image, c, at))));
    }
    let bytes: Vec<u8> = first.iter().flat_map(|x: &f32| x.to_le_bytes()).collect();
    fs::write(folder.join("x.f32"), bytes).unwrap();
    let python = std::env::var_os("VSSL_PYTHON").unwrap_or_else(|| "python3".into());
    let peer = std::process::Command::new(python).args(["-c", PEER]).arg(folder).status();
    if !peer.as_ref().is_ok_and(|status| status.code() != Some(77)) {
        println!("skipped: no Python with onnx and onnxruntime");
        return;
    }
    assert!(peer.unwrap().success(), "onnxruntime refused the file");
    let theirs = fs::read(folder.join("y.f32")).unwrap();
    let theirs = theirs.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    let ours = encoder.predicted_losses(&encoder.embed(&last, 4)).unwrap();
    for (a, b) in ours.iter().zip(theirs) {
        assert!((a - b).abs() < 1e-4 * a.abs(), "{ours:?}");
    }
}
