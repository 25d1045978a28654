//! MoCo V3 (Chen, Xie and He 2021, arXiv:2104.02057): momentum contrast within the batch.
//!
//! A predictor on the student's side; the negatives are the other images of the batch, no queue:
//!
//! `L = ctr(q₁, k₂) + ctr(q₂, k₁)`, `ctr(q, k) = 2T · CE(cos(q, kᵀ)/T, row i belongs to key i)`
//!
//! with T the temperature. The formula is in [`crate::objective::contrastive`].

use serde::{Deserialize, Serialize};

use super::{predicting::Student, teacher::Teacher};
use crate::{
    backbone::Backbone,
    layers::{Init, Mlp, MlpStyle, OutputNorm},
    method::{Loss, Method, Sizes, Views},
    objective::{contrastive, figures},
    recipe::{Checker, Settings},
    schedule::{Momentum, Step},
};

/// Settings, the table `[mocov3]` of a recipe. Defaults are those of solo-learn's CIFAR recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MocoV3 {
    /// Hidden width of the projector.
    pub projector_hidden: usize,
    /// Length of queries and keys.
    pub dim: usize,
    /// Hidden width of the predictor.
    pub predictor_hidden: usize,
    /// The heads for a vision transformer: one more hidden layer in the projector,
    /// and a batch norm behind the predictor.
    pub vit_heads: bool,
    /// What cosines are divided by.
    pub temperature: f64,
    /// Teacher's momentum τ, by cosine from `base` to `last`.
    pub momentum: Momentum,
}

impl Settings for MocoV3 {
    fn check(&self, checker: &mut Checker) {
        checker.at_least("projector_hidden", self.projector_hidden as u64, 1);
        checker.at_least("dim", self.dim as u64, 1);
        checker.at_least("predictor_hidden", self.predictor_hidden as u64, 1);
        checker.positive("temperature", self.temperature);
        checker.momentum(&self.momentum);
    }
}

impl Default for MocoV3 {
    fn default() -> Self {
        Self {
            projector_hidden: 4096,
            dim: 256,
            predictor_hidden: 4096,
            vit_heads: false,
            temperature: 0.2,
            momentum: Momentum { base: 0.99, last: 1.0 },
        }
    }
}

impl Method for MocoV3 {
    type Student = Student;
    type Memory = Teacher;
    type Carry = ();

    fn check(&self, sizes: &Sizes) -> Result<(), String> {
        sizes.require_one_pair("mocov3")?;
        sizes.require_other_images("mocov3")
    }

    fn has_image_losses(&self) -> bool {
        true
    }

    fn student(&self, backbone: Backbone, dim: usize, init: &Init) -> Student {
        let bare = MlpStyle { hidden_bias: false, output_bias: false, ..MlpStyle::default() };
        let normalised = MlpStyle { output_norm: OutputNorm::Plain, ..bare };
        let hidden = vec![self.projector_hidden; if self.vit_heads { 2 } else { 1 }];
        let last = if self.vit_heads { normalised } else { bare };
        Student {
            backbone,
            projector: Mlp::styled(dim, &hidden, self.dim, normalised, init),
            predictor: Mlp::styled(self.dim, &[self.predictor_hidden], self.dim, last, init),
        }
    }

    fn memory(&self, student: &Student, _: &Sizes, _: &Init) -> Teacher {
        Teacher::of(&student.backbone, &student.projector)
    }

    fn loss(&self, student: &Student, teacher: &Teacher, views: &Views, at: &Step) -> Loss<()> {
        let mode = views.mode();
        let keys = views.pair().map(|x| teacher.project(x, mode));
        let [(h1, _, q1), (h2, _, q2)] = views.pair().map(|x| student.predict(x, mode));
        let (keys, [q1, q2]) = views.gather((keys, [q1, q2]));
        let mut parts = Vec::new();
        if at.watch {
            let queries = [q1.clone().detach(), q2.clone().detach()];
            parts = figures::pair(&queries[0], &keys[1]).into();
            parts.push(("query_std", figures::unit_std(&queries)));
            parts.push(("key_std", figures::unit_std(&keys)));
            parts.push(("query_norm", figures::mean_norm(queries[0].clone())));
        }
        let image_losses = at.image_losses.then(|| {
            let queries = [q1.clone().detach(), q2.clone().detach()];
            contrastive::mocov3_rows(queries, keys.clone(), self.temperature)
        });
        let total = contrastive::mocov3([q1, q2], keys, self.temperature);
        Loss { total, parts, features: vec![h1, h2], image_losses, carry: () }
    }

    fn backbone<'a>(&self, student: &'a Student) -> &'a Backbone {
        &student.backbone
    }

    fn teacher<'a>(&self, teacher: &'a Teacher) -> Option<&'a Backbone> {
        Some(&teacher.backbone)
    }

    fn after_step(&self, teacher: Teacher, student: &Student, at: &Step) -> Teacher {
        teacher.follow(student, self.momentum.at(at))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::{backbone::ResnetConfig, tensors};

    fn head_paths(vit_heads: bool) -> Vec<String> {
        let device = Device::flex().autodiff();
        let init = Init::new(&device, 1);
        let config = ResnetConfig { width: 4, ..ResnetConfig::default() }.into();
        let method = MocoV3 { projector_hidden: 6, vit_heads, ..MocoV3::default() };
        let (backbone, dim) = (Backbone::new(&config, &init), config.dim());
        let parameters = tensors::parameters(&method.student(backbone, dim, &init));
        let heads = parameters.into_iter().map(|parameter| parameter.path);
        heads.filter(|path| !path.starts_with("backbone.")).collect()
    }

    #[test]
    fn heads_have_no_bias_and_the_vit_ones_a_layer_more() {
        let projector = ["projector.hidden.0.linear.weight", "projector.output.weight"];
        let paths = head_paths(false);
        assert!(projector.iter().all(|path| paths.iter().any(|found| found == path)), "{paths:?}");
        assert!(paths.iter().all(|path| !path.ends_with("linear.bias")), "{paths:?}");
        assert!(paths.iter().all(|path| !path.ends_with("output.bias")), "{paths:?}");
        assert!(paths.iter().all(|path| !path.contains("hidden.1")), "{paths:?}");
        let vit = head_paths(true);
        assert!(vit.contains(&"projector.hidden.1.linear.weight".to_owned()), "{vit:?}");
        assert!(!vit.iter().any(|path| path.starts_with("predictor.hidden.1")), "{vit:?}");
    }
}
