//! The heads of the methods: linear layers with a normalisation and an activation between them.

use burn::{
    module::Module,
    tensor::{Tensor, activation},
};

use vssl_kernels::breakdown::{self, Part};

use super::{BatchNorm, Init, Linear, Mode};

/// A multi-layer perceptron, `[linear → norm → activation]… → linear → norm`, each part as [`MlpStyle`] says.
#[derive(Module, Debug)]
pub struct Mlp {
    hidden: Vec<Hidden>,
    output: Linear,
    output_norm: Option<BatchNorm>,
    gelu: bool,
}

#[derive(Module, Debug)]
struct Hidden {
    linear: Linear,
    norm: Option<BatchNorm>,
}

/// The properties in which the heads of the methods differ. The default is the head of BYOL (Grill et al.
/// 2020, arXiv:2006.07733, appendix J): biases everywhere, batch norm and ReLU after hidden layers, and
/// neither after the last layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MlpStyle {
    /// Whether the hidden layers have biases.
    pub hidden_bias: bool,
    /// Whether batch norm follows the hidden layers.
    pub hidden_norm: bool,
    /// Whether the activation is the exact GELU instead of ReLU.
    pub gelu: bool,
    /// Whether the last layer has a bias.
    pub output_bias: bool,
    /// The batch norm after the last layer.
    pub output_norm: OutputNorm,
}

/// The batch norm after the last layer: see [`MlpStyle::output_norm`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputNorm {
    /// There is no batch norm.
    Absent,
    /// The batch norm has a scale and a shift.
    Affine,
    /// The batch norm has neither scale nor shift.
    Plain,
}

impl Default for MlpStyle {
    fn default() -> Self {
        Self {
            hidden_bias: true,
            hidden_norm: true,
            gelu: false,
            output_bias: true,
            output_norm: OutputNorm::Absent,
        }
    }
}

impl Mlp {
    /// Makes `input → hidden → output` in the default style.
    pub fn new(input: usize, hidden: usize, output: usize, init: &Init) -> Self {
        Self::styled(input, &[hidden], output, MlpStyle::default(), init)
    }

    /// Makes `input → hidden[0] → … → output` in the given style.
    pub fn styled(
        input: usize,
        hidden: &[usize],
        output: usize,
        style: MlpStyle,
        init: &Init,
    ) -> Self {
        let linear = |bias: bool, input, output| {
            if bias {
                Linear::new(input, output, init)
            } else {
                Linear::without_bias(input, output, init)
            }
        };
        let mut width = input;
        let mut layers = Vec::new();
        for &next in hidden {
            layers.push(Hidden {
                linear: linear(style.hidden_bias, width, next),
                norm: style.hidden_norm.then(|| BatchNorm::new(next, init)),
            });
            width = next;
        }
        Self {
            hidden: layers,
            output: linear(style.output_bias, width, output),
            output_norm: match style.output_norm {
                OutputNorm::Absent => None,
                OutputNorm::Affine => Some(BatchNorm::new(output, init)),
                OutputNorm::Plain => Some(BatchNorm::plain(output, init)),
            },
            gelu: style.gelu,
        }
    }

    /// Returns all linear layers, for a method that draws its own initial values.
    pub fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.hidden.iter_mut().map(|layer| &mut layer.linear).chain([&mut self.output])
    }

    /// # Shapes — `[n, in]` to `[n, out]`.
    pub fn forward(&self, x: Tensor<2>, mode: Mode) -> Tensor<2> {
        breakdown::network(Part::Heads, || self.layers(x, mode))
    }

    fn layers(&self, mut x: Tensor<2>, mode: Mode) -> Tensor<2> {
        for layer in &self.hidden {
            x = layer.linear.forward(x);
            x = match &layer.norm {
                Some(norm) => norm.forward_rows(x, !self.gelu, mode),
                None if self.gelu => x,
                None => activation::relu(x),
            };
            if self.gelu {
                x = vssl_kernels::gelu(x);
            }
        }
        let x = self.output.forward(x);
        match &self.output_norm {
            Some(norm) => norm.forward_rows(x, false, mode),
            None => x,
        }
    }
}
