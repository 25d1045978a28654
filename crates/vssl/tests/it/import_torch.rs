//! Files as `torch.save` and `pickle.dump` write them, made byte by byte here, so that the reader is tested
//! without Python.

use std::{
    fs,
    io::Write as _,
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

    /// A tensor of one number that is repeated, as `expand()` makes it.
    fn repeated(&mut self, key: usize, shape: &[usize]) {
        self.raw(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        self.text("storage");
        self.raw(b"ctorch\nFloatStorage\n");
        self.text(&key.to_string());
        self.text("cpu");
        self.number(1);
        self.raw(b"tQ");
        self.number(0);
        self.tuple(shape);
        self.tuple(&vec![0; shape.len()]);
        self.raw(b"\x89ccollections\nOrderedDict\n)RtR");
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

    /// An array of numpy in protocol 5; with `axes` it was transposed.
    fn buffer(&mut self, values: &[u8], shape: &[usize], axes: Option<&[usize]>) {
        self.raw(b"cnumpy._core.numeric\n_frombuffer\n(");
        self.raw(b"\x96");
        self.raw(&(values.len() as u64).to_le_bytes());
        self.raw(values);
        self.raw(b"cnumpy\ndtype\n(");
        self.text("f4");
        self.raw(b"\x89\x88tR(K\x03");
        self.text("<");
        self.raw(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb");
        self.tuple(shape);
        self.text(if axes.is_some() { "K" } else { "C" });
        axes.iter().for_each(|axes| self.tuple(axes));
        self.raw(b"tR");
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
        assert!(
            error.contains(name) && error.contains("of its 8 values, 1 is infinite"),
            "{error}"
        );
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

/// The last axis of convolutions first, as in TensorFlow, and turned to where PyTorch has it.
#[test]
fn transposed_arrays_of_protocol_5_are_read_and_arrays_that_are_not_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = state::collect(&network());
    let turned = |tensor: &burn::tensor::TensorData| {
        let (values, shape) = (values(tensor), tensor.shape());
        let inner: usize = shape.as_slice()[1..].iter().product();
        let at = |index: usize| values[index % shape[0] * inner + index / shape[0]];
        (0..values.len()).map(at).collect::<Vec<f32>>()
    };
    let pickle = |more: &[u8]| {
        Writer::dictionary(|writer| {
            for (name, tensor) in &tensors {
                writer.text(name);
                let (shape, rank) = (tensor.shape(), tensor.shape().num_dims());
                if rank == 4 {
                    let stored = [shape[1], shape[2], shape[3], shape[0]];
                    writer.buffer(&bytes_of(&turned(tensor)), &stored, Some(&[3, 0, 1, 2]));
                } else {
                    writer.buffer(&bytes_of(&values(tensor)), shape.as_slice(), None);
                }
            }
            writer.raw(more);
        })
    };
    let found = foreign::read(&write(folder.path(), "a.pkl", &pickle(b"")), &request()).unwrap();
    found.check().unwrap();
    let plain = write(folder.path(), "a.pth", &saved("archive", &tensors, |_| {}));
    assert_eq!(found.test_features(), foreign::read(&plain, &request()).unwrap().test_features());
    let mut unknown = Writer::default();
    unknown.text("layer1.0.scale");
    unknown.raw(b"cnumpy.ma.core\n_mareconstruct\n(B\x01\x00\x00\x00btR");
    unknown.text("accuracy");
    unknown.raw(b"cnumpy.core.multiarray\nscalar\n(NB\x01\x00\x00\x00btR");
    let path = write(folder.path(), "b.pkl", &pickle(&unknown.0));
    let error = foreign::read(&path, &request()).unwrap().check().unwrap_err().to_string();
    assert!(error.contains("1 is unexpected: layer1.0.scale"), "{error}");
}

#[test]
fn a_tensor_that_is_its_own_wrapper_is_followed_once() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\nq\x01]q\x00(h\x01h\x01h\x00eR.";
    let path = write(folder.path(), "circle.pth", bytes);
    let error = foreign::read(&path, &request()).unwrap_err();
    assert!(matches!(error, ForeignError::NoEncoder { tensors: 0, .. }), "{error}");
    let tensors = state::collect(&network());
    let wrapped = Writer::dictionary(|writer| {
        for (key, (name, tensor)) in tensors.iter().enumerate() {
            writer.text(name);
            let mut inner = Writer::default();
            inner.tensor(key, tensor.shape().as_slice());
            // Without the call at the end, and with the function apart.
            let inner = inner.0.strip_prefix(b"ctorch._utils\n_rebuild_tensor_v2\n").unwrap();
            let inner = &inner[..inner.len() - 1];
            writer.raw(b"ctorch._tensor\n_rebuild_from_type_v2\n(");
            writer.raw(b"ctorch._utils\n_rebuild_tensor_v2\nctorch\nTensor\n");
            writer.raw(inner);
            writer.raw(b"}tR");
        }
    });
    let mut entries = vec![("a/data.pkl".to_owned(), wrapped)];
    for (key, tensor) in tensors.values().enumerate() {
        entries.push((format!("a/data/{key}"), bytes_of(&values(tensor))));
    }
    let path = write(folder.path(), "wrapped.pth", &archive(&entries));
    foreign::read(&path, &request()).unwrap().check().unwrap();
}

#[test]
fn many_labels_beside_the_weights_are_no_attack_and_endless_names_are() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = state::collect(&network());
    let bytes = saved("archive", &tensors, |writer| {
        writer.text("labels");
        writer.raw(b"](");
        writer.text("cat");
        writer.raw(b"q\x00");
        writer.raw(&b"h\x00".repeat(50_000));
        writer.raw(b"e");
    });
    let path = write(folder.path(), "labels.pth", &bytes);
    foreign::read(&path, &request()).unwrap().check().unwrap();
    for depth in [1, 20] {
        let bytes = saved("archive", &tensors, |writer| {
            (0..depth).for_each(|_| {
                writer.text(&"n".repeat(5000 / depth));
                writer.raw(b"}(");
            });
            (0..depth).for_each(|_| writer.raw(b"u"));
        });
        let path = write(folder.path(), "long.pth", &bytes);
        let error = foreign::read(&path, &request()).unwrap_err().to_string();
        assert!(error.contains("longer than 4096 bytes"), "{error}");
    }
}

/// A list of 3000 numbers or a dictionary of 3000 entries at 3000 places: nine million looks in few bytes.
#[test]
fn long_containers_with_many_names_are_refused_before_each_is_looked_through() {
    let folder = tempfile::tempdir().unwrap();
    let object = |state: &mut Writer| {
        state.raw(b"cmodels\nNet\n)\x81q\x01}(");
        for index in 0..3000 {
            state.text(&index.to_string());
            state.raw(b"N");
        }
        state.raw(b"ub");
    };
    let list =
        |writer: &mut Writer| writer.raw(&[b"](", &b"N".repeat(3000)[..], b"eq\x01"].concat());
    for fill in [&object as &dyn Fn(&mut Writer), &list] {
        let mut writer = Writer(b"\x80\x02](".to_vec());
        fill(&mut writer);
        writer.raw(&b"h\x01".repeat(3000));
        writer.raw(b"e.");
        let path = write(folder.path(), "wide.pth", &writer.0);
        let error = foreign::read(&path, &request()).unwrap_err().to_string();
        assert!(error.contains("so often"), "{error}");
    }
}

#[test]
fn a_tensor_that_repeats_one_number_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = state::collect(&network());
    let ones = tensors.remove("bn1.weight").unwrap();
    let bytes = saved("archive", &tensors, |writer| {
        writer.text("bn1.weight");
        // Every norm begins with ones.
        let key = tensors.keys().position(|name| name == "layer1.0.bn1.weight").unwrap();
        writer.repeated(key, ones.shape().as_slice());
    });
    let found = foreign::read(&write(folder.path(), "a.pth", &bytes), &request()).unwrap();
    found.check().unwrap();
    tensors.insert("bn1.weight".to_owned(), ones);
    let plain = write(folder.path(), "b.pth", &saved("archive", &tensors, |_| {}));
    assert_eq!(found.test_features(), foreign::read(&plain, &request()).unwrap().test_features());
}

/// Packs an archive with compression, as no version of PyTorch does.
fn compressed(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated);
    for (name, bytes) in entries {
        archive.start_file(*name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

#[test]
fn compressed_entries_that_expand_far_beyond_their_tensors_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = state::collect(&network());
    let pickle = Writer::dictionary(|writer| {
        for (name, tensor) in &tensors {
            writer.text(name);
            writer.tensor(0, tensor.shape().as_slice());
        }
    });
    let read = |pickle: &[u8], storage: usize| {
        let entries = [("a/data.pkl", pickle.to_vec()), ("a/data/0", vec![0; storage])];
        let path = write(folder.path(), "packed.pth", &compressed(&entries));
        foreign::read(&path, &request())
    };
    read(&pickle, 100_000).unwrap().check().unwrap();
    let error = read(&pickle, 4 << 20).unwrap_err().to_string();
    assert!(error.contains("compressed") && error.contains("storage 0"), "{error}");
    let mut long = pickle.clone();
    long.resize((64 << 20) + 1, 0);
    let error = read(&long, 4).unwrap_err().to_string();
    assert!(error.contains("data.pkl") && error.contains("at most"), "{error}");
}

#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe.pth");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let error = foreign::read(&path, &request()).unwrap_err().to_string();
    assert!(error.contains("pipe.pth") && error.contains("save it first"), "{error}");
}
