//! All4One: symbiotic neighbour contrastive learning (Estepa et al. 2023, arXiv:2303.09417).
//!
//! NNCLR with a momentum teacher, and two more terms: a small transformer summarises five neighbours of one view, and
//! has to agree on that with what it makes of the other view's prediction among its neighbours; and the columns of one
//! view's projections agree with those of the other, and with no others:
//!
//! `L = ½·[neighbours] + ½·[transformer] + ½·[features]`
//!
//! with, for both views v and the other view w, keys k of the teacher and predictions p and t of two predictors:
//!
//! - neighbours: NNCLR of the nearest neighbours of `k_v` and the predictions `p_w`;
//! - transformer: NNCLR, at temperature 0.1, of `E(nn_v)` and `E([t_w, nn_w without the fifth])`, the first token each;
//! - features: [`crate::objective::all4one`].

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use serde::{Deserialize, Serialize};

use super::teacher::TeacherAndQueue;
use crate::{
    backbone::Backbone,
    layers::{Init, Mlp, MlpStyle, Mode, OutputNorm, PostNormEncoder},
    memory::Queue,
    method::{Loss, Method, Sizes, Views},
    objective::{all4one::feature_term, contrastive, cosine_similarity, figures, unit_rows},
    recipe::{Checker, Settings},
    schedule::{Momentum, Step},
};

/// Number of neighbours that the transformer reads.
const NEIGHBOURS: usize = 5;

/// What the similarities of the transformer's term are divided by.
const TRANSFORMER_TEMPERATURE: f64 = 0.1;

/// Settings, the table `[all4one]` of a recipe. Defaults are those of solo-learn's CIFAR recipe, whose transformer
/// has a dropout of 0.1 as well; this one has none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct All4One {
    /// Width of the projector's two hidden layers.
    pub projector_hidden: usize,
    /// Length of projections and predictions, a multiple of `heads`.
    pub dim: usize,
    /// Hidden width of both predictors.
    pub predictor_hidden: usize,
    /// What the similarities of the neighbours' term are divided by.
    pub temperature: f64,
    /// Projections among which neighbours are looked for, a multiple of the images of a forward
    /// pass.
    pub queue: usize,
    /// Layers of the transformer.
    pub layers: usize,
    /// Heads of the transformer.
    pub heads: usize,
    /// Teacher's momentum τ, by cosine from `base` to `last`.
    pub momentum: Momentum,
}

impl Settings for All4One {
    fn check(&self, checker: &mut Checker) {
        checker.at_least("projector_hidden", self.projector_hidden as u64, 1);
        checker.at_least("dim", self.dim as u64, 2);
        checker.at_least("predictor_hidden", self.predictor_hidden as u64, 1);
        checker.positive("temperature", self.temperature);
        checker.at_least("queue", self.queue as u64, NEIGHBOURS as u64);
        checker.at_least("layers", self.layers as u64, 1);
        checker.at_least("heads", self.heads as u64, 1);
        checker.require(
            "dim",
            self.heads == 0 || self.dim.is_multiple_of(self.heads),
            self.dim,
            format_args!("a multiple of heads = {}", self.heads),
        );
        checker.momentum(&self.momentum);
    }
}

impl Default for All4One {
    fn default() -> Self {
        Self {
            projector_hidden: 2048,
            dim: 256,
            predictor_hidden: 4096,
            temperature: 0.2,
            queue: 98304,
            layers: 3,
            heads: 8,
            momentum: Momentum { base: 0.99, last: 1.0 },
        }
    }
}

/// Backbone, projector, two predictors and the transformer.
#[derive(Module, Debug)]
pub struct Student {
    backbone: Backbone,
    projector: Mlp,
    predictor: Mlp,
    predictor2: Mlp,
    transformer_encoder: PostNormEncoder,
}

/// What the student makes of one view, each `[n, dim]` but the features.
struct Outputs {
    features: Tensor<2>,
    projection: Tensor<2>,
    prediction: Tensor<2>,
    /// What the transformer makes of the neighbours.
    summary: Tensor<2>,
    /// What it makes of the second prediction and the first four neighbours.
    shifted: Tensor<2>,
}

impl Student {
    /// # Shapes — `x`: `[n, 3, h, w]`; neighbours: `[n, dim]` each, the nearest first; positions: `[1, tokens, dim]`.
    fn forward(
        &self,
        x: &Tensor<4>,
        (neighbours, positions): (&[Tensor<2>], &Tensor<3>),
        mode: Mode,
    ) -> Outputs {
        let features = self.backbone.forward(x.clone(), mode);
        let projection = self.projector.forward(features.clone(), mode);
        let prediction = self.predictor.forward(projection.clone(), mode);
        let second = self.predictor2.forward(projection.clone(), mode);
        let shifted = [&[second], &neighbours[..NEIGHBOURS - 1]].concat();
        let [summary, shifted] = [neighbours.to_vec(), shifted]
            .map(|tokens| summarised(&self.transformer_encoder, tokens, positions));
        Outputs { features, projection, prediction, summary, shifted }
    }
}

/// Returns the transformer's output for the first of the tokens, with their [`positions`] added.
///
/// # Shapes — each token: `[n, dim]`; `positions`: `[1, tokens, dim]`; returns `[n, dim]`.
pub fn summarised(
    encoder: &PostNormEncoder,
    tokens: Vec<Tensor<2>>,
    positions: &Tensor<3>,
) -> Tensor<2> {
    let (count, [n, dim]) = (tokens.len(), tokens[0].dims());
    let tokens = Tensor::stack::<3>(tokens, 1) + positions.clone();
    let out = encoder.forward(tokens.reshape([n * count, dim]), count);
    out.reshape([n, count, dim]).narrow(1, 0, 1).reshape([n, dim])
}

/// Returns what is added to the tokens: token s has `sin(d·f)` in column d for even s and `cos(d·f)` for odd s, with
/// `f = 10000^(−2·⌊s/2⌋/6)`. solo-learn hands its encoding the tensor with tokens and columns exchanged, and this is
/// what comes of it.
///
/// # Shapes — `[1, tokens, dim]`.
pub fn positions(tokens: usize, dim: usize, device: &Device) -> Tensor<3> {
    let value = |token: usize, column: usize| {
        let frequency = 10_000.0_f64.powf(-2.0 * (token / 2) as f64 / 6.0);
        let angle = column as f64 * frequency;
        (if token.is_multiple_of(2) { angle.sin() } else { angle.cos() }) as f32
    };
    let values: Vec<f32> =
        (0..tokens).flat_map(|s| (0..dim).map(move |d| (s, d))).map(|(s, d)| value(s, d)).collect();
    Tensor::from_data(TensorData::new(values, [1, tokens, dim]), device)
}

impl All4One {
    /// Returns the three terms, each `[1]`, in the order of the module's equation.
    ///
    /// # Shapes — all `[n, dim]`; `nearest` are the nearest neighbours. No gradient flows to `keys` and `nearest`.
    pub fn terms(
        &self,
        (keys, nearest): ([Tensor<2>; 2], [Tensor<2>; 2]),
        (projections, predictions): ([Tensor<2>; 2], [Tensor<2>; 2]),
        (summaries, shifted): ([Tensor<2>; 2], [Tensor<2>; 2]),
    ) -> [Tensor<1>; 3] {
        let ([r1, r2], [s1, s2]) = (summaries, shifted);
        let pair = |a, b| contrastive::own_among_all(a, b, TRANSFORMER_TEMPERATURE);
        [
            contrastive::nnclr(nearest, predictions, self.temperature),
            (pair(r1, s2) + pair(r2, s1)) * 0.5,
            feature_term(keys, projections),
        ]
    }
}

impl Method for All4One {
    type Student = Student;
    /// With the projections of the first view of earlier batches.
    type Memory = TeacherAndQueue;
    /// The teacher's unit-length projections of the first view, `[n, dim]`.
    type Carry = Tensor<2>;

    fn check(&self, sizes: &Sizes) -> Result<(), String> {
        sizes.require_one_pair("all4one")?;
        sizes.require_other_images("all4one")?;
        Queue::check("all4one.queue", self.queue, sizes.batch)
    }

    fn student(&self, backbone: Backbone, dim: usize, init: &Init) -> Student {
        let style = MlpStyle { output_norm: OutputNorm::Affine, ..MlpStyle::default() };
        let hidden = [self.projector_hidden; 2];
        let predictor = || Mlp::new(self.dim, self.predictor_hidden, self.dim, init);
        let sizes = [self.layers, self.heads, self.dim, 2 * self.dim];
        Student {
            backbone,
            projector: Mlp::styled(dim, &hidden, self.dim, style, init),
            predictor: predictor(),
            predictor2: predictor(),
            transformer_encoder: PostNormEncoder::new(sizes, init),
        }
    }

    fn memory(&self, student: &Student, _: &Sizes, init: &Init) -> TeacherAndQueue {
        let networks = (&student.backbone, &student.projector);
        TeacherAndQueue::of(networks, (self.queue, self.dim), init)
    }

    fn loss(
        &self,
        student: &Student,
        memory: &Self::Memory,
        views: &Views,
        at: &Step,
    ) -> Loss<Self::Carry> {
        let mode = views.mode();
        let positions = positions(NEIGHBOURS, self.dim, &views.pair()[0].device());
        let [(k1, nn1, o1), (k2, nn2, o2)] = views.pair().map(|x| {
            let key = unit_rows(memory.teacher.project(x, mode));
            let found = memory.queue.nearest_several(key.clone(), NEIGHBOURS);
            let neighbours: Vec<_> =
                found.into_iter().map(|numbers| memory.queue.take(numbers)).collect();
            let outputs = student.forward(x, (&neighbours, &positions), mode);
            (key, neighbours[0].clone(), outputs)
        });
        let targets = ([k1, k2], [nn1, nn2]);
        let online = ([o1.projection, o2.projection], [o1.prediction, o2.prediction]);
        let transformed = ([o1.summary, o2.summary], [o1.shifted, o2.shifted]);
        let ((targets, online), transformed) = views.gather(((targets, online), transformed));
        let (keys, nearest) = targets.clone();
        let [projections, predictions] = [online.0.clone(), online.1.clone()];
        let terms = self.terms(targets, online, transformed);
        let [neighbours, transformer, features] = terms.clone();
        let mut parts =
            vec![("neighbours", neighbours), ("transformer", transformer), ("features", features)];
        let [first, _] = keys;
        if at.watch {
            let [nearest, _] = nearest;
            let projections = projections.map(|z| z.detach());
            parts.extend(figures::pair(&nearest, &predictions[1].clone().detach()));
            parts.push(("neighbour_cosine", cosine_similarity(first.clone(), nearest).mean()));
            parts.push(("projection_std", figures::unit_std(&projections)));
        }
        let total = terms.into_iter().reduce(|sum, term| sum + term).expect("three terms") * 0.5;
        Loss {
            total,
            parts,
            features: vec![o1.features, o2.features],
            image_losses: None,
            carry: first,
        }
    }

    fn backbone<'a>(&self, student: &'a Student) -> &'a Backbone {
        &student.backbone
    }

    fn teacher<'a>(&self, memory: &'a Self::Memory) -> Option<&'a Backbone> {
        Some(&memory.teacher.backbone)
    }

    fn remember(&self, memory: Self::Memory, keys: Tensor<2>, at: &Step) -> Self::Memory {
        memory.remember(keys, at.passes())
    }

    fn after_step(&self, memory: Self::Memory, student: &Student, at: &Step) -> Self::Memory {
        memory.follow(student, self.momentum.at(at))
    }
}
