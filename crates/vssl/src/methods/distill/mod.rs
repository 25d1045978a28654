//! Distillation: the student learns what a frozen teacher, an encoder that was trained before, tells of the same views.
//!
//! The student's features s, projected to the width of the teacher's features t, are brought to them by one of these:
//!
//! - `mse`, `cosine`: the features themselves, `mean (s − t)²` or `1 − cos(s, t)`.
//! - `queue-kl`: `KL( softmax(t·Qᵀ/T) ‖ softmax(s·Qᵀ/T) )` over a queue Q of the teacher's features that holds the batch
//!   already, as lightly-train does by default; `queue-kl-local` adds the same over the patches of each image.
//! - `seed`: the same over the own feature of the teacher and a queue of earlier ones (Fang et al. 2021,
//!   arXiv:2101.04731).
//! - `compress-1q`, `compress-2q`: over earlier features of the teacher, or the student's over its own earlier features
//!   (Koohpayegani et al. 2020, arXiv:2010.14713).
//!
//! Each view is compared with the teacher's features of the same view. The formulas are in
//! [`crate::objective::distillation`].

mod settings;

use std::sync::Arc;

use burn::{module::Module, tensor::Tensor};

use vssl_data::counted;

use crate::{
    backbone::{Backbone, BackboneConfig},
    layers::{Init, Mlp, MlpStyle, Mode},
    memory::{Queue, Recent},
    method::{FrozenTeacher, Loss, Method, Sizes, Teach, Views},
    objective::{distillation, figures, loss_prediction::over_views, unit_rows},
    schedule::Step,
};
use settings::Given;
pub use settings::{Distill, Objective};

/// Deviation of the weights of a projection without a hidden layer, as lightly-train has it.
const DEVIATION: f64 = 0.02;

/// The backbone, and the projections of its features and of those of the places to the teacher's width.
#[derive(Module, Debug)]
pub struct Student {
    backbone: Backbone,
    projector: Option<Mlp>,
    local_projector: Option<Mlp>,
}

/// Earlier features as unit rows.
#[derive(Module, Debug)]
pub struct Memory {
    /// The teacher's, overwritten from the oldest on (SEED, CompRess).
    of_teacher: Option<Queue>,
    /// The student's (CompRess 2q).
    of_student: Option<Queue>,
    /// The teacher's, newest batch in front, zero where no batch was yet (`queue-kl`).
    recent: Option<Recent>,
}

/// The features of all views of the joint batch, one view after the other, as unit rows without gradient.
pub struct Carry {
    student: Tensor<2>,
    teacher: Tensor<2>,
}

/// What both networks put out for all views of the own rows.
struct Outputs {
    /// The student's features of each view, `[n, features]`.
    features: Vec<Tensor<2>>,
    /// What is compared with the teacher, of each view, `[n, dim]`.
    student: Vec<Tensor<2>>,
    /// The teacher's features of each view, `[n, teacher's features]`.
    teacher: Vec<Tensor<2>>,
    /// The local term of each row of each view, `[n, 1]`; none without a local term.
    local: Vec<Tensor<2>>,
}

impl Distill {
    fn given(&self) -> &Given {
        self.given.as_ref().expect("the method is given its teacher before it makes networks")
    }

    fn projector(&self, features: usize, init: &Init) -> Mlp {
        let dim = self.given().teacher.dim();
        let style = MlpStyle { hidden_norm: false, ..MlpStyle::default() };
        if self.projector_hidden > 0 {
            return Mlp::styled(features, &[self.projector_hidden], dim, style, init);
        }
        let mut projector = Mlp::styled(features, &[], dim, style, &Init::blank(init.device()));
        for linear in projector.linears_mut() {
            linear.weight = init.truncated_normal([dim, features], DEVIATION);
        }
        projector
    }

    /// Runs both networks on all views.
    fn outputs(&self, student: &Student, views: &Views) -> Outputs {
        let (teacher, size, mode) = (&self.given().teacher, self.teacher_size, views.mode());
        let (features, own) = (Vec::new(), Vec::new());
        let mut out = Outputs { features, student: own, teacher: Vec::new(), local: Vec::new() };
        for x in &views.global {
            let (known, h) = match self.objective {
                Objective::QueueKlLocal { local_temperature, .. } => {
                    let (known, places) = teacher.features_and_grid(x, size);
                    let found = student.backbone.forward_with_grid(x.clone(), mode);
                    let (h, mut grid) = found.expect("a student without places is refused");
                    grid.cells = student.local(grid.cells, mode);
                    let own = grid.resized_to(&places);
                    let term = distillation::token_divergence(own, places.cells, local_temperature);
                    let n = term.dims()[0];
                    out.local.push(term.reshape([n, 1])); // [n] -> [n, 1]
                    (known, h)
                }
                _ => {
                    let known = teacher.features_of(&views.images, x, size);
                    (known, student.backbone.forward(x.clone(), mode))
                }
            };
            out.teacher.push(known);
            out.student.push(student.project(h.clone(), mode));
            out.features.push(h);
        }
        out
    }

    /// The loss of the features of all views, and that of each row where `asked`.
    fn global(
        &self,
        student: Tensor<2>,
        teacher: Tensor<2>,
        memory: &Memory,
        asked: bool,
    ) -> (Tensor<1>, Option<Tensor<1>>) {
        let own = student.clone().detach();
        match self.objective {
            Objective::Mse => {
                let rows = asked.then(|| distillation::squared_errors(own, teacher.clone()));
                (distillation::squared_error(student, teacher), rows)
            }
            Objective::Cosine => {
                let rows = asked.then(|| distillation::cosine_distances(own, teacher.clone()));
                (distillation::cosine_distance(student, teacher), rows)
            }
            _ => {
                let rows = self.similarities(unit_rows(student), unit_rows(teacher), memory);
                (rows.clone().mean(), asked.then(|| rows.detach()))
            }
        }
    }

    /// The loss of each row, by the similarities of unit rows to a queue.
    fn similarities(&self, s: Tensor<2>, t: Tensor<2>, memory: &Memory) -> Tensor<1> {
        let rows = |queue: &Option<Queue>| queue.as_ref().expect("the objective has it").rows();
        match self.objective {
            Objective::Mse | Objective::Cosine => {
                unreachable!("these compare the features themselves")
            }
            Objective::Seed { student_temperature, teacher_temperature, .. } => {
                let queue = rows(&memory.of_teacher);
                distillation::seed_rows(s, t, queue, student_temperature, teacher_temperature)
            }
            Objective::Compress1q { temperature, .. } => {
                let queue = rows(&memory.of_teacher);
                distillation::queue_divergences(s, t, queue.clone(), queue, temperature)
            }
            Objective::Compress2q { temperature, .. } => {
                let (own, known) = (rows(&memory.of_student), rows(&memory.of_teacher));
                distillation::queue_divergences(s, t, own, known, temperature)
            }
            Objective::QueueKl { temperature, .. }
            | Objective::QueueKlLocal { temperature, .. } => {
                let recent = memory.recent.clone().expect("the objective has it");
                // The batch is among the classes.
                let queue = recent.push(vec![t.clone()]).rows(0);
                distillation::queue_divergences(s, t, queue.clone(), queue, temperature)
            }
        }
    }
}

impl Student {
    /// # Shapes — `[n, features]` to `[n, dim]`.
    fn project(&self, h: Tensor<2>, mode: Mode) -> Tensor<2> {
        match &self.projector {
            Some(projector) => projector.forward(h, mode),
            None => h,
        }
    }

    /// # Shapes — `[n, places, features]` to `[n, places, dim]`.
    fn local(&self, cells: Tensor<3>, mode: Mode) -> Tensor<3> {
        let [n, places, features] = cells.dims();
        let projector = self.local_projector.as_ref().expect("the objective has it");
        let rows = projector.forward(cells.reshape([n * places, features]), mode);
        let dim = rows.dims()[1];
        rows.reshape([n, places, dim])
    }
}

/// Gives `method` its teacher: see [`Method::teach`].
fn taught(
    method: Distill,
    teacher: Arc<FrozenTeacher>,
    student: &BackboneConfig,
) -> Result<Distill, String> {
    let key = "distill.teacher_size";
    if let (true, Some(size)) = (teacher.has_stored(), method.teacher_size) {
        return Err(format!(
            "{key} is {size}, and the teacher's features were made before (teacher.features); expected no such key"
        ));
    }
    teacher.check_size(method.teacher_size).map_err(|problem| match method.teacher_size {
        Some(size) => format!("{key} is {size}: {problem}"),
        None => format!("{key} is not set: {problem}"),
    })?;
    if let Objective::QueueKlLocal { .. } = method.objective {
        if teacher.has_stored() {
            return Err(
                "distill.objective is \"queue-kl-local\", which compares the places of images, and the features of \
                 teacher.features are of whole images; expected \"queue-kl\" or another objective"
                    .to_owned(),
            );
        }
        for (whose, config) in [("the teacher", teacher.config()), ("[backbone]", student)] {
            if !config.has_grid() {
                return Err(format!(
                    "distill.objective is \"queue-kl-local\", which compares the places of images, and {whose} is a \
                     backbone of your own, whose places are not known; expected \"queue-kl\" or another objective"
                ));
            }
        }
    }
    let given = Given { teacher, features: student.dim() };
    Ok(Distill { given: Some(given), ..method })
}

impl Method for Distill {
    type Student = Student;
    type Memory = Memory;
    type Carry = Carry;

    fn check(&self, sizes: &Sizes) -> Result<(), String> {
        match sizes.local_views {
            0 => Ok(()),
            local => Err(format!(
                "views.count adds up to {}; distill compares the networks on the global views: expected none with \
                 views.local = true",
                counted(local, "local view")
            )),
        }
    }

    fn has_image_losses(&self) -> bool {
        true
    }

    fn teach(&self) -> Option<Teach<Self>> {
        Some(taught)
    }

    fn student(&self, backbone: Backbone, dim: usize, init: &Init) -> Student {
        let projects = !matches!(self.objective, Objective::Compress2q { .. });
        let is_local = matches!(self.objective, Objective::QueueKlLocal { .. });
        let projector = projects.then(|| self.projector(dim, init));
        let local_projector = is_local.then(|| self.projector(dim, init));
        Student { backbone, projector, local_projector }
    }

    fn memory(&self, _: &Student, _: &Sizes, init: &Init) -> Memory {
        let Given { teacher, features } = self.given();
        let dim = teacher.dim();
        let mut memory = Memory { of_teacher: None, of_student: None, recent: None };
        match self.objective {
            Objective::Mse | Objective::Cosine => {}
            Objective::Seed { queue, .. } | Objective::Compress1q { queue, .. } => {
                memory.of_teacher = Some(Queue::random(queue, dim, init));
            }
            Objective::Compress2q { queue, .. } => {
                memory.of_teacher = Some(Queue::random(queue, dim, init));
                memory.of_student = Some(Queue::random(queue, *features, init));
            }
            Objective::QueueKl { queue, .. } | Objective::QueueKlLocal { queue, .. } => {
                memory.recent = Some(Recent::empty(1, queue, dim, init.device()));
            }
        }
        memory
    }

    fn loss(
        &self,
        student: &Student,
        memory: &Memory,
        views: &Views,
        at: &Step,
    ) -> Loss<Self::Carry> {
        let Outputs { features, student: own, teacher: known, local } =
            self.outputs(student, views);
        let (own, (known, local)) = views.gather((own, (known, local)));
        // One view after the other: views times [n, dim] -> [views · n, dim]
        let (s, t) = (Tensor::cat(own, 0), Tensor::cat(known, 0));
        let (mut total, mut rows) = self.global(s.clone(), t.clone(), memory, at.image_losses);
        let mut parts = Vec::new();
        if let Objective::QueueKlLocal { local_weight, .. } = self.objective {
            let local = Tensor::cat(local, 0); // views times [n, 1] -> [views · n, 1]
            let of_places = local.clone().detach().squeeze_dim::<1>(1) * local_weight;
            rows = rows.map(|rows| rows + of_places);
            let term = local.mean();
            parts.push(("global_loss", total.clone()));
            parts.push(("local_loss", term.clone()));
            total = total + term * local_weight;
        }
        let image_losses = rows.map(|rows| over_views(rows, views.global.len()));
        let carry = Carry { student: unit_rows(s.detach()), teacher: unit_rows(t) };
        if at.watch {
            let Carry { student: s, teacher: t } = &carry;
            if s.dims() == t.dims() {
                parts.extend(figures::pair(s, t));
            }
            parts.push(("student_std", figures::unit_std(std::slice::from_ref(s))));
            parts.push(("teacher_std", figures::unit_std(std::slice::from_ref(t))));
        }
        Loss { total, parts, features, image_losses, carry }
    }

    fn backbone<'a>(&self, student: &'a Student) -> &'a Backbone {
        &student.backbone
    }

    fn remember(&self, memory: Memory, carry: Carry, at: &Step) -> Memory {
        let Memory { of_teacher, of_student, recent } = memory;
        let Carry { student, teacher } = carry;
        let passes = at.passes();
        Memory {
            of_teacher: of_teacher.map(|queue| queue.push_around(teacher.clone(), passes)),
            of_student: of_student.map(|queue| queue.push_around(student, passes)),
            recent: recent.map(|recent| recent.push(vec![teacher])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbone::{ResnetConfig, Stem, VitConfig};
    use burn::tensor::Device;

    #[test]
    fn small_crops_and_a_size_that_the_teacher_cannot_take_are_refused_by_name() {
        let sizes = Sizes { images: 64, batch: 8, global_views: 1, local_views: 0 };
        let method = Distill::default();
        assert_eq!(Method::check(&method, &sizes), Ok(()));
        let message = Method::check(&method, &Sizes { local_views: 2, ..sizes }).unwrap_err();
        assert!(message.contains("views.local"), "{message}");

        let vit = VitConfig { patch: 8, image_size: 16, ..VitConfig::default() }.into();
        let teacher = Arc::new(FrozenTeacher::untrained((&vit, 3), &Device::flex()));
        let student = ResnetConfig { width: 4, stem: Stem::Cifar, ..Default::default() }.into();
        let method = Distill { teacher_size: Some(20), ..method };
        let message = taught(method, teacher, &student).unwrap_err();
        assert!(message.contains("distill.teacher_size is 20"), "{message}");
    }
}
