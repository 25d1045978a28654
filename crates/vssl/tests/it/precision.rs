//! Backbones on half-precision images, on the CPU back end, which has slow operations for them; and
//! whole runs on the device and in the precision that the contract test was given.

use std::{fs, path::Path};

use burn::tensor::{DType, Device, Tensor};
use vssl::{
    backbone::{Backbone, BackboneConfig, ResnetConfig, Stem, VitConfig, WideResnetConfig},
    collective::Group,
    layers::{Init, Mode},
    methods,
    optim::Gradients,
    precision::Precision,
    run::stop::Stop,
    train::pretrain,
};

use crate::{
    backbones::kinds,
    contract::{precision, small},
    device_reads::{plan, resumed},
    ranks::{Case, Trace, error, ranks, small_resnet, small_vit, train},
    training::Silent,
};

fn encoders() -> Vec<BackboneConfig> {
    let resnet = ResnetConfig { width: 8, stem: Stem::Cifar, ..ResnetConfig::default() };
    let vit = VitConfig { patch: 4, image_size: 16, ..VitConfig::default() };
    let named = |name: &str| kinds().into_iter().find(|(kind, _)| *kind == name).unwrap().1;
    let newer = ["vit with registers and layer scale", "convnext", "convnext v2"].map(named);
    [&[resnet.into(), WideResnetConfig::default().into(), vit.into()][..], &newer].concat()
}

fn images(device: &Device) -> Tensor<4> {
    let pixel = |i: usize| ((i * 7919 + i / 13 * 31) % 255) as f32 / 127.5 - 1.0;
    let pixels: Vec<f32> = (0..8 * 3 * 16 * 16).map(pixel).collect();
    Tensor::<1>::from_floats(pixels.as_slice(), device).reshape([8, 3, 16, 16])
}

/// Relative Euclidean distance.
fn distance<const D: usize>(got: Tensor<D>, expected: Tensor<D>) -> f32 {
    let norm = |x: Tensor<D>| x.square().sum().sqrt().into_scalar::<f32>();
    norm(got - expected.clone()) / norm(expected)
}

#[test]
fn features_and_gradients_of_half_precision_images_are_in_single_precision_and_close() {
    let device = Device::flex().autodiff();
    for config in encoders() {
        let architecture = config.architecture();
        let network = Backbone::new(&config, &Init::new(&device, 1));
        let run = |dtype: DType| {
            let features = network.forward(images(&device).cast(dtype), Mode::Train);
            assert_eq!(features.dtype(), DType::F32, "{architecture:?}");
            let weights = (features.clone() * 3.0).sin().detach();
            let loss = (features.clone() * weights).sum();
            (features.inner(), Gradients::collect(loss.backward(), &network).0)
        };
        let (features, gradients) = run(DType::F32);
        // A network multiplies the error of its first roundings; these bounds are about three times
        // what was measured.
        for (dtype, tolerance) in [(DType::F16, 0.015), (DType::BF16, 0.08)] {
            let (half, half_gradients) = run(dtype);
            let error = distance(half, features.clone());
            println!("{architecture:?} in {dtype:?}: features differ by {error:.1e}");
            assert!(error > 0.0 && error < tolerance, "{architecture:?}, {dtype:?}: {error}");
            assert!(half_gradients.keys().eq(gradients.keys()), "{architecture:?}");
            for (path, gradient) in half_gradients {
                assert_eq!(gradient.dtype(), DType::F32, "{architecture:?}: {path}");
                let finite = gradient.abs().max().into_scalar::<f32>().is_finite();
                assert!(finite, "{architecture:?}: {path}");
            }
        }
    }
}

/// Loss and gradients of the first step.
fn first(trace: &Trace) -> (f64, Vec<f64>) {
    (trace.losses[0], trace.gradients[0].values().flatten().copied().collect())
}

/// Statistics of half-precision images, losses and sums of gradients are joint in single precision. Through
/// a transformer, whose rows know nothing of each other, ranks change the last bit of the images' type;
/// through a ResNet, where such a bit turns ReLUs, they change less than the type itself does.
#[test]
fn two_ranks_in_half_precision_compute_what_one_process_computes() {
    let resnets = ["vicreg", "vssl"].map(|name| (name, small_resnet()));
    let vits = ["dino", "swav", "vssl"].map(|name| (name, small_vit()));
    for (name, backbone) in resnets.into_iter().chain(vits) {
        let is_smooth = backbone.vit().is_some();
        let single = Case::of(methods::find(name).unwrap(), backbone);
        let (_, expected) = first(&train(&single, &Group::alone()));
        for (half, epsilon) in [(Precision::Bf16, 2f64.powi(-7)), (Precision::F16, 2f64.powi(-10))]
        {
            let (backbone, initial) = (single.backbone.clone(), single.initial.clone());
            let images = std::sync::Arc::clone(&single.images);
            let case = Case { precision: half, backbone, initial, images, ..single };
            let (loss, alone) = first(&train(&case, &Group::alone()));
            let (joint_loss, joint) = first(&ranks(2, |group| train(&case, group))[0]);
            let of_loss = (loss - joint_loss).abs() / loss.abs();
            let [of_type, of_ranks] =
                [(&expected, &alone), (&alone, &joint)].map(|(a, b)| error(a, b, 0.0));
            println!(
                "{name}, {half:?}: gradients differ by {of_ranks:.1e}, the type itself changes them by \
                 {of_type:.1e}; loss {of_loss:.1e}"
            );
            let (gradients, losses) =
                if is_smooth { (2.0 * epsilon, 1e-5) } else { (of_type, epsilon) };
            assert!(of_ranks < gradients, "{name}, {half:?}: {of_ranks:.1e} of {gradients:.1e}");
            assert!(of_loss < losses, "{name}, {half:?}: {of_loss:.1e} of {losses:.1e}");
        }
    }
}

/// Lines of the metrics without what the clock says.
fn metrics(run: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("time");
        line
    });
    lines.collect()
}

#[test]
fn a_run_that_was_stopped_goes_on_with_the_same_loss_scale() {
    let folder = tempfile::tempdir().unwrap();
    let entry = vssl::methods::find("simclr").unwrap();
    let run = |name: &str| folder.path().join(name);
    let whole = plan(&run("whole"), "simclr", small(entry));
    pretrain(&whole, &Stop::default(), &mut Silent).unwrap();
    let stop = Stop::default();
    stop.request(); // after its first step
    let parts = plan(&run("parts"), "simclr", small(entry));
    pretrain(&parts, &stop, &mut Silent).unwrap();
    pretrain(&resumed(&run("parts"), "simclr", small(entry)), &Stop::default(), &mut Silent)
        .unwrap();
    let (whole, parts) = (metrics(&run("whole")), metrics(&run("parts")));
    assert_eq!(whole, parts);
    let scaled = whole.iter().filter(|line| line["loss_scale"].is_number()).count();
    let expected = if precision().scales_loss() { whole.len() } else { 0 };
    assert_eq!(scaled, expected, "{whole:?}");
    println!("{:?}: {}", precision(), whole.last().unwrap());
}
