//! Networks that are only used: what is left of a backbone when its weights no longer change. Called by
//! everything that runs a finished encoder over images.
//!
//! On the CPU in single precision, the normalisations are folded into the convolutions and the convolutions'
//! weights are packed once. Elsewhere, and for transformers, the backbone runs as it is.

use burn::tensor::Tensor;

use super::{Backbone, resnet::InferenceResnet, wide_resnet::InferenceWideResnet};
use crate::{layers::Mode, tensors};

/// The largest number of parameters of the networks whose packed weights are kept together. Packed, a weight of 3×3 takes
/// four times its memory: at most 512 MiB in all.
const MOST_PACKED: usize = 1 << 25;

/// A backbone in evaluation mode, without gradients. It shares its weights with the [`Backbone`] that it was made
/// of and keeps the running statistics that this had then.
#[derive(Clone, Debug)]
pub struct InferenceNetwork(Network);

#[derive(Clone, Debug)]
enum Network {
    Resnet(Box<InferenceResnet>),
    WideResnet(Box<InferenceWideResnet>),
    Whole(Box<Backbone>),
}

impl Backbone {
    /// Returns the network for many batches of images.
    pub fn for_inference(&self) -> InferenceNetwork {
        self.for_inference_among(1)
    }

    /// Returns the network for many batches of images, as one of `networks` networks of its size that are in
    /// memory together: they keep their packed weights only if there is room for those of all.
    pub fn for_inference_among(&self, networks: usize) -> InferenceNetwork {
        let parameters = tensors::parameters(self);
        let numbers: usize = parameters.iter().map(|p| p.shape.iter().product::<usize>()).sum();
        InferenceNetwork::new(self, numbers.saturating_mul(networks) <= MOST_PACKED)
    }
}

impl InferenceNetwork {
    fn new(backbone: &Backbone, keep: bool) -> Self {
        let network = match backbone {
            Backbone::Resnet(network) => {
                network.for_inference(keep).map(|network| Network::Resnet(Box::new(network)))
            }
            Backbone::WideResnet(network) => {
                network.for_inference(keep).map(|network| Network::WideResnet(Box::new(network)))
            }
            Backbone::Vit(_) | Backbone::ConvNext(_) | Backbone::Own(_) => None,
        };
        Self(network.unwrap_or_else(|| Network::Whole(Box::new(backbone.clone()))))
    }

    /// Returns the features, which depend neither on the other images of the batch nor on their number.
    ///
    /// # Shapes — `[n, channels, h, w]` to `[n, dim]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        match &self.0 {
            Network::Resnet(network) => network.forward(x),
            Network::WideResnet(network) => network.forward(x),
            Network::Whole(backbone) => backbone.forward(x, Mode::Eval),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution};

    use super::*;
    use crate::{
        backbone::{
            BackboneConfig, ResnetConfig, ResnetDepth, ResnetVariant, Stem, VitConfig,
            WideResnetConfig,
        },
        layers::Init,
    };

    fn values(x: Tensor<2>) -> Vec<f32> {
        x.into_data().try_to_vec().unwrap()
    }

    /// A network whose running statistics are those of a few batches.
    fn trained(config: &BackboneConfig, size: usize, device: &Device) -> Backbone {
        let network = Backbone::new(config, &Init::new(device, 3));
        for _ in 0..4 {
            let x = Tensor::random([8, 3, size, size], Distribution::Normal(0.3, 1.0), device);
            network.forward(x, Mode::Train);
        }
        network.no_grad()
    }

    use burn::module::Module;

    fn configs() -> Vec<(BackboneConfig, usize)> {
        let resnet = |depth, stem, width| {
            BackboneConfig::from(ResnetConfig { depth, stem, width, ..ResnetConfig::default() })
        };
        let deep = |depth| {
            let variant = ResnetVariant::Deep;
            BackboneConfig::from(ResnetConfig {
                depth,
                variant,
                width: 8,
                ..ResnetConfig::default()
            })
        };
        vec![
            (resnet(ResnetDepth::Resnet18, Stem::Cifar, 8), 32),
            (resnet(ResnetDepth::Resnet18, Stem::Imagenet, 7), 45),
            (resnet(ResnetDepth::Resnet34, Stem::Imagenet, 4), 64),
            (resnet(ResnetDepth::Resnet50, Stem::Cifar, 8), 17),
            (WideResnetConfig { widen: 1 }.into(), 32),
            (WideResnetConfig { widen: 2 }.into(), 11),
            (VitConfig { image_size: 32, patch: 8, ..VitConfig::default() }.into(), 32),
            (deep(ResnetDepth::Resnet18), 50),
            (deep(ResnetDepth::Resnet50), 37),
        ]
    }

    #[test]
    fn the_features_are_those_of_the_evaluation_mode() {
        let device = Device::flex();
        for (config, size) in configs() {
            let network = trained(&config, size, &device);
            let x = Tensor::random([5, 3, size, size], Distribution::Default, &device);
            let expected = values(network.forward(x.clone(), Mode::Eval));
            let largest = expected.iter().fold(0.0f32, |most, value| most.max(value.abs()));
            for folded in [network.for_inference(), network.for_inference_among(usize::MAX)] {
                for (got, expected) in values(folded.forward(x.clone())).iter().zip(&expected) {
                    let error = (got - expected).abs() / largest;
                    assert!(error < 2e-5, "{config:?}: {got}, expected {expected} of {largest}");
                }
            }
        }
    }

    #[test]
    fn an_image_has_the_same_bits_in_every_batch() {
        let device = Device::flex();
        for (config, size) in configs() {
            let network = trained(&config, size, &device).for_inference();
            let x = Tensor::random([50, 3, size, size], Distribution::Default, &device);
            let whole = values(network.forward(x.clone()));
            for batch in [1, 7, 49] {
                let part = values(network.forward(x.clone().narrow(0, 0, batch)));
                assert_eq!(part, whole[..part.len()], "{config:?}: a batch of {batch}");
            }
        }
    }
}
