//! Rotary positions as an ONNX graph: the angles are computed from the number of patches, so one file takes images of any
//! size. Called by [`super::transformer`].

use std::f64::consts::TAU;

use super::{
    OnnxError,
    graph::{Builder, integer},
    messages::FLOAT,
};
use crate::backbone::{VitConfig, positions};

/// The names of the cosines and sines of the patches, `[patches, size]`, where `size` is the length of a query.
pub(super) struct Angles {
    cosines: String,
    sines: String,
    /// The number of tokens in front of the patches.
    prefix: usize,
    size: usize,
}

/// Adds the angles of the patches of `projected`, `[n, width, rows, columns]`.
pub(super) fn angles(b: &mut Builder, projected: &str, config: &VitConfig) -> Angles {
    let size = config.width() / config.heads();
    let frequencies: Vec<f32> =
        positions::periods(size).iter().map(|period| (TAU / period) as f32).collect();
    let quarter = frequencies.len();
    let frequencies = b.floats("rotary.frequencies", &[1, quarter], &frequencies);
    let counts = [2, 3].map(|axis| {
        b.node("Shape", &[projected], vec![integer("start", axis), integer("end", axis + 1)])
    });
    let whole = b.list("rotary.quarter", &[quarter as i64]);
    let [rows, columns] = &counts;
    let shape = b.node("Concat", &[rows, columns, &whole], vec![integer("axis", 0)]);
    let parts = [(0, "rotary.rows"), (1, "rotary.columns")].map(|(index, name)| {
        let angles = along(b, &counts[index], &frequencies); // [count, size / 4]
        // [rows, 1, size / 4] or [1, columns, size / 4]
        let axis = b.list(name, &[1 - index as i64]);
        let angles = b.node("Unsqueeze", &[&angles, &axis], vec![]);
        b.node("Expand", &[&angles, &shape], vec![]) // [rows, columns, size / 4]
    });
    let [of_rows, of_columns] = &parts;
    let angles = b.node("Concat", &[of_rows, of_columns], vec![integer("axis", 2)]);
    let flat = b.list("rotary.flat", &[-1, 2 * quarter as i64]);
    let angles = b.node("Reshape", &[&angles, &flat], vec![]);
    let angles = b.node("Concat", &[&angles, &angles], vec![integer("axis", 1)]);
    let cosines = b.node("Cos", &[&angles], vec![]);
    let sines = b.node("Sin", &[&angles], vec![]);
    Angles { cosines, sines, prefix: config.prefix(), size }
}

/// Adds the angles along one side: `2π·c/period`, with the coordinates c of the centres of `count` patches.
fn along(b: &mut Builder, count: &str, frequencies: &str) -> String {
    let axis = b.list("axis.first", &[0]);
    let scalar = b.node("Squeeze", &[count, &axis], vec![]);
    let scalar = b.node("Cast", &[&scalar], vec![integer("to", i64::from(FLOAT))]);
    let (zero, one) = (b.floats("rotary.zero", &[], &[0.0]), b.floats("rotary.one", &[], &[1.0]));
    let (half, two) = (b.floats("rotary.half", &[], &[0.5]), b.floats("rotary.two", &[], &[2.0]));
    let places = b.node("Range", &[&zero, &scalar, &one], vec![]); // [count]
    let centres = b.node("Add", &[&places, &half], vec![]);
    let shares = b.node("Div", &[&centres, &scalar], vec![]);
    let doubled = b.node("Mul", &[&shares, &two], vec![]);
    let coordinates = b.node("Sub", &[&doubled, &one], vec![]);
    let axis = b.list("rotary.last", &[1]);
    let coordinates = b.node("Unsqueeze", &[&coordinates, &axis], vec![]); // [count, 1]
    b.node("Mul", &[&coordinates, frequencies], vec![])
}

impl Angles {
    /// Adds the queries or keys `x` with those of the patches turned.
    ///
    /// # Shapes — `[n, heads, tokens, size]`, unchanged.
    pub(super) fn turned(&self, b: &mut Builder, x: &str) -> String {
        let half = (self.size / 2) as i64;
        let (zero, end) = (b.list("rotary.from", &[0]), b.list("rotary.end", &[i64::MAX]));
        let prefix = b.list("rotary.prefix", &[self.prefix as i64]);
        let (tokens, length) = (b.list("rotary.tokens", &[2]), b.list("rotary.length", &[3]));
        let middle = b.list("rotary.middle", &[half]);
        let patches = b.node("Slice", &[x, &prefix, &end, &tokens], vec![]);
        let first = b.node("Slice", &[&patches, &zero, &middle, &length], vec![]);
        let second = b.node("Slice", &[&patches, &middle, &end, &length], vec![]);
        let negative = b.node("Neg", &[&second], vec![]);
        let crossed = b.node("Concat", &[&negative, &first], vec![integer("axis", -1)]);
        let own = b.node("Mul", &[&patches, &self.cosines], vec![]);
        let crossed = b.node("Mul", &[&crossed, &self.sines], vec![]);
        let patches = b.node("Add", &[&own, &crossed], vec![]);
        if self.prefix == 0 {
            return patches;
        }
        let before = b.node("Slice", &[x, &zero, &prefix, &tokens], vec![]);
        b.node("Concat", &[&before, &patches], vec![integer("axis", 2)])
    }
}

/// Adds the biases of queries and values to `qkv`; keys have none.
pub(super) fn biased(
    b: &mut Builder,
    qkv: &str,
    path: &str,
    width: usize,
) -> Result<String, OnnxError> {
    let queries = b.weight(&format!("{path}.q_bias"))?;
    let values = b.weight(&format!("{path}.v_bias"))?;
    let keys = b.floats("rotary.keys", &[width], &vec![0.0; width]);
    let bias = b.node("Concat", &[&queries, &keys, &values], vec![integer("axis", 0)]);
    Ok(b.node("Add", &[qkv, &bias], vec![]))
}
