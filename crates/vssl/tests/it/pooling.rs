//! The feature of a transformer in evaluations: its class token, the mean of its patches, or both.

use std::{fs, path::Path};

use burn::tensor::{Device, Tensor};
use serde_json::Value;
use tempfile::TempDir;
use vssl::{
    backbone::{Backbone, BackboneConfig, ConvNextConfig, Pooling, Positions, Vit, VitConfig},
    encoder::{Encoder, EncoderError, Input},
    eval::evaluators::Splits,
    layers::Init,
    method::learner::Network,
    methods::METHODS,
    recipe::Recipe,
    run::{checkpoint::Store, stop::Stop},
    train::{Plan, pretrain},
};
use vssl_data::{Normalisation, PerChannel, dataset::Format};

use super::training::{Silent, environment, recipe, train};

const SIDE: usize = 16;

fn tiny() -> VitConfig {
    VitConfig {
        width: Some(12),
        depth: Some(2),
        patch: 4,
        image_size: SIDE,
        ..VitConfig::default()
    }
}

fn encoder(config: impl Into<BackboneConfig>) -> Encoder {
    let (device, config) = (Device::flex(), config.into());
    let normalisation = Normalisation {
        mean: PerChannel::of(&[0.0; 3]).unwrap(),
        std: PerChannel::of(&[1.0; 3]).unwrap(),
    };
    Encoder {
        backbone: Backbone::new(&config, &Init::new(&device, 3)).into(),
        config,
        input: Input::new(SIDE, Format::Cifar10, normalisation),
        path: "encoder".into(),
        recipe: None,
        network: None,
        step: None,
        loss_head: None,
        pooling: None,
        device,
    }
}

/// Two images, channels last.
fn pixels() -> Vec<f32> {
    (0..2 * SIDE * SIDE * 3).map(|i| ((i * 37 + i * i % 101) % 97) as f32 / 48.0 - 1.0).collect()
}

fn values(x: Tensor<2>) -> Vec<f32> {
    x.into_data().try_into_vec().unwrap()
}

/// The class token and the mean of the patches of the two images, by the tokens of the network.
fn expected(encoder: &Encoder) -> [Vec<f32>; 2] {
    let Backbone::Vit(network) = &*encoder.backbone else { panic!("a transformer") };
    let network: &Vit = network;
    let x = Tensor::<1>::from_floats(pixels().as_slice(), &Device::flex());
    let x = x.reshape([2, SIDE, SIDE, 3]).permute([0, 3, 1, 2]);
    let tokens = network.tokens(x);
    let ([n, count, width], prefix) = (tokens.dims(), network.prefix());
    let token = tokens.clone().narrow(1, 0, 1).reshape([n, width]);
    let mean = tokens.narrow(1, prefix, count - prefix).mean_dim(1).reshape([n, width]);
    [values(token), values(mean)]
}

#[test]
fn every_pooling_is_of_the_tokens_that_it_names() {
    let networks = [
        tiny(),
        VitConfig { registers: 2, pooling: Pooling::Mean, ..tiny() },
        VitConfig { registers: 1, positions: Positions::Rotary, ..tiny() },
    ];
    for config in networks {
        let [token, mean] = expected(&encoder(config));
        let both: Vec<f32> =
            token.chunks(12).zip(mean.chunks(12)).flat_map(|(a, b)| [a, b].concat()).collect();
        let cases = [
            (Pooling::Token, 12, token),
            (Pooling::Mean, 12, mean),
            (Pooling::TokenMean, 24, both),
        ];
        for (pooling, dim, expected) in cases {
            let pooled = encoder(config).with_pooling(pooling).unwrap();
            let own = pooling == config.pooling;
            assert_eq!(pooled.pooling, (!own).then_some(pooling), "{config:?}");
            assert_eq!((pooled.config.dim(), pooled.config.pooling()), (dim, Some(pooling)));
            let features = pooled.embed(pixels(), 2);
            assert_eq!((features.rows, features.dim), (2, dim));
            let far = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-6;
            assert!(!features.values.iter().zip(&expected).any(far), "{config:?} {pooling:?}");
            let (again, tokens) = pooled.embed_with_tokens(&pixels(), 2).unwrap();
            assert_eq!((&again.values, tokens.len()), (&features.values, 2 * 16 * 12));
            if own {
                assert_eq!(features.values, encoder(config).embed(pixels(), 2).values);
            }
        }
    }
}

#[test]
fn a_network_without_the_tokens_or_their_norm_refuses_with_what_it_has() {
    let refused = |encoder: Encoder, pooling, words: &str| {
        let error = encoder.with_pooling(pooling).err().unwrap();
        assert!(matches!(error, EncoderError::Pooling { .. }), "{error}");
        let error = error.to_string();
        assert!(error.starts_with("encoder: pooling ") && error.contains(words), "{error}");
    };
    for config in [BackboneConfig::default(), ConvNextConfig::default().into()] {
        refused(encoder(config), Pooling::Mean, "only transformers have a class token");
    }
    let without = VitConfig { class_token: false, pooling: Pooling::Mean, ..tiny() };
    refused(encoder(without), Pooling::TokenMean, "there is no class token; expected mean");
    refused(encoder(without), Pooling::Token, "there is no class token; expected mean");
    let normed = VitConfig { pooling: Pooling::FcNorm, ..tiny() };
    refused(encoder(normed), Pooling::Mean, "its last norm is of the mean of the patches");
    refused(encoder(tiny()), Pooling::FcNorm, "its last norm is of the tokens");
    assert_eq!(encoder(normed).with_pooling(Pooling::FcNorm).unwrap().pooling, None);
}

fn text(more: &str) -> String {
    format!(
        r#"
        method = "simclr"
        simclr = {{ projector_hidden = 16, dim = 8 }}
        [data]
        format = "idx"
        path = "data/fashion-mnist-tenth"
        limit_train = 64
        limit_validation = 32
        [[views]]
        count = 2
        size = 28
        [backbone]
        architecture = "vit-tiny"
        vit = {{ width = 12, depth = 2, patch = 7, image_size = 28 }}
        [optimizer]
        name = "adamw"
        lr = 1e-3
        [schedule]
        name = "constant"
        [train]
        epochs = 2
        batch = 16
        [log]
        every_steps = 1
        [evaluation]
        pixels = false
        {more}
        "#
    )
}

/// The lines of `metrics.jsonl` without the clock, and the accuracies of nearest neighbours apart.
fn lines(run: &Path) -> (Vec<Value>, Vec<Value>) {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let mut neighbours = Vec::new();
    let lines = text.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let fields = line.as_object_mut().unwrap();
        fields.remove("time");
        neighbours.extend(fields.remove("knn_top1"));
        line
    });
    (lines.collect(), neighbours)
}

#[test]
fn a_run_is_evaluated_by_the_feature_that_its_recipe_names_and_learns_the_same() {
    let folder = TempDir::new().unwrap();
    let [own, mean] = ["own", "mean"].map(|name| folder.path().join(name));
    train(&own, &text(""));
    let plan = Plan::new(recipe(&text("pooling = \"mean\"")), &mean, environment(Device::flex()));
    let plan = plan.unwrap();
    assert!(
        plan.notes.iter().any(|note| note.contains("the mean of the patches")),
        "{:?}",
        plan.notes
    );
    let summary = pretrain(&plan, &Stop::default(), &mut Silent).unwrap();
    assert!(summary.notes.iter().any(|note| note.contains("the mean of the patches")));
    let tensors = |run| Store::of(run).load("latest").unwrap().unwrap().tensors;
    assert_eq!(tensors(&own), tensors(&mean));
    // The probe beside the encoder has the network's own feature in both.
    let ([was, now], [own_knn, mean_knn]) = {
        let (a, b) = (lines(&own), lines(&mean));
        ([a.0, b.0], [a.1, b.1])
    };
    assert_eq!(was, now);
    assert_ne!(own_knn, mean_knn);
    let opened = Encoder::open(&mean, "latest", Network::Student, &Device::flex()).unwrap();
    let pooled = opened.with_pooling(Pooling::Mean).unwrap();
    let images = plan.validation.clone().unwrap();
    let [train, validation] =
        [&plan.train, &images].map(|set| pooled.features(set, &pooled.reading()).unwrap());
    let splits = Splits { train, validation };
    for evaluator in &plan.evaluators {
        for (name, value) in evaluator.run(&splits).unwrap() {
            assert_eq!(summary.figure(name), Some(value), "{name}");
        }
    }
}

#[test]
fn a_run_goes_on_with_its_feature_and_refuses_one_that_it_cannot_have() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    train(&run, &text("pooling = \"mean\""));
    let plan = |more: &str| Plan::new(recipe(&text(more)), &run, environment(Device::flex()));
    let error = plan("pooling = \"token-mean\"").err().unwrap().to_string();
    assert!(error.contains("run"), "{error}");
    let fc_norm = Recipe::parse(&text("pooling = \"fc_norm\""), "a", &[], METHODS);
    let error = fc_norm.err().unwrap().to_string();
    assert!(error.contains("evaluation.pooling") && error.contains("not of their mean"), "{error}");
    let trained = text("").replace("depth = 2,", "depth = 2, pooling = \"token_mean\",");
    let error = Recipe::parse(&trained, "a", &[], METHODS);
    let error = error.err().unwrap().to_string();
    assert!(error.contains("\"token_mean\" is of evaluations"), "{error}");
}
