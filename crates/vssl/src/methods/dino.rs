//! DINO: self-distillation with no labels (Caron et al. 2021, arXiv:2104.14294).
//!
//! Student and momentum teacher put out logits over prototypes; the teacher's are centred and
//! sharpened, and the student has to predict them from another view:
//!
//! `L = mean_{a, b≠a} −mean_rows Σ_k softmax((t_a − c)/T_t)_k · log softmax(s_b/T_s)_k`       (eq. 2)
//!
//! with a over the global views and b over all. The formulas are in [`crate::objective::centring`]
//! and [`crate::objective::clustering`].

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};
use serde::{Deserialize, Serialize};

use super::self_distillation::{HeadShape, figures as watched};
use crate::{
    backbone::Backbone,
    layers::{Init, Mode, PrototypeHead},
    method::{Loss, Method, Sizes, Views, teacher_of},
    objective::{
        centring::{centred_softmax, next_center},
        clustering, figures,
    },
    optim::ema,
    recipe::{Checker, Settings},
    schedule::{Momentum, Step, straight_line},
};

/// Settings, the table `[dino]` of a recipe. Defaults are those of solo-learn's CIFAR recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dino {
    /// Width of the projector's two hidden layers.
    pub projector_hidden: usize,
    /// Length of the unit vectors that are compared with the prototypes.
    pub dim: usize,
    /// Number of prototypes: the length of the output.
    pub prototypes: usize,
    /// Batch norm after the hidden layers of the head.
    pub use_bn_in_head: bool,
    /// Whether the prototypes keep norm 1; their norms are learned otherwise.
    pub norm_last_layer: bool,
    /// Epochs at the start in which the prototypes stay as they are.
    pub freeze_last_layer_epochs: u64,
    /// What the student's logits are divided by.
    pub student_temperature: f64,
    /// What the teacher's are divided by after the warm-up.
    pub teacher_temperature: f64,
    /// Where the teacher's temperature starts.
    pub warmup_teacher_temperature: f64,
    /// Epochs in which the teacher's temperature rises in a straight line; 0 starts at its last value.
    pub warmup_teacher_epochs: u64,
    /// Share that the centre keeps in each update.
    pub center_momentum: f64,
    /// Teacher's momentum τ, by cosine from `base` to `last`.
    pub momentum: Momentum,
}

impl Settings for Dino {
    fn check(&self, checker: &mut Checker) {
        checker.at_least("projector_hidden", self.projector_hidden as u64, 1);
        checker.at_least("dim", self.dim as u64, 1);
        checker.at_least("prototypes", self.prototypes as u64, 2);
        checker.positive("student_temperature", self.student_temperature);
        checker.positive("teacher_temperature", self.teacher_temperature);
        checker.positive("warmup_teacher_temperature", self.warmup_teacher_temperature);
        checker.share("center_momentum", self.center_momentum);
        checker.momentum(&self.momentum);
    }
}

impl Default for Dino {
    fn default() -> Self {
        Self {
            projector_hidden: 2048,
            dim: 256,
            prototypes: 4096,
            use_bn_in_head: false,
            norm_last_layer: true,
            freeze_last_layer_epochs: 1,
            student_temperature: 0.1,
            teacher_temperature: 0.07,
            warmup_teacher_temperature: 0.04,
            warmup_teacher_epochs: 0,
            center_momentum: 0.9,
            momentum: Momentum { base: 0.9995, last: 1.0 },
        }
    }
}

/// Backbone and head.
#[derive(Module, Debug)]
pub struct Student {
    backbone: Backbone,
    head: PrototypeHead,
}

impl Student {
    /// Features, unit vectors and logits of one view.
    ///
    /// # Shapes — `[n, 3, h, w]` to `[n, features]`, `[n, dim]` and `[n, prototypes]`.
    fn forward(&self, x: &Tensor<4>, mode: Mode) -> (Tensor<2>, Tensor<2>, Tensor<2>) {
        let h = self.backbone.forward(x.clone(), mode);
        let (z, logits) = self.head.forward(h.clone(), mode);
        (h, z, logits)
    }
}

/// The teacher, a moving average of the student, and the centre of its logits, `[1, prototypes]`.
#[derive(Module, Debug)]
pub struct Memory {
    teacher: Student,
    center: Param<Tensor<2>>,
}

impl Dino {
    /// The teacher's temperature in this epoch: see [`straight_line`].
    pub fn teacher_temperature_at(&self, epoch: u64) -> f64 {
        let ends = (self.warmup_teacher_temperature, self.teacher_temperature);
        straight_line(ends, self.warmup_teacher_epochs, epoch)
    }

    /// The loss of the student's logits of all views, and the targets that the teacher's logits of
    /// the global views, the first of them, make with the centre as it is.
    ///
    /// # Shapes — logits: `[n, prototypes]` a view; `center`: `[1, prototypes]`.
    pub fn distil(
        &self,
        student: &[Tensor<2>],
        teacher: &[Tensor<2>],
        center: Tensor<2>,
        epoch: u64,
    ) -> (Tensor<1>, Vec<Tensor<2>>) {
        let temperature = self.teacher_temperature_at(epoch);
        let target =
            |logits: &Tensor<2>| centred_softmax(logits.clone(), center.clone(), temperature);
        let targets: Vec<Tensor<2>> = teacher.iter().map(target).collect();
        (clustering::swapped(student, &targets, self.student_temperature), targets)
    }
}

impl Method for Dino {
    type Student = Student;
    type Memory = Memory;
    /// The teacher's logits of all global views, `[views·n, prototypes]`.
    type Carry = Tensor<2>;

    fn check(&self, sizes: &Sizes) -> Result<(), String> {
        sizes.require_two_global("dino")
    }

    fn has_image_losses(&self) -> bool {
        true
    }

    fn student(&self, backbone: Backbone, dim: usize, init: &Init) -> Student {
        let shape = HeadShape {
            hidden: self.projector_hidden,
            dim: self.dim,
            prototypes: self.prototypes,
            hidden_norm: self.use_bn_in_head,
            learned_norms: !self.norm_last_layer,
        };
        Student { backbone, head: shape.head(dim, init) }
    }

    fn memory(&self, student: &Student, _: &Sizes, init: &Init) -> Memory {
        let center = init.constant([1, self.prototypes], 0.0).no_grad();
        Memory { teacher: teacher_of(student), center }
    }

    fn frozen(&self, at: &Step) -> &'static [&'static str] {
        if at.epoch < self.freeze_last_layer_epochs { &["head.last_layer"] } else { &[] }
    }

    fn loss(
        &self,
        student: &Student,
        memory: &Memory,
        views: &Views,
        at: &Step,
    ) -> Loss<Self::Carry> {
        let mode = views.mode();
        let teacher_logits =
            views.global.iter().map(|x| memory.teacher.forward(x, mode).2.detach());
        let teacher_logits = teacher_logits.collect::<Vec<_>>();
        let (features, z, logits): (Vec<_>, Vec<_>, Vec<_>) =
            views.all().map(|x| student.forward(x, mode)).collect();
        let (teacher_logits, logits) = views.gather((teacher_logits, logits));
        let center = memory.center.val();
        let (total, targets) = self.distil(&logits, &teacher_logits, center.clone(), at.epoch);
        let image_losses = at.image_losses.then(|| {
            let logits: Vec<_> = logits.iter().map(|x| x.clone().detach()).collect();
            clustering::swapped_rows(&logits, &targets, self.student_temperature)
        });
        // The loss is the targets' entropy plus the divergence of the predictions from them.
        let mut parts = vec![("target_entropy", figures::entropy(targets[0].clone()))];
        if at.watch {
            let z = views.gather_detached(z);
            parts.extend(watched(&targets[0], &logits[0], self.student_temperature, &z));
            parts.push(("center_norm", figures::mean_norm(center.detach())));
        }
        Loss { total, parts, features, image_losses, carry: Tensor::cat(teacher_logits, 0) }
    }

    fn backbone<'a>(&self, student: &'a Student) -> &'a Backbone {
        &student.backbone
    }

    fn teacher<'a>(&self, memory: &'a Memory) -> Option<&'a Backbone> {
        Some(&memory.teacher.backbone)
    }

    fn remember(&self, memory: Memory, logits: Tensor<2>, _: &Step) -> Memory {
        let center = memory.center.map(|center| next_center(center, logits, self.center_momentum));
        Memory { center, ..memory }
    }

    fn after_step(&self, memory: Memory, student: &Student, at: &Step) -> Memory {
        let teacher = ema(memory.teacher, student, self.momentum.at(at))
            .expect("the teacher was made of the student's networks");
        Memory { teacher, ..memory }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_layer_is_frozen_in_the_first_epochs_only() {
        let at = |epoch| Step { epoch, ..Step::default() };
        assert_eq!(Dino::default().frozen(&at(0)), ["head.last_layer"]);
        assert!(Dino::default().frozen(&at(1)).is_empty());
    }
}
