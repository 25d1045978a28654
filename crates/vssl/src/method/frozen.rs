//! An encoder that a method learns from and nobody trains (`methods::distill`). It is no state of the run: no checkpoint
//! holds it, and it is given to the method when the networks are made.
//!
//! The encoder knows images of another size and another normalisation than the views have. It is given the views as it
//! knows them, by its running statistics, and what it computes is a constant to the gradients.

use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor, TensorData};
use vssl_data::Normalisation;
use vssl_kernels::breakdown::{self, Part};

use crate::{
    backbone::{Backbone, BackboneConfig, Grid, InferenceNetwork, outside_graph},
    features::Features,
    layers::{Init, Mode, resized},
};

/// Fixes the values of [`FrozenTeacher::untrained`], whatever the seed of the run is.
const UNTRAINED: u64 = 0x7eac;

/// A frozen encoder, with what it knows of its images.
#[derive(Clone, Debug)]
pub struct FrozenTeacher {
    config: BackboneConfig,
    backbone: Backbone,
    network: InferenceNetwork,
    /// The side of the images that it was trained on; `None` takes views as they are.
    size: Option<usize>,
    /// Factor and offset of each channel that turn the normalisation of the views into its own; `None` where they agree.
    renormalisation: Option<[Vec<f32>; 2]>,
    /// What it made of each training image before, whole and without augmentation; `None` where it sees the views.
    stored: Option<Arc<Features>>,
}

/// A function that gives a method its frozen teacher, for a student with the backbone of this configuration.
///
/// # Errors
/// The method cannot learn from this teacher, or such a student cannot; the error says what was expected.
pub type Teach<M> = fn(M, Arc<FrozenTeacher>, &BackboneConfig) -> Result<M, String>;

impl FrozenTeacher {
    /// Makes a teacher of a trained network, which is off the autodiff device. It knows images of `size` pixels with the
    /// normalisation `own`, and the views of the run have the normalisation `of_views`.
    pub fn new(
        config: BackboneConfig,
        backbone: Backbone,
        size: usize,
        own: Normalisation,
        of_views: Normalisation,
    ) -> Self {
        // (x·s + m − m′) / s′ = x·(s / s′) + (m − m′) / s′
        let factor = |i: usize| of_views.std[i] / own.std[i];
        let offset = |i: usize| (of_views.mean[i] - own.mean[i]) / own.std[i];
        let channels = 0..own.channels();
        let change = [channels.clone().map(factor).collect(), channels.map(offset).collect()];
        let network = backbone.for_inference();
        let renormalisation = (own != of_views).then_some(change);
        Self { config, backbone, network, size: Some(size), renormalisation, stored: None }
    }

    /// Makes an untrained teacher on the device, which takes views as they are: for tests and measurements of time.
    pub fn untrained((config, channels): (&BackboneConfig, usize), device: &Device) -> Self {
        let device = device.clone().inner();
        let init = Init::new(&device, UNTRAINED).with_channels(channels);
        let backbone = Backbone::new(config, &init);
        let network = backbone.for_inference();
        let config = config.clone();
        Self { config, backbone, network, size: None, renormalisation: None, stored: None }
    }

    /// Returns the teacher with features that it made of all training images before, a row for each: it does not see the
    /// views any more.
    pub fn with_features(self, features: Features) -> Self {
        Self { stored: Some(Arc::new(features)), ..self }
    }

    /// Returns whether it made the features of the training images before.
    pub fn has_stored(&self) -> bool {
        self.stored.is_some()
    }

    /// Returns the features of a batch: those that it made before of the training images of these numbers, or else those
    /// of their views, as [`FrozenTeacher::features`] has them.
    ///
    /// # Shapes — `views`: `[n, channels, h, w]`; `images`: `[n]`; returns `[n, dim]`.
    pub fn features_of(
        &self,
        images: &[usize],
        views: &Tensor<4>,
        size: Option<usize>,
    ) -> Tensor<2> {
        let Some(stored) = &self.stored else { return self.features(views, size) };
        let rows: Vec<f32> = images.iter().flat_map(|&image| stored.row(image)).copied().collect();
        Tensor::from_data(TensorData::new(rows, [images.len(), stored.dim]), &views.device())
    }

    /// Returns the architecture.
    pub fn config(&self) -> &BackboneConfig {
        &self.config
    }

    /// Returns the network.
    pub fn backbone(&self) -> &Backbone {
        &self.backbone
    }

    /// Returns the length of a feature.
    pub fn dim(&self) -> usize {
        self.config.dim()
    }

    /// Checks that the network takes images of `size` pixels, or of the size that it was trained on if that is `None`.
    ///
    /// # Errors
    /// It does not; the error says which sizes it takes.
    pub fn check_size(&self, size: Option<usize>) -> Result<(), String> {
        let Some(side) = size.or(self.size) else { return Ok(()) };
        let expected = match &self.config {
            BackboneConfig::Vit(vit) if side < vit.patch || !side.is_multiple_of(vit.patch) => {
                format!("a multiple of its patch, which is {} pixels", vit.patch)
            }
            BackboneConfig::ConvNext(config) if side < config.smallest() => {
                format!("at least {} pixels", config.smallest())
            }
            _ if side < 8 => "at least 8 pixels".to_owned(),
            _ => return Ok(()),
        };
        Err(format!("the teacher is given images of {side} pixels; expected {expected}"))
    }

    /// Returns the features of the views, which it sees in `size` × `size` pixels, or in the size that it was trained on
    /// if that is `None`.
    ///
    /// # Shapes — `[n, channels, h, w]` to `[n, dim]`.
    pub fn features(&self, views: &Tensor<4>, size: Option<usize>) -> Tensor<2> {
        breakdown::network(Part::Backbone, || {
            outside_graph(views.clone(), |x| {
                let x = self.as_known(x, size);
                // The folded convolutions are in single precision.
                match x.dtype() {
                    DType::F32 => self.network.forward(x),
                    _ => self.backbone.forward(x, Mode::Eval),
                }
            })
        })
    }

    /// Returns the features as [`FrozenTeacher::features`] does and those of the places of the images.
    ///
    /// # Shapes — `[n, channels, h, w]` to `[n, dim]` and a grid of `[n, rows · columns, dim]`.
    ///
    /// # Panics
    /// The places of the network are not known: see [`BackboneConfig::has_grid`].
    pub fn features_and_grid(&self, views: &Tensor<4>, size: Option<usize>) -> (Tensor<2>, Grid) {
        let found = outside_graph(views.clone(), |x| {
            self.backbone.forward_with_grid(self.as_known(x, size), Mode::Eval)
        });
        found.expect("a teacher without places is refused")
    }

    /// Returns the views as the network knows images: in its normalisation and size. In half precision this is computed
    /// in single precision.
    ///
    /// # Shapes — `[n, channels, h, w]` to `[n, channels, size, size]`, channels-last in memory where anything changes.
    fn as_known(&self, views: Tensor<4>, size: Option<usize>) -> Tensor<4> {
        let ([_, _, h, w], precision) = (views.dims(), views.dtype());
        let (rows, columns) = size.or(self.size).map_or((h, w), |side| (side, side));
        if self.renormalisation.is_none() && (rows, columns) == (h, w) {
            return views;
        }
        let is_half = matches!(precision, DType::F16 | DType::BF16);
        let views = if is_half { views.cast(DType::F32) } else { views };
        let mut x = views.permute([0, 2, 3, 1]); // channels last
        if let Some(change) = &self.renormalisation {
            let device = x.device();
            let [factor, offset] = change.each_ref().map(|values| {
                let values = TensorData::new(values.clone(), [1, 1, 1, values.len()]);
                Tensor::<4>::from_data(values, &device).cast(x.dtype())
            });
            x = x * factor + offset;
        }
        let x = resized(x, [rows, columns], true);
        // Resizing leaves another order in memory.
        let [n, _, _, channels] = x.dims();
        let x: Tensor<4> =
            x.reshape([n * rows * columns, channels]).reshape([n, rows, columns, channels]);
        x.permute([0, 3, 1, 2]).cast(precision)
    }
}

#[cfg(test)]
mod tests {
    use burn::{module::Module, tensor::Distribution};
    use vssl_data::dataset::{CIFAR10, IMAGENET};

    use super::*;
    use crate::backbone::{ResnetConfig, Stem, VitConfig};

    fn resnet() -> BackboneConfig {
        ResnetConfig { width: 4, stem: Stem::Cifar, ..Default::default() }.into()
    }

    fn vit() -> BackboneConfig {
        VitConfig { patch: 8, image_size: 32, ..Default::default() }.into()
    }

    fn teacher(config: &BackboneConfig, size: usize, own: Normalisation) -> FrozenTeacher {
        let network = Backbone::new(config, &Init::new(&Device::flex(), 3)).no_grad();
        FrozenTeacher::new(config.clone(), network, size, own, CIFAR10)
    }

    /// Pixels from 0 to 1 in a normalisation.
    fn normalised(pixels: &Tensor<4>, by: Normalisation) -> Tensor<4> {
        let channels = |values: &[f32]| {
            let values = TensorData::new(values.to_vec(), [1, values.len(), 1, 1]);
            Tensor::<4>::from_data(values, &pixels.device())
        };
        (pixels.clone() - channels(&by.mean)) / channels(&by.std)
    }

    fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.into_data().try_to_vec().unwrap()
    }

    fn close(got: Vec<f32>, expected: Vec<f32>) {
        let largest = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        for (got, expected) in got.iter().zip(&expected) {
            assert!((got - expected).abs() < 1e-4 * largest, "{got}, expected {expected}");
        }
    }

    #[test]
    fn the_teacher_sees_the_views_in_its_own_normalisation() {
        let pixels = Tensor::random([3, 3, 32, 32], Distribution::Default, &Device::flex());
        for config in [resnet(), vit()] {
            let teacher = teacher(&config, 32, IMAGENET);
            let expected = teacher.backbone.forward(normalised(&pixels, IMAGENET), Mode::Eval);
            let views = normalised(&pixels, CIFAR10);
            close(values(teacher.features(&views, None)), values(expected.clone()));
            let (features, grid) = teacher.features_and_grid(&views, None);
            close(values(features), values(expected));
            assert_eq!([grid.rows, grid.columns], [4, 4]);
            assert_eq!(grid.cells.dims(), [3, 16, config.dim()]);
        }
    }

    #[test]
    fn the_teacher_sees_the_views_in_its_own_size_and_gives_constants() {
        let device = Device::flex().autodiff();
        let views = Tensor::random([2, 3, 24, 24], Distribution::Default, &device);
        let teacher = teacher(&vit(), 48, CIFAR10);
        let (features, grid) = teacher.features_and_grid(&views, None);
        assert!(!features.is_tracked() && !grid.cells.is_tracked());
        assert_eq!([grid.rows, grid.columns], [6, 6]);
        let wide = resized(views.clone().inner().permute([0, 2, 3, 1]), [48, 48], true);
        let expected = teacher.backbone.forward(wide.permute([0, 3, 1, 2]), Mode::Eval);
        close(values(features), values(expected.clone()));
        close(values(teacher.features(&views, Some(48))), values(expected));
        assert_eq!(teacher.features_and_grid(&views, Some(16)).1.rows, 2);
    }

    #[test]
    fn a_size_that_the_teacher_cannot_take_is_refused() {
        let teacher = teacher(&vit(), 32, CIFAR10);
        assert_eq!(teacher.check_size(None), Ok(()));
        let message = teacher.check_size(Some(30)).unwrap_err();
        assert!(message.contains("30 pixels") && message.contains("which is 8"), "{message}");
        assert!(
            FrozenTeacher::untrained((&resnet(), 3), &Device::flex()).check_size(Some(7)).is_err()
        );
    }
}
