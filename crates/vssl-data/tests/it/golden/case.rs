//! One stored case: its parameters, its tensors, and which of them were checked.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use vssl_data::Image;

/// The folder with the stored cases.
pub fn fixtures() -> PathBuf {
    // A relative path begins there as well: tests run in the folder of their crate.
    let repository = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    repository.join(std::env::var_os("VSSL_FIXTURES").unwrap_or_else(|| "tests/fixtures".into()))
}

/// Reads a JSON file below the fixtures.
pub fn json(file: &str) -> Value {
    let path = fixtures().join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub struct Case {
    pub name: String,
    pub params: Value,
    tolerance: Value,
    bytes: Vec<u8>,
    checked: RefCell<BTreeSet<String>>,
}

impl Case {
    pub fn read(folder: &str, name: &str) -> Self {
        let description = json(&format!("{folder}/{name}.json"));
        let path = fixtures().join(folder).join(format!("{name}.safetensors"));
        Self {
            name: name.into(),
            params: description["params"].clone(),
            tolerance: description["tolerance"].clone(),
            bytes: fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())),
            checked: RefCell::default(),
        }
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }

    pub fn has(&self, tensor: &str) -> bool {
        self.tensors().tensor(tensor).is_ok()
    }

    /// The pictures of a tensor `[height, width, 3]` or `[n, height, width, 3]`.
    pub fn images(&self, tensor: &str) -> Vec<Image> {
        let tensors = self.tensors();
        let view = tensors.tensor(tensor).unwrap_or_else(|e| panic!("{} {tensor}: {e}", self.name));
        assert_eq!(view.dtype(), Dtype::U8, "{} {tensor}", self.name);
        let &[.., height, width, 3] = view.shape() else {
            panic!("{} {tensor}: shape {:?}", self.name, view.shape());
        };
        view.data()
            .chunks_exact(height * width * 3)
            .map(|rgb| Image { width, height, values: rgb.to_vec() })
            .collect()
    }

    pub fn image(&self, tensor: &str) -> Image {
        self.images(tensor).swap_remove(0)
    }

    /// Shape and values of a float tensor.
    pub fn floats(&self, tensor: &str) -> (Vec<usize>, Vec<f32>) {
        let tensors = self.tensors();
        let view = tensors.tensor(tensor).unwrap_or_else(|e| panic!("{} {tensor}: {e}", self.name));
        assert_eq!(view.dtype(), Dtype::F32, "{} {tensor}", self.name);
        let values = view.data().as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b));
        (view.shape().to_vec(), values.collect())
    }

    /// Compares pictures with an expected tensor, within its stated largest difference (0 where
    /// none is stated).
    pub fn check_images(&self, tensor: &str, got: &[Image]) {
        let allowed = self.tolerance[tensor]["max_abs_difference"].as_u64().unwrap_or(0);
        let expected = self.images(tensor);
        assert_eq!(expected.len(), got.len(), "{} {tensor}: number of images", self.name);
        for (i, (expected, got)) in expected.iter().zip(got).enumerate() {
            let place = format!("{} {tensor}, image {i}", self.name);
            assert_eq!((expected.width, expected.height), (got.width, got.height), "{place}");
            let worst = expected.values.iter().zip(&got.values).map(|(e, g)| e.abs_diff(*g)).max();
            let wrong = expected.values.iter().zip(&got.values).filter(|(e, g)| e != g).count();
            let worst = u64::from(worst.unwrap_or(0));
            assert!(worst <= allowed, "{place}: {wrong} bytes differ, by up to {worst}");
        }
        self.checked.borrow_mut().insert(tensor.into());
    }

    /// Compares channels-last pixels with an expected channels-first tensor `[.., 3, rows, width]`
    /// (all images, or the first rows of one), within `rtol` and `atol`.
    pub fn check_floats(&self, tensor: &str, width: usize, got: &[Vec<f32>]) {
        let stated = |key: &str, default| self.tolerance[tensor][key].as_f64().unwrap_or(default);
        let (rtol, atol) = (stated("rtol", 1e-5), stated("atol", 1e-6));
        let (shape, expected) = self.floats(tensor);
        let &[.., 3, rows, expected_width] = &shape[..] else {
            panic!("{} {tensor}: shape {shape:?}", self.name);
        };
        assert_eq!(expected_width, width, "{} {tensor}", self.name);
        let images = expected.chunks_exact(3 * rows * width);
        assert_eq!(images.len(), got.len(), "{} {tensor}: number of images", self.name);
        for (image, (expected, got)) in images.zip(got).enumerate() {
            for (i, &expected) in expected.iter().enumerate() {
                let (channel, position) = (i / (rows * width), i % (rows * width));
                let (e, g) = (f64::from(expected), f64::from(got[position * 3 + channel]));
                assert!(
                    (g - e).abs() <= atol + rtol * e.abs(),
                    "{} {tensor}, image {image}, channel {channel}, pixel {position}: {g}, not {e}",
                    self.name
                );
            }
        }
        self.checked.borrow_mut().insert(tensor.into());
    }

    /// Fails when an expected tensor was left unchecked.
    pub fn finish(&self) {
        let tensors = self.tensors();
        let all = tensors.names().into_iter().filter(|name| name.starts_with("out"));
        assert_eq!(
            all.map(String::from).collect::<BTreeSet<_>>(),
            *self.checked.borrow(),
            "{}",
            self.name
        );
    }
}
