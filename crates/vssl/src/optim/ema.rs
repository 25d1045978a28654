//! The teacher's update: `θ_t ← τ·θ_t + (1 − τ)·θ_s`, parameters only (Tarvainen and Valpola 2017,
//! arXiv:1703.01780). Running statistics are left alone: they come from the teacher's own forwards.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;

use super::{OptimError, leaf::Leaf, paths::PathStack};

/// Moves the teacher towards the student. `tau` is the share that the teacher keeps.
///
/// Parameters are matched by path, not by Burn's parameter id: ids agree only while the teacher is
/// a copy made in this process, paths agree after any save and load. The student may have more
/// parameters than the teacher (a predictor). The teacher stays outside the autodiff graph.
///
/// # Errors
/// A teacher's parameter that the student lacks or that has another size.
pub fn ema<T: Module, S: Module>(teacher: T, student: &S, tau: f64) -> Result<T, OptimError> {
    let mut collect = Collect { path: PathStack::default(), values: BTreeMap::new() };
    student.visit(&mut collect);
    let (path, student) = (PathStack::default(), collect.values);
    let mut blend = Blend { path, student, tau, missing: Vec::new(), wrong: None };
    let teacher = teacher.map(&mut blend);
    if let Some(error) = blend.wrong {
        return Err(error);
    }
    if !blend.missing.is_empty() {
        return Err(OptimError::NoStudent { paths: blend.missing });
    }
    Ok(teacher)
}

struct Collect {
    path: PathStack,
    values: BTreeMap<String, Tensor<1>>,
}

impl ModuleVisitor for Collect {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(path) = self.path.parameter() {
            let value = param.val().inner();
            let length = value.shape().num_elements();
            self.values.insert(path, value.reshape([length]));
        }
    }
}

struct Blend {
    path: PathStack,
    student: BTreeMap<String, Tensor<1>>,
    tau: f64,
    missing: Vec<String>,
    wrong: Option<OptimError>,
}

impl ModuleMapper for Blend {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(path) = self.path.parameter() else { return param };
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
            leaf.plant(teacher * tau + student.reshape(shape) * (1.0 - tau))
        })
    }
}
