//! DINOv2 (Oquab et al. 2024, arXiv:2304.07193, section 4): DINO's loss of class tokens, iBOT's of masked patches, and
//! KoLeo, which spreads the class tokens of a batch:
//!
//! `L = λ_dino·class + λ_ibot·patches + λ_koleo·Σ_{global views} koleo(class tokens)`
//!
//! The student sees blocks of patches of the two global views as a mask token; the teacher sees them whole. KoLeo takes the
//! backbone's class tokens, in front of the head, of each global view on its own and of the joint batch. The formulas are in
//! [`crate::objective::self_distillation`] and [`crate::objective::koleo`], the networks in
//! `methods::masked_distillation`.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use vssl_data::counted;

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
    objective::{
        koleo,
        self_distillation::{class_loss, class_losses},
    },
    recipe::{Checker, Settings},
    schedule::{Momentum, Step, straight_line},
};

/// Settings, the table `[dinov2]` of a recipe. Defaults are those of the authors' program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DinoV2 {
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
    /// Weight of the class tokens.
    pub dino_weight: f64,
    /// Weight of the masked patches.
    pub ibot_weight: f64,
    /// Weight of KoLeo.
    pub koleo_weight: f64,
    /// How the teacher's logits become targets: `"softmax"` or `"sinkhorn"`.
    pub centering: Centering,
    /// Number of Sinkhorn's iterations.
    pub sinkhorn_iterations: usize,
    /// What the student's logits are divided by.
    pub student_temperature: f64,
    /// What the teacher's are divided by after the warm-up.
    pub teacher_temperature: f64,
    /// Where the teacher's temperature starts.
    pub warmup_teacher_temperature: f64,
    /// Epochs in which the teacher's temperature rises in a straight line; 0 starts at its last value.
    pub warmup_teacher_epochs: u64,
    /// Share that the centres keep in each update.
    pub center_momentum: f64,
    /// Teacher's momentum τ, by cosine from `base` to `last`.
    pub momentum: Momentum,
}

impl Settings for DinoV2 {
    fn check(&self, checker: &mut Checker) {
        checker.at_least("projector_hidden", self.projector_hidden as u64, 1);
        checker.at_least("dim", self.dim as u64, 1);
        checker.at_least("prototypes", self.prototypes as u64, 2);
        check_masks(&self.masking(), checker);
        checker.not_negative("dino_weight", self.dino_weight);
        checker.not_negative("ibot_weight", self.ibot_weight);
        checker.not_negative("koleo_weight", self.koleo_weight);
        checker.at_least("sinkhorn_iterations", self.sinkhorn_iterations as u64, 1);
        checker.positive("student_temperature", self.student_temperature);
        checker.positive("teacher_temperature", self.teacher_temperature);
        checker.positive("warmup_teacher_temperature", self.warmup_teacher_temperature);
        checker.share("center_momentum", self.center_momentum);
        checker.momentum(&self.momentum);
    }
}

impl Default for DinoV2 {
    fn default() -> Self {
        Self {
            projector_hidden: 2048,
            dim: 256,
            prototypes: 65536,
            shared_head: true,
            norm_last_layer: false,
            freeze_last_layer_epochs: 1,
            mask_probability: 0.5,
            mask_ratio: [0.1, 0.5],
            mask_aspect: 0.3,
            dino_weight: 1.0,
            ibot_weight: 1.0,
            koleo_weight: 0.1,
            centering: Centering::Softmax,
            sinkhorn_iterations: 3,
            student_temperature: 0.1,
            teacher_temperature: 0.07,
            warmup_teacher_temperature: 0.04,
            warmup_teacher_epochs: 30,
            center_momentum: 0.9,
            momentum: Momentum { base: 0.992, last: 1.0 },
        }
    }
}

impl DinoV2 {
    fn masking(&self) -> BlockMasking {
        let (probability, ratio) = (self.mask_probability, self.mask_ratio);
        BlockMasking { probability, ratio, aspect: self.mask_aspect }
    }

    fn comparison(&self, at: &Step) -> Comparison {
        let ends = (self.warmup_teacher_temperature, self.teacher_temperature);
        let temperature = straight_line(ends, self.warmup_teacher_epochs, at.epoch);
        Comparison {
            masking: self.masking(),
            sinkhorn_iterations: self.sinkhorn_iterations,
            student_temperature: self.student_temperature,
            class_temperature: temperature,
            patch_temperature: temperature,
        }
    }
}

impl Method for DinoV2 {
    type Student = Student;
    type Memory = Memory;
    type Carry = Carry;

    fn check(&self, sizes: &Sizes) -> Result<(), String> {
        if sizes.global_views != 2 {
            return Err(format!(
                "views.count adds up to {} (those without views.local = true); dinov2 compares two with each \
                 other, and any number of local views with both: expected 2",
                counted(sizes.global_views, "global view")
            ));
        }
        // A class token has no nearest neighbour but among other images.
        if self.koleo_weight > 0.0 { sizes.require_other_images("dinov2") } else { Ok(()) }
    }

    fn check_patches(&self, patches: Option<Patches>) -> Result<(), String> {
        check_patches("dinov2", patches)
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
        let two = "the sizes were checked: two global views";
        let (global, local) = of.logits.split_at(2);
        let global: [Tensor<2>; 2] = global.to_vec().try_into().expect(two);
        let targets: [Tensor<2>; 2] = of.targets.try_into().expect(two);
        // KoLeo is of the whole batch.
        let image_losses = of.patches.image_losses.map(|patches| {
            let global = global.clone().map(Tensor::detach);
            let local: Vec<_> = local.iter().map(|x| x.clone().detach()).collect();
            let class = class_losses(global, &local, targets.clone(), self.student_temperature);
            class * self.dino_weight + patches * self.ibot_weight
        });
        let class = class_loss(global, local, targets, self.student_temperature);
        let class = class.global + class.local;
        let mut parts =
            vec![("class_loss", class.clone()), ("patch_loss", of.patches.loss.clone())];
        let mut total = class * self.dino_weight + of.patches.loss * self.ibot_weight;
        if self.koleo_weight > 0.0 {
            let spread = views.gather(of.class_tokens).into_iter().map(koleo);
            let spread = spread.reduce(|a, b| a + b).expect(two);
            parts.push(("koleo", spread.clone()));
            total = total + spread * self.koleo_weight;
        }
        parts.extend(of.parts);
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
