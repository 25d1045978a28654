//! Builds an ONNX graph node by node. Each node takes the names of earlier values. Called by
//! [`super::networks`].

use burn::tensor::{DType, TensorData, f16};

use super::{
    OnnxError,
    messages::{Attribute, FLOAT, FLOAT16, Graph, INT64, Node, TensorProto},
};
use crate::tensors::state::Tensors;

/// The usual ε of `layers::LayerNorm`.
const LAYER_EPS: f64 = 1e-6;

/// A graph under construction, and the tensors of the network that it is made from.
pub(super) struct Builder<'a> {
    tensors: &'a Tensors,
    pub(super) graph: Graph,
    /// The ε of layer normalisations.
    pub(super) layer_eps: f64,
}

/// A setting of a node that is a float.
pub(super) fn number(name: &str, value: f64) -> Attribute {
    Attribute { name: name.to_owned(), f: Some(value as f32), r#type: 1, ..Attribute::default() }
}

pub(super) fn integer(name: &str, value: i64) -> Attribute {
    Attribute { name: name.to_owned(), i: Some(value), r#type: 2, ..Attribute::default() }
}

pub(super) fn integers(name: &str, values: &[i64]) -> Attribute {
    Attribute { name: name.to_owned(), ints: values.to_vec(), r#type: 7, ..Attribute::default() }
}

impl<'a> Builder<'a> {
    pub(super) fn new(tensors: &'a Tensors) -> Self {
        let graph = Graph { name: "encoder".to_owned(), ..Graph::default() };
        Self { tensors, graph, layer_eps: LAYER_EPS }
    }

    /// Adds a node with the operator `op` and returns the name of its value.
    pub(super) fn node(&mut self, op: &str, inputs: &[&str], attributes: Vec<Attribute>) -> String {
        let name = format!("{}_{}", op.to_lowercase(), self.graph.node.len());
        self.graph.node.push(Node {
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![name.clone()],
            name: name.clone(),
            op_type: op.to_owned(),
            attribute: attributes,
        });
        name
    }

    /// Whether the network has the tensor `path`.
    pub(super) fn has(&self, path: &str) -> bool {
        self.tensors.contains_key(path)
    }

    /// The tensor `path` of the network.
    pub(super) fn tensor(&self, path: &str) -> Result<&'a TensorData, OnnxError> {
        self.tensors.get(path).ok_or_else(|| OnnxError::Missing(path.to_owned()))
    }

    /// Adds the tensor `path` as a constant and returns the name of that constant.
    pub(super) fn weight(&mut self, path: &str) -> Result<String, OnnxError> {
        let tensor = self.tensor(path)?;
        if tensor.dtype() == DType::F16 {
            return Ok(self.half(path, tensor));
        }
        self.raw(path, tensor.shape().as_slice(), FLOAT, tensor.as_bytes().to_vec());
        Ok(path.to_owned())
    }

    /// Adds a constant of half precision that a node brings to single precision, and returns the name of the result. A
    /// runtime does so once, when it reads the file.
    fn half(&mut self, name: &str, tensor: &TensorData) -> String {
        let whole = format!("{name}.single");
        let is_there = self.graph.node.iter().any(|node| node.output.contains(&whole));
        if !is_there {
            self.raw(name, tensor.shape().as_slice(), FLOAT16, tensor.as_bytes().to_vec());
            self.graph.node.push(Node {
                input: vec![name.to_owned()],
                output: vec![whole.clone()],
                name: whole.clone(),
                op_type: "Cast".to_owned(),
                attribute: vec![integer("to", i64::from(FLOAT))],
            });
        }
        whole
    }

    /// Adds the transpose of the tensor `path` as a constant: ONNX multiplies with the weight from the
    /// right.
    pub(super) fn transposed_weight(&mut self, path: &str) -> Result<String, OnnxError> {
        let tensor = self.tensor(path)?;
        let single = tensor.clone().convert::<f32>();
        let (&[rows, columns], Ok(values)) = (tensor.shape().as_slice(), single.as_slice::<f32>())
        else {
            return Err(OnnxError::Missing(path.to_owned()));
        };
        let transposed = (0..columns).flat_map(|c| (0..rows).map(move |r| values[r * columns + c]));
        let transposed: Vec<f32> = transposed.collect();
        if tensor.dtype() == DType::F16 {
            let turned = TensorData::new(transposed, [columns, rows]);
            return Ok(self.half(path, &turned.convert::<f16>()));
        }
        Ok(self.floats(path, &[columns, rows], &transposed))
    }

    /// Adds a constant of floats.
    pub(super) fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.raw(name, shape, FLOAT, bytes);
        name.to_owned()
    }

    /// Adds a constant list of integers, such as a shape.
    pub(super) fn list(&mut self, name: &str, values: &[i64]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.raw(name, &[values.len()], INT64, bytes);
        name.to_owned()
    }

    fn raw(&mut self, name: &str, shape: &[usize], data_type: i32, bytes: Vec<u8>) {
        if self.graph.initializer.iter().any(|known| known.name == name) {
            return;
        }
        let dims = shape.iter().map(|&size| size as i64).collect();
        let raw_data = Some(bytes);
        self.graph.initializer.push(TensorProto {
            dims,
            data_type,
            name: name.to_owned(),
            raw_data,
        });
    }

    /// Adds a convolution with a square kernel, and its bias where the network has one.
    pub(super) fn convolution(
        &mut self,
        x: &str,
        path: &str,
        stride: usize,
        padding: usize,
    ) -> Result<String, OnnxError> {
        self.grouped_convolution(x, path, stride, padding, 1)
    }

    /// Adds a convolution as [`Builder::convolution`] does, whose channels are in `groups`.
    pub(super) fn grouped_convolution(
        &mut self,
        x: &str,
        path: &str,
        stride: usize,
        padding: usize,
        groups: usize,
    ) -> Result<String, OnnxError> {
        let size = self.tensor(&format!("{path}.weight"))?.shape().as_slice()[2] as i64;
        let weight = self.weight(&format!("{path}.weight"))?;
        let bias = format!("{path}.bias");
        let mut inputs = vec![x.to_owned(), weight];
        if self.tensors.contains_key(&bias) {
            inputs.push(self.weight(&bias)?);
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let (stride, padding) = (stride as i64, padding as i64);
        let attributes = vec![
            integers("kernel_shape", &[size, size]),
            integers("strides", &[stride, stride]),
            integers("pads", &[padding; 4]),
            integer("group", groups as i64),
        ];
        Ok(self.node("Conv", &inputs, attributes))
    }

    /// Adds a batch normalisation by the running statistics.
    pub(super) fn batch_norm(
        &mut self,
        x: &str,
        path: &str,
        eps: f64,
    ) -> Result<String, OnnxError> {
        let mut inputs = vec![x.to_owned()];
        for part in ["weight", "bias", "running_mean", "running_var"] {
            inputs.push(self.weight(&format!("{path}.{part}"))?);
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        Ok(self.node("BatchNormalization", &inputs, vec![number("epsilon", eps)]))
    }

    /// Adds `x · Wᵀ + b` along the last axis, without b where the network has none.
    pub(super) fn linear(&mut self, x: &str, path: &str) -> Result<String, OnnxError> {
        let weight = self.transposed_weight(&format!("{path}.weight"))?;
        let product = self.node("MatMul", &[x, &weight], vec![]);
        let bias = format!("{path}.bias");
        if !self.tensors.contains_key(&bias) {
            return Ok(product);
        }
        let bias = self.weight(&bias)?;
        Ok(self.node("Add", &[&product, &bias], vec![]))
    }

    /// Adds a layer normalisation along the last axis.
    pub(super) fn layer_norm(&mut self, x: &str, path: &str) -> Result<String, OnnxError> {
        let weight = self.weight(&format!("{path}.weight"))?;
        let bias = self.weight(&format!("{path}.bias"))?;
        let attributes = vec![integer("axis", -1), number("epsilon", self.layer_eps)];
        Ok(self.node("LayerNormalization", &[x, &weight, &bias], attributes))
    }

    /// Adds the product with the factors `path` along the last axis, where the network has them.
    pub(super) fn scaled(&mut self, x: &str, path: &str) -> Result<String, OnnxError> {
        match self.tensors.contains_key(path) {
            true => {
                let factors = self.weight(path)?;
                Ok(self.node("Mul", &[x, &factors], vec![]))
            }
            false => Ok(x.to_owned()),
        }
    }

    /// Adds the axes of `x` in another order.
    pub(super) fn turned(&mut self, x: &str, axes: &[i64]) -> String {
        self.node("Transpose", &[x], vec![integers("perm", axes)])
    }

    /// Adds the mean over space: `[n, c, h, w]` to `[n, c]`.
    pub(super) fn pooled(&mut self, x: &str) -> String {
        let pooled = self.node("GlobalAveragePool", &[x], vec![]);
        self.node("Flatten", &[&pooled], vec![integer("axis", 1)])
    }
}
