//! The head of DINO (Caron et al. 2021, arXiv:2104.14294, appendix C): a projector to unit vectors, and
//! their dot products with prototypes. Called by `methods::self_distillation`.

use burn::{module::Module, tensor::Tensor};

use super::{Init, Mlp, Mode, WeightNormLinear};
use crate::objective::unit_rows;

/// The standard deviation of the initial weights of the projector.
const INITIAL_STD: f64 = 0.02;

/// A projector, a row normalisation and prototypes.
#[derive(Module, Debug)]
pub struct PrototypeHead {
    projector: Mlp,
    last_layer: WeightNormLinear,
}

impl PrototypeHead {
    /// Makes a head with `prototypes` prototypes of norm 1. The projector's weights are drawn anew, and its
    /// biases are 0. `learned_norms` says whether training changes the norms of the prototypes.
    pub fn new(mut projector: Mlp, prototypes: usize, learned_norms: bool, init: &Init) -> Self {
        let mut dim = 0;
        for linear in projector.linears_mut() {
            let [output, input] = linear.weight.dims();
            linear.weight = init.truncated_normal([output, input], INITIAL_STD);
            linear.bias = Some(init.constant([output], 0.0));
            dim = output;
        }
        let last_layer = if learned_norms {
            WeightNormLinear::learned(dim, prototypes, init)
        } else {
            WeightNormLinear::unit(dim, prototypes, init)
        };
        Self { projector, last_layer }
    }

    /// Returns unit vectors and logits.
    ///
    /// # Shapes — `[n, features]` to `[n, dim]` and `[n, prototypes]`.
    pub fn forward(&self, h: Tensor<2>, mode: Mode) -> (Tensor<2>, Tensor<2>) {
        let z = unit_rows(self.projector.forward(h, mode));
        (z.clone(), self.last_layer.forward(z))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn prototypes_have_norm_one_and_biases_start_at_zero() {
        let device = Device::flex().autodiff();
        let init = Init::new(&device, 3);
        for learned_norms in [false, true] {
            let projector = Mlp::new(5, 8, 4, &init);
            let mut head = PrototypeHead::new(projector, 6, learned_norms, &init);
            let norms = head.last_layer.weight().square().sum_dim(1);
            let norms: Vec<f32> = norms.into_data().try_to_vec().unwrap();
            assert!(norms.iter().all(|norm| (norm - 1.0).abs() < 1e-5), "{norms:?}");
            assert_eq!(head.last_layer.weight_g.is_some(), learned_norms);
            for linear in head.projector.linears_mut() {
                let bias = linear.bias.as_ref().unwrap().val().abs().sum();
                assert_eq!(bias.into_scalar::<f32>(), 0.0);
                let largest = linear.weight.val().abs().max().into_scalar::<f32>();
                assert!(largest < 0.2, "{largest}: not of standard deviation {INITIAL_STD}");
            }
        }
    }
}
