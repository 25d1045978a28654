//! Bounds of the values of a recipe: everything that can be told without looking at data.

use std::fmt::Display;

use vssl_data::{MOST_CHANNELS, ViewGroup, counted};

use super::Recipe;
use crate::{
    backbone::{BackboneConfig, ConvNextConfig, ResnetConfig, ResnetVariant, Stem, VitConfig},
    optim::{OptimError, OptimizerConfig},
    schedule::{Momentum, Schedule},
};

/// Views smaller than this are no longer pictures after the strides of a ResNet.
const SMALLEST_VIEW: u64 = 8;

/// The largest number of epochs.
const MOST_EPOCHS: u64 = 1_000_000_000;

/// The largest number of threads that read images.
const MOST_WORKERS: usize = 1024;

/// Collects what is out of bounds.
#[derive(Debug, Default)]
pub struct Checker {
    complaints: Vec<Complaint>,
}

/// One value that is out of bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    /// Keys from the root.
    pub(super) path: Vec<String>,
    pub(super) message: String,
    /// What to do about it, where the message does not say so.
    pub(super) help: Option<String>,
}

impl Complaint {
    pub(super) fn below(mut self, key: &str) -> Self {
        self.path.insert(0, key.to_owned());
        self
    }
}

impl Checker {
    /// Complains unless `holds`. `key` may be dotted; the message becomes
    /// "`key` is `got`; expected `expected`".
    pub fn require(&mut self, key: &str, holds: bool, got: impl Display, expected: impl Display) {
        if !holds {
            let path = key.split('.').map(String::from).collect();
            let message = format!("is {got}; expected {expected}");
            self.complaints.push(Complaint { path, message, help: None });
        }
    }

    /// Complains about `key` in the words `message`.
    fn refuse(&mut self, key: &str, message: String) {
        let path = key.split('.').map(String::from).collect();
        self.complaints.push(Complaint { path, message, help: None });
    }

    /// Says what to do about the last complaint, unless the last requirement held.
    fn help(&mut self, holds: bool, help: impl FnOnce() -> String) {
        if let Some(complaint) = self.complaints.last_mut().filter(|_| !holds) {
            complaint.help = Some(help());
        }
    }

    /// A finite number, 0 or more.
    pub fn not_negative(&mut self, key: &str, value: f64) {
        let holds = value.is_finite() && value >= 0.0;
        self.require(key, holds, value, "a number of at least 0");
    }

    /// A finite number above 0.
    pub fn positive(&mut self, key: &str, value: f64) {
        let holds = value.is_finite() && value > 0.0;
        self.require(key, holds, value, "a number above 0");
    }

    /// From 0 to 1, both included.
    pub fn share(&mut self, key: &str, value: f64) {
        self.require(key, (0.0..=1.0).contains(&value), value, "a number from 0 to 1");
    }

    /// The momentum of a teacher: both ends from 0 to 1.
    pub fn momentum(&mut self, momentum: &Momentum) {
        self.share("momentum.base", momentum.base);
        self.share("momentum.last", momentum.last);
    }

    /// The number of epochs: a larger one than anybody waits for would overflow the count of steps.
    pub fn epochs(&mut self, epochs: u64) {
        self.at_least("train.epochs", epochs, 1);
        let expected = format_args!("at most {MOST_EPOCHS}");
        self.require("train.epochs", epochs <= MOST_EPOCHS, epochs, expected);
    }

    /// The number of threads that read images: a system does not start any number.
    pub(crate) fn workers(&mut self, workers: Option<usize>) {
        let workers = workers.unwrap_or(1);
        let expected =
            format_args!("at most {MOST_WORKERS}; without the key there is one for each core");
        self.require("data.workers", workers <= MOST_WORKERS, workers, expected);
    }

    /// The width and heads of a transformer that is a head of a method, whose positions are sines and cosines; the keys
    /// are `<name>_width` and `<name>_heads`.
    pub(crate) fn head(&mut self, name: &str, width: usize, heads: usize) {
        let key = format!("{name}_width");
        self.at_least(&key, width as u64, 1);
        let expected = "a multiple of 4: a quarter each for sines and cosines of column and row";
        self.require(&key, width.is_multiple_of(4), width, expected);
        let divides = heads > 0 && width.is_multiple_of(heads);
        let expected = format_args!("a divisor of {name}_width, which is {width}");
        self.require(&format!("{name}_heads"), divides, heads, expected);
    }

    /// A count.
    pub fn at_least(&mut self, key: &str, value: u64, least: u64) {
        self.require(key, value >= least, value, format_args!("at least {least}"));
    }

    /// An ascending range above 0, up to `most`.
    pub fn range(&mut self, key: &str, [low, high]: [f64; 2], most: f64) {
        let holds = low > 0.0 && low <= high && high <= most && high.is_finite();
        let bound = if most.is_finite() { format!(", at most {most}") } else { String::new() };
        let expected = format_args!("two ascending numbers above 0{bound}");
        self.require(key, holds, format_args!("[{low}, {high}]"), expected);
    }

    /// The table `optimizer`.
    pub(crate) fn optimizer(&mut self, config: &OptimizerConfig) {
        let (path, message) = match config.validate() {
            Ok(()) => return,
            Err(OptimError::Setting { field, got, expected }) => {
                return self.require(&format!("optimizer.{field}"), false, got, expected);
            }
            Err(OptimError::Rule { index, problem, .. }) => {
                (vec!["optimizer".into(), "groups".into(), index.to_string()], problem)
            }
            Err(other) => (vec!["optimizer".into()], other.to_string()),
        };
        self.complaints.push(Complaint { path, message, help: None });
    }

    pub(super) fn into_complaints(self) -> Vec<Complaint> {
        self.complaints
    }
}

/// Everything that is out of bounds outside the method's own table.
pub(super) fn check(recipe: &Recipe) -> Vec<Complaint> {
    let mut checker = Checker::default();
    data(recipe, &mut checker);
    views(&recipe.views, recipe.data.channels, &mut checker);
    backbone(recipe, &mut checker);
    checker.optimizer(&recipe.optimizer);
    schedule(recipe, &mut checker);
    train(recipe, &mut checker);
    probes(recipe, &mut checker);
    uncertainty(recipe, &mut checker);
    housekeeping(recipe, &mut checker);
    if let Some(init) = &recipe.init {
        init.check(recipe.train.epochs, &mut checker);
    }
    recipe.check_teacher(&mut checker);
    checker.into_complaints()
}

fn data(recipe: &Recipe, checker: &mut Checker) {
    let data = &recipe.data;
    let named = !data.path.as_os_str().is_empty();
    checker.require("data.path", named, "not set", "the folder or archive of the images");
    let limits =
        [("data.limit_train", data.limit_train), ("data.limit_validation", data.limit_validation)];
    for (key, limit) in limits {
        checker.at_least(key, limit.unwrap_or(1) as u64, 1);
    }
    checker.at_least("data.workers", data.workers.unwrap_or(1) as u64, 1);
    checker.workers(data.workers);
    checker.at_least("data.prefetch", data.prefetch as u64, 1);
    let most = MOST_CHANNELS;
    let holds = (1..=most).contains(&data.channels);
    checker.require("data.channels", holds, data.channels, format_args!("1 to {most}"));
    if let (None, None, None) = (data.normalisation, data.usual_normalisation(), &recipe.init) {
        let expected = "a mean and a deviation for each channel, for images of another number of channels than 3 \
                        have no usual ones: vssl data statistics measures them";
        checker.require("data.normalisation", false, "not set", expected);
    }
    let normalisation = data.normalisation();
    let (found, wanted) = (normalisation.channels(), data.channels);
    let expected = format_args!("{wanted}, the value of data.channels");
    checker.require(
        "data.normalisation",
        found == wanted || !holds,
        format_args!("for images of {}", counted(found, "channel")),
        expected,
    );
    for (index, (mean, std)) in normalisation.mean.iter().zip(normalisation.std.iter()).enumerate()
    {
        let key = format!("data.normalisation.mean.{index}");
        checker.require(&key, mean.is_finite(), mean, "a finite number");
        let key = format!("data.normalisation.std.{index}");
        // Less would blow a single grey level up to thousands; it is a slip of the pen.
        checker.require(&key, std.is_finite() && *std >= 1e-6, std, "a number of at least 1e-6");
    }
}

fn views(groups: &[ViewGroup], channels: usize, checker: &mut Checker) {
    let global = groups.iter().filter(|group| !group.local).map(|group| group.count).sum::<usize>();
    let expected = "at least one view that is not local";
    checker.require("views", global > 0, format_args!("{global} global views"), expected);
    for (index, group) in groups.iter().enumerate() {
        let key = |name: &str| format!("views.{index}.{name}");
        for (field, got, expected) in group.problems() {
            checker.require(&key(field), false, got, expected);
        }
        for (field, got, expected) in group.colour_problems(channels) {
            checker.require(
                &key(field),
                false,
                got,
                format_args!("{expected} (data.channels = {channels})"),
            );
        }
        // A pipeline can make smaller ones; no backbone here learns from them.
        if group.size > 0 {
            checker.at_least(&key("size"), group.size as u64, SMALLEST_VIEW);
        }
    }
}

fn backbone(recipe: &Recipe, checker: &mut Checker) {
    match &recipe.backbone {
        BackboneConfig::Resnet(config) => resnet(config, checker),
        BackboneConfig::WideResnet(config) => {
            checker.at_least("backbone.widen", config.widen as u64, 1);
        }
        BackboneConfig::Vit(config) => transformer(config, &recipe.views, checker),
        BackboneConfig::ConvNext(config) => convnext(config, &recipe.views, checker),
        BackboneConfig::Own(_) => {}
    }
}

/// A ConvNeXt halves its images four times or more: one pixel has to remain.
fn convnext(config: &ConvNextConfig, views: &[ViewGroup], checker: &mut Checker) {
    checker.at_least("backbone.width", config.width() as u64, 1);
    checker.at_least("backbone.patch", config.patch as u64, 1);
    let smallest = config.smallest();
    for (index, group) in views.iter().enumerate() {
        let expected = format_args!(
            "at least {smallest}, eight times backbone.patch, so that the last stage has a pixel"
        );
        checker.require(
            &format!("views.{index}.size"),
            group.size >= smallest,
            group.size,
            expected,
        );
    }
}

fn resnet(config: &ResnetConfig, checker: &mut Checker) {
    // The first convolutions of a deep stem have half the channels.
    let least = if config.variant == ResnetVariant::Deep { 2 } else { 1 };
    checker.at_least("backbone.width", config.width as u64, least);
    let padding = config.stem_padding;
    let (holds, expected) = match config.stem {
        Stem::Cifar => (padding <= 3, "at most 3"),
        Stem::Imagenet => {
            (padding == 1, "1, or stem = \"cifar\": the imagenet stem has a padding of its own")
        }
    };
    checker.require("backbone.stem_padding", holds, padding, expected);
}

/// A transformer cuts images into patches without a rest.
fn transformer(config: &VitConfig, views: &[ViewGroup], checker: &mut Checker) {
    let patch = config.patch;
    checker.at_least("backbone.vit.patch", patch as u64, 1);
    let mut whole = |key: &str, size: usize| {
        let fits = patch == 0 || (size >= patch && size.is_multiple_of(patch));
        let expected = format_args!("a multiple of backbone.vit.patch, which is {patch}");
        checker.require(key, fits, size, expected);
    };
    whole("backbone.vit.image_size", config.image_size);
    for (index, group) in views.iter().enumerate() {
        whole(&format!("views.{index}.size"), group.size);
    }
}

fn schedule(recipe: &Recipe, checker: &mut Checker) {
    if let Err(error) = recipe.schedule.validate() {
        checker.require(&format!("schedule.{}", error.field), false, error.got, error.expected);
        return;
    }
    if let Schedule::WarmupCosine(shape) = &recipe.schedule {
        let (warmup, epochs) = (shape.warmup_epochs, recipe.train.epochs);
        let expected = format_args!("at most train.epochs, which is {epochs}");
        let holds = epochs == 0 || warmup <= epochs as f64;
        checker.require("schedule.warmup_epochs", holds, warmup, expected);
        checker.help(holds, || {
            format!(
                "shorten the warm-up together with the run, for instance --set schedule.warmup_epochs={}, or \
                 train for more epochs with train.epochs",
                epochs as f64 / 10.0
            )
        });
    }
}

fn train(recipe: &Recipe, checker: &mut Checker) {
    let train = &recipe.train;
    checker.epochs(train.epochs);
    checker.at_least("train.accumulate", train.accumulate as u64, 1);
    checker.at_least("train.max_steps", train.max_steps.unwrap_or(1), 1);
    checker.positive("train.clip_norm", train.clip_norm.unwrap_or(1.0));
    checker.positive("train.clip_per_tensor", train.clip_per_tensor.unwrap_or(1.0));
    let parts = train.accumulate.max(1);
    if !train.batch.is_multiple_of(parts) {
        let expected = format_args!("a multiple of train.accumulate, which is {parts}");
        checker.require("train.batch", false, train.batch, expected);
    } else {
        // Batch normalisation has no variance over one image.
        let least = 2 * parts;
        let expected = match parts {
            1 => "at least 2".to_owned(),
            _ => format!("at least {least}, two images in each of {parts} micro-batches"),
        };
        checker.require("train.batch", train.batch >= least, train.batch, expected);
    }
}

fn probes(recipe: &Recipe, checker: &mut Checker) {
    checker.not_negative("probe.lr", recipe.probe.lr);
    checker.not_negative("probe.weight_decay", recipe.probe.weight_decay);
    let momentum = recipe.probe.momentum;
    let holds = (0.0..1.0).contains(&momentum);
    checker.require("probe.momentum", holds, momentum, "a number from 0 to below 1");
    checker.at_least("knn.k", recipe.knn.k as u64, 1);
    checker.positive("knn.temperature", recipe.knn.temperature);
    // The encoder of `[init]` may decide the backbone.
    let pooling = recipe.evaluation.pooling.filter(|_| recipe.init.is_none());
    if let Some(Err(error)) = pooling.map(|asked| recipe.backbone.pooled(asked)) {
        checker.refuse("evaluation.pooling", error.to_string());
    }
}

fn uncertainty(recipe: &Recipe, checker: &mut Checker) {
    let Some(section) = &recipe.uncertainty else { return };
    let method = recipe.method.name();
    let expected = format_args!(
        "no such table with method = {method:?}: its loss belongs to a whole batch, or the method does not tell the \
         loss of each image, so there is nothing that a head could predict"
    );
    checker.require("uncertainty", recipe.method.has_image_losses(), "there", expected);
    for (index, &width) in section.hidden.iter().enumerate() {
        checker.at_least(&format!("uncertainty.hidden.{index}"), width as u64, 1);
    }
    checker.not_negative("uncertainty.lr", section.lr);
    checker.not_negative("uncertainty.weight_decay", section.weight_decay);
    checker.not_negative("uncertainty.margin", section.margin);
    checker.not_negative("uncertainty.leeway", section.leeway);
}

fn housekeeping(recipe: &Recipe, checker: &mut Checker) {
    checker.not_negative("health.min_rank", recipe.health.min_rank);
    checker.not_negative("health.min_spread", recipe.health.min_spread);
    checker.at_least("checkpoint.every_steps", recipe.checkpoint.every_steps.unwrap_or(1), 1);
    checker.at_least("checkpoint.keep", recipe.checkpoint.keep as u64, 1);
    checker.at_least("log.every_steps", recipe.log.every_steps, 1);
}
