//! What iBOT and DINOv2 share: a student that sees some patches as a mask token and predicts a momentum teacher's
//! distributions over prototypes, that of the class token of another view and those of the masked patches.
//!
//! The teacher sees all views whole. Only masked patches go through the head. Ranks hold different numbers of them: see
//! [`MaskedBatch`]. Called by `methods::{dinov2, ibot}`.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};
use serde::{Deserialize, Serialize};

use super::self_distillation::{HeadShape, figures as watched};
use crate::{
    backbone::{Backbone, Masked, Patches, Tokens},
    layers::{Init, Mode, PrototypeHead},
    method::{
        Views,
        block_mask::{BlockMasking, MaskedBatch},
        require_patches, teacher_of,
    },
    objective::{
        centring::{centred_softmax, next_center},
        figures,
        self_distillation::patch_losses,
        sinkhorn,
    },
    optim::ema,
    recipe::Checker,
    schedule::Step,
};

/// The heads' prototypes, which stay as they are in the first epochs.
pub(super) const LAST_LAYERS: &[&str] = &["head.last_layer", "patch_head.last_layer"];

const VIT: &str = "the plan has checked that the backbone is a vision transformer";

/// How a teacher's logits become targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Centering {
    /// `softmax((t − centre)/T)`, with a moving average of the logits as centre (DINO).
    #[default]
    Softmax,
    /// Sinkhorn's iterations over all rows of the joint batch (SwAV; DINOv2's largest networks).
    Sinkhorn,
}

/// Backbone, what stands instead of a masked patch, and heads. Without a head of their own the patches go through that of
/// the class token.
#[derive(Module, Debug)]
pub struct Student {
    backbone: Backbone,
    mask_token: Param<Tensor<1>>,
    head: PrototypeHead,
    patch_head: Option<PrototypeHead>,
}

impl Student {
    /// Makes a student whose mask token is 0, as in both reference programs.
    pub(super) fn new(
        backbone: Backbone,
        dim: usize,
        shape: &HeadShape,
        separate: bool,
        init: &Init,
    ) -> Self {
        Self {
            backbone,
            mask_token: init.constant([dim], 0.0),
            head: shape.head(dim, init),
            patch_head: separate.then(|| shape.head(dim, init)),
        }
    }

    pub(super) fn backbone(&self) -> &Backbone {
        &self.backbone
    }

    fn tokens(&self, x: &Tensor<4>, mask: Option<Tensor<2>>, mode: Mode) -> Tokens {
        let masked = mask.map(|mask| Masked { mask, token: self.mask_token.val() });
        self.backbone.forward_tokens(x.clone(), masked, mode).expect(VIT)
    }

    /// Unit vectors and logits of class tokens, `[n, dim]` and `[n, prototypes]`.
    fn classes(&self, tokens: &Tokens, mode: Mode) -> (Tensor<2>, Tensor<2>) {
        self.head.forward(tokens.class.clone(), mode)
    }

    /// Logits of patches.
    ///
    /// # Shapes — `[rows, features]` to `[rows, prototypes]`.
    fn patches(&self, rows: Tensor<2>, mode: Mode) -> Tensor<2> {
        self.patch_head.as_ref().unwrap_or(&self.head).forward(rows, mode).1
    }
}

/// The teacher, a moving average of the student, and the centres of its logits, `[1, prototypes]`, where targets are made
/// with them.
#[derive(Module, Debug)]
pub struct Memory {
    teacher: Student,
    center: Option<Param<Tensor<2>>>,
    patch_center: Option<Param<Tensor<2>>>,
}

impl Memory {
    pub(super) fn new(
        student: &Student,
        centering: Centering,
        prototypes: usize,
        init: &Init,
    ) -> Self {
        let center = || init.constant([1, prototypes], 0.0).no_grad();
        let center = || (centering == Centering::Softmax).then(center);
        Self { teacher: teacher_of(student), center: center(), patch_center: center() }
    }

    pub(super) fn teacher(&self) -> &Backbone {
        &self.teacher.backbone
    }

    /// Moves the centres. The patches' stays where no patch was masked.
    pub(super) fn remember(self, carry: Carry, momentum: f64) -> Self {
        let moved = |center: Option<Param<Tensor<2>>>, logits: Option<Tensor<2>>| {
            let Some(logits) = logits else { return center };
            center.map(|center| center.map(|center| next_center(center, logits, momentum)))
        };
        let center = moved(self.center, carry.classes);
        Self { center, patch_center: moved(self.patch_center, carry.patches), ..self }
    }

    pub(super) fn follow(self, student: &Student, momentum: f64) -> Self {
        let teacher = ema(self.teacher, student, momentum)
            .expect("the teacher was made of the student's networks");
        Self { teacher, ..self }
    }
}

/// What moves the centres: the teacher's logits of all class tokens, `[views·n, prototypes]`, and the mean of those of the
/// masked patches, `[1, prototypes]`.
pub struct Carry {
    classes: Option<Tensor<2>>,
    patches: Option<Tensor<2>>,
}

/// How a method compares student and teacher in a step.
pub(super) struct Comparison {
    pub masking: BlockMasking,
    pub sinkhorn_iterations: usize,
    pub student_temperature: f64,
    /// The teacher's temperature for class tokens in this epoch.
    pub class_temperature: f64,
    /// The teacher's temperature for patches in this epoch.
    pub patch_temperature: f64,
}

/// The results of a comparison.
pub(super) struct Compared {
    /// Features of each view, `[n, features]` of the own rows.
    pub features: Vec<Tensor<2>>,
    /// The student's class tokens of each global view, `[n, features]` of the own rows.
    pub class_tokens: Vec<Tensor<2>>,
    /// The student's logits of the class tokens of each view, `[world·n, prototypes]`.
    pub logits: Vec<Tensor<2>>,
    /// The targets of each global view, in the same order.
    pub targets: Vec<Tensor<2>>,
    /// What the masked patches say.
    pub patches: OfPatches,
    /// Figures beside the losses.
    pub parts: Vec<(&'static str, Tensor<1>)>,
    pub carry: Carry,
}

impl Comparison {
    pub(super) fn run(
        &self,
        student: &Student,
        memory: &Memory,
        views: &Views,
        at: &Step,
    ) -> Compared {
        let (mode, teacher) = (views.mode(), &memory.teacher);
        let grid = |x: &Tensor<4>| student.backbone.grid(x).expect(VIT);
        let grids: Vec<[usize; 2]> = views.global.iter().map(grid).collect();
        let masked = MaskedBatch::new(&self.masking, &grids, views, at);
        let taught: Vec<Tokens> =
            views.global.iter().map(|x| teacher.tokens(x, None, mode)).collect();
        let mask = |view: usize, x: &Tensor<4>| {
            (view < grids.len()).then(|| masked.mask(view, &x.device()))
        };
        let seen: Vec<Tokens> = views
            .all()
            .enumerate()
            .map(|(view, x)| student.tokens(x, mask(view, x), mode))
            .collect();
        let teacher_logits = taught.iter().map(|of| teacher.classes(of, mode).1.detach());
        let teacher_logits: Vec<Tensor<2>> = teacher_logits.collect();
        let (z, logits): (Vec<_>, Vec<_>) = seen.iter().map(|of| student.classes(of, mode)).unzip();
        let (teacher_logits, logits) = views.gather((teacher_logits, logits));
        let rows = |tokens: &[Tokens]| {
            masked.rows(tokens[..grids.len()].iter().map(|of| of.patches.clone()).collect())
        };
        let patches = PatchLogits {
            student: student.patches(rows(&seen), mode),
            teacher: teacher.patches(rows(&taught), mode).detach(),
            masked: &masked,
        };
        let teacher_logits = Tensor::cat(teacher_logits, 0); // [views·world·n, prototypes]
        let center = memory.center.as_ref().map(Param::val);
        let targets = self.targets(teacher_logits.clone(), center, self.class_temperature);
        let targets = targets.chunk(grids.len(), 0);
        // The loss is the targets' entropy plus the divergence of the predictions from them.
        let mut parts = vec![("target_entropy", figures::entropy(targets[0].clone()))];
        let mut of_patches = self.patches(&patches, memory, views, at);
        parts.append(&mut of_patches.parts);
        if at.watch {
            let z = views.gather_detached(z);
            parts.extend(watched(&targets[0], &logits[0], self.student_temperature, &z));
            let center = memory.center.as_ref().map(|center| center.val().detach());
            parts.extend(center.map(|center| ("center_norm", figures::mean_norm(center))));
        }
        let carry = Carry {
            patches: memory.patch_center.as_ref().and_then(|_| patches.mean(views)),
            classes: memory.center.is_some().then_some(teacher_logits),
        };
        let class_tokens = seen[..grids.len()].iter().map(|of| of.class.clone()).collect();
        let features = seen.into_iter().map(|of| of.features).collect();
        let patches = of_patches;
        Compared { features, class_tokens, logits, targets, patches, parts, carry }
    }

    /// Targets of rows of all ranks: with a centre each row on its own, without by Sinkhorn's iterations.
    fn targets(&self, rows: Tensor<2>, center: Option<Tensor<2>>, temperature: f64) -> Tensor<2> {
        match center {
            Some(center) => centred_softmax(rows, center, temperature),
            None => sinkhorn(rows, temperature, self.sinkhorn_iterations),
        }
    }

    /// The loss of the masked patches of the joint batch, and figures of them.
    fn patches(
        &self,
        patches: &PatchLogits,
        memory: &Memory,
        views: &Views,
        at: &Step,
    ) -> OfPatches {
        let (masked, temperature) = (patches.masked, self.patch_temperature);
        let teacher = patches.teacher.clone();
        let targets = match memory.patch_center.as_ref().map(Param::val) {
            Some(center) => self.targets(teacher, Some(center), temperature),
            None => {
                masked.together(views.gather(teacher), |rows| self.targets(rows, None, temperature))
            }
        };
        let (device, rows) = (targets.device(), targets.dims()[0]);
        let (logits, shares) = (patches.student.clone(), masked.shares(&device));
        let losses = patch_losses(logits, targets.clone(), shares, self.student_temperature);
        let image_losses = at.image_losses.then(|| {
            let own = masked.of_images(losses.clone().detach());
            let n = own.dims()[0];
            let joint = views.gather(own.reshape([n, 1])); // [n] -> [n, 1] -> [world·n, 1]
            let images = joint.dims()[0];
            joint.reshape([images]) * images as f64
        });
        let loss = views.gather(losses.reshape([rows, 1])).sum();
        let mut parts = vec![("masked_share", Tensor::from_floats([masked.share()], &device))];
        if at.watch && masked.count() > 0 {
            let count = masked.count() as f64;
            let entropy = masked.sum(figures::entropies(targets.clone())); // [1, 1]
            let (entropy, sum) = views.gather((entropy, masked.sum(targets)));
            parts.push(("patch_target_entropy", entropy.sum() / count));
            parts.push(("patch_target_usage", figures::usage(sum.sum_dim(0) / count)));
        }
        OfPatches { loss, image_losses, parts }
    }
}

/// What the masked patches of the joint batch say.
pub(super) struct OfPatches {
    /// Their loss, `[1]`.
    pub loss: Tensor<1>,
    /// The part of each image in it, whose mean it is, `[world·n]`; `None` where nobody asks for it.
    pub image_losses: Option<Tensor<1>>,
    /// Figures of them.
    parts: Vec<(&'static str, Tensor<1>)>,
}

/// The logits of the masked patches, `[rows, prototypes]` of the own rows.
struct PatchLogits<'a> {
    student: Tensor<2>,
    teacher: Tensor<2>,
    masked: &'a MaskedBatch,
}

impl PatchLogits<'_> {
    /// The mean of the teacher's logits over all masked patches, `[1, prototypes]`; `None` where there is none.
    fn mean(&self, views: &Views) -> Option<Tensor<2>> {
        let count = self.masked.count();
        let sums = (count > 0).then(|| views.gather(self.masked.sum(self.teacher.clone())));
        sums.map(|sums| sums.sum_dim(0) / count as f64) // [world, prototypes] -> [1, prototypes]
    }
}

/// The bounds of the settings of masks.
pub(super) fn check_masks(masking: &BlockMasking, checker: &mut Checker) {
    checker.share("mask_probability", masking.probability);
    checker.range("mask_ratio", masking.ratio, 1.0);
    let holds = masking.aspect > 0.0 && masking.aspect <= 1.0;
    checker.require("mask_aspect", holds, masking.aspect, "a number above 0, at most 1");
}

/// Checks that the backbone is a vision transformer with a class token and a last norm of all tokens, and has patches to
/// mask.
///
/// # Errors
/// It is none; the error names the keys and what was expected.
pub(super) fn check_patches(method: &str, patches: Option<Patches>) -> Result<(), String> {
    let [rows, columns] = require_patches(method, patches)?;
    let has = |property: fn(Patches) -> bool| patches.is_some_and(property);
    if !has(|patches| patches.class_token) {
        return Err(format!(
            "{method} learns from the class token, and backbone.vit.class_token is false: expected true"
        ));
    }
    if !has(|patches| patches.normalised) {
        return Err(format!(
            "{method} compares the tokens behind the last norm, which a backbone with backbone.vit.pooling = \"fc_norm\" \
             does not have: expected \"token\" or \"mean\""
        ));
    }
    if rows < 2 || columns < 2 {
        return Err(format!(
            "{method} masks blocks of patches, and a view has {rows} by {columns}: expected at least 2 by 2, by a smaller \
             backbone.vit.patch or larger views"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backbone_without_patches_a_class_token_or_a_last_norm_is_refused_by_its_key() {
        let fits = Patches::from([8, 8]);
        assert_eq!(check_patches("ibot", Some(fits)), Ok(()));
        for (patches, part) in [
            (None, "vit-tiny"),
            (Some(Patches { class_token: false, ..fits }), "backbone.vit.class_token is false"),
            (Some(Patches { normalised: false, ..fits }), "backbone.vit.pooling"),
            (Some(Patches { grid: [1, 8], ..fits }), "1 by 8"),
        ] {
            let message = check_patches("ibot", patches).unwrap_err();
            assert!(message.contains(part) && message.contains("ibot"), "{message}");
        }
    }

    #[test]
    fn masks_that_make_no_sense_are_refused_by_their_key() {
        let entry = crate::methods::find("dinov2").unwrap();
        for (text, part) in [
            ("mask_ratio = [0.5, 0.1]", "mask_ratio"),
            ("mask_ratio = [0.1, 1.5]", "mask_ratio"),
            ("mask_probability = 2.0", "mask_probability"),
            ("mask_aspect = 0.0", "mask_aspect"),
            ("sinkhorn_iterations = 0", "sinkhorn_iterations"),
            ("centering = \"mean\"", "centering"),
        ] {
            let Err(error) = entry.with(&toml::from_str(text).unwrap()) else {
                panic!("{text} was taken");
            };
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
    }
}
