//! The names and shapes of the parameters of full-size networks: `backbone/parameter_lists.json` of the second set.

use std::collections::BTreeMap;

use burn::tensor::Device;
use vssl::{
    backbone::{Architecture, Backbone, BackboneConfig},
    layers::Init,
    tensors,
};

use super::{backbone::shape_of_list, backbone_2::renamed};
use crate::fixtures::json_of;

#[test]
fn networks_have_the_parameters_of_timm_and_torchvision() {
    let lists = json_of("backbone/parameter_lists.json");
    let models = lists["models"].as_object().expect("a table of models");
    for (model, list) in models {
        let (library, name) = model.split_once(' ').expect("a library and a name");
        let known = Architecture::ALL.into_iter().find(|known| known.name() == name);
        let known = known.unwrap_or_else(|| panic!("{model}: vssl has no network of this name"));
        let network = Backbone::new(&BackboneConfig::of(known), &Init::blank(&Device::flex()));
        let own: BTreeMap<String, Vec<usize>> =
            tensors::parameters(&network).into_iter().map(|p| (p.path, p.shape)).collect();
        let theirs: BTreeMap<String, Vec<usize>> = list["parameters"]
            .as_array()
            .expect("a list of parameters")
            .iter()
            .map(|entry| (entry[0].as_str().expect("a name"), shape_of_list(&entry[1])))
            .filter(|(name, _)| !is_head(library, name))
            .map(|(name, shape)| {
                // 1×1 convolutions of timm's ConvNeXts are linear layers here, as layer scales of one pixel are vectors.
                let shape = match *shape.as_slice() {
                    [width, 1, 1] if name.ends_with("layer_scale") => vec![width],
                    [output, input, 1, 1] if name.contains(".mlp.fc") => vec![output, input],
                    _ => shape,
                };
                (renamed(name), shape)
            })
            .collect();
        assert_eq!(own, theirs, "{model}");
    }
    println!("{} lists of parameters checked", models.len());
}

/// torchvision's networks have their classifier in the list.
fn is_head(library: &str, name: &str) -> bool {
    library == "torchvision" && (name.starts_with("fc.") || name.starts_with("classifier.2."))
}
