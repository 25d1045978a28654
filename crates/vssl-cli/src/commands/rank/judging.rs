//! Opens encoders and their images one after another and judges them.

use std::{cmp::Ordering, collections::BTreeSet, sync::Arc};

use vssl::{
    device::Device,
    encoder::Encoder,
    methods::METHODS,
    ranking::{self, Accuracies, Chosen, Criterion, Figures, RankingError, accuracies, pipeline},
    recipe::Recipe,
    run::{folder::RECIPE, images::Fingerprint},
};
use vssl_data::{
    DataConfig, Dataset, Pipeline, Splits, ViewGroup,
    dataset::Evaluated,
    rng::{Stream, permutation, rng},
};

use super::{super::encoder, subjects::Subject};
use crate::{
    arguments::{Common, NetworkName, Rank},
    failure::Failure,
    launcher,
    output::counted,
    progress::Meter,
};

/// An encoder with its figures.
pub(super) struct Judged {
    pub(super) name: String,
    /// The number of training steps; `None` where a file does not say.
    pub(super) step: Option<u64>,
    pub(super) figures: Figures,
    /// What its run measured with labels, as far as it did.
    pub(super) accuracies: Accuracies,
    /// The images that it was judged on.
    pub(super) set: Arc<Set>,
}

/// A set of images that encoders are judged on.
pub(super) struct Set {
    /// The name for people.
    pub(super) name: String,
    /// The fingerprint of the images: equal for equal images.
    digest: String,
    images: Arc<dyn Dataset>,
    chosen: Chosen,
}

/// Encoders that were judged on the same images, best first.
pub(super) struct Ranking {
    pub(super) images: String,
    pub(super) judged: Vec<Judged>,
}

/// Judges one encoder after the other, and keeps the images that were opened last.
pub(super) struct Judge<'a> {
    arguments: &'a Rank,
    common: &'a Common,
    device: Device,
    /// The views that all encoders are asked on, where the arguments name a recipe.
    views: Option<Vec<ViewGroup>>,
    last: Option<(DataConfig, Splits, Arc<Set>)>,
    bar: Meter,
    notes: BTreeSet<String>,
    /// The views that encoders were asked on, each as text.
    kinds: BTreeSet<String>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(arguments: &'a Rank, common: &'a Common) -> Result<Self, Failure> {
        let views = match &arguments.recipe {
            None => None,
            Some(path) => {
                let file = if path.is_dir() { path.join(RECIPE) } else { path.clone() };
                let (recipe, _) = Recipe::load(&file, &[], METHODS).map_err(Failure::usage)?;
                Some(recipe.views)
            }
        };
        let mut judge = Self {
            arguments,
            common,
            device: launcher::open(arguments.copy.device)?,
            views,
            last: None,
            bar: Meter::waiting(common),
            notes: BTreeSet::new(),
            kinds: BTreeSet::new(),
        };
        if let Some(source) = &arguments.images {
            // A set that cannot be read stops the command, not one encoder.
            let config = super::super::data::described(source, arguments.format, common)?;
            judge.set(config)?;
        }
        Ok(judge)
    }

    /// Ends the progress. Returns what has to be told of all.
    pub(super) fn finish(mut self) -> BTreeSet<String> {
        self.bar.finish_and_clear();
        if self.kinds.len() > 1 {
            self.notes.insert(format!(
                "LiDAR is of {} kinds of views, as the encoders were trained with; --recipe RECIPE asks all on the \
                 views of one recipe",
                self.kinds.len()
            ));
        }
        self.notes
    }

    pub(super) fn judge(&mut self, subject: &Subject) -> Result<Judged, Failure> {
        let name = subject.name();
        self.bar.set_message(format!("{name}: opening"));
        let copy = &self.arguments.copy;
        self.bar_aside(|| encoder::tell_stand_in(&subject.path, &subject.checkpoint))?;
        let encoder =
            Encoder::open(&subject.path, &subject.checkpoint, copy.network.into(), &self.device)?;
        let (encoder, told) = encoder::pooled(encoder, copy)?;
        self.notes.extend(told);
        let named = (self.arguments.images.as_deref(), self.arguments.format);
        let config = encoder::images(named, &encoder, self.common)?;
        let set = self.set(config)?;
        if self.arguments.images.is_none()
            && let Some((_, splits, _)) = &self.last
        {
            let split = self.arguments.split.into();
            let changed = encoder::changed(&encoder, &subject.checkpoint, splits, split);
            self.notes.extend(changed);
        }
        let pipeline = self.pipeline(&encoder)?;
        let reading =
            encoder::reading(&self.arguments.reading, self.arguments.images.is_some(), &encoder);
        let bar = &self.bar;
        let mut heard = |what: &'static str, done: usize, of: usize| match of {
            0 => bar.update(format!("{name}: {what}")),
            _ => bar.update(format!("{name}: {what}, {done} of {of} images")),
        };
        let judged =
            ranking::judge(&encoder, &set.images, &set.chosen, &pipeline, &reading, &mut heard);
        let figures = judged.map_err(advised)?;
        self.remember(&name, &figures);
        let accuracies = match encoder.step {
            Some(step) if subject.is_run() && copy.network == NetworkName::Student => {
                accuracies(&subject.path, step)
            }
            _ => Accuracies::new(),
        };
        Ok(Judged { name, step: encoder.step, figures, accuracies, set })
    }

    /// The views that LiDAR compares.
    fn pipeline(&mut self, encoder: &Encoder) -> Result<Pipeline, Failure> {
        let own = encoder.recipe.as_ref().map(|recipe| &recipe.views);
        let groups = match self.views.as_ref().or(own) {
            Some(groups) => groups.clone(),
            None => {
                self.notes.insert(
                    "files name no views: LiDAR of them is of SimCLR's views; --recipe RECIPE takes those of a recipe"
                        .to_owned(),
                );
                let mut group = ViewGroup::default();
                if encoder.input.channels() != 3 {
                    // These mean something for colours only.
                    (group.saturation, group.hue, group.grayscale) = (0.0, 0.0, 0.0);
                }
                vec![group]
            }
        };
        let pipeline = pipeline(&groups, encoder, self.arguments.seed)?;
        self.kinds.insert(format!("{:?}", pipeline.groups()));
        Ok(pipeline)
    }

    /// Notes what the figures of `name` do not say.
    fn remember(&mut self, name: &str, figures: &Figures) {
        self.notes.extend(figures.remarks.iter().map(|remark| format!("{name}: {remark}")));
        if figures.left_out > 0 {
            let left_out = counted(figures.left_out, "image");
            self.notes.insert(format!("{name}: {left_out} could not be read and were left out"));
        }
        if figures.images < figures.dim {
            self.notes.insert(format!(
                "{name}: {} are fewer than the {} numbers of a feature, and no rank is above the number of images",
                counted(figures.images, "image"),
                figures.dim
            ));
        }
    }

    /// The images of a set that are judged. Those that were opened last are kept.
    fn set(&mut self, config: DataConfig) -> Result<Arc<Set>, Failure> {
        let config = self.arguments.reading.allowing(config);
        if let Some((known, _, set)) = &self.last
            && *known == config
        {
            return Ok(Arc::clone(set));
        }
        let evaluated: Evaluated = self.arguments.split.into();
        let splits = self.bar_aside(|| encoder::opened(&config, evaluated))?;
        let (images, split) = match &splits.validation {
            Some(judged) => (Arc::clone(judged), evaluated.name()),
            None => (Arc::clone(&splits.train), "training"),
        };
        let chosen = self.chosen(images.len());
        let of_views = match chosen.of_views.len() {
            0 => String::new(),
            some => format!("; LiDAR: {} of each of {some}", counted(chosen.views, "view")),
        };
        let name = format!(
            "{} of {}{of_views}",
            counted(chosen.images.len(), &format!("{split} image")),
            config.path.display()
        );
        let digest = Fingerprint::of(images.as_ref()).digest;
        let set = Arc::new(Set { name, digest, images, chosen });
        self.last = Some((config, splits, Arc::clone(&set)));
        Ok(set)
    }

    fn bar_aside<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut done = None;
        self.bar.suspend(|| done = Some(work()));
        done.expect("the bar calls what it is given")
    }

    /// The numbers of the images of a set of `count` that are judged, drawn by the seed where they are not all.
    fn chosen(&self, count: usize) -> Chosen {
        let Rank { limit, lidar_images, views, seed, .. } = *self.arguments;
        let limit = limit.map_or(count, |limit| count.min(limit as usize));
        let mut order: Vec<usize> = (0..count).collect();
        let of_views = limit.min(lidar_images as usize);
        if limit < count || of_views < limit {
            let drawn = permutation(&mut rng(seed, Stream::Evaluation, 0, 0), count as u32);
            order = drawn.into_iter().map(|number| number as usize).collect();
        }
        let sorted = |numbers: &[usize]| {
            let mut numbers = numbers.to_vec();
            numbers.sort_unstable();
            numbers
        };
        let (images, of_views) = (sorted(&order[..limit]), sorted(&order[..of_views]));
        Chosen { images, of_views, views: views.into() }
    }
}

fn advised(error: RankingError) -> Failure {
    match error {
        RankingError::Encoder(error) => encoder::advised(error),
        RankingError::Data(error) => encoder::of_data(error),
        other => other.into(),
    }
}

/// The encoders by the images that they were judged on; best first, those without the figure last.
pub(super) fn by_images(judged: Vec<Judged>, by: Criterion) -> Vec<Ranking> {
    let mut rankings: Vec<(String, Ranking)> = Vec::new();
    for one in judged {
        match rankings.iter_mut().find(|(digest, _)| *digest == one.set.digest) {
            Some((_, ranking)) => ranking.judged.push(one),
            None => {
                let (digest, images) = (one.set.digest.clone(), one.set.name.clone());
                rankings.push((digest, Ranking { images, judged: vec![one] }));
            }
        }
    }
    let score = |one: &Judged| one.figures.of(by).map(|value| by.score(value));
    for (_, ranking) in &mut rankings {
        ranking.judged.sort_by(|a, b| match (score(a), score(b)) {
            (Some(a), Some(b)) => b.total_cmp(&a),
            (a, b) => b.is_some().cmp(&a.is_some()).then(Ordering::Equal),
        });
    }
    rankings.into_iter().map(|(_, ranking)| ranking).collect()
}
