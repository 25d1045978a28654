//! Loader of golden cases and their tolerances (format: `tests/fixtures/README.md`).
//!
//! The folder is that of the repository, or the one named by `VSSL_FIXTURES`. Whatever a case says
//! (shapes, parameters, tolerances) is read from its files: the same tests run on other seeds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// One stored tensor.
pub enum Stored {
    F32(Vec<usize>, Vec<f32>),
    I64(Vec<usize>, Vec<i64>),
}

/// One case: its numbers, its parameters, its tolerances.
pub struct Case {
    pub name: String,
    pub json: Value,
    tensors: BTreeMap<String, Stored>,
}

fn root() -> PathBuf {
    // A relative path begins there as well: tests run in the folder of their crate.
    let repository = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    repository.join(std::env::var_os("VSSL_FIXTURES").unwrap_or_else(|| "tests/fixtures".into()))
}

fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Reads a JSON file of the fixtures that is no case.
pub fn json_of(file: &str) -> Value {
    json(&root().join(file))
}

/// Where goldens are computed.
pub fn device() -> Device {
    Device::flex().autodiff()
}

/// Element `t` of the leading (time) axis.
pub fn at_step(x: &Tensor<3>, t: usize) -> Tensor<2> {
    let [_, n, d] = x.dims();
    x.clone().narrow(0, t, 1).reshape([n, d])
}

/// All numbers, row-major.
pub fn floats(x: Tensor<2>) -> Vec<f32> {
    x.into_data().try_to_vec().unwrap()
}

/// The files that list the cases: those of the first and of the second set.
pub const INDEXES: [&str; 2] = ["index.json", "index-2.json"];

/// Runs `check` on every case that `index.json` lists for `folder`; there must be one at least.
pub fn for_each_case(folder: &str, check: impl FnMut(&Case)) {
    for_each_case_of(INDEXES[0], folder, check);
}

/// Runs `check` on every case that the file `index` lists for `folder`; there must be one at least.
pub fn for_each_case_of(index: &str, folder: &str, mut check: impl FnMut(&Case)) {
    let listed = json(&root().join(index));
    let names = listed["cases"][folder].as_array().unwrap_or_else(|| panic!("no folder {folder}"));
    assert!(!names.is_empty(), "{index} lists no case of {folder}");
    for name in names {
        check(&Case::load(folder, name.as_str().expect("names are strings")));
    }
    println!("{folder}: {} cases checked", names.len());
}

/// The families of cases in each folder that the file `index` lists; a family is the name of a case without the number at
/// its end.
pub fn families(index: &str) -> BTreeMap<String, BTreeSet<String>> {
    let listed = json(&root().join(index));
    let folders = listed["cases"].as_object().unwrap_or_else(|| panic!("{index}: no cases"));
    let family = |name: &Value| {
        let name = name.as_str().expect("names are strings");
        match name.rsplit_once('_') {
            Some((family, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => family,
            _ => name,
        }
        .to_owned()
    };
    let names = |names: &Value| names.as_array().expect("a list").iter().map(family).collect();
    folders.iter().map(|(folder, cases)| (folder.clone(), names(cases))).collect()
}

impl Case {
    pub fn load(folder: &str, name: &str) -> Self {
        let stem = root().join(folder).join(name);
        let path = stem.with_file_name(format!("{name}.safetensors"));
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.iter().map(|(key, view)| (key.to_owned(), stored(&view))).collect();
        Self { name: name.to_owned(), json: json(&stem.with_extension("json")), tensors }
    }

    /// A hyper-parameter, if the case has it and it is not null.
    pub fn param(&self, key: &str) -> Option<&Value> {
        self.json["params"].get(key).filter(|value| !value.is_null())
    }

    /// A numeric hyper-parameter.
    pub fn number(&self, key: &str) -> f64 {
        self.param(key)
            .and_then(Value::as_f64)
            .unwrap_or_else(|| panic!("{}: no number {key} in params", self.name))
    }

    /// A hyper-parameter that is a list of numbers.
    pub fn numbers(&self, key: &str) -> Vec<f64> {
        let list = self.param(key).unwrap_or_else(|| panic!("{}: no list {key}", self.name));
        list_of_numbers(list)
    }

    /// A switch; absent means off.
    pub fn flag(&self, key: &str) -> bool {
        self.param(key).and_then(Value::as_bool).unwrap_or(false)
    }

    pub fn has(&self, key: &str) -> bool {
        self.tensors.contains_key(key)
    }

    /// Names of the tensors that begin with `prefix`, the prefix removed, in byte order.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        self.tensors.keys().filter_map(|k| k.strip_prefix(prefix)).map(str::to_owned).collect()
    }

    fn stored(&self, key: &str) -> &Stored {
        self.tensors.get(key).unwrap_or_else(|| panic!("{}: no tensor {key}", self.name))
    }

    pub fn shape(&self, key: &str) -> &[usize] {
        match self.stored(key) {
            Stored::F32(shape, _) | Stored::I64(shape, _) => shape,
        }
    }

    pub fn f32(&self, key: &str) -> &[f32] {
        match self.stored(key) {
            Stored::F32(_, values) => values,
            Stored::I64(..) => panic!("{}: {key} holds integers", self.name),
        }
    }

    pub fn i64(&self, key: &str) -> &[i64] {
        match self.stored(key) {
            Stored::I64(_, values) => values,
            Stored::F32(..) => panic!("{}: {key} holds floats", self.name),
        }
    }

    /// Element `t` of the leading (time) axis, flat.
    pub fn at(&self, key: &str, t: usize) -> &[f32] {
        let length: usize = self.shape(key)[1..].iter().product();
        &self.f32(key)[t * length..(t + 1) * length]
    }

    pub fn tensor<const D: usize>(&self, key: &str, device: &Device) -> Tensor<D> {
        let data = TensorData::new(self.f32(key).to_vec(), self.shape(key).to_vec());
        Tensor::from_data(data, device)
    }

    pub fn ints<const D: usize>(&self, key: &str, device: &Device) -> Tensor<D, Int> {
        let data = TensorData::new(self.i64(key).to_vec(), self.shape(key).to_vec());
        Tensor::from_data(data, device)
    }

    /// An input whose gradient can be asked for.
    pub fn input<const D: usize>(&self, key: &str) -> Tensor<D> {
        self.tensor::<D>(key, &device()).require_grad()
    }

    /// Compares the quantity `out.<name>`, also with its scalar of full precision, and hands it back.
    pub fn check_quantity(&self, name: &str, got: Tensor<1>) -> Tensor<1> {
        self.check(&format!("out.{name}"), got.clone());
        self.check_scalar(name, f64::from(got.clone().into_scalar::<f32>()));
        got
    }

    /// The same, and the gradient of every input: none where none is stored.
    pub fn check_with_gradients<const D: usize>(
        &self,
        name: &str,
        got: Tensor<1>,
        inputs: &[(impl AsRef<str>, Tensor<D>)],
    ) {
        let gradients = self.check_quantity(name, got).backward();
        let mut stored = self.names("grad.");
        for (key, tensor) in inputs {
            let key = key.as_ref();
            let gradient = tensor.grad(&gradients);
            let expected = format!("grad.{key}");
            if self.has(&expected) {
                let gradient = gradient.unwrap_or_else(|| panic!("{}: no {expected}", self.name));
                self.check(&expected, gradient);
            } else {
                assert!(gradient.is_none(), "{}: {key} is a target", self.name);
            }
            stored.retain(|name| name != key);
        }
        assert!(stored.is_empty(), "{}: gradients of {stored:?} were not compared", self.name);
    }

    /// Compares a tensor with the expected one under the tolerance of the case.
    pub fn check<const D: usize>(&self, key: &str, got: Tensor<D>) {
        assert_eq!(got.dims().as_slice(), self.shape(key), "{}: shape of {key}", self.name);
        self.check_values(key, &got.into_data().try_to_vec::<f32>().unwrap());
    }

    /// Compares numbers with the expected ones under the tolerance of the case.
    pub fn check_values(&self, key: &str, got: &[f32]) {
        let width = self.shape(key).last().copied().unwrap_or(1);
        self.compare(key, key, got, self.f32(key), width);
    }

    /// Compares a gradient with the expected one by relative L2 error, under the tolerance of the
    /// case or under `floor`, whichever is larger.
    pub fn check_gradient(&self, key: &str, got: &[f32], floor: f64) {
        let place = format!("{}: {key}", self.name);
        let tolerance = &self.json["tolerance"][key];
        match Tolerance::read(tolerance, &place) {
            Tolerance::RelativeL2(bound) => {
                let bound = Tolerance::RelativeL2(bound.max(floor));
                bound.check(&place, got, self.f32(key), 1);
            }
            other => other.check(&place, got, self.f32(key), 1),
        }
    }

    /// Compares one time step with the expected one.
    pub fn check_at(&self, key: &str, t: usize, got: &[f32]) {
        let width = self.shape(key).last().copied().unwrap_or(1);
        self.compare(key, &format!("{key}[{t}]"), got, self.at(key, t), width);
    }

    /// Checks a scalar against the value of full precision, under the tolerance of `out.<key>`.
    pub fn check_scalar(&self, key: &str, got: f64) {
        let expected = &self.json["expected_scalars_f64"][key];
        // JSON has no word for a NaN but a text.
        let expected = expected.as_f64().or_else(|| expected.as_str()?.parse().ok());
        let expected =
            expected.unwrap_or_else(|| panic!("{}: no expected scalar {key}", self.name));
        let name = format!("out.{key}");
        self.compare(&name, &name, &[got as f32], &[expected as f32], 1);
    }

    fn compare(&self, key: &str, place: &str, got: &[f32], expected: &[f32], width: usize) {
        let tolerance = self.json["tolerance"]
            .get(key)
            .unwrap_or_else(|| panic!("{}: no tolerance for {key}", self.name));
        let place = format!("{}: {place}", self.name);
        assert_eq!(got.len(), expected.len(), "{place}: number of elements");
        Tolerance::read(tolerance, &place).check(&place, got, expected, width);
    }
}

fn stored(view: &safetensors::tensor::TensorView<'_>) -> Stored {
    let shape = view.shape().to_vec();
    let bytes = view.data();
    match view.dtype() {
        Dtype::F32 => Stored::F32(
            shape,
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
        ),
        Dtype::I64 => Stored::I64(
            shape,
            bytes.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect(),
        ),
        other => panic!("unexpected type {other:?}"),
    }
}

pub fn list_of_numbers(list: &Value) -> Vec<f64> {
    list.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number")).collect()
}

/// How far two tensors may be apart.
enum Tolerance {
    Elements { relative: f64, absolute: f64, nan_equal: bool },
    RelativeL2(f64),
    Rows { relative: f64, floor: f64 },
    Exact,
}

impl Tolerance {
    fn read(value: &Value, place: &str) -> Self {
        let number = |key: &str| value.get(key).and_then(Value::as_f64);
        let nan_equal = value.get("nan_equal").and_then(Value::as_bool).unwrap_or(false);
        if let (Some(relative), Some(absolute)) = (number("rtol"), number("atol")) {
            Self::Elements { relative, absolute, nan_equal }
        } else if let Some(bound) = number("relative_l2") {
            Self::RelativeL2(bound)
        } else if let (Some(relative), Some(floor)) = (number("row_relative"), number("row_floor"))
        {
            Self::Rows { relative, floor }
        } else if value.get("exact").and_then(Value::as_bool) == Some(true) {
            Self::Exact
        } else {
            panic!("{place}: tolerance of an unknown form: {value}")
        }
    }

    fn check(&self, place: &str, got: &[f32], expected: &[f32], width: usize) {
        let pairs = || {
            got.iter().zip(expected).map(|(&got, &expected)| (f64::from(got), f64::from(expected)))
        };
        match *self {
            Self::Elements { relative, absolute, nan_equal } => {
                for (i, (got, expected)) in pairs().enumerate() {
                    let same = got == expected || (nan_equal && got.is_nan() && expected.is_nan());
                    let near = (got - expected).abs() <= absolute + relative * expected.abs();
                    assert!(same || near, "{place}[{i}]: got {got:e}, expected {expected:e}");
                }
            }
            Self::RelativeL2(bound) => {
                let error = pairs().map(|(got, expected)| (got - expected).powi(2)).sum::<f64>();
                let norm = pairs().map(|(_, expected)| expected.powi(2)).sum::<f64>();
                let (error, most) = (error.sqrt(), bound * norm.sqrt());
                assert!(error <= most, "{place}: L2 error {error:e} > {most:e}");
            }
            Self::Rows { relative, floor } => {
                let pairs: Vec<_> = pairs().collect();
                for (row, pairs) in pairs.chunks(width).enumerate() {
                    let largest = pairs.iter().map(|p| p.1.abs()).fold(0.0, f64::max);
                    for &(got, expected) in pairs {
                        let bound = f64::max(relative * largest, floor);
                        let near = (got - expected).abs() <= bound;
                        assert!(near, "{place} row {row}: got {got:e}, expected {expected:e}");
                    }
                }
            }
            Self::Exact => assert_eq!(got, expected, "{place}"),
        }
    }
}
