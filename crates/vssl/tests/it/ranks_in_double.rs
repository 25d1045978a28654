//! Several ranks compute what one process computes, through a ResNet and its joint batch norms, in
//! double precision, where rounding turns no ReLU: walks `METHODS`.
//!
//! The precision of a device is set once in a process, so this runs in one of its own.

use std::{env, process::Command};

use burn::tensor::{DType, FloatDType, Tensor};
use vssl::{
    backbone::BackboneConfig,
    collective::Group,
    methods::{self, METHODS},
};

use crate::{
    backbones::kinds,
    contract::{device, network},
    ranks::{Case, Worst, compare, ranks, small_resnet, train},
};

/// Of everything that [`compare`] looks at, over three steps.
const TOLERANCE: f64 = 1e-9;
/// The same through sixteen bottlenecks, whose last batch norms see one pixel of each of sixteen images: each of them
/// multiplies the rounding of those before it.
const DEEP_TOLERANCE: f64 = 1e-5;

#[test]
fn every_method_through_a_resnet_is_the_same_on_two_and_four_ranks() {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "ranks_in_double::in_a_process_of_its_own"])
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    println!("{said}");
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "sets the precision of the whole process; the test above starts it"]
fn in_a_process_of_its_own() {
    device().inner().configure(FloatDType::F64).unwrap();
    let device = device();
    assert_eq!(Tensor::<1>::zeros([1], &device).dtype(), DType::F64);
    let mut failed = Vec::new();
    let resnets = METHODS.iter().map(|entry| match entry.defaults().check_patches(None) {
        Ok(()) => (entry, "resnet-18", small_resnet()),
        Err(_) => (entry, "transformer", network(entry, 4)),
    });
    let kinds = || kinds().into_iter();
    let others = ["vicreg", "dino", "dinov2"].into_iter().flat_map(|name| {
        kinds().map(move |(kind, backbone)| (methods::find(name).unwrap(), kind, backbone))
    });
    let others = others.filter(|(entry, _, backbone)| {
        entry.defaults().check_patches(backbone.patches(16)).is_ok()
    });
    for (entry, kind, backbone) in resnets.chain(others) {
        let name = format!("{}, {kind}", entry.name);
        let deep = matches!(&backbone, BackboneConfig::Resnet(of) if of.shape().bottleneck);
        let most = if deep { DEEP_TOLERANCE } else { TOLERANCE };
        let case = Case::of(entry, backbone);
        let alone = train(&case, &Group::alone());
        assert!(alone.losses.iter().all(|loss| loss.is_finite()), "{name}");
        for world in [2, 4] {
            let Worst(error, place) =
                compare(&alone, &ranks(world, |group| train(&case, group))[0]);
            println!("{name}, {world} ranks: {error:.1e} ({place})");
            if error.is_nan() || error > most {
                failed.push(format!("{name}, {world} ranks: {error:.1e} in {place}"));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
