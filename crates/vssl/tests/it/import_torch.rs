//! Files as `torch.save` and `pickle.dump` write them, made byte by byte here, so that the reader is tested
//! without Python.

use std::{
    fs,
    path::{Path, PathBuf},
};

use burn::{module::Module, tensor::Device};
use vssl::{
    backbone::{Backbone, BackboneConfig, ResnetConfig, Stem},
    encoder::foreign::{self, ForeignError, MatchStatus, Request},
    layers::Init,
    tensors::state::{self, Tensors},
};
use vssl_data::dataset::CIFAR10;

fn network() -> Backbone {
    let config: BackboneConfig =
        ResnetConfig { width: 2, stem: Stem::Cifar, ..ResnetConfig::default() }.into();
    Backbone::new(&config, &Init::new(&Device::flex(), 7)).no_grad()
}

fn request() -> Request {
    Request { stem_padding: Some(1), normalisation: Some(CIFAR10), ..Request::default() }
}

/// A pickle of protocol 2 under construction.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn raw(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    fn text(&mut self, text: &str) {
        self.raw(b"X");
        self.raw(&(text.len() as u32).to_le_bytes());
        self.raw(text.as_bytes());
    }

    fn number(&mut self, number: usize) {
        self.raw(b"J");
        self.raw(&(number as i32).to_le_bytes());
    }

    fn tuple(&mut self, numbers: &[usize]) {
        self.raw(b"(");
        numbers.iter().for_each(|&number| self.number(number));
        self.raw(b"t");
    }

    /// A tensor on storage `key`, as `torch._utils._rebuild_tensor_v2` rebuilds it.
    fn tensor(&mut self, key: usize, shape: &[usize]) {
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        self.raw(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        self.text("storage");
        self.raw(b"ctorch\nFloatStorage\n");
        self.text(&key.to_string());
        self.text("cpu");
        self.number(shape.iter().product());
        self.raw(b"tQ");
        self.number(0);
        self.tuple(shape);
        self.tuple(&strides);
        self.raw(b"\x89ccollections\nOrderedDict\n)RtR");
    }

    /// An array of numpy in protocol 2, which has no bytes: a text and a call that encodes it.
    fn array(&mut self, values: &[u8], shape: &[usize], order: &str) {
        self.raw(
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85c_codecs\nencode\n(",
        );
        self.text("b");
        self.text("latin1");
        self.raw(b"tRtR(K\x01");
        self.tuple(shape);
        self.raw(b"cnumpy\ndtype\n(");
        self.text("f4");
        self.raw(b"\x89\x88tR(K\x03");
        self.text(order);
        self.raw(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89c_codecs\nencode\n(");
        self.text(&values.iter().map(|&byte| char::from(byte)).collect::<String>());
        self.text("latin1");
        self.raw(b"tRtb");
    }

    fn dictionary(fill: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut writer = Self(b"\x80\x02}(".to_vec());
        fill(&mut writer);
        writer.raw(b"u.");
        writer.0
    }
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// An archive as PyTorch writes it: stored entries, and both kinds of end behind the directory.
fn archive(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in entries {
        let at = file.len() as u32;
        let (size, length) =
            ((bytes.len() as u32).to_le_bytes(), (name.len() as u16).to_le_bytes());
        let common = [&[0; 10][..], &[0; 4], &size, &size, &length, &[0; 2]].concat();
        file.extend([b"PK\x03\x04", &common[..], name.as_bytes(), bytes].concat());
        let common = [&[0; 12][..], &[0; 4], &size, &size, &length, &[0; 12]].concat();
        directory.extend([b"PK\x01\x02", &common[..], &at.to_le_bytes(), name.as_bytes()].concat());
    }
    let (start, size, count) = (file.len() as u64, directory.len() as u64, entries.len() as u64);
    let end = start + size;
    file.extend(directory);
    file.extend(b"PK\x06\x06");
    file.extend(44u64.to_le_bytes());
    file.extend([0x1e, 3, 0x2d, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for number in [count, count, size, start] {
        file.extend(number.to_le_bytes());
    }
    file.extend(b"PK\x06\x07\0\0\0\0");
    file.extend(end.to_le_bytes());
    file.extend([1, 0, 0, 0]);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend([(count as u16).to_le_bytes(), (count as u16).to_le_bytes()].concat());
    file.extend([(size as u32).to_le_bytes(), (start as u32).to_le_bytes()].concat());
    file.extend([0, 0]);
    file
}

fn values(tensor: &burn::tensor::TensorData) -> Vec<f32> {
    tensor.as_slice::<f32>().unwrap().to_vec()
}

/// What `torch.save(network.state_dict(), "<name>.pth")` writes.
fn saved(name: &str, tensors: &Tensors, more: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let pickle = Writer::dictionary(|writer| {
        for (key, (name, tensor)) in tensors.iter().enumerate() {
            writer.text(name);
            writer.tensor(key, tensor.shape().as_slice());
        }
        more(writer);
    });
    let mut entries = vec![(format!("{name}/data.pkl"), pickle)];
    entries.push((format!("{name}/byteorder"), b"little".to_vec()));
    for (key, tensor) in tensors.values().enumerate() {
        entries.push((format!("{name}/data/{key}"), bytes_of(&values(tensor))));
    }
    archive(&entries)
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn archives_are_read_however_long_the_name_of_their_folder_is() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = state::collect(&network());
    // 21 letters make the first entry of the directory as long as the records behind the directory.
    for name in
        ["archive", "vit_small_patch16_22", "vit_small_patch16_224", "checkpoint_epoch_01000"]
    {
        let path = write(folder.path(), "a.pth", &saved(name, &tensors, |_| {}));
        let found = foreign::read(&path, &request()).unwrap();
        found.check().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(found.count(MatchStatus::Matched), tensors.len());
    }
}

#[test]
fn arrays_of_numpy_are_tensors_in_either_order_of_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = state::collect(&network());
    let pickled = |order: &str| {
        Writer::dictionary(|writer| {
            for (name, tensor) in &tensors {
                writer.text(name);
                let mut bytes = bytes_of(&values(tensor));
                if order == ">" {
                    bytes.chunks_exact_mut(4).for_each(<[u8]>::reverse);
                }
                writer.array(&bytes, tensor.shape().as_slice(), order);
            }
        })
    };
    let mut features = Vec::new();
    for order in ["<", ">"] {
        let path = write(folder.path(), "numpy.pkl", &pickled(order));
        let found = foreign::read(&path, &request()).unwrap();
        found.check().unwrap();
        features.push(found.test_features());
    }
    assert_eq!(features[0], features[1]);
    assert_eq!((features[0].0, features[0].1.len()), (32, 16));
    let path = write(folder.path(), "a.pth", &saved("archive", &tensors, |_| {}));
    assert_eq!(foreign::read(&path, &request()).unwrap().test_features(), features[0]);
}

#[test]
fn many_names_that_share_a_storage_are_no_attack_and_many_paths_to_one_value_are() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = state::collect(&network());
    let bytes = saved("archive", &tensors, |writer| {
        for index in 0..100_000 {
            writer.text(&format!("optimizer.state.{index}"));
            writer.tensor(0, tensors.values().next().unwrap().shape().as_slice());
        }
    });
    let path = write(folder.path(), "names.pth", &bytes);
    let found = foreign::read(&path, &request()).unwrap();
    found.check().unwrap();
    assert_eq!(found.count(MatchStatus::LeftOut), 100_000);
    // A list of two lists, each of them the list before: 2⁶⁰ paths to one value in 500 bytes.
    let mut bytes = b"\x80\x02]q\x00".to_vec();
    for place in 0..60u8 {
        bytes.extend([b']', b'q', place + 1, b'(', b'h', place, b'h', place, b'e']);
    }
    bytes.push(b'.');
    let path = write(folder.path(), "paths.pth", &bytes);
    let error = foreign::read(&path, &request()).unwrap_err().to_string();
    assert!(error.contains("paths.pth") && error.contains("so often"), "{error}");
    // A dictionary that holds itself has no tensors and is no fault.
    let path = write(folder.path(), "circle.pth", b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.");
    let error = foreign::read(&path, &request()).unwrap_err();
    assert!(matches!(error, ForeignError::NoEncoder { tensors: 0, .. }), "{error}");
}

#[test]
fn shapes_that_the_file_does_not_hold_are_refused_before_memory_is_reserved() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = state::collect(&network());
    let claimed = |shape: &[usize]| {
        let pickle = Writer::dictionary(|writer| {
            writer.text("layer1.0.conv1.weight");
            writer.tensor(0, shape);
        });
        let storage = bytes_of(&values(tensors.values().next().unwrap()));
        let bytes = archive(&[("a/data.pkl".into(), pickle), ("a/data/0".into(), storage)]);
        foreign::read(&write(folder.path(), "a.pth", &bytes), &request()).unwrap_err().to_string()
    };
    let error = claimed(&[1 << 30, 64]);
    assert!(error.contains("layer1.0.conv1.weight") && error.contains("storage 0"), "{error}");
    let error = claimed(&[1 << 30, 1 << 30, 1 << 30]);
    assert!(!error.contains("storage 0 has"), "{error}");
}

#[test]
fn weights_that_are_not_numbers_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for bad in [f32::NAN, f32::INFINITY] {
        let mut tensors = state::collect(&network());
        let name = "layer3.1.bn2.bias";
        let mut spoilt = values(&tensors[name]);
        spoilt[1] = bad;
        let shape = tensors[name].shape();
        tensors.insert(name.to_owned(), burn::tensor::TensorData::new(spoilt, shape));
        let path = write(folder.path(), "a.pth", &saved("archive", &tensors, |_| {}));
        let error = foreign::read(&path, &request()).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("1 of its 8 values"), "{error}");
    }
}

#[test]
fn files_that_end_early_or_lack_a_storage_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = state::collect(&network());
    let whole = saved("archive", &tensors, |_| {});
    for end in [3, 30, 1000, whole.len() / 2, whole.len() - 30] {
        let path = write(folder.path(), "cut.pth", &whole[..end]);
        let error = foreign::read(&path, &request()).unwrap_err().to_string();
        assert!(error.contains("cut.pth"), "{end}: {error}");
    }
    let pickle = Writer::dictionary(|writer| {
        writer.text("conv1.weight");
        writer.tensor(0, &[2, 3, 3, 3]);
    });
    let path = write(folder.path(), "none.pth", &archive(&[("a/data.pkl".into(), pickle)]));
    let error = foreign::read(&path, &request()).unwrap_err().to_string();
    assert!(error.contains("its storage 0 is not in the file"), "{error}");
}
