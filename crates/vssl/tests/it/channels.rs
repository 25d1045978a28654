//! Networks for images of other numbers of channels than three.

use std::fs;

use burn::{
    module::Module,
    tensor::{Device, Distribution, Tensor},
};
use vssl::{
    backbone::{Backbone, BackboneConfig, ResnetConfig, Stem, VitConfig, WideResnetConfig},
    encoder::{
        Encoder, Input,
        foreign::{self, Request},
        images,
        onnx::{self, Pixels},
    },
    layers::{Init, Mode},
    method::{
        Sizes,
        learner::{Initial, Network},
    },
    methods::{self, METHODS},
    recipe::Recipe,
    tensors::{file, state},
};
use vssl_data::{Normalisation, PerChannel, counted, dataset::Format};

use crate::backbones::kinds;

const SIZE: usize = 16;
const CHANNELS: [usize; 4] = [1, 2, 4, 5];

fn networks() -> Vec<(&'static str, BackboneConfig)> {
    let resnet = |stem| ResnetConfig { width: 16, stem, ..Default::default() }.into();
    let mut all = kinds();
    all.push(("resnet with the cifar stem", resnet(Stem::Cifar)));
    all.push(("resnet with the imagenet stem", resnet(Stem::Imagenet)));
    all.push(("wide resnet", WideResnetConfig { widen: 1 }.into()));
    all.push(("vit", VitConfig { patch: 8, image_size: SIZE, ..Default::default() }.into()));
    all
}

fn normalisation(channels: usize) -> Normalisation {
    let of = |first: f32| {
        let numbers: Vec<f32> =
            (0..channels).map(|channel| first + channel as f32 / 64.0).collect();
        PerChannel::of(&numbers).unwrap()
    };
    Normalisation { mean: of(0.4), std: of(0.2) }
}

fn encoder(config: &BackboneConfig, channels: usize) -> Encoder {
    let device = Device::flex();
    let init = Init::new(&device, 3).with_channels(channels);
    Encoder {
        backbone: Backbone::new(config, &init).no_grad().into(),
        config: config.clone(),
        input: Input::new(SIZE, Format::Folder, normalisation(channels)),
        path: "made here".into(),
        recipe: None,
        network: None,
        step: None,
        loss_head: None,
        pooling: None,
        device,
    }
}

/// The stem has the channels, what is used computes what is trained, and every channel has an effect.
#[test]
fn every_backbone_takes_any_number_of_channels() {
    for (kind, config) in networks() {
        for channels in CHANNELS {
            let encoder = encoder(&config, channels);
            let weights = state::collect(&*encoder.backbone);
            let stem = &weights[config.stem().unwrap()];
            assert_eq!(stem.shape().as_slice()[1], channels, "{kind}");
            let device = &encoder.device;
            let x = Tensor::<4>::random(
                [3, channels, SIZE, SIZE],
                Distribution::Normal(0.0, 1.0),
                device,
            );
            let network = &*encoder.backbone;
            let plain = images::features(network.forward(x.clone(), Mode::Eval)).values;
            let pixels: Vec<f32> =
                x.clone().permute([0, 2, 3, 1]).to_data().iter::<f32>().collect();
            let used = encoder.embed(&pixels, 3).values;
            let norm = plain.iter().map(|value| value.abs()).fold(0.0, f32::max);
            for (a, b) in plain.iter().zip(&used) {
                assert!((a - b).abs() <= 1e-4 * norm, "{kind}, {channels} channels: {a} {b}");
            }
            for channel in 0..channels {
                let mut other = pixels.clone();
                other.iter_mut().skip(channel).step_by(channels).for_each(|value| *value = 0.0);
                assert_ne!(encoder.embed(&other, 3).values, used, "{kind}, channel {channel}");
            }
        }
    }
}

/// The networks of a method have the channels, and all of them learn.
#[test]
fn the_stem_of_every_channel_gets_a_gradient() {
    let sizes = Sizes { images: 32, batch: 8, global_views: 2, local_views: 0 };
    let device = Device::flex().autodiff();
    let method = methods::find("vicreg").unwrap().defaults();
    for (kind, config) in networks() {
        let initial = Initial { channels: 5, ..Initial::default() };
        let learner = method.learner_from(initial, &config, &sizes, &device, 7).unwrap();
        let stem = format!("backbone.{}", config.stem().unwrap());
        assert_eq!(learner.student()[&stem].shape().as_slice()[1], 5, "{kind}");
    }
}

/// Files of other programs and of this one keep the number of channels, and tell it.
#[test]
fn files_keep_the_channels() {
    let folder = tempfile::tempdir().unwrap();
    let (foreign, own) =
        (folder.path().join("foreign.safetensors"), folder.path().join("own.safetensors"));
    for (kind, config) in networks() {
        for channels in [1, 5] {
            let network = encoder(&config, channels);
            let weights = state::collect(&*network.backbone);
            fs::write(&foreign, file::bytes(&foreign, &weights, &[]).unwrap()).unwrap();
            let (vit, is_small) = (config.vit(), kind.contains("cifar"));
            let request = Request {
                normalisation: Some(normalisation(channels)),
                stem_padding: is_small.then_some(1),
                heads: vit.map(|vit| vit.heads()),
                pooling: vit.map(|vit| vit.pooling),
                size: Some(32),
                ..Request::default()
            };
            let report =
                foreign::read(&foreign, &request).unwrap_or_else(|error| panic!("{kind}: {error}"));
            report.check().unwrap();
            assert_eq!(report.input.channels(), channels, "{kind}");
            report.write(&own, &foreign).unwrap();
            let read = Encoder::open(&own, "latest", Network::Student, &Device::flex()).unwrap();
            assert_eq!(
                (read.input, state::collect(&*read.backbone)),
                (report.input, weights.clone())
            );
            let model = onnx::model(&weights, &config, &network.input, Pixels::Bytes, &[]).unwrap();
            let input = &model.graph.as_ref().unwrap().input[0];
            assert!(
                format!("{input:?}").contains(&format!("dim_value: Some({channels})")),
                "{input:?}"
            );
            // The numbers are asked for, and have to be as many.
            let unsaid =
                foreign::read(&foreign, &Request { normalisation: None, ..request.clone() });
            assert!(unsaid.unwrap_err().to_string().contains("--normalisation"), "{kind}");
            let other = Some(normalisation(channels + 1));
            let wrong =
                foreign::read(&foreign, &Request { normalisation: other, ..request.clone() });
            assert!(wrong.unwrap_err().to_string().contains(&counted(channels, "channel")));
            // One mean and one deviation are for any number.
            let all = Some(Normalisation::new([0.5; 3], [0.25; 3]));
            let any = foreign::read(&foreign, &Request { normalisation: all, ..request }).unwrap();
            assert_eq!(*any.input.normalisation.std, vec![0.25; channels]);
        }
    }
}

const RECIPE: &str = "method = \"simclr\"\ndata.path = \"x\"\n";

fn parsed(rest: &str) -> Result<Recipe, String> {
    let read = Recipe::parse(&format!("{RECIPE}{rest}"), "test.toml", &[], METHODS);
    read.map(|(recipe, _)| recipe).map_err(|error| error.to_string())
}

#[test]
fn a_recipe_for_other_channels_needs_their_normalisation_and_views_without_colours() {
    let views = "views = [{ saturation = 0, hue = 0, grayscale = 0 }]\n";
    let two = "data.channels = 2\ndata.normalisation = { mean = [0.5, 0.4], std = [0.2, 0.1] }\n";
    let recipe = parsed(&format!("{two}{views}")).unwrap();
    assert_eq!((recipe.data.channels, Input::of(&recipe).channels()), (2, 2));
    let again = Recipe::parse(&recipe.to_toml(), "again.toml", &[], METHODS).unwrap().0;
    assert_eq!(again, recipe);
    for (rest, parts) in [
        (
            format!("data.channels = 2\n{views}"),
            &["data.normalisation", "not set", "data statistics"][..],
        ),
        (
            two.to_owned(),
            &["saturation", "hue", "grayscale", "three channels", "data.channels = 2"],
        ),
        (format!("{views}{}", two.replace("= 2", "= 4")), &["images of 2 channels", "4"]),
        (format!("{views}{}", two.replace(", 0.4]", "]")), &["1 numbers in mean and 2 in std"]),
        ("data.channels = 0".to_owned(), &["data.channels", "1 to 64"]),
        ("data.channels = 65".to_owned(), &["data.channels", "1 to 64"]),
    ] {
        let error = parsed(&rest).unwrap_err();
        for part in parts {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    }
    // Recipes that say nothing have three, and do not write it down.
    let usual = parsed("").unwrap();
    assert_eq!(usual.data.channels, 3);
    assert!(!usual.to_toml().contains("channels"));
    // Grey digits have a usual normalisation.
    let grey = parsed(&format!("data.format = \"idx\"\ndata.channels = 1\n{views}")).unwrap();
    assert_eq!(*Input::of(&grey).normalisation.mean, [0.2860]);
}
