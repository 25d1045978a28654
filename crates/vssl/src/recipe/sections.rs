//! The tables of a recipe that belong to no other module.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use vssl_data::{
    MOST_CHANNELS, Normalisation, OnBadImage, PerChannel,
    dataset::{DataConfig, Format, Labels, MissingClasses, Range},
};

use crate::{backbone::Pooling, objective::loss_prediction, optim::Clip, precision::Precision};

/// `[data]`: which images, and how they are read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSection {
    /// How they are stored; `folder`.
    pub format: Format,
    /// Folder, or archive for CIFAR. A relative path is taken from the data root.
    pub path: PathBuf,
    /// Folder of the training images below `path`; that with a usual name, such as `train`. A `.` is for all
    /// images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<PathBuf>,
    /// Folder of the validation images below `path`; that with a usual name, such as `val`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<PathBuf>,
    /// Folder of the test images below `path`; that with a usual name, such as `test`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<PathBuf>,
    /// Which labels are read; `auto`. Only probes and reports see them.
    pub labels: Labels,
    /// At most this many training images, evenly over the classes; all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_train: Option<usize>,
    /// At most this many validation images, likewise; all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_validation: Option<usize>,
    /// What is done about classes of ImageNet-100 and class folders without a file of a format that vssl reads; `error`.
    pub missing_classes: MissingClasses,
    /// The bits that samples of 16-bit images use, 8 to 16; 16. Such a sample becomes its highest eight of
    /// these bits.
    #[serde(skip_serializing_if = "all_sixteen")]
    pub bits_used: u32,
    /// Which numbers are black and white in images of 16 bits a sample and of floating-point numbers; `full`.
    #[serde(skip_serializing_if = "Range::is_full")]
    pub range: Range,
    /// The number of channels of the images; 3, which is RGB.
    #[serde(skip_serializing_if = "is_three")]
    pub channels: usize,
    /// Mean and standard deviation of the channels; those of the format, or of the encoder that `[init]` names.
    /// Always there in the recipe of a run.
    #[serde(skip_serializing_if = "Option::is_none", with = "short")]
    pub normalisation: Option<Normalisation>,
    /// What an image does that cannot be decoded; `stop`.
    pub on_bad_image: OnBadImage,
    /// Threads that decode and augment; chosen by the machine. Changes speed and nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<usize>,
    /// Batches that are finished or in the making at most, one for each worker in any case; 4. Changes
    /// memory and speed and nothing else.
    pub prefetch: usize,
}

impl Default for DataSection {
    fn default() -> Self {
        let source = DataConfig::default();
        Self {
            format: source.format,
            path: source.path,
            train: source.train,
            validation: source.validation,
            test: source.test,
            labels: source.labels,
            limit_train: source.limit_train,
            limit_validation: source.limit_validation,
            missing_classes: source.missing_classes,
            bits_used: source.bits_used,
            range: source.range,
            channels: source.channels,
            normalisation: None,
            on_bad_image: OnBadImage::Stop,
            workers: None,
            prefetch: 4,
        }
    }
}

impl DataSection {
    /// What [`vssl_data::dataset::open`] wants to know.
    pub fn source(&self) -> DataConfig {
        DataConfig {
            format: self.format,
            path: self.path.clone(),
            train: self.train.clone(),
            validation: self.validation.clone(),
            test: self.test.clone(),
            labels: self.labels,
            limit_train: self.limit_train,
            limit_validation: self.limit_validation,
            missing_classes: self.missing_classes,
            bits_used: self.bits_used,
            range: self.range,
            channels: self.channels,
        }
    }

    /// What pixels are normalised by. Where nothing says it for images of so many channels, it is 0.5 for all: the check
    /// of a recipe refuses that, unless `[init]` names an encoder that says it.
    pub fn normalisation(&self) -> Normalisation {
        self.normalisation.or_else(|| self.usual_normalisation()).unwrap_or_else(|| {
            let channels = self.channels.clamp(1, MOST_CHANNELS);
            let half = PerChannel::of(&vec![0.5; channels]).expect("from 1 to the most");
            Normalisation { mean: half, std: half }
        })
    }

    /// The usual normalisation of images of this format with so many channels, where there is one.
    pub fn usual_normalisation(&self) -> Option<Normalisation> {
        let usual = self.format.normalisation();
        match (self.channels, self.format) {
            (3, _) => Some(usual),
            (1, Format::Idx) => Some(Normalisation::new([usual.mean[0]], [usual.std[0]])),
            _ => None,
        }
    }
}

/// Whether images are RGB, which recipes do not write down.
fn is_three(channels: &usize) -> bool {
    *channels == 3
}

/// Whether samples use all of 16 bits, which recipes do not write down.
fn all_sixteen(bits: &u32) -> bool {
    *bits == DataConfig::default().bits_used
}

/// `[train]`: how long and in what portions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSection {
    /// Passes over the images; 100.
    pub epochs: u64,
    /// Images of one optimiser step, all micro-batches together; 256.
    pub batch: usize,
    /// Equal micro-batches that a step is computed in, their gradients averaged; 1.
    pub accumulate: usize,
    /// Whether batch normalisation uses the statistics of the joint batch where several processes
    /// share it; true.
    pub sync_batchnorm: bool,
    /// Type in which the backbone multiplies, on devices that have it; `f32`.
    pub precision: Precision,
    /// Ends the run after this many steps, if that is earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u64>,
    /// Scales all gradients down to this Euclidean norm; off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Scales each tensor's gradient on its own down to this Euclidean norm, before `clip_norm`; off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_per_tensor: Option<f64>,
}

impl TrainSection {
    /// How gradients are clipped, in this order.
    pub fn clips(&self) -> Vec<Clip> {
        let per_tensor = self.clip_per_tensor.map(Clip::PerTensor);
        per_tensor.into_iter().chain(self.clip_norm.map(Clip::GlobalNorm)).collect()
    }
}

impl Default for TrainSection {
    fn default() -> Self {
        Self {
            epochs: 100,
            batch: 256,
            accumulate: 1,
            sync_batchnorm: true,
            precision: Precision::F32,
            max_steps: None,
            clip_norm: None,
            clip_per_tensor: None,
        }
    }
}

/// `[probe]`: the linear classifier that learns beside the encoder on features whose gradient is
/// stopped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProbeConfig {
    /// Off switch; true. Without labels there is no probe anyway.
    pub enabled: bool,
    /// Learning rate at batch 256, times batch / 256; follows the schedule of the run. 0.1 as in
    /// solo-learn's recipes.
    pub lr: f64,
    /// Of SGD; 0.9.
    pub momentum: f64,
    /// Added to the gradient, times the weights; 0.
    pub weight_decay: f64,
}

impl Default for ProbeConfig {
    fn default() -> Self {
        Self { enabled: true, lr: 0.1, momentum: 0.9, weight_decay: 0.0 }
    }
}

/// `[uncertainty]`: a head that learns, on features whose gradient is stopped, how large the method's loss of an image is.
/// Without the table there is no head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UncertaintySection {
    /// What the head learns of the losses; `order`.
    pub objective: LossObjective,
    /// Widths of the hidden layers; two of 512, as in the URL benchmark. An empty list is a linear head.
    pub hidden: Vec<usize>,
    /// Learning rate of AdamW, whatever the batch; follows the schedule of the run. 0.001.
    pub lr: f64,
    /// Weight decay of AdamW; 0.01.
    pub weight_decay: f64,
    /// By how much the order of two predictions has to be right, for `order`; 0.1.
    pub margin: f64,
    /// Losses that are less than this apart have no order, for `order`; 0.
    pub leeway: f64,
}

/// The target of the head of `[uncertainty]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossObjective {
    /// Which of two images has the larger loss: the numbers have no unit.
    #[default]
    Order,
    /// The loss itself, by squared error.
    Squared,
}

impl Default for UncertaintySection {
    fn default() -> Self {
        Self {
            objective: LossObjective::Order,
            hidden: vec![512, 512],
            lr: 1e-3,
            weight_decay: 0.01,
            margin: loss_prediction::MARGIN,
            leeway: 0.0,
        }
    }
}

/// `[knn]`: nearest neighbours on the validation split while training and at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KnnSection {
    /// Every how many epochs; 0 is never, 1 the default.
    pub every_epochs: u64,
    /// Neighbours that vote; 20, as in solo-learn and DINO.
    pub k: usize,
    /// Votes weigh `exp(cosine / temperature)`; 0.07 (Wu et al. 2018, arXiv:1805.01978).
    pub temperature: f64,
}

impl Default for KnnSection {
    fn default() -> Self {
        Self { every_epochs: 1, k: 20, temperature: 0.07 }
    }
}

/// `[evaluation]`: the table at the end of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluationSection {
    /// Whether the trained encoder is evaluated; true.
    pub enabled: bool,
    /// The evaluations, by name; nearest neighbours and a linear classifier.
    pub evaluators: Vec<String>,
    /// Which tokens of a transformer are the feature, here and in `[knn]`; those of the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// Whether the same encoder before its first step is evaluated as well, untrained or as `[init]` names it; true.
    pub untrained: bool,
    /// Whether nearest neighbours of the pixels themselves are evaluated as well; true.
    pub pixels: bool,
}

impl Default for EvaluationSection {
    fn default() -> Self {
        let evaluators = ["knn", "linear"].map(str::to_owned).to_vec();
        Self { enabled: true, evaluators, pooling: None, untrained: true, pixels: true }
    }
}

/// `[health]`: when a run warns that the features collapse.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthConfig {
    /// Every how many steps; 0 is never.
    pub every_steps: u64,
    /// Warn when the effective rank of a batch of features is below this.
    pub min_rank: f64,
    /// Warn when the standard deviation of the L2-normalised features, times √dim, is below this.
    pub min_spread: f64,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self { every_steps: 50, min_rank: 3.0, min_spread: 0.05 }
    }
}

/// `[checkpoint]`: when the whole state is written, and how many of these stay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointSection {
    /// Every how many steps; not by steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every_steps: Option<u64>,
    /// Every how many epochs; 1. 0 is only by steps and at the end.
    pub every_epochs: u64,
    /// How many of the latest stay; 2.
    pub keep: usize,
    /// Whether the best by nearest neighbours stays as well; true.
    pub best: bool,
}

impl Default for CheckpointSection {
    fn default() -> Self {
        Self { every_steps: None, every_epochs: 1, keep: 2, best: true }
    }
}

/// `[log]`: how often the figures of a step are written and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// Every how many steps; 10.
    pub every_steps: u64,
    /// Whether they are written to event files for TensorBoard as well; false, because
    /// `metrics.jsonl` has all of them and `vssl report` and `vssl watch` show them.
    pub tensorboard: bool,
}

impl Default for LogSection {
    fn default() -> Self {
        Self { every_steps: 10, tensorboard: false }
    }
}

/// Single-precision numbers of a recipe in their short decimal form: widened to double precision as
/// they are, 0.4914 would be written 0.49140000343322754.
pub(super) mod short {
    use super::*;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(in crate::recipe) struct Wide {
        mean: Vec<f64>,
        std: Vec<f64>,
    }

    impl Wide {
        /// # Errors
        /// No number, more than an image has channels, or more means than deviations, in words.
        pub(in crate::recipe) fn narrow(self) -> Result<Normalisation, String> {
            let (means, deviations) = (self.mean.len(), self.std.len());
            if means != deviations {
                return Err(format!(
                    "{means} numbers in mean and {deviations} in std: expected one of each for each channel"
                ));
            }
            let narrow = |numbers: Vec<f64>| {
                PerChannel::of(&numbers.into_iter().map(|x| x as f32).collect::<Vec<_>>())
            };
            Ok(Normalisation { mean: narrow(self.mean)?, std: narrow(self.std)? })
        }
    }

    /// The double-precision number with the decimal form of `x`; narrowing it gives `x` again.
    fn widen(x: f32) -> f64 {
        x.to_string().parse().expect("a number in decimal form is a number")
    }

    pub(in crate::recipe) fn serialize<S: Serializer>(
        value: &Option<Normalisation>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let all = |numbers: &[f32]| numbers.iter().copied().map(widen).collect();
        let wide = |n: &Normalisation| Wide { mean: all(&n.mean), std: all(&n.std) };
        value.as_ref().map(wide).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Normalisation>, D::Error> {
        let given = Option::<Wide>::deserialize(deserializer)?;
        given.map(Wide::narrow).transpose().map_err(serde::de::Error::custom)
    }
}
