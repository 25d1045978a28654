//! I-JEPA: image-based joint-embedding predictive architecture (Assran et al. 2023, arXiv:2301.08243).
//!
//! The student sees one large block of an image without several target blocks. A predictor, which is not kept, tells
//! from it what a momentum teacher that sees the whole image makes of the patches of each target block:
//!
//! `L = mean smooth_l1( predictor(f(context), places of the target) − LN(teacher(image)) at the target )`
//!
//! The formula is in [`crate::objective::latent_prediction`], the blocks are those of [`crate::method::mask`]. One view
//! of an image is enough, without augmentations of its colours.

use burn::{
    module::{Module, Param},
    tensor::{DType, Tensor},
};
use serde::{Deserialize, Serialize};
use vssl_kernels::breakdown::{self, Part};

use super::mae::{PATCHES, each_token, positions};
use crate::{
    backbone::{Backbone, Patches, Seen},
    layers::{BlockShape, BlockWeights, Chosen, Init, LayerNorm, Linear, PreNormBlock},
    method::{
        Loss, Method, Sizes, Views,
        mask::{BlockMasks, Blocks, Masks, own_rows},
        require_patches, teacher_of,
    },
    objective::{
        figures,
        latent_prediction::{errors, normalised, targets},
        loss_prediction::over_views,
    },
    optim::ema,
    recipe::{Checker, Settings},
    schedule::{Momentum, Step},
};

/// The smallest grid on which blocks leave a context.
const LEAST_SIDE: usize = 3;

/// Settings, the table `[ijepa]` of a recipe. Defaults are those of the authors' ViT-H/14 on ImageNet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IJepa {
    /// Length of the predictor's tokens.
    pub predictor_width: usize,
    /// Number of the predictor's blocks.
    pub predictor_depth: usize,
    /// Number of the predictor's attention heads; the authors' predictors have those of their encoder.
    pub predictor_heads: usize,
    /// Number of target blocks.
    pub targets: usize,
    /// Area of a target block, as a share of the grid.
    pub target_scale: [f64; 2],
    /// Height of a target block over its width.
    pub target_aspect: [f64; 2],
    /// Area of the context block before the targets are taken out, as a share of the grid.
    pub context_scale: [f64; 2],
    /// Number of patches that a context has at least.
    pub min_context: usize,
    /// Teacher's momentum, along a straight line from `base` to `last`.
    pub momentum: Momentum,
}

impl Settings for IJepa {
    fn check(&self, checker: &mut Checker) {
        checker.head("predictor", self.predictor_width, self.predictor_heads);
        checker.at_least("predictor_depth", self.predictor_depth as u64, 1);
        checker.at_least("targets", self.targets as u64, 1);
        checker.range("target_scale", self.target_scale, 1.0);
        checker.range("target_aspect", self.target_aspect, f64::INFINITY);
        checker.range("context_scale", self.context_scale, 1.0);
        checker.at_least("min_context", self.min_context as u64, 1);
        checker.momentum(&self.momentum);
    }
}

impl Default for IJepa {
    fn default() -> Self {
        Self {
            predictor_width: 384,
            predictor_depth: 12,
            predictor_heads: 16,
            targets: 4,
            target_scale: [0.15, 0.2],
            target_aspect: [0.75, 1.5],
            context_scale: [0.85, 1.0],
            min_context: 10,
            momentum: Momentum { base: 0.996, last: 1.0 },
        }
    }
}

/// Backbone and predictor.
#[derive(Module, Debug)]
pub struct Student {
    backbone: Backbone,
    predictor: IJepaPredictor,
}

/// The moving average of the student's backbone.
#[derive(Module, Debug)]
pub struct Teacher {
    backbone: Backbone,
}

/// A narrow transformer that predicts the tokens of target blocks from those of a context block.
#[derive(Module, Debug)]
pub struct IJepaPredictor {
    embed: Linear,
    mask_token: Param<Tensor<3>>,
    blocks: Vec<PreNormBlock>,
    norm: LayerNorm,
    proj: Linear,
}

impl IJepaPredictor {
    /// Makes a predictor of `settings` for tokens of length `dim`. The initial values are timm's.
    pub fn new(settings: &IJepa, dim: usize, init: &Init) -> Self {
        let width = settings.predictor_width;
        let linear = |input: usize, output: usize| Linear {
            weight: init.truncated_normal([output, input], 0.02),
            bias: Some(init.constant([output], 0.0)),
        };
        let shape = BlockShape::plain(width, settings.predictor_heads, BlockWeights::Normal);
        Self {
            embed: linear(dim, width),
            mask_token: init.truncated_normal([1, 1, width], 0.02),
            blocks: (0..settings.predictor_depth)
                .map(|_| PreNormBlock::new(&shape, init))
                .collect(),
            norm: LayerNorm::new(width, init),
            proj: linear(width, dim),
        }
    }

    /// Predicts the tokens of each target block, every block by itself. `contexts` are the patches of the context
    /// blocks, one choice for each block of the images; `targets` likewise. Matrix products are in `precision`.
    ///
    /// # Shapes — `context`: `[contexts · n, seen, dim]`, block by block; returns
    /// `[targets · contexts · n, patches, dim]`, by target block, then context block, then image.
    pub fn forward(
        &self,
        context: Tensor<3>,
        contexts: &[Chosen],
        targets: &[Chosen],
        grid: [usize; 2],
        precision: DType,
    ) -> Tensor<3> {
        breakdown::network(Part::Heads, || {
            let context = each_token(&self.embed, context); // [contexts · n, seen, width]
            let [_, seen, width] = context.dims();
            let table: Tensor<2> = positions(grid, &context).squeeze_dim(0);
            let places = contexts.iter().map(|chosen| chosen.of_table(table.clone())).collect();
            let context = context + Tensor::cat(places, 0);
            let sequence = |target: &Chosen| {
                let asked = target.of_table(table.clone()) + self.mask_token.val();
                let asked = asked.repeat_dim(0, contexts.len());
                Tensor::cat(vec![context.clone(), asked], 1)
            };
            let x = Tensor::cat(targets.iter().map(sequence).collect(), 0);
            let x = self.blocks.iter().fold(x, |x, block| block.forward(x, None, precision));
            let [rows, tokens, _] = x.dims();
            let asked = tokens - seen;
            let x = x.narrow(1, seen, asked).reshape([rows * asked, width]);
            let predictions = self.proj.forward(self.norm.forward(x));
            let dim = predictions.dims()[1];
            predictions.reshape([rows, asked, dim])
        })
    }
}

impl IJepa {
    fn blocks(&self) -> BlockMasks {
        BlockMasks {
            targets: self.targets,
            target_scale: self.target_scale,
            target_aspect: self.target_aspect,
            context_scale: self.context_scale,
            least: self.min_context,
        }
    }
}

/// What is compared in one view.
struct Prediction {
    seen: Seen,
    /// `[targets · n, patches, dim]` each.
    predictions: Tensor<3>,
    targets: Tensor<3>,
    /// The share of the patches that the student sees.
    context: f64,
    /// The share of the images whose context overlaps a target.
    overlapped: f64,
}

impl IJepa {
    fn predict(
        &self,
        student: &Student,
        teacher: &Teacher,
        views: &Views,
        view: usize,
        at: &Step,
    ) -> Prediction {
        let x = &views.global[view];
        let n = x.dims()[0];
        let grid = student.backbone.grid(x).expect(PATCHES);
        let joint = n * views.group.world();
        let blocks = Masks { view, at }.blocks(joint, grid, &self.blocks());
        let own = &blocks[own_rows(views, n)];
        let of = |list: &dyn Fn(&Blocks) -> Vec<u32>| {
            Chosen::new(&own.iter().map(list).collect::<Vec<_>>())
        };
        let context = of(&|blocks| blocks.context.clone());
        let places: Vec<Chosen> =
            (0..self.targets).map(|target| of(&|blocks| blocks.targets[target].clone())).collect();

        let whole = breakdown::network(Part::Backbone, || {
            teacher.backbone.forward_with_patches(x.clone()).expect(PATCHES).1
        });
        let whole = normalised(whole);
        let wanted = targets(places.iter().map(|place| place.of(whole.clone())).collect(), 1);

        let seen = student.backbone.forward_visible(x.clone(), &context, views.mode());
        let seen = seen.expect(PATCHES);
        let contexts = std::slice::from_ref(&context);
        let patches = seen.patches.clone();
        let predictions = student.predictor.forward(patches, contexts, &places, grid, x.dtype());
        let overlapped = blocks.iter().filter(|blocks| blocks.overlapped > 0).count();
        Prediction {
            seen,
            predictions,
            targets: wanted,
            context: context.count() as f64 / (grid[0] * grid[1]) as f64,
            overlapped: overlapped as f64 / joint as f64,
        }
    }

    /// How far the images of the joint batch are apart, by the mean token of their target blocks.
    fn spread(&self, views: &Views, tokens: &Tensor<3>) -> Tensor<1> {
        let [rows, patches, dim] = tokens.dims();
        let n = rows / self.targets;
        let tokens: Tensor<4> = tokens.clone().detach().reshape([self.targets, n, patches, dim]);
        // [targets, n, patches, dim] -> [1, n, 1, dim] -> [n, dim]
        let mean = tokens.mean_dim(2).mean_dim(0).reshape([n, dim]);
        figures::unit_std(&views.gather(vec![mean]))
    }
}

impl Method for IJepa {
    type Student = Student;
    type Memory = Teacher;
    type Carry = ();

    fn check(&self, sizes: &Sizes) -> Result<(), String> {
        sizes.require_global_only("ijepa")
    }

    /// The smallest context, if its targets do not overlap: all contexts of a batch are cut to the smallest.
    fn visible_share(&self) -> f64 {
        let targets = self.targets as f64 * self.target_scale[1];
        (self.context_scale[0] - targets).max(0.0)
    }

    fn check_patches(&self, patches: Option<Patches>) -> Result<(), String> {
        let [rows, columns] = require_patches("ijepa", patches)?;
        if rows.min(columns) < LEAST_SIDE {
            return Err(format!(
                "a view has {rows} by {columns} patches; ijepa cuts blocks out of them: expected at least {LEAST_SIDE} \
                 by {LEAST_SIDE}, by a smaller backbone.vit.patch or larger views"
            ));
        }
        if patches.is_some_and(|patches| !patches.normalised) {
            return Err(
                "ijepa compares the patches behind the last norm, which backbone.vit.pooling = \"fc_norm\" does not have: \
                 expected \"token\" or \"mean\""
                    .to_owned(),
            );
        }
        let (least, most) = (self.min_context, rows * columns / 4);
        if least > most {
            return Err(format!(
                "ijepa.min_context = {least} is more than a quarter of the {rows} by {columns} patches of a view, and \
                 the targets take most of the others: expected at most {most}"
            ));
        }
        let smallest = self.blocks().smallest_context([rows, columns]);
        if smallest < least {
            return Err(format!(
                "ijepa.context_scale = {:?} makes contexts of {smallest} of the {rows} by {columns} patches of a view, \
                 fewer than ijepa.min_context = {least}: expected a larger share or a smaller least number",
                self.context_scale
            ));
        }
        Ok(())
    }

    fn has_image_losses(&self) -> bool {
        true
    }

    fn student(&self, backbone: Backbone, dim: usize, init: &Init) -> Student {
        Student { backbone, predictor: IJepaPredictor::new(self, dim, init) }
    }

    fn memory(&self, student: &Student, _: &Sizes, _: &Init) -> Teacher {
        Teacher { backbone: teacher_of(&student.backbone) }
    }

    fn loss(&self, student: &Student, teacher: &Teacher, views: &Views, at: &Step) -> Loss<()> {
        let each: Vec<Prediction> = (0..views.global.len())
            .map(|view| self.predict(student, teacher, views, view, at))
            .collect();
        let errors: Vec<Tensor<2>> = each
            .iter()
            .map(|one| errors(one.predictions.clone(), one.targets.clone(), self.targets))
            .collect();
        let errors = Tensor::cat(views.gather(errors), 0); // views times [n, 1] -> [views · n, 1]
        let image_losses = at
            .image_losses
            .then(|| over_views(errors.clone().detach().squeeze_dim(1), views.global.len()));
        let total = errors.mean();
        let mut parts = vec![("prediction", total.clone())];
        if at.watch {
            let none = total.clone().detach().zeros_like();
            let share = |of: fn(&Prediction) -> f64| {
                none.clone() + each.iter().map(of).sum::<f64>() / each.len() as f64
            };
            parts.push(("context", share(|one| one.context)));
            parts.push(("overlapped", share(|one| one.overlapped)));
            parts.push(("target_std", self.spread(views, &each[0].targets)));
            parts.push(("prediction_std", self.spread(views, &each[0].predictions)));
        }
        let features = each.into_iter().map(|one| one.seen.features).collect();
        Loss { total, parts, features, image_losses, carry: () }
    }

    fn backbone<'a>(&self, student: &'a Student) -> &'a Backbone {
        &student.backbone
    }

    fn teacher<'a>(&self, teacher: &'a Teacher) -> Option<&'a Backbone> {
        Some(&teacher.backbone)
    }

    fn after_step(&self, teacher: Teacher, student: &Student, at: &Step) -> Teacher {
        let momentum = self.momentum.along_a_line(at);
        ema(teacher, student, momentum).expect("the teacher was made of the student's backbone")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backbone_without_patches_and_too_few_patches_are_refused() {
        let ijepa = IJepa::default();
        for (patches, expected) in [
            (None, "vit-tiny"),
            (Some([2, 2].into()), "at least 3 by 3"),
            (Some([6, 6].into()), "at most 9"),
        ] {
            let message = ijepa.check_patches(patches).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
        let small = IJepa { context_scale: [0.1, 0.15], ..ijepa.clone() };
        let message = small.check_patches(Some([8, 8].into())).unwrap_err();
        assert!(message.contains("contexts of 4 of"), "{message}");
        let unnormalised = Patches { normalised: false, ..Patches::from([8, 8]) };
        assert!(ijepa.check_patches(Some(unnormalised)).unwrap_err().contains("fc_norm"));
        assert_eq!(ijepa.check_patches(Some([8, 8].into())), Ok(()));
        assert_eq!(IJepa { min_context: 4, ..ijepa }.check_patches(Some([4, 4].into())), Ok(()));
    }
}
