//! The path of a parameter inside its module, as checkpoints and recipes write it:
//! `backbone.layer1.0.conv1.weight`.
//!
//! Burn shows running statistics to visitors as if they were parameters. This module decides which tensors
//! are parameters, once for gradients, updates and the teacher. [`visit`] and [`map`] are the only walks over
//! modules in this crate, and they keep the path.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;

/// Reads the float tensors of a module.
pub(crate) trait Visit {
    /// Reads a tensor, which may be a running statistic.
    fn tensor<const D: usize>(&mut self, path: &PathStack, param: &Param<Tensor<D>>);
}

/// Replaces the float tensors of a module.
pub(crate) trait Map {
    /// Returns the new value of a tensor, which may be a running statistic.
    fn tensor<const D: usize>(
        &mut self,
        path: &PathStack,
        param: Param<Tensor<D>>,
    ) -> Param<Tensor<D>>;
}

/// Calls `visitor` with every float tensor of `module`, in the module's own order.
pub(crate) fn visit<M: Module>(module: &M, visitor: &mut impl Visit) {
    module.visit(&mut Walk { path: PathStack::default(), inner: visitor });
}

/// Returns `module` with every float tensor replaced by the result of `mapper`.
pub(crate) fn map<M: Module>(module: M, mapper: &mut impl Map) -> M {
    module.map(&mut Walk { path: PathStack::default(), inner: mapper })
}

struct Walk<'a, W> {
    path: PathStack,
    inner: &'a mut W,
}

impl<W: Visit> ModuleVisitor for Walk<'_, W> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.inner.tensor(&self.path, param);
    }
}

impl<W: Map> ModuleMapper for Walk<'_, W> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.inner.tensor(&self.path, param)
    }
}

/// The stack of names that a visitor or mapper has entered.
#[derive(Default)]
pub(crate) struct PathStack(Vec<String>);

impl PathStack {
    /// The variants of enums do not show, because Burn marks their container.
    fn enter(&mut self, name: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.push(name.to_owned());
        }
    }

    fn exit(&mut self, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.pop();
        }
    }

    /// Returns the path of the item that is being visited.
    pub(crate) fn join(&self) -> String {
        self.0.join(".")
    }

    /// Returns the path of the tensor that is being visited, unless it is a running statistic.
    pub(crate) fn parameter(&self) -> Option<String> {
        let is_statistic = self.0.last().is_some_and(|name| name.starts_with("running_"));
        (!is_statistic).then(|| self.0.join("."))
    }
}

/// The path and shape of one parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterInfo {
    /// The names of fields from the module down, joined by dots.
    pub path: String,
    /// The length of each axis.
    pub shape: Vec<usize>,
    /// Whether the parameter takes gradients.
    pub trainable: bool,
}

/// Returns all parameters of a module in its own order, without running statistics and without reading
/// values.
pub fn parameters<M: Module>(module: &M) -> Vec<ParameterInfo> {
    let mut list = List(Vec::new());
    visit(module, &mut list);
    list.0
}

struct List(Vec<ParameterInfo>);

impl Visit for List {
    fn tensor<const D: usize>(&mut self, path: &PathStack, param: &Param<Tensor<D>>) {
        if let Some(path) = path.parameter() {
            let shape = param.lazy_shape().as_slice().to_vec();
            self.0.push(ParameterInfo { path, shape, trainable: param.is_require_grad() });
        }
    }
}
