//! What the classifiers of a training on labels say of the validation split. Called by [`super::run`].

use std::sync::Arc;

use burn::tensor::Tensor;

use super::{Job, Judge};
use crate::{
    encoder::images::{each_evaluated, pixels_to_tensor},
    eval::{
        common_classes,
        confusion::Confusion,
        topk::{predicted, top_hits},
    },
    train::{TrainError, watch::Watch},
};

/// What one classifier says of the validation split.
#[derive(Clone)]
pub(super) struct Judged {
    /// The classes that the images were given.
    pub classes: Confusion,
    /// The share of images whose class is among the five with the highest scores, percent.
    pub top5: f64,
}

/// What all classifiers say of the validation split.
pub(super) struct Verdict {
    /// What each classifier says.
    pub judged: Vec<Judged>,
    /// The number of images that could not be read and were left out.
    pub left_out: usize,
    /// Notes on classes without an image, and on classifiers that tell no images apart.
    pub remarks: Vec<String>,
}

/// The answers of the classifiers so far.
struct Answers {
    classes: Vec<Confusion>,
    in_five: Vec<usize>,
    /// The classes of the images that were read.
    read: Vec<i64>,
    /// The scores of the first classifier for the first image.
    first: Vec<f32>,
    /// The number of images with the same scores by the first classifier.
    alike: usize,
}

impl Answers {
    fn add(&mut self, head: usize, scores: Tensor<2>, targets: &[u32]) {
        let classes = scores.dims()[1];
        let scores: Vec<f32> = scores.into_data().try_into_vec().expect("scores are f32"); // device read
        self.in_five[head] += top_hits(&scores, classes, targets)[1];
        let answers = targets.iter().zip(predicted(&scores, classes));
        answers.for_each(|(&class, answer)| self.classes[head].add(class, answer));
        if head == 0 {
            self.read.extend(targets.iter().map(|&class| i64::from(class)));
            if self.first.is_empty() {
                self.first = scores[..classes].to_vec();
            }
            self.alike += scores.chunks(classes).filter(|row| *row == self.first).count();
        }
    }
}

/// Asks `judge`, which has so many `heads`, about the validation split of `job`.
///
/// # Errors
/// An image cannot be read, no image could be read, or a stop was requested.
pub(super) fn judge(
    job: &Job,
    judge: Judge,
    heads: usize,
    watch: &mut Watch,
) -> Result<Verdict, TrainError> {
    let (images, plan) = (Arc::clone(&job.validation), job.evaluation());
    let (size, device) = (job.input.size, job.device.clone());
    let (answers, left_out) = watch.run("validation images", move |task| {
        task.begin(images.len() as u64);
        let labels = images.labels().expect("a job's images have labels");
        let classes = vec![Confusion::default(); heads];
        let (in_five, read, first) = (vec![0; heads], Vec::new(), Vec::new());
        let mut answers = Answers { classes, in_five, read, first, alike: 0 };
        let left_out = each_evaluated(&images, plan, TrainError::from, |indices, pixels| {
            let x = pixels_to_tensor(pixels, indices.len(), size, &device);
            let targets: Vec<u32> = indices.iter().map(|&index| labels[index]).collect();
            let scores = judge(x).into_iter().enumerate();
            scores.for_each(|(head, scores)| answers.add(head, scores, &targets));
            task.advance(indices.len() as u64);
            if task.is_left() { Err(TrainError::Stopped) } else { Ok(()) }
        })?;
        Ok((answers, left_out))
    })?;
    check_some_read(job.validation.len(), left_out)?;
    let remarks = remarks(job, &answers);
    let percent = |count: usize, of: u64| 100.0 * count as f64 / of.max(1) as f64;
    let judged = answers.classes.into_iter().zip(answers.in_five);
    let judged = judged
        .map(|(classes, five)| Judged { top5: percent(five, classes.images()), classes })
        .collect();
    Ok(Verdict { judged, left_out, remarks })
}

fn remarks(job: &Job, answers: &Answers) -> Vec<String> {
    let images = answers.read.len();
    let alike = (images > 1 && answers.alike == images).then(|| {
        format!(
            "all {images} validation images got the same scores: the features do not tell them apart; is the \
             encoder collapsed?"
        )
    });
    let labels = job.validation.labels().unwrap_or_default();
    let lost = common_classes::lost("validation", labels, &answers.read, job.train.classes());
    alike.into_iter().chain(lost).collect()
}

/// Refuses a result without a single validation image.
///
/// # Errors
/// Every image was left out.
pub(super) fn check_some_read(images: usize, left_out: usize) -> Result<(), TrainError> {
    match left_out == images {
        true => Err(TrainError::NoImageRead { images }),
        false => Ok(()),
    }
}
