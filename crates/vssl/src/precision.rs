//! `train.precision`: the type in which the backbone multiplies while it is pretrained.
//!
//! The precision is set in one place only, the type of the images: the operations of [`vssl_kernels`] follow
//! it (mixed precision, Micikevicius et al. 2018, arXiv:1710.03740). The weights, the optimiser's state, the
//! statistics of normalisations, softmax, the features and the computations on them stay in single precision.
//! Evaluations use single-precision images, so they are not affected. Called by the training loop and by the
//! benchmark of a step.

use burn::tensor::{DType, Device};
use serde::{Deserialize, Serialize};

use crate::{device, method::Views};

/// The type of the views, and of the products that follow it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision: 8 bits of exponent, 24 of precision.
    #[default]
    F32,
    /// bfloat16: the range of single precision with 8 bits of precision. It needs no loss scaling.
    Bf16,
    /// IEEE half precision: 11 bits of precision, numbers up to 65504. The loss is scaled while gradients are
    /// computed.
    F16,
}

/// The device does not have the precision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "train.precision = \"{}\": {why}; expected {}. Leave --precision out for f32, or choose a --device \
     that computes in {}", wanted.name(), list(known), wanted.name()
)]
pub struct PrecisionError {
    /// The precision that was asked for.
    pub wanted: Precision,
    /// The reason why the device cannot compute in it.
    pub why: &'static str,
    /// The precisions that the device has.
    pub known: Vec<Precision>,
}

fn list(known: &[Precision]) -> String {
    known.iter().map(|precision| precision.name()).collect::<Vec<_>>().join(" or ")
}

impl Precision {
    /// All precisions.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::F16];

    /// Returns the name of the precision in a recipe.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }

    /// Returns whether gradients are so small in this precision that the loss has to be scaled.
    pub fn scales_loss(self) -> bool {
        self == Self::F16
    }

    /// Checks that `device` computes in this precision.
    ///
    /// # Errors
    /// The error names the device's precisions.
    pub fn check(self, device: &Device) -> Result<(), PrecisionError> {
        let inner = device.clone().inner();
        let has = |precision: &Self| inner.supports_dtype(precision.dtype());
        let (known, why): (Vec<Self>, _) = match device::is_cpu(&inner) {
            // The device stores and converts half-precision numbers, but only our kernels are fast there.
            true => (vec![Self::F32], "the kernels of device cpu compute in single precision"),
            false => {
                let known = Self::ALL.into_iter().filter(has).collect();
                (known, "the device has no arithmetic of this type")
            }
        };
        if self == Self::F32 || known.contains(&self) {
            return Ok(());
        }
        Err(PrecisionError { wanted: self, why, known })
    }

    /// Returns the same views in this precision. In single precision they keep their type.
    pub fn of(self, mut views: Views) -> Views {
        if self != Self::F32 {
            for view in views.global.iter_mut().chain(&mut views.local) {
                *view = view.clone().cast(self.dtype());
            }
        }
        views
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tensor;

    use super::*;
    use crate::collective::Group;

    #[test]
    fn the_cpu_computes_in_single_precision_only_and_says_so() {
        for device in [Device::flex(), Device::flex().autodiff()] {
            Precision::F32.check(&device).unwrap();
            for precision in [Precision::Bf16, Precision::F16] {
                let error = precision.check(&device).unwrap_err().to_string();
                for part in [precision.name(), "device cpu", "expected f32", "--device"] {
                    assert!(error.contains(part), "{error}");
                }
            }
        }
    }

    #[test]
    fn views_take_the_type_and_single_precision_changes_nothing() {
        let image = Tensor::<4>::full([1, 3, 2, 2], 1.0 / 3.0, &Device::flex());
        let views = || Views {
            images: vec![0],
            labels: None,
            global: vec![image.clone(), image.clone()],
            local: vec![image.clone()],
            group: Group::alone(),
            frozen_backbone: false,
        };
        for precision in Precision::ALL {
            let views = precision.of(views());
            assert!(views.all().all(|view| view.dtype() == precision.dtype()), "{precision:?}");
            assert_eq!(views.all().count(), 3);
        }
        let same = Precision::F32.of(views()).global.remove(0);
        assert_eq!(same.into_data(), image.into_data());
    }

    #[test]
    fn names_are_those_of_the_recipe() {
        for precision in Precision::ALL {
            let text = toml::Value::try_from(precision).unwrap();
            assert_eq!(text.as_str(), Some(precision.name()));
        }
    }
}
