//! Features do not depend on how many images go through a network together, whoever asks for them.

use std::fs;

use vssl::{
    backbone::{Backbone, BackboneConfig, ResnetConfig, ResnetDepth, VitConfig, WideResnetConfig},
    embed::{Form, Job, embed},
    encoder::{Encoder, Reading},
    layers::Init,
};
use vssl_data::OnBadImage;

use super::{
    backbones::kinds,
    embedded::{encoder, job, pictures},
};

fn encoders() -> Vec<Encoder> {
    let resnet = |depth| ResnetConfig { depth, width: 3, ..ResnetConfig::default() }.into();
    let mut configs: Vec<BackboneConfig> = vec![
        resnet(ResnetDepth::Resnet18),
        resnet(ResnetDepth::Resnet50),
        WideResnetConfig { widen: 1 }.into(),
        VitConfig { image_size: 16, patch: 8, ..VitConfig::default() }.into(),
    ];
    let of = |config: BackboneConfig| {
        let like = encoder(1);
        let backbone = Backbone::new(&config, &Init::new(&like.device, 5));
        Encoder { backbone: backbone.into(), config, ..like }
    };
    configs.extend(kinds().into_iter().map(|(_, config)| config));
    configs.into_iter().map(of).collect()
}

#[test]
fn embed_writes_the_same_bytes_for_every_batch() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("images");
    pictures(&root);
    for encoder in encoders() {
        let written = |batch: Option<usize>| {
            let to = folder.path().join("out.npy");
            let job = Job { batch, ..job(&encoder, &root, OnBadImage::Stop) };
            assert_eq!(job.batch(), batch.unwrap_or_else(|| encoder.batch()));
            embed(&job, &to, Form::Npy, &mut |_, _| {}).unwrap();
            fs::read(&to).unwrap()
        };
        let by_default = written(None);
        for batch in [1, 7, 19, 1000] {
            assert!(written(Some(batch)) == by_default, "{:?}: {batch}", encoder.config);
        }
    }
}

#[test]
fn batches_that_are_handed_out_are_the_features_of_the_whole_set() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("images");
    pictures(&root);
    for encoder in encoders() {
        let images = job(&encoder, &root, OnBadImage::Stop).images;
        let whole = encoder.features(&images, &Reading::default()).unwrap();
        for batch in [1, 8] {
            let (mut values, mut sizes) = (Vec::new(), Vec::new());
            let each = |numbers: &[usize], part: vssl::features::Features| {
                assert_eq!(numbers.len(), part.rows);
                sizes.push(part.rows);
                values.extend(part.values);
                Ok::<_, vssl::encoder::EncoderError>(())
            };
            let reading = Reading::default();
            assert_eq!(encoder.each_batch_of(batch, &images, &reading, each).unwrap(), 0);
            assert_eq!(values, whole.values);
            assert!(sizes.iter().all(|&size| size <= batch) && sizes.iter().sum::<usize>() == 19);
        }
    }
}

#[test]
fn an_encoder_that_gets_another_network_gives_the_features_of_that_network() {
    let pixels: Vec<f32> = (0..16 * 16 * 3).map(|i| (i as f32 * 0.37).sin()).collect();
    let (mut changed, other) = (encoder(1), encoder(2));
    let before = changed.embed(&pixels, 1).values;
    changed.backbone = other.backbone.clone();
    assert_ne!(changed.embed(&pixels, 1).values, before);
    assert_eq!(changed.embed(&pixels, 1).values, other.embed(&pixels, 1).values);
    changed.backbone = encoder(1).backbone;
    assert_eq!(changed.embed(&pixels, 1).values, before);
}
