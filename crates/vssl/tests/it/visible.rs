//! A transformer that sees some patches of an image only.

use burn::tensor::{Device, Tensor, TensorData};
use vssl::{
    backbone::{Interpolation, Mlp, Placed, Pooling, Positions, Vit, VitConfig},
    layers::{Chosen, Init},
};

const PATCH: usize = 4;

fn images(side: usize, seed: usize) -> Tensor<4> {
    let pixel = |i: usize| ((i * 37 + i * i % 101 + seed * 53) % 97) as f32 / 48.0 - 1.0;
    let pixels: Vec<f32> = (0..2 * 3 * side * side).map(pixel).collect();
    Tensor::from_data(TensorData::new(pixels, [2, 3, side, side]), &Device::flex())
}

/// With and without class token, registers and positions of them, in all poolings; and with rotary positions.
fn networks() -> Vec<VitConfig> {
    let tiny = VitConfig {
        width: Some(24),
        depth: Some(2),
        patch: PATCH,
        image_size: 16,
        ..VitConfig::default()
    };
    let mut all = Vec::new();
    for (class_token, registers) in [(true, 0), (true, 2), (false, 0), (false, 3)] {
        for placed in [Placed::Class, Placed::All, Placed::Patches] {
            for pooling in [Pooling::Token, Pooling::Mean, Pooling::FcNorm] {
                if class_token || pooling != Pooling::Token {
                    all.push(VitConfig { class_token, registers, placed, pooling, ..tiny });
                }
            }
        }
    }
    all.push(VitConfig { interpolation: Interpolation::Offset, ..tiny });
    let rotary = VitConfig { positions: Positions::Rotary, layer_scale: 0.5, ..tiny };
    all.push(rotary);
    all.push(VitConfig { registers: 2, mlp: Mlp::Swiglu, ..rotary });
    all.push(VitConfig { class_token: false, pooling: Pooling::Mean, ..rotary });
    all.push(VitConfig { registers: 1, pooling: Pooling::FcNorm, ..rotary });
    all
}

fn largest_difference<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    (a - b).abs().max().into_scalar()
}

#[test]
fn all_patches_in_their_order_give_the_tokens_and_features_of_the_whole_image() {
    let device = Device::flex();
    for config in networks() {
        let network = Vit::new(&config, &Init::new(&device, 3));
        // The second size has interpolated positions.
        for side in [16, 24] {
            let (x, count) = (images(side, 0), (side / PATCH).pow(2) as u32);
            let all = Chosen::new(&[(0..count).collect::<Vec<_>>(), (0..count).collect()]);
            let tokens = network.visible_tokens(x.clone(), &all);
            if config.pooling == Pooling::FcNorm {
                continue; // each token has a norm that the whole image's have not
            }
            let error = largest_difference(tokens.clone(), network.tokens(x.clone()));
            assert!(error < 1e-5, "{config:?}, {side} pixels: {error}");
            let features = network.feature_of_visible(tokens);
            let error = largest_difference(features, network.forward(x));
            assert!(error < 1e-5, "{config:?}, {side} pixels: {error}");
        }
    }
}

#[test]
fn patches_that_are_hidden_have_no_effect_and_those_that_are_seen_come_in_their_order() {
    let device = Device::flex();
    for config in networks() {
        let network = Vit::new(&config, &Init::new(&device, 3));
        let chosen = Chosen::new(&[vec![5, 0, 10], vec![3, 2, 1]]);
        let reordered = Chosen::new(&[vec![10, 5, 0], vec![1, 3, 2]]);
        let x = images(16, 0);
        // Other pixels in the last row of patches, which neither image shows.
        let other =
            Tensor::cat(vec![x.clone().narrow(2, 0, 12), images(16, 1).narrow(2, 12, 4)], 2);
        let tokens = network.visible_tokens(x.clone(), &chosen);
        assert_eq!(tokens.dims(), [2, network.prefix() + 3, 24], "{config:?}");
        let error = largest_difference(tokens.clone(), network.visible_tokens(other, &chosen));
        assert_eq!(error, 0.0, "{config:?}");
        let again = network.visible_tokens(x, &reordered);
        let (prefix, patches) = (network.prefix(), tokens.clone().narrow(1, network.prefix(), 3));
        let turned = Tensor::cat(
            vec![again.clone().narrow(1, prefix + 1, 2), again.clone().narrow(1, prefix, 1)],
            1,
        );
        let error = largest_difference(patches, turned);
        assert!(error < 1e-5, "{config:?}: {error}");
        let features = |tokens: Tensor<3>| network.feature_of_visible(tokens);
        let error = largest_difference(features(tokens), features(again));
        assert!(error < 1e-5, "{config:?}: {error}");
    }
}

#[test]
fn an_image_has_the_same_tokens_alone_and_beside_one_of_which_other_patches_are_seen() {
    let device = Device::flex();
    for config in networks() {
        let network = Vit::new(&config, &Init::new(&device, 3));
        let (x, lists) = (images(16, 0), [vec![5, 0, 10], vec![3, 2, 1]]);
        let tokens = network.visible_tokens(x.clone(), &Chosen::new(&lists));
        for (image, list) in lists.into_iter().enumerate() {
            let alone = x.clone().narrow(0, image, 1);
            let alone = network.visible_tokens(alone, &Chosen::new(&[list]));
            let error = largest_difference(tokens.clone().narrow(0, image, 1), alone);
            assert!(error < 1e-5, "{config:?}, image {image}: {error}");
        }
    }
}
