//! Encoders of other programs, and what becomes of an encoder elsewhere; without Python.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use prost::Message;
use vssl::{
    backbone::{
        Architecture, Backbone, BackboneConfig, Pooling, ResnetConfig, ResnetDepth, Stem,
        VitConfig, WideResnetConfig,
    },
    encoder::{
        Encoder, Input,
        export::{self, Form, Options},
        foreign::{self, MatchStatus, Request},
        onnx::{self, Pixels, messages},
    },
    layers::{Init, Mode},
    method::learner::Network,
    tensors::{
        file,
        state::{self, Tensors},
    },
};
use vssl_data::dataset::{CIFAR10, Format, IMAGENET};

use crate::backbones::kinds;

fn small() -> BackboneConfig {
    resnet(4)
}

fn resnet(width: usize) -> BackboneConfig {
    ResnetConfig { width, stem: Stem::Cifar, ..ResnetConfig::default() }.into()
}

fn network(config: &BackboneConfig) -> Backbone {
    Backbone::new(config, &Init::new(&Device::flex(), 7)).no_grad()
}

fn request() -> Request {
    Request { stem_padding: Some(1), normalisation: Some(CIFAR10), ..Request::default() }
}

fn features(backbone: &Backbone, size: usize) -> Vec<f32> {
    let pixels: Vec<f32> = (0..2 * 3 * size * size).map(|i| (i as f32 * 0.37).sin()).collect();
    let x = Tensor::from_data(TensorData::new(pixels, [2, 3, size, size]), &Device::flex());
    backbone.forward(x, Mode::Eval).into_data().try_to_vec().unwrap()
}

/// A training checkpoint with a head, a moving average and an optimiser around the encoder.
fn checkpoint(folder: &Path, change: impl FnOnce(&mut Tensors)) -> PathBuf {
    let path = folder.join("checkpoint.safetensors");
    let vector = || TensorData::new(vec![0.5f32; 3], [3]);
    let mut tensors = Tensors::new();
    for (name, tensor) in state::collect(&network(&small())) {
        tensors.insert(format!("state_dict.backbone.{name}"), tensor);
    }
    let momentum = network(&resnet(2));
    for (name, tensor) in state::collect(&momentum) {
        tensors.insert(format!("state_dict.momentum_backbone.{name}"), tensor);
    }
    for name in ["state_dict.projector.0.weight", "optimizer_states.0.exp_avg"] {
        tensors.insert(name.to_owned(), vector());
    }
    let count = TensorData::new(vec![5i64], [1]);
    tensors.insert("state_dict.backbone.bn1.num_batches_tracked".to_owned(), count);
    change(&mut tensors);
    fs::write(&path, file::bytes(&path, &tensors, &[]).unwrap()).unwrap();
    path
}

#[test]
fn an_encoder_is_found_among_heads_and_copies_and_computes_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (path, to) = (checkpoint(folder.path(), |_| {}), folder.path().join("e.safetensors"));
    let found = foreign::read(&path, &request()).unwrap();
    found.check().unwrap();
    assert_eq!(found.config, small());
    assert_eq!(found.prefix, "state_dict.backbone.");
    assert_eq!(found.count(MatchStatus::Matched), state::collect(&network(&small())).len());
    assert_eq!(found.count(MatchStatus::LeftOut), found.count(MatchStatus::Matched) + 3);
    found.write(&to, &path).unwrap();
    let encoder = Encoder::open(&to, "latest", Network::Student, &Device::flex()).unwrap();
    assert_eq!(encoder.input, Input::new(32, Format::Cifar10, CIFAR10));
    assert_eq!(features(&encoder.backbone, 16), features(&network(&small()), 16));
    let teacher = Request { network: Network::Teacher, ..request() };
    assert_eq!(foreign::read(&path, &teacher).unwrap().config, resnet(2));
    let prefix = Some("momentum_backbone".to_owned());
    assert_eq!(foreign::read(&path, &Request { prefix, ..request() }).unwrap().config, resnet(2));
}

/// Gates of SE-ResNets are called `fc`, as heads are, and the rest of the network is a ResNet's.
#[test]
fn a_gate_inside_a_block_is_no_head() {
    let folder = tempfile::tempdir().unwrap();
    let gate = |name: &'static str| {
        move |tensors: &mut Tensors| {
            let gate = TensorData::new(vec![0.5f32; 8], [2, 4]);
            tensors.insert(format!("state_dict.backbone.{name}"), gate);
        }
    };
    for name in ["layer1.0.se.fc.0.weight", "layer1.0.fc.0.weight", "layer4.1.head.weight"] {
        let path = checkpoint(folder.path(), gate(name));
        let error = foreign::read(&path, &request()).unwrap().check().unwrap_err().to_string();
        assert!(error.contains("1 is unexpected") && error.contains(name), "{error}");
        assert!(error.ends_with("takes over what fits"), "{error}");
    }
    for name in ["fc.weight", "mask_token", "n_averaged"] {
        let path = checkpoint(folder.path(), gate(name));
        foreign::read(&path, &request()).unwrap().check().unwrap();
    }
}

#[test]
fn a_file_of_this_program_keeps_its_network_and_its_input() {
    let folder = tempfile::tempdir().unwrap();
    let (path, to) = (folder.path().join("a.safetensors"), folder.path().join("b.safetensors"));
    let vit = VitConfig { patch: 8, image_size: 32, heads: Some(6), ..VitConfig::default() };
    for config in [small(), vit.into()] {
        let input = Input { size: 40, resize: None, normalisation: CIFAR10 };
        let encoder = Encoder { input, ..encoder(config, 40) };
        export::write(&encoder, &path, Form::Safetensors).unwrap();
        let found = foreign::read(&path, &Request::default()).unwrap();
        found.check().unwrap();
        found.write(&to, &path).unwrap();
        let read = Encoder::open(&to, "latest", Network::Student, &Device::flex()).unwrap();
        assert_eq!((&read.config, read.input), (&encoder.config, input));
        assert_eq!(features(&read.backbone, 16), features(&encoder.backbone, 16));
    }
}

/// A file holds one network; its description says that it is a teacher, and so does that of each copy.
#[test]
fn a_copy_of_a_teacher_is_a_teacher() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let teacher = Encoder { network: Some(Network::Teacher), ..encoder(small(), 40) };
    export::write(&teacher, &at("a.safetensors"), Form::Safetensors).unwrap();
    let open = |name: &str| {
        Encoder::open(&at(name), "latest", Network::Teacher, &Device::flex())
            .map(|read| read.network)
    };
    assert_eq!(open("a.safetensors").unwrap(), Some(Network::Teacher));
    for network in [Network::Student, Network::Teacher] {
        let request = Request { network, ..Request::default() };
        let found = foreign::read(&at("a.safetensors"), &request).unwrap();
        found.write(&at("b.safetensors"), &at("a.safetensors")).unwrap();
        assert_eq!(open("b.safetensors").unwrap(), Some(Network::Teacher));
    }
    // The names of another program's file say it.
    let path = checkpoint(folder.path(), |_| {});
    let request = Request { network: Network::Teacher, ..request() };
    foreign::read(&path, &request).unwrap().write(&at("c.safetensors"), &path).unwrap();
    assert_eq!(open("c.safetensors").unwrap(), Some(Network::Teacher));
    export::write(&encoder(small(), 40), &at("d.safetensors"), Form::Safetensors).unwrap();
    assert!(open("d.safetensors").is_err());
}

/// `Sequential` over a network's children. Without an activation and a max-pool among them the
/// stages begin at 2, and it is another network.
#[test]
fn numbered_layers_are_read_where_they_are_a_resnet_and_refused_where_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("numbered.safetensors");
    let numbered = |first: usize| {
        let mut tensors = Tensors::new();
        for (name, tensor) in state::collect(&network(&small())) {
            let (layer, rest) = name.split_once('.').unwrap();
            let number = match layer {
                "conv1" => 0,
                "bn1" => 1,
                stage => first + stage[5..].parse::<usize>().unwrap() - 1,
            };
            tensors.insert(format!("backbone.{number}.{rest}"), tensor);
        }
        fs::write(&path, file::bytes(&path, &tensors, &[]).unwrap()).unwrap();
        foreign::read(&path, &request())
    };
    let found = numbered(4).unwrap();
    found.check().unwrap();
    assert_eq!((found.config, found.prefix.as_str()), (small(), "backbone."));
    // A 3×3 stem with its activation, and no place for a max-pool.
    let found = numbered(3).unwrap();
    found.check().unwrap();
    assert_eq!(found.config, small());
    let error = numbered(2).unwrap_err().to_string();
    assert!(error.contains("no activation after its first normalisation"), "{error}");
}

#[test]
fn every_tensor_that_does_not_fit_is_reported_by_name_and_shape() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint(folder.path(), |tensors| {
        let bias = tensors.remove("state_dict.backbone.layer2.0.bn2.bias").unwrap();
        tensors.insert("state_dict.backbone.layer2.0.gate".to_owned(), bias.clone());
        tensors.insert("state_dict.backbone.layer4.1.bn1.weight".to_owned(), bias);
    });
    let found = foreign::read(&path, &request()).unwrap();
    let row = |status| found.rows.iter().find(|row| row.status == status).unwrap();
    assert_eq!(row(MatchStatus::Missing).name.as_deref(), Some("layer2.0.bn2.bias"));
    assert_eq!(row(MatchStatus::Missing).expected, Some(vec![8]));
    assert_eq!(
        row(MatchStatus::Unexpected).key.as_deref(),
        Some("state_dict.backbone.layer2.0.gate")
    );
    assert_eq!(row(MatchStatus::Mismatched).shape, Some(vec![8]));
    assert_eq!(row(MatchStatus::Mismatched).expected, Some(vec![32]));
    let error = found.check().unwrap_err().to_string();
    assert!(error.starts_with("1 tensor is missing, 1 has another shape and 1 is"), "{error}");
    assert!(error.ends_with("leaves the rest at its initial values"), "{error}");
    let to = folder.path().join("partial.safetensors");
    found.write(&to, &path).unwrap();
    vssl::encoder::file::import(&to, &Device::flex()).unwrap();
}

#[test]
fn what_the_tensors_do_not_tell_or_contradict_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint(folder.path(), |_| {});
    let refused = |request: Request, parts: &[&str]| {
        let error = foreign::read(&path, &request).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{part:?} is not in {error}");
        }
    };
    refused(Request::default(), &["--stem-padding", "--normalisation"]);
    let architecture = Some(Architecture::Resnet50);
    refused(Request { architecture, ..request() }, &["resnet50", "resnet18"]);
    refused(Request { stem: Some(Stem::Imagenet), ..request() }, &["--stem", "cifar"]);
    refused(Request { prefix: Some("other".into()), ..request() }, &["other", "momentum_backbone"]);
    let to = folder.path().join("other.safetensors");
    let other = Tensors::from([("a.weight".to_owned(), TensorData::new(vec![1f32], [1]))]);
    fs::write(&to, file::bytes(&to, &other, &[]).unwrap()).unwrap();
    let error = foreign::read(&to, &request()).unwrap_err().to_string();
    assert!(error.contains("a.weight"), "{error}");
}

#[test]
fn damaged_files_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(checkpoint(folder.path(), |_| {})).unwrap();
    let cases: [(&str, &[u8]); 8] = [
        ("empty.pth", b""),
        ("text.pth", b"<html>404</html>"),
        ("archive.pth", b"PK\x03\x04 and nothing that an archive has"),
        // An instance of a class that no state dict holds.
        ("class.pth", b"\x80\x02cmodels\nEncoder\n)\x81."),
        // The same inside a dictionary, where a command would be run by a careless reader.
        ("command.pth", b"\x80\x02}X\x01\x00\x00\x00acos\nsystem\nX\x04\x00\x00\x00true\x85Rs."),
        ("short.pth", b"\x80\x02}X\xff\x00\x00\x00a"),
        ("cut.safetensors", &whole[..whole.len() / 2]),
        ("header.safetensors", &whole[..20]),
    ];
    for (name, bytes) in cases {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let error = foreign::read(&path, &request()).unwrap_err().to_string();
        assert!(error.contains(name) || error.contains("holds no tensor"), "{name}: {error}");
    }
    let error = foreign::read(&folder.path().join("none.pth"), &request()).unwrap_err().to_string();
    assert!(error.contains("none.pth"), "{error}");
}

#[test]
fn a_checkpoint_in_the_place_of_an_encoder_names_the_way_in() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in [("a.pth", b"PK\x03\x04".as_slice()), ("b.ckpt", b"\x80\x02}.")] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let error = vssl::encoder::file::import(&path, &Device::flex()).unwrap_err().to_string();
        assert!(error.contains("vssl import") && error.contains(name), "{error}");
    }
    let error = vssl::encoder::file::import(&checkpoint(folder.path(), |_| {}), &Device::flex())
        .unwrap_err();
    assert!(error.to_string().contains("vssl import"), "{error}");
}

fn encoder(config: BackboneConfig, size: usize) -> Encoder {
    Encoder {
        backbone: network(&config).into(),
        config,
        input: Input::new(size, Format::Folder, IMAGENET),
        path: PathBuf::new(),
        recipe: None,
        network: None,
        step: Some(3),
        loss_head: None,
        pooling: None,
        device: Device::flex(),
    }
}

#[test]
fn a_record_loads_into_the_same_module() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("encoder.bpk");
    let encoder = encoder(small(), 32);
    export::write(&encoder, &to, Form::Burn).unwrap();
    let fresh = Backbone::new(&small(), &Init::new(&Device::flex(), 1));
    assert_ne!(features(&fresh, 16), features(&encoder.backbone, 16));
    let loaded = fresh.try_load_file(&to).unwrap();
    assert_eq!(features(&loaded, 16), features(&encoder.backbone, 16));
}

/// Every name that a node reads is there before it, no name is written twice, and every constant
/// has as many bytes as its shape says.
fn well_formed(graph: &messages::Graph) {
    let mut known: HashSet<&str> = graph.input.iter().map(|input| input.name.as_str()).collect();
    for constant in &graph.initializer {
        assert!(known.insert(&constant.name), "{} is there twice", constant.name);
        let size = match constant.data_type {
            messages::FLOAT => 4,
            messages::FLOAT16 => 2,
            _ => 8,
        };
        let bytes = constant.dims.iter().product::<i64>() * size;
        assert_eq!(constant.raw_data.as_ref().unwrap().len() as i64, bytes, "{}", constant.name);
    }
    for node in &graph.node {
        for name in &node.input {
            assert!(known.contains(name.as_str()), "{} reads {name}", node.name);
        }
        for name in &node.output {
            assert!(known.insert(name), "{name} is written twice");
        }
    }
    assert!(known.contains("features"));
}

#[test]
fn onnx_files_have_the_nodes_shapes_and_constants_of_the_network() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("encoder.onnx");
    let vit = VitConfig { patch: 8, image_size: 32, ..VitConfig::default() };
    let mean = VitConfig { pooling: Pooling::Mean, ..vit };
    let depth = ResnetDepth::Resnet50;
    let resnet50 = ResnetConfig { depth, width: 4, stem: Stem::Cifar, ..Default::default() };
    for (config, nodes) in [
        (small(), vec![("Conv", 20), ("BatchNormalization", 20)]),
        (resnet50.into(), vec![("Conv", 53), ("Relu", 49), ("Add", 16)]),
        (WideResnetConfig::default().into(), vec![("Conv", 28), ("LeakyRelu", 23)]),
        (vit.into(), vec![("Softmax", 12), ("LayerNormalization", 25)]),
        (mean.into(), vec![("Softmax", 12), ("LayerNormalization", 25), ("ReduceMean", 1)]),
    ] {
        let encoder = encoder(config, 40);
        export::write(&encoder, &to, Form::Onnx(Pixels::Unit)).unwrap();
        let model = messages::Model::decode(fs::read(&to).unwrap().as_slice()).unwrap();
        assert_eq!(model.opset_import[0].version, 17);
        let graph = model.graph.as_ref().unwrap();
        well_formed(graph);
        for (op, expected) in nodes {
            let count = graph.node.iter().filter(|node| node.op_type == op).count();
            assert_eq!(count, expected, "{op} in {:?}", encoder.config.architecture());
        }
        let shape = |value: &messages::ValueInfo| {
            let tensor = value.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap();
            let dims = &tensor.shape.as_ref().unwrap().dim;
            assert_eq!(dims[0].dim_param.as_deref(), Some("batch"));
            dims[1..].iter().map(|dim| dim.dim_value.unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(graph.input[0].name, "images");
        assert_eq!(shape(&graph.input[0]), [3, 40, 40]);
        assert_eq!(shape(&graph.output[0]), [encoder.config.dim() as i64]);
        let property = |key: &str| {
            let found = model.metadata_props.iter().find(|property| property.key == key);
            found.unwrap().value.clone()
        };
        assert_eq!(property("mean"), "0.485,0.456,0.406");
        assert_eq!((property("pixels").as_str(), property("image_size").as_str()), ("0-1", "40"));
    }
}

#[test]
fn onnx_files_of_every_kind_are_well_formed_also_with_weights_in_half_precision() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("encoder.onnx");
    for (kind, config) in kinds() {
        let (encoder, any_size) = (encoder(config, 16), false);
        let sizes = [false, true].map(|half| {
            let options = Options { half, any_size };
            export::write_with(&encoder, &to, Form::Onnx(Pixels::Normalised), options).unwrap();
            let bytes = fs::read(&to).unwrap();
            let model = messages::Model::decode(bytes.as_slice()).unwrap();
            well_formed(model.graph.as_ref().unwrap());
            bytes.len()
        });
        assert!(sizes[1] < sizes[0], "{kind}: {sizes:?}");
    }
}

#[test]
fn an_image_that_is_no_whole_number_of_patches_has_no_onnx_file() {
    let vit = VitConfig { patch: 16, image_size: 32, ..VitConfig::default() };
    let encoder = encoder(vit.into(), 40);
    let tensors = state::collect(&*encoder.backbone);
    let model = onnx::model(&tensors, &encoder.config, &encoder.input, Pixels::Normalised, &[]);
    assert!(model.unwrap_err().to_string().contains("40"));
}
