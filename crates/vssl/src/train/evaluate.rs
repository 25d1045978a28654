//! Frozen features of whole splits and what nearest neighbours and a linear classifier make of
//! them, between epochs and at the end.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use vssl_data::Dataset;

use super::{Plan, TrainError, probe::Probe, report::Reporter};
use crate::{
    backbone::Backbone,
    encoder::{
        BATCH,
        images::{each_evaluated, features, images_to_tensor},
    },
    eval::{
        Features,
        knn::{self, Distance},
        linear::{self, LinearConfig},
        topk,
    },
    layers::Mode,
    method::learner::Network,
    recipe::KnnSection,
    tensors::reading,
};

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
    /// Images of both splits that these are without: they could not be read.
    pub left_out: usize,
}

/// Features of both splits.
pub struct Splits {
    train: Features,
    validation: Features,
    /// Images of both that could not be read, where a recipe says to go on without.
    pub left_out: usize,
}

impl Splits {
    /// Of one encoder; `None` without labels or a validation split.
    ///
    /// # Errors
    /// Images that cannot be read, features that are not numbers.
    pub fn of(plan: &Plan, encoder: &Backbone) -> Result<Option<Self>, TrainError> {
        Self::with(plan, |pixels, rows| {
            let x = images_to_tensor(pixels, rows, plan.evaluation_size(), &plan.device);
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
        let with_labels = |_: &&Arc<dyn Dataset>| plan.has_validation_labels();
        let Some(validation) = plan.validation.as_ref().filter(with_labels) else {
            return Ok(None);
        };
        let (train, bad) = of_split(&plan.train, plan, &embed)?;
        let (validation, more) = of_split(validation, plan, &embed)?;
        Ok(Some(Self { train, validation, left_out: bad + more }))
    }

    /// Top-1 of nearest neighbours, percent.
    ///
    /// # Errors
    /// Features that are not numbers.
    pub fn knn(&self, config: &KnnSection) -> Result<f64, TrainError> {
        let (ks, temperatures) = ([config.k], [config.temperature]);
        let found = knn::knn(&self.train, &self.validation, Distance::Cosine, &ks, &temperatures)?;
        Ok(found[0].accuracy.top1)
    }

    /// Top-1 of a logistic regression, percent.
    ///
    /// # Errors
    /// Features that are not numbers.
    pub fn linear(&self) -> Result<f64, TrainError> {
        let config = LinearConfig::default();
        Ok(linear::linear_probe(&self.train, &self.validation, &config)?.accuracy.top1)
    }

    /// Top-1 of the online probe on the validation split, percent.
    ///
    /// # Errors
    /// Logits that are not numbers.
    pub fn probe(&self, probe: &Probe, plan: &Plan) -> Result<f64, TrainError> {
        let Features { rows, dim, values, labels } = &self.validation;
        let x = TensorData::new(values.clone(), [*rows, *dim]);
        let logits = probe.logits(Tensor::from_data(x, &plan.device));
        let classes = logits.dims()[1];
        let scores = reading::rows(logits);
        let labels = labels.as_ref().expect("splits for accuracies have labels");
        Ok(topk::top_k_percent(&scores, classes, labels, 1)?.unwrap_or(0.0))
    }
}

fn of_split(
    split: &Arc<dyn Dataset>,
    plan: &Plan,
    embed: &impl Fn(Vec<f32>, usize) -> Features,
) -> Result<(Features, usize), TrainError> {
    let labels = split.labels().expect("splits for accuracies have labels");
    let mut classes = Vec::new();
    let mut all = Features::default();
    let evaluation = plan.evaluation(BATCH);
    let left_out = each_evaluated(split, evaluation, TrainError::from, |indices, pixels| {
        let part = embed(pixels, indices.len());
        classes.extend(indices.iter().map(|&index| i64::from(labels[index])));
        all.rows += part.rows;
        all.dim = part.dim;
        all.values.extend(part.values);
        Ok(())
    })?;
    Ok((Features { labels: Some(classes), ..all }, left_out))
}

/// What a result is without, in words; nothing where nothing was left out.
pub(crate) fn left_out_note(images: usize) -> Option<String> {
    (images > 0).then(|| {
        format!(
            "{images} images could not be read: accuracies are of the others (data.on_bad_image)"
        )
    })
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
    if !wanted.enabled || !plan.has_validation_labels() {
        return Ok(evaluation);
    }
    reporter.phase("evaluating the trained encoder")?;
    if let Some(splits) = Splits::of(plan, encoder)? {
        evaluation.knn = Some(splits.knn(&plan.recipe.knn)?);
        evaluation.linear = Some(splits.linear()?);
        evaluation.left_out = splits.left_out;
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
