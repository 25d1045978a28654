//! Frozen features of whole splits and what nearest neighbours and a linear classifier make of
//! them, between epochs and at the end.

use std::sync::Arc;

use burn::tensor::Tensor;
use vssl_data::{Dataset, EvaluationTransform, loader};

use super::{Plan, TrainError, batch::images_to_tensor, probe::Probe, report::Reporter};
use crate::{
    backbone::Backbone,
    eval::{Features, knn, knn::KnnConfig, linear},
    layers::Mode,
    train::learner::Network,
};

/// Images in one forward pass: no gradients, so larger than a training batch needs little memory.
const BATCH: usize = 256;

/// Accuracies of the end, percent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evaluation {
    /// Nearest neighbours of the trained encoder.
    pub knn: Option<f64>,
    /// Logistic regression on the trained encoder.
    pub linear: Option<f64>,
    /// Nearest neighbours of the encoder at step 0.
    pub untrained_knn: Option<f64>,
    /// Logistic regression on the encoder at step 0.
    pub untrained_linear: Option<f64>,
    /// Nearest neighbours of the pixels.
    pub pixels_knn: Option<f64>,
}

/// Features of both splits.
pub struct Splits {
    train: Features,
    validation: Features,
}

impl Splits {
    /// Of one encoder; `None` without labels or a validation split.
    ///
    /// # Errors
    /// Images that cannot be read, features that are not numbers.
    pub fn of(plan: &Plan, encoder: &Backbone) -> Result<Option<Self>, TrainError> {
        Self::with(plan, |pixels, rows| {
            let size = plan.evaluation.crop;
            let x = images_to_tensor(pixels, rows, size, &plan.device);
            features(encoder.forward(x, Mode::Eval))
        })
    }

    /// The normalised pixels themselves.
    ///
    /// # Errors
    /// Images that cannot be read.
    pub fn of_pixels(plan: &Plan) -> Result<Option<Self>, TrainError> {
        Self::with(plan, |values, rows| {
            let dim = values.len() / rows;
            Features { rows, dim, values, labels: None }
        })
    }

    fn with(
        plan: &Plan,
        embed: impl Fn(Vec<f32>, usize) -> Features,
    ) -> Result<Option<Self>, TrainError> {
        let Some(validation) = plan.validation.as_ref().filter(|_| plan.has_labels()) else {
            return Ok(None);
        };
        let train = of_split(&plan.train, plan, &embed)?;
        let validation = of_split(validation, plan, &embed)?;
        Ok(Some(Self { train, validation }))
    }

    /// Top-1 of nearest neighbours, percent.
    ///
    /// # Errors
    /// Features that are not numbers.
    pub fn knn(&self, config: &KnnConfig) -> Result<f64, TrainError> {
        Ok(knn::classify(&self.train, &self.validation, config)?.top1)
    }

    /// Top-1 of a logistic regression, percent.
    ///
    /// # Errors
    /// Features that are not numbers.
    pub fn linear(&self) -> Result<f64, TrainError> {
        Ok(linear::evaluate(&self.train, &self.validation)?.top1)
    }

    /// Top-1 of the online probe on the validation split, percent.
    pub fn probe(&self, probe: &Probe) -> f64 {
        100.0 * probe.accuracy(&self.validation)
    }
}

fn of_split(
    split: &Arc<dyn Dataset>,
    plan: &Plan,
    embed: &impl Fn(Vec<f32>, usize) -> Features,
) -> Result<Features, TrainError> {
    let labels = split.labels().map(|labels| labels.iter().map(|&l| i64::from(l)).collect());
    let mut all = Features { rows: 0, dim: 0, values: Vec::new(), labels };
    let batches = loader::evaluation(split.clone(), &plan.evaluation, BATCH, plan.workers());
    for batch in batches {
        let batch = batch?;
        let part = embed(batch.pixels, batch.indices.len());
        all.rows += part.rows;
        all.dim = part.dim;
        all.values.extend(part.values);
    }
    Ok(all)
}

/// Reads a batch of features from the device.
///
/// # Shapes — `x`: `[n, dim]`.
pub fn features(x: Tensor<2>) -> Features {
    let [rows, dim] = x.dims();
    let values = x.into_data().try_into_vec().expect("features are f32");
    Features { rows, dim, values, labels: None }
}

/// The table at the end of a run.
///
/// # Errors
/// Images that cannot be read, features that are not numbers.
pub fn at_the_end(
    plan: &Plan,
    encoder: &Backbone,
    reporter: &mut Reporter,
) -> Result<Evaluation, TrainError> {
    let mut evaluation = Evaluation::default();
    let wanted = &plan.recipe.evaluation;
    if !wanted.enabled || plan.validation.is_none() || !plan.has_labels() {
        return Ok(evaluation);
    }
    reporter.phase("evaluating the trained encoder")?;
    if let Some(splits) = Splits::of(plan, encoder)? {
        evaluation.knn = Some(splits.knn(&plan.recipe.knn)?);
        evaluation.linear = Some(splits.linear()?);
    }
    if wanted.untrained {
        reporter.phase("evaluating the same encoder untrained")?;
        let untrained = plan.learner().encoder(Network::Student);
        let untrained = untrained.expect("every method has a student");
        if let Some(splits) = Splits::of(plan, &untrained)? {
            evaluation.untrained_knn = Some(splits.knn(&plan.recipe.knn)?);
            evaluation.untrained_linear = Some(splits.linear()?);
        }
    }
    if wanted.pixels {
        reporter.phase("nearest neighbours on raw pixels")?;
        if let Some(splits) = Splits::of_pixels(plan)? {
            evaluation.pixels_knn = Some(splits.knn(&plan.recipe.knn)?);
        }
    }
    Ok(evaluation)
}
