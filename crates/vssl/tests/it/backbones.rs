//! What every kind of backbone must hold: walks [`kinds`].

use std::fs;

use burn::tensor::Device;
use vssl::{
    backbone::{
        Backbone, BackboneConfig, ConvNextConfig, ConvNextSize, ConvNextVersion, Interpolation,
        Mlp, Placed, Pooling, Positions, ResnetConfig, ResnetDepth, ResnetVariant, Stem, VitConfig,
    },
    collective::Group,
    embed::{EmbedError, Form, Job, embed},
    encoder::{
        Encoder,
        export::{ExportError, Form as FileForm, Options, write_with},
        file,
        onnx::Pixels,
    },
    layers::Init,
    method::Sizes,
    methods::{self, METHODS},
};
use vssl_data::OnBadImage;

use crate::{
    contract::{self, small},
    embedded,
    ranks::{Case, Worst, compare, ranks, train},
};

const SIZE: usize = 16;

/// A transformer of a size that no name has.
/// Three heads, as ViT-Tiny has them.
fn tiny() -> VitConfig {
    VitConfig {
        width: Some(24),
        depth: Some(2),
        patch: 4,
        image_size: SIZE,
        ..VitConfig::default()
    }
}

/// Each kind that is newer than the ResNets and transformers of the other tests, in a tiny size.
pub fn kinds() -> Vec<(&'static str, BackboneConfig)> {
    let resnet = |variant, depth| {
        let stem = Stem::Imagenet;
        BackboneConfig::from(ResnetConfig { depth, variant, width: 4, stem, stem_padding: 1 })
    };
    let convnext = |version| {
        let size = ConvNextSize::Atto;
        BackboneConfig::from(ConvNextConfig { size, version, width: Some(8), patch: 1 })
    };
    let dinov2 = VitConfig {
        registers: 2,
        placed: Placed::Patches,
        layer_scale: 0.1,
        interpolation: Interpolation::Offset,
        ..tiny()
    };
    let gated = VitConfig {
        mlp: Mlp::Swiglu,
        class_token: false,
        qkv_bias: false,
        pooling: Pooling::FcNorm,
        ..tiny()
    };
    let published =
        VitConfig { registers: 1, placed: Placed::Class, pooling: Pooling::Mean, ..tiny() };
    let rotary = VitConfig {
        positions: Positions::Rotary,
        registers: 2,
        layer_scale: 0.1,
        mlp: Mlp::Swiglu,
        // With the class token, the gradients of `v_bias` at the start are sums that cancel to their rounding.
        pooling: Pooling::Mean,
        ..tiny()
    };
    vec![
        ("resnet-d", resnet(ResnetVariant::Deep, ResnetDepth::Resnet18)),
        ("resnet-d of bottlenecks", resnet(ResnetVariant::Deep, ResnetDepth::Resnet50)),
        ("wide resnet-50", resnet(ResnetVariant::Wide, ResnetDepth::Resnet50)),
        ("vit with registers and layer scale", dinov2.into()),
        ("vit with a gate and without class token", gated.into()),
        ("vit with registers without positions", published.into()),
        ("vit with rotary positions", rotary.into()),
        ("convnext", convnext(ConvNextVersion::V1)),
        ("convnext v2", convnext(ConvNextVersion::V2)),
    ]
}

/// Whether rounding turns no ReLU of it.
fn is_smooth(backbone: &BackboneConfig) -> bool {
    !matches!(backbone, BackboneConfig::Resnet(_))
}

#[test]
fn every_method_trains_every_kind_and_goes_on_after_a_save_bit_for_bit() {
    let sizes = Sizes { images: 64, batch: 16, global_views: 2, local_views: 0 };
    for (kind, backbone) in kinds() {
        for entry in METHODS {
            let place = format!("{}, {kind}", entry.name);
            let method = entry.with(&small(entry)).unwrap();
            if let Err(refused) = method.check_patches(backbone.patches(SIZE)) {
                assert!(backbone.vit().is_none_or(|vit| !vit.class_token), "{place}: {refused}");
                continue;
            }
            let learner = || {
                let method = entry.with(&small(entry)).unwrap();
                let mut learner = method.learner(&backbone, &sizes, &contract::device(), 7);
                learner.before_epoch(&contract::step(0));
                learner
            };
            let (views, at) = (contract::views(&mut contract::first_batch()), contract::step(4));
            let mut one = learner();
            let (mut optimizer, first) = (contract::optimizer(), contract::step(0));
            contract::train(one.as_mut(), &mut optimizer, &views, &first);
            one.before_epoch(&at);
            let mut other = learner();
            other.load(one.student(), one.memory()).unwrap();
            let a = contract::loss(one.as_mut(), &views, &at);
            let b = contract::loss(other.as_mut(), &views, &at);
            assert!(a.is_finite() && a.to_bits() == b.to_bits(), "{place}: {a} and {b}");
            let gradients = contract::gradients(one.as_mut()).0;
            for parameter in one.parameters() {
                let path = &parameter.path;
                if one.is_frozen(path, &at) || !path.starts_with("backbone.") {
                    continue;
                }
                let gradient = gradients.get(path).unwrap_or_else(|| panic!("{place}: {path}"));
                let largest: f32 = gradient.clone().abs().max().into_scalar();
                let found = largest > 0.0 || path.ends_with(".bias");
                assert!(largest.is_finite() && found, "{place}: gradient of {path}: {largest}");
            }
        }
    }
}

#[test]
fn two_and_four_ranks_train_every_kind_as_one_process_does() {
    for (kind, backbone) in kinds() {
        for name in ["vicreg", "dino", "dinov2", "vssl"] {
            let entry = methods::find(name).unwrap();
            if entry.defaults().check_patches(backbone.patches(SIZE)).is_err() {
                continue;
            }
            let case = Case::of(entry, backbone.clone());
            let alone = train(&case, &Group::alone());
            for world in [2, 4] {
                let traces = ranks(world, |group| train(&case, group));
                for trace in &traces[1..] {
                    assert_eq!(trace.student, traces[0].student, "{name}, {kind}: {world} ranks");
                }
                let loss = (alone.losses[0] - traces[0].losses[0]).abs() / alone.losses[0].abs();
                // Rounding turns ReLUs, and a batch norm over few numbers multiplies it; in double precision
                // `ranks_in_double` holds the ResNets tightly.
                let most = if is_smooth(&backbone) { 1e-5 } else { 1e-3 };
                assert!(loss < most, "{name}, {kind}, {world} ranks: loss {loss:.1e}");
                let Worst(error, place) = compare(&alone, &traces[0]);
                println!("{name}, {kind}, {world} ranks: {error:.1e} ({place})");
                // A bias in front of a batch norm has a gradient that is all rounding.
                let most = if is_smooth(&backbone) { 1e-2 } else { f64::INFINITY };
                assert!(error < most, "{name}, {kind}, {world} ranks: {error:.1e} in {place}");
            }
        }
    }
}

fn encoder(config: BackboneConfig) -> Encoder {
    let like = embedded::encoder(1);
    let backbone = Backbone::new(&config, &Init::new(&like.device, 5));
    Encoder { backbone: backbone.into(), config, ..like }
}

#[test]
fn an_exported_file_describes_every_kind_whole_and_in_half_precision() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("encoder.safetensors");
    for (kind, config) in kinds() {
        let encoder = encoder(config);
        let pixels: Vec<f32> = (0..2 * SIZE * SIZE * 3).map(|i| (i as f32 * 0.37).sin()).collect();
        let expected = encoder.embed(&pixels, 2).values;
        for half in [false, true] {
            let options = Options { half, ..Options::default() };
            write_with(&encoder, &to, FileForm::Safetensors, options).unwrap();
            let read = file::import(&to, &Device::flex()).unwrap();
            assert_eq!(read.config, encoder.config, "{kind}");
            let read = Encoder { backbone: read.backbone.into(), ..self::encoder(read.config) };
            let got = read.embed(&pixels, 2).values;
            let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>().sqrt();
            let error = norm(&mut got.iter().zip(&expected).map(|(a, b)| a - b))
                / norm(&mut expected.iter().copied());
            println!("{kind}, half {half}: {error:.1e}");
            assert!(if half { error < 5e-2 } else { error == 0.0 }, "{kind}, {half}: {error:.1e}");
        }
        let bytes = fs::metadata(&to).unwrap().len();
        write_with(&encoder, &to, FileForm::Safetensors, Options::default()).unwrap();
        assert!(fs::metadata(&to).unwrap().len() > bytes * 3 / 2, "{kind}: half the room");
    }
}

#[test]
fn networks_without_a_table_of_positions_take_images_of_any_size_and_only_some_formats_are_halved()
{
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("encoder.onnx");
    let any = Options { any_size: true, ..Options::default() };
    for (kind, config) in kinds() {
        let encoder = encoder(config);
        let written = write_with(&encoder, &to, FileForm::Onnx(Pixels::Normalised), any);
        match encoder.config.vit() {
            None => assert!(written.is_ok(), "{kind}"),
            Some(vit) if vit.positions == Positions::Rotary => assert!(written.is_ok(), "{kind}"),
            Some(_) => {
                let error = written.unwrap_err().to_string();
                assert!(error.contains("16 pixels"), "{kind}: {error}");
            }
        }
    }
    let encoder = encoder(kinds().remove(0).1);
    for (form, options) in [
        (FileForm::Safetensors, any),
        (FileForm::Burn, Options { half: true, ..Options::default() }),
    ] {
        let refused = write_with(&encoder, &to, form, options);
        assert!(matches!(refused, Err(ExportError::Option { .. })));
    }
}

#[test]
fn patch_tokens_are_written_beside_the_features_of_transformers_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("images");
    embedded::pictures(&root);
    for (kind, config) in kinds() {
        let encoder = encoder(config);
        let job = Job { tokens: true, ..embedded::job(&encoder, &root, OnBadImage::Stop) };
        let to = folder.path().join("out.npy");
        let done = embed(&job, &to, Form::Npy, &mut |_, _| {});
        let Some(vit) = encoder.config.vit() else {
            assert!(matches!(done, Err(EmbedError::NoTokens { .. })), "{kind}");
            continue;
        };
        done.unwrap();
        let plain = embedded::job(&encoder, &root, OnBadImage::Stop);
        let beside = folder.path().join("plain.npy");
        embed(&plain, &beside, Form::Npy, &mut |_, _| {}).unwrap();
        assert_eq!(fs::read(&to).unwrap(), fs::read(&beside).unwrap(), "{kind}: features");
        let tokens = fs::read(folder.path().join("out.tokens.npy")).unwrap();
        let patches = (SIZE / vit.patch).pow(2);
        let header = format!("({}, {patches}, {})", plain.images.len(), vit.width());
        assert!(String::from_utf8_lossy(&tokens[..128]).contains(&header), "{kind}: {header}");
        let to = folder.path().join("out.safetensors");
        embed(&job, &to, Form::Safetensors, &mut |_, _| {}).unwrap();
        let bytes = fs::read(&to).unwrap();
        let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let view = read.tensor("tokens").unwrap();
        assert_eq!(view.shape(), [plain.images.len(), patches, vit.width()], "{kind}");
        assert_eq!(view.data(), &tokens[tokens.len() - view.data().len()..], "{kind}: tokens");
        let refused = embed(&job, &to.with_extension("csv"), Form::Csv, &mut |_, _| {});
        assert!(matches!(refused, Err(EmbedError::NoRoomForTokens)), "{kind}");
    }
}
