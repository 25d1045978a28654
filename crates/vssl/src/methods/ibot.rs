//! iBOT: image BERT pre-training with an online tokenizer (Zhou et al. 2022, arXiv:2111.07832).
//!
//! DINO, and masked image modelling with DINO's teacher as tokenizer: the student sees blocks of patches of the global
//! views as a mask token, and predicts the teacher's distribution for each of them from the same view:
//!
//! `L = λ₁·mean_{a, b≠a} H(q_a, s_b) + λ₂·mean_images mean_masked H(q̃, s̃)`                      (eq. 2 and section 3.2)
//!
//! with `H(q, s) = −Σ_k q_k · log softmax(s/T_s)_k`, the teacher's centred and sharpened distributions q of class tokens
//! and q̃ of patches, a over the global views and b over all. Images without a mask count in the mean with 0. The formulas
//! are in [`crate::objective::clustering`] and [`crate::objective::self_distillation`], the networks in
//! `methods::masked_distillation`.
//!
//! The centre of the patches is the mean over masked patches, as in DINOv2; the authors' program takes all patches.

use serde::{Deserialize, Serialize};

use super::{
    masked_distillation::{
        Carry, Centering, Comparison, LAST_LAYERS, Memory, Student, check_masks, check_patches,
    },
    self_distillation::HeadShape,
};
use crate::{
    backbone::{Backbone, Patches},
    layers::Init,
    method::{Loss, Method, Sizes, Views, block_mask::BlockMasking},
    objective::clustering,
    recipe::{Checker, Settings},
    schedule::{Momentum, Step, straight_line},
};

/// Settings, the table `[ibot]` of a recipe. Defaults are those of the authors' ViT-S/16.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ibot {
    /// Width of the projector's two hidden layers.
    pub projector_hidden: usize,
    /// Length of the unit vectors that are compared with the prototypes.
    pub dim: usize,
    /// Number of prototypes: the length of the output.
    pub prototypes: usize,
    /// Whether class tokens and patches go through one head.
    pub shared_head: bool,
    /// Whether the prototypes keep norm 1; their norms are learned otherwise.
    pub norm_last_layer: bool,
    /// Epochs at the start in which the prototypes stay as they are.
    pub freeze_last_layer_epochs: u64,
    /// Probability that a global view of an image has a mask.
    pub mask_probability: f64,
    /// Smallest and largest share of the patches that are masked then.
    pub mask_ratio: [f64; 2],
    /// Smallest ratio of the sides of a masked block.
    pub mask_aspect: f64,
    /// Weight λ₁ of the class tokens.
    pub class_weight: f64,
    /// Weight λ₂ of the masked patches.
    pub patch_weight: f64,
    /// How the teacher's logits become targets: `"softmax"` or `"sinkhorn"`.
    pub centering: Centering,
    /// Number of Sinkhorn's iterations.
    pub sinkhorn_iterations: usize,
    /// What the student's logits are divided by.
    pub student_temperature: f64,
    /// What the teacher's logits of class tokens are divided by after the warm-up.
    pub teacher_temperature: f64,
    /// Where the teacher's temperature for class tokens starts.
    pub warmup_teacher_temperature: f64,
    /// What the teacher's logits of patches are divided by after the warm-up.
    pub patch_teacher_temperature: f64,
    /// Where the teacher's temperature for patches starts.
    pub warmup_patch_teacher_temperature: f64,
    /// Epochs in which both temperatures rise in a straight line; 0 starts at the last values.
    pub warmup_teacher_epochs: u64,
    /// Share that the centres keep in each update.
    pub center_momentum: f64,
    /// Teacher's momentum τ, by cosine from `base` to `last`.
    pub momentum: Momentum,
}

impl Settings for Ibot {
    fn check(&self, checker: &mut Checker) {
        checker.at_least("projector_hidden", self.projector_hidden as u64, 1);
        checker.at_least("dim", self.dim as u64, 1);
        checker.at_least("prototypes", self.prototypes as u64, 2);
        check_masks(&self.masking(), checker);
        checker.not_negative("class_weight", self.class_weight);
        checker.not_negative("patch_weight", self.patch_weight);
        checker.at_least("sinkhorn_iterations", self.sinkhorn_iterations as u64, 1);
        checker.positive("student_temperature", self.student_temperature);
        checker.positive("teacher_temperature", self.teacher_temperature);
        checker.positive("warmup_teacher_temperature", self.warmup_teacher_temperature);
        checker.positive("patch_teacher_temperature", self.patch_teacher_temperature);
        let warmup = self.warmup_patch_teacher_temperature;
        checker.positive("warmup_patch_teacher_temperature", warmup);
        checker.share("center_momentum", self.center_momentum);
        checker.momentum(&self.momentum);
    }
}

impl Default for Ibot {
    fn default() -> Self {
        Self {
            projector_hidden: 2048,
            dim: 256,
            prototypes: 8192,
            shared_head: true,
            norm_last_layer: false,
            freeze_last_layer_epochs: 1,
            mask_probability: 0.5,
            mask_ratio: [0.1, 0.5],
            mask_aspect: 0.3,
            class_weight: 1.0,
            patch_weight: 1.0,
            centering: Centering::Softmax,
            sinkhorn_iterations: 3,
            student_temperature: 0.1,
            teacher_temperature: 0.07,
            warmup_teacher_temperature: 0.04,
            patch_teacher_temperature: 0.07,
            warmup_patch_teacher_temperature: 0.04,
            warmup_teacher_epochs: 30,
            center_momentum: 0.9,
            momentum: Momentum { base: 0.996, last: 1.0 },
        }
    }
}

impl Ibot {
    fn masking(&self) -> BlockMasking {
        let (probability, ratio) = (self.mask_probability, self.mask_ratio);
        BlockMasking { probability, ratio, aspect: self.mask_aspect }
    }

    fn comparison(&self, at: &Step) -> Comparison {
        let rising = |ends: (f64, f64)| straight_line(ends, self.warmup_teacher_epochs, at.epoch);
        let class = (self.warmup_teacher_temperature, self.teacher_temperature);
        let patch = (self.warmup_patch_teacher_temperature, self.patch_teacher_temperature);
        Comparison {
            masking: self.masking(),
            sinkhorn_iterations: self.sinkhorn_iterations,
            student_temperature: self.student_temperature,
            class_temperature: rising(class),
            patch_temperature: rising(patch),
        }
    }
}

impl Method for Ibot {
    type Student = Student;
    type Memory = Memory;
    type Carry = Carry;

    fn check(&self, sizes: &Sizes) -> Result<(), String> {
        sizes.require_two_global("ibot")
    }

    fn check_patches(&self, patches: Option<Patches>) -> Result<(), String> {
        check_patches("ibot", patches)
    }

    fn has_image_losses(&self) -> bool {
        true
    }

    fn student(&self, backbone: Backbone, dim: usize, init: &Init) -> Student {
        let shape = HeadShape {
            hidden: self.projector_hidden,
            dim: self.dim,
            prototypes: self.prototypes,
            hidden_norm: false,
            learned_norms: !self.norm_last_layer,
        };
        Student::new(backbone, dim, &shape, !self.shared_head, init)
    }

    fn memory(&self, student: &Student, _: &Sizes, init: &Init) -> Memory {
        Memory::new(student, self.centering, self.prototypes, init)
    }

    fn frozen(&self, at: &Step) -> &'static [&'static str] {
        if at.epoch < self.freeze_last_layer_epochs { LAST_LAYERS } else { &[] }
    }

    fn loss(&self, student: &Student, memory: &Memory, views: &Views, at: &Step) -> Loss<Carry> {
        let of = self.comparison(at).run(student, memory, views, at);
        let class = clustering::swapped(&of.logits, &of.targets, self.student_temperature);
        let mut parts =
            vec![("class_loss", class.clone()), ("patch_loss", of.patches.loss.clone())];
        parts.extend(of.parts);
        let total = class * self.class_weight + of.patches.loss * self.patch_weight;
        let image_losses = of.patches.image_losses.map(|patches| {
            let logits: Vec<_> = of.logits.iter().map(|x| x.clone().detach()).collect();
            let class = clustering::swapped_rows(&logits, &of.targets, self.student_temperature);
            class * self.class_weight + patches * self.patch_weight
        });
        Loss { total, parts, features: of.features, image_losses, carry: of.carry }
    }

    fn backbone<'a>(&self, student: &'a Student) -> &'a Backbone {
        student.backbone()
    }

    fn teacher<'a>(&self, memory: &'a Memory) -> Option<&'a Backbone> {
        Some(memory.teacher())
    }

    fn remember(&self, memory: Memory, carry: Carry, _: &Step) -> Memory {
        memory.remember(carry, self.center_momentum)
    }

    fn after_step(&self, memory: Memory, student: &Student, at: &Step) -> Memory {
        memory.follow(student, self.momentum.at(at))
    }
}
