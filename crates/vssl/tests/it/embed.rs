//! The example of the book's chapter "Use it as a library", run on a folder of pictures.

use std::fs;

use burn::{module::Module, tensor::Device};
use vssl::{
    backbone::{Backbone, BackboneConfig, ResnetConfig},
    encoder::{
        Encoder, Input, Reading,
        export::{Form, write},
    },
    layers::Init,
};
use vssl_data::dataset::{self, DataConfig, Format};

#[allow(dead_code, reason = "its main reads the command line")]
#[path = "../../examples/embed.rs"]
mod example;

#[test]
fn the_example_prints_a_line_for_each_picture_of_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("photos");
    for (class, name, shade) in
        [("cats", "a.png", 40), ("cats", "b.png", 90), ("dogs", "c.png", 200)]
    {
        fs::create_dir_all(images.join(class)).unwrap();
        let pixels: Vec<u8> = (0..40 * 30 * 3).map(|i| (i % shade) as u8).collect();
        let path = images.join(class).join(name);
        image::save_buffer(path, &pixels, 40, 30, image::ColorType::Rgb8).unwrap();
    }
    let device = Device::flex();
    let config: BackboneConfig = ResnetConfig { width: 4, ..Default::default() }.into();
    let encoder = Encoder {
        backbone: Backbone::new(&config, &Init::new(&device, 1)).no_grad().into(),
        config,
        input: Input::new(32, Format::Folder, Format::Folder.normalisation()),
        path: "encoder".into(),
        recipe: None,
        network: None,
        step: None,
        loss_head: None,
        pooling: None,
        device,
    };
    let file = folder.path().join("encoder.safetensors");
    write(&encoder, &file, Form::Safetensors).unwrap();
    let mut out = Vec::new();
    example::run(file.to_str().unwrap(), images.to_str().unwrap(), &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = out.lines().collect();
    let config = DataConfig { format: Format::Folder, path: images, ..DataConfig::default() };
    let set = dataset::open(&config, None).unwrap().train;
    let features = encoder.features(&set, &Reading::default()).unwrap();
    assert_eq!(lines.len(), 3, "{out}");
    for (index, (line, row)) in lines.iter().zip(features.values.chunks(features.dim)).enumerate() {
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        let expected = format!("{}: {} numbers, length {length:.3}", set.name(index), row.len());
        assert_eq!(*line, expected);
    }
    assert!(lines[2].contains("c.png: 32 numbers"), "{out}");
    let error =
        example::run(file.to_str().unwrap(), "no/such/folder", &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("no/such/folder"), "{error}");
}
