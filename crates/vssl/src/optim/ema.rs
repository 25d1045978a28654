//! The teacher's update, `θ_t ← τ·θ_t + (1 − τ)·θ_s`, of parameters only (Tarvainen and Valpola 2017,
//! arXiv:1703.01780). Running statistics are not changed: they come from the teacher's own forward passes.

use std::collections::BTreeMap;

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::{OptimError, leaf::Leaf};
use crate::tensors::paths::{self, Map, PathStack, Visit};

/// Moves the teacher towards the student. `tau` is the share that the teacher keeps.
///
/// Parameters are matched by path, not by Burn's parameter id: ids agree only while the teacher is a copy
/// made in this process, but paths agree after any save and load. The student may have more parameters than
/// the teacher, such as a predictor. The teacher stays outside the autodiff graph.
///
/// # Errors
/// The student lacks a parameter of the teacher, or has it in another size.
pub fn ema<T: Module, S: Module>(teacher: T, student: &S, tau: f64) -> Result<T, OptimError> {
    let mut values = Values(BTreeMap::new());
    paths::visit(student, &mut values);
    let mut blend = Blend { student: values.0, tau, missing: Vec::new(), wrong: None };
    let teacher = paths::map(teacher, &mut blend);
    if let Some(error) = blend.wrong {
        return Err(error);
    }
    if !blend.missing.is_empty() {
        return Err(OptimError::NoStudent { paths: blend.missing });
    }
    Ok(teacher)
}

/// Flattened parameters by path.
struct Values(BTreeMap<String, Tensor<1>>);

impl Visit for Values {
    fn tensor<const D: usize>(&mut self, path: &PathStack, param: &Param<Tensor<D>>) {
        if let Some(path) = path.parameter() {
            let value = param.val().inner();
            let length = value.shape().num_elements();
            self.0.insert(path, value.reshape([length]));
        }
    }
}

struct Blend {
    student: BTreeMap<String, Tensor<1>>,
    tau: f64,
    missing: Vec<String>,
    wrong: Option<OptimError>,
}

impl Map for Blend {
    fn tensor<const D: usize>(
        &mut self,
        path: &PathStack,
        param: Param<Tensor<D>>,
    ) -> Param<Tensor<D>> {
        let Some(path) = path.parameter() else { return param };
        let shape = param.lazy_shape();
        let Some(student) = self.student.remove(&path) else {
            self.missing.push(path);
            return param;
        };
        let (got, expected) = (student.shape().num_elements(), shape.num_elements());
        if got != expected {
            let what = "student parameter";
            self.wrong.get_or_insert(OptimError::Length { what, path, got, expected });
            return param;
        }
        let tau = self.tau;
        param.map(|teacher| {
            let (leaf, teacher) = Leaf::lift(teacher);
            leaf.plant(vssl_kernels::ema(teacher, student.reshape(shape), tau))
        })
    }
}
