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
    tensor::{Tensor, activation},
};
use serde::{Deserialize, Serialize};

use crate::{
    backbone::Backbone,
    layers::{Init, Mlp, MlpStyle, Mode, WeightNormLinear},
    method::{Loss, Method, Sizes, Views, teacher_of},
    objective::{
        centring::{centred_softmax, next_center},
        clustering, unit_rows, watch,
    },
    optim::ema,
    recipe::{Checker, Settings},
    schedule::{Momentum, Step},
};

/// Standard deviation of the initial weights of the projector.
const INITIAL_STD: f64 = 0.02;

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
    /// Epochs of a straight line between the two; 0 for none.
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

/// Projector, row normalisation, prototypes.
#[derive(Module, Debug)]
pub struct Head {
    projector: Mlp,
    last_layer: WeightNormLinear,
}

impl Head {
    fn new(features: usize, method: &Dino, init: &Init) -> Self {
        let hidden = [method.projector_hidden; 2];
        let style =
            MlpStyle { hidden_norm: method.use_bn_in_head, gelu: true, ..MlpStyle::default() };
        let mut projector = Mlp::styled(features, &hidden, method.dim, style, init);
        for linear in projector.linears_mut() {
            let [output, input] = linear.weight.dims();
            linear.weight = init.truncated_normal([output, input], INITIAL_STD);
            linear.bias = Some(init.constant([output], 0.0));
        }
        let last_layer = if method.norm_last_layer {
            WeightNormLinear::unit(method.dim, method.prototypes, init)
        } else {
            WeightNormLinear::learned(method.dim, method.prototypes, init)
        };
        Self { projector, last_layer }
    }

    /// Unit vectors, `[n, dim]`, and logits, `[n, prototypes]`.
    fn forward(&self, h: Tensor<2>, mode: Mode) -> (Tensor<2>, Tensor<2>) {
        let z = unit_rows(self.projector.forward(h, mode));
        (z.clone(), self.last_layer.forward(z))
    }
}

/// Backbone and head.
#[derive(Module, Debug)]
pub struct Student {
    backbone: Backbone,
    head: Head,
}

/// The teacher, a moving average of the student, and the centre of its logits, `[1, prototypes]`.
#[derive(Module, Debug)]
pub struct Memory {
    teacher: Student,
    center: Param<Tensor<2>>,
}

impl Dino {
    /// The teacher's temperature: `warmup_teacher_epochs` values, one an epoch, in a straight line
    /// from `warmup_teacher_temperature` to `teacher_temperature`, both included; then the latter.
    pub fn teacher_temperature_at(&self, epoch: u64) -> f64 {
        let (start, end) = (self.warmup_teacher_temperature, self.teacher_temperature);
        if epoch >= self.warmup_teacher_epochs {
            return end;
        }
        // A warm-up of one epoch has no slope.
        let last = (self.warmup_teacher_epochs - 1).max(1) as f64;
        start + (end - start) * epoch as f64 / last
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

    fn student(&self, backbone: Backbone, dim: usize, init: &Init) -> Student {
        Student { backbone, head: Head::new(dim, self, init) }
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
        let (teacher, mode) = (&memory.teacher, views.mode());
        let targeted = views.global.iter().map(|x| {
            let h = teacher.backbone.forward(x.clone(), mode);
            teacher.head.forward(h, mode).1.detach()
        });
        let targeted = views.gather_all(targeted.collect());
        let (mut features, mut z, mut logits) = (Vec::new(), Vec::new(), Vec::new());
        for x in views.all() {
            let h = student.backbone.forward(x.clone(), mode);
            features.push(h.clone().detach());
            let (unit, output) = student.head.forward(h, mode);
            z.push(unit.detach());
            logits.push(output);
        }
        features.truncate(targeted.len());
        z.truncate(targeted.len());
        let (z, logits) = (views.gather_all(z), views.gather_all(logits));
        let (total, targets) = self.distil(&logits, &targeted, memory.center.val(), at.epoch);
        // The loss is the targets' entropy plus the divergence of the predictions from them.
        let mut parts = vec![("target_entropy", watch::entropy(targets[0].clone()))];
        if at.watch {
            let predicted = logits[0].clone().detach() / self.student_temperature;
            parts.push(("target_usage", watch::usage(targets[0].clone())));
            parts.push(("prototype_usage", watch::usage(activation::softmax(predicted, 1))));
            parts.push(("embedding_std", watch::unit_std(&z)));
            parts.push(("center_norm", watch::mean_norm(memory.center.val().detach())));
        }
        Loss { total, parts, features, carry: Tensor::cat(targeted, 0) }
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
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn the_teachers_temperature_reaches_both_ends_of_its_warm_up() {
        let method = |warmup_teacher_epochs| Dino {
            warmup_teacher_temperature: 0.04,
            teacher_temperature: 0.07,
            warmup_teacher_epochs,
            ..Dino::default()
        };
        let at = |warmup, epoch| method(warmup).teacher_temperature_at(epoch);
        assert_eq!([at(0, 0), at(1, 0), at(1, 1)], [0.07, 0.04, 0.07]);
        assert_eq!([at(3, 0), at(3, 2), at(3, 9)], [0.04, 0.07, 0.07]);
        assert!((at(3, 1) - 0.055).abs() < 1e-12);
    }

    #[test]
    fn the_last_layer_is_frozen_in_the_first_epochs_only() {
        let at = |epoch| Step { epoch, ..Step::default() };
        assert_eq!(Dino::default().frozen(&at(0)), ["head.last_layer"]);
        assert!(Dino::default().frozen(&at(1)).is_empty());
    }

    #[test]
    fn the_heads_prototypes_have_norm_one_and_its_biases_start_at_zero() {
        let device = Device::flex().autodiff();
        for norm_last_layer in [true, false] {
            let method = Dino {
                projector_hidden: 8,
                dim: 4,
                prototypes: 6,
                norm_last_layer,
                ..Dino::default()
            };
            let mut head = Head::new(5, &method, &Init::new(&device, 3));
            let norms = head.last_layer.weight().square().sum_dim(1);
            let norms: Vec<f32> = norms.into_data().try_to_vec().unwrap();
            assert!(norms.iter().all(|norm| (norm - 1.0).abs() < 1e-5), "{norms:?}");
            assert_eq!(head.last_layer.weight_g.is_some(), !norm_last_layer);
            for linear in head.projector.linears_mut() {
                let bias = linear.bias.as_ref().unwrap().val().abs().sum();
                assert_eq!(bias.into_scalar::<f32>(), 0.0);
                let largest = linear.weight.val().abs().max().into_scalar::<f32>();
                assert!(largest < 0.2, "{largest}: not of standard deviation {INITIAL_STD}");
            }
        }
    }

    #[test]
    fn one_global_view_is_refused_and_local_views_are_welcome() {
        let sizes = Sizes { images: 100, batch: 10, global_views: 2, local_views: 6 };
        assert_eq!(Method::check(&Dino::default(), &sizes), Ok(()));
        let single = Sizes { global_views: 1, ..sizes };
        let message = Method::check(&Dino::default(), &single).unwrap_err();
        assert!(message.contains("views.count") && message.contains("dino"), "{message}");
    }
}
