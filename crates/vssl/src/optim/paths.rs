//! The path of a parameter inside its module, as checkpoints and recipes write it:
//! `backbone.layer1.0.conv1.weight`.
//!
//! Burn shows running statistics to visitors as if they were parameters; what is a parameter is
//! decided here, once, for gradients, updates and the teacher alike.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

/// The stack of names that a visitor or mapper has entered.
#[derive(Default)]
pub(crate) struct PathStack(Vec<String>);

impl PathStack {
    /// Variants of enums do not show: Burn marks their container.
    pub(crate) fn enter(&mut self, name: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.push(name.to_owned());
        }
    }

    pub(crate) fn exit(&mut self, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.pop();
        }
    }

    /// The path of whatever is being shown.
    pub(crate) fn join(&self) -> String {
        self.0.join(".")
    }

    /// The path of the tensor being shown, unless it is a running statistic.
    pub(crate) fn parameter(&self) -> Option<String> {
        let is_statistic =
            matches!(self.0.last().map(String::as_str), Some("running_mean" | "running_var"));
        (!is_statistic).then(|| self.0.join("."))
    }
}

/// Place and shape of one parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterInfo {
    /// Names from the module down, joined by dots.
    pub path: String,
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// Whether gradients are asked for.
    pub trainable: bool,
}

/// All parameters of a module in its own order, without running statistics. Reads no values.
pub fn parameters<M: Module>(module: &M) -> Vec<ParameterInfo> {
    let mut visitor = List { path: PathStack::default(), found: Vec::new() };
    module.visit(&mut visitor);
    visitor.found
}

struct List {
    path: PathStack,
    found: Vec<ParameterInfo>,
}

impl ModuleVisitor for List {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(path) = self.path.parameter() {
            let shape = param.lazy_shape().as_slice().to_vec();
            self.found.push(ParameterInfo { path, shape, trainable: param.is_require_grad() });
        }
    }
}
