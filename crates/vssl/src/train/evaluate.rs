//! Runs the evaluators on the frozen features of both splits, between epochs and at the end of a run.

use std::{collections::BTreeMap, sync::Arc};

use burn::tensor::{Tensor, TensorData};
use vssl_data::Dataset;

use super::{
    Plan, TrainError, evaluation::Evaluation, probe::Probe, report::Reporter, watch::Watch,
};
use crate::{
    backbone::{Backbone, InferenceNetwork},
    encoder::images::{features, features_of_set, pixels_to_tensor},
    eval::{
        common_classes,
        evaluators::{Judged, Judgement, Splits},
        topk,
    },
    features::{FeatureError, Features, Flat, SpillWriter},
    run::{folder, stop::Stop},
    tensors::reading,
};

impl Plan {
    /// Returns whether the evaluations take another feature of a transformer than the network's own.
    pub fn evaluates_another_feature(&self) -> bool {
        let (asked, own) = (self.recipe.evaluation.pooling, self.recipe.backbone.pooling());
        asked.is_some() && asked != own
    }

    /// Returns a note on a feature of the evaluations that is not the network's own.
    pub(super) fn remark_on_feature(&self) -> Result<Option<String>, TrainError> {
        let Some(pooling) = self.recipe.evaluation.pooling else { return Ok(None) };
        self.recipe
            .backbone
            .pooled(pooling)
            .map_err(|error| TrainError::Setting(format!("evaluation.pooling: {error}")))?;
        let words = pooling.words();
        let text = format!("the evaluations take {words} as the feature: evaluation.pooling");
        Ok(self.evaluates_another_feature().then_some(text))
    }

    /// Returns which of two names the encoder before the first step does not have.
    fn not_judged(&self) -> Judged {
        if self.recipe.init.is_some() { Judged::Untrained } else { Judged::Before }
    }
}

impl Evaluation {
    /// Returns the names of all figures of the plan, without values.
    pub fn unmeasured(plan: &Plan) -> Self {
        let mut figures = BTreeMap::new();
        for evaluator in &plan.evaluators {
            for judged in Judged::ALL.into_iter().filter(|&judged| judged != plan.not_judged()) {
                if judged != Judged::Pixels || evaluator.judges_pixels() {
                    let keys = evaluator.figures().iter().map(|figure| judged.key(figure.name));
                    figures.extend(keys.map(|key| (key, None)));
                }
            }
        }
        Self { figures, ..Self::default() }
    }

    /// Adds the figures that the evaluators of the plan measure on `splits`.
    fn measure(
        &mut self,
        plan: &Plan,
        judged: Judged,
        splits: Splits,
        watch: &mut Watch,
    ) -> Result<(), TrainError> {
        let asked = |pixels: bool| judged != Judged::Pixels || pixels;
        let splits = Arc::new(splits);
        for evaluator in plan.evaluators.iter().filter(|e| asked(e.judges_pixels())) {
            let (own, splits) = (Arc::clone(evaluator), Arc::clone(&splits));
            let names: Vec<&str> = evaluator.figures().iter().map(|figure| figure.name).collect();
            let measured =
                watch.run(&names.join(", "), move |task| Ok(own.judge_watched(&splits, task)?));
            let Judgement { figures, classes } = measured?;
            let values = figures.into_iter();
            self.figures.extend(values.map(|(name, value)| (judged.key(name), Some(value))));
            self.classes.extend(classes.filter(|_| judged == Judged::Trained));
        }
        Ok(())
    }
}

/// Computes the features of both splits by `encoder`. Returns them and the number of images that could not be
/// read, where the recipe allows such images; `None` without labels or a validation split.
///
/// # Errors
/// An image cannot be read, or a stop was requested.
pub fn splits(
    plan: &Plan,
    encoder: &Backbone,
    watch: &mut Watch,
) -> Result<Option<(Splits, usize)>, TrainError> {
    let network = match plan.recipe.evaluation.pooling {
        Some(pooling) => encoder.clone().pooled(pooling).for_inference(),
        None => encoder.for_inference(),
    };
    splits_by(plan, watch, embed(plan, network))
}

/// Returns what makes the features of normalised pixels.
fn embed(
    plan: &Plan,
    network: InferenceNetwork,
) -> impl Fn(&[f32], usize) -> Features + Clone + Send + 'static {
    let (device, size) = (plan.device.clone(), plan.evaluation_size());
    move |pixels, rows| {
        let x = pixels_to_tensor(pixels, rows, size, &device);
        features(network.forward(x))
    }
}

fn splits_by(
    plan: &Plan,
    watch: &mut Watch,
    embed: impl Fn(&[f32], usize) -> Features + Clone + Send + 'static,
) -> Result<Option<(Splits, usize)>, TrainError> {
    let with_labels = |_: &&Arc<dyn Dataset>| plan.has_validation_labels();
    let Some(validation) = plan.validation.as_ref().filter(with_labels) else {
        return Ok(None);
    };
    let mut of_split = |set, images| of_images(plan, watch, (set, images), embed.clone());
    let (train, left_out) = of_split("training features", &plan.train)?;
    let (validation, more) = of_split("validation features", validation)?;
    Ok(Some((Splits { train, validation }, left_out + more)))
}

/// Returns the features of a named set of images, and the number of images that could not be read.
fn of_images(
    plan: &Plan,
    watch: &mut Watch,
    (set, images): (&'static str, &Arc<dyn Dataset>),
    embed: impl Fn(&[f32], usize) -> Features + Send + 'static,
) -> Result<(Features, usize), TrainError> {
    let (images, evaluation) = (Arc::clone(images), plan.evaluation());
    watch.run(set, move |task| {
        task.begin(images.len() as u64);
        let writer = SpillWriter::new(set, images.len(), u64::MAX);
        let embed = |pixels: &[f32], rows| {
            if task.is_left() {
                return Err(TrainError::Stopped);
            }
            task.advance(rows as u64);
            Ok(embed(pixels, rows))
        };
        let (rows, left_out) = features_of_set::<TrainError>(&images, evaluation, writer, embed)?;
        Ok((rows.into_memory()?, left_out))
    })
}

/// Returns the top-1 accuracy of the online probe on the validation split, in percent. The probe has learnt the network's own
/// feature: where the evaluations have another pooling than `encoder`, its own features are computed for it.
///
/// # Errors
/// An image cannot be read, a logit is not a finite number, or a stop was requested.
pub fn probe_top1(
    plan: &Plan,
    (splits, encoder): (&Splits, &Backbone),
    probe: &Probe,
    watch: &mut Watch,
) -> Result<f64, TrainError> {
    let own = match (&plan.validation, plan.evaluates_another_feature()) {
        (Some(images), true) => {
            let network = encoder.for_inference();
            Some(
                of_images(plan, watch, ("features for the probe", images), embed(plan, network))?.0,
            )
        }
        _ => None,
    };
    let Features { rows, dim, values, labels } = own.as_ref().unwrap_or(&splits.validation);
    let x = TensorData::new(values.clone(), [*rows, *dim]);
    let logits = probe.logits(Tensor::from_data(x, &plan.device));
    let classes = logits.dims()[1];
    let scores = reading::rows(logits);
    let labels = labels.as_ref().expect("splits for accuracies have labels");
    Ok(topk::top_k_percent(&scores, classes, labels, 1)?.unwrap_or(0.0))
}

/// Returns notes on features that say nothing, on classes without an image that could be read, and on validation
/// images of other classes.
fn remarks(plan: &Plan, splits: &Splits) -> Result<Vec<String>, TrainError> {
    let validation = plan.validation.as_ref().expect("splits have validation images");
    let (train, asked) = (&splits.train, &splits.validation);
    let mut notes = remarks_on([(plan.train.as_ref(), train), (validation.as_ref(), asked)])?;
    // The training is done, and its other figures are worth having.
    let checked = common_classes::check_features(train, asked, plan.train.classes());
    notes.extend(checked.unwrap_or_else(|error| Some(error.to_string())));
    Ok(notes)
}

/// Returns notes on the features of the training and of the validation images: features that say nothing, and classes
/// without an image that could be read.
///
/// # Errors
/// A feature cannot be read.
pub(crate) fn remarks_on(
    sets: [(&dyn Dataset, &Features); 2],
) -> Result<Vec<String>, FeatureError> {
    let mut notes = Vec::new();
    for (split, (images, features)) in ["training", "validation"].into_iter().zip(sets) {
        notes.extend(Flat::of(features)?.warning(&format!("{split} features")));
        notes.extend(common_classes::lost_in(split, images, features));
    }
    Ok(notes)
}

/// Adds the figures of the encoder before the first step of the run.
fn measure_before(
    plan: &Plan,
    evaluation: &mut Evaluation,
    reporter: &mut Reporter,
    stop: &Stop,
) -> Result<(), TrainError> {
    let (judged, what) = match &plan.recipe.init {
        Some(_) => (Judged::Before, "evaluating the encoder that the run started from"),
        None => (Judged::Untrained, "evaluating the same encoder untrained"),
    };
    reporter.phase(what)?;
    let Some(before) = plan.encoder_before()? else {
        evaluation.notes.push(format!(
            "the encoder that the run started from is not evaluated: {} is missing in the run folder or damaged, and \
             init.from does not lead to it any more",
            folder::START
        ));
        return Ok(());
    };
    let watch = &mut reporter.watch(stop);
    if let Some((splits, _)) = splits(plan, &before, watch)? {
        evaluation.measure(plan, judged, splits, watch)?;
    }
    Ok(())
}

/// Measures all figures of the end of a run.
///
/// # Errors
/// An image cannot be read, a feature is not a finite number, or a stop was requested.
pub fn at_the_end(
    plan: &Plan,
    encoder: &Backbone,
    reporter: &mut Reporter,
    stop: &Stop,
) -> Result<Evaluation, TrainError> {
    let mut evaluation = Evaluation::unmeasured(plan);
    let wanted = &plan.recipe.evaluation;
    if !wanted.enabled || !plan.has_validation_labels() || plan.evaluators.is_empty() {
        return Ok(evaluation);
    }
    reporter.phase("evaluating the trained encoder")?;
    let watch = &mut reporter.watch(stop);
    if let Some((splits, left_out)) = splits(plan, encoder, watch)? {
        evaluation.notes = remarks(plan, &splits)?;
        evaluation.measure(plan, Judged::Trained, splits, watch)?;
        evaluation.left_out = left_out;
    }
    if wanted.untrained {
        measure_before(plan, &mut evaluation, reporter, stop)?;
    }
    if wanted.pixels && plan.evaluators.iter().any(|evaluator| evaluator.judges_pixels()) {
        reporter.phase("evaluating the raw pixels")?;
        let pixels = |values: &[f32], rows| {
            let dim = values.len() / rows;
            Features { rows, dim, values: values.to_vec(), labels: None }
        };
        let watch = &mut reporter.watch(stop);
        if let Some((splits, _)) = splits_by(plan, watch, pixels)? {
            evaluation.measure(plan, Judged::Pixels, splits, watch)?;
        }
    }
    Ok(evaluation)
}
