//! Gradients that are summed while the backward pass still runs are those that are summed after it,
//! bit for bit.

use vssl::{
    collective::{Group, Traffic},
    methods::{self, METHODS},
};

use crate::{
    contract::is_cpu,
    ranks::{Case, STEPS, Trace, ranks, small_resnet, small_vit, train},
};

/// What the first of two ranks saw, and what it sent.
fn run(case: &Case, overlap: bool) -> (Trace, Traffic) {
    let runs = ranks(2, |group: &Group| {
        let group = group.clone().with_overlap(overlap);
        (train(case, &group), group.traffic())
    });
    runs.into_iter().next().expect("two ranks")
}

/// Returns how many buckets were summed in a step.
fn same_bits(case: &Case) -> u64 {
    let name = case.entry.name;
    let ((after, sent_after), (during, sent_during)) = (run(case, false), run(case, true));
    assert_eq!(after.losses, during.losses, "{name}");
    assert_eq!(after.gradients, during.gradients, "{name}");
    assert_eq!(after.student, during.student, "{name}");
    assert_eq!(after.memory, during.memory, "{name}");
    assert_eq!(sent_after.bytes, sent_during.bytes, "{name}: every number is sent once");
    (sent_during.exchanges - sent_after.exchanges) / STEPS + 1
}

#[test]
fn every_method_through_a_resnet_gets_the_same_bits() {
    for entry in METHODS {
        same_bits(&Case::of(entry, small_resnet()));
    }
}

#[test]
fn several_buckets_are_on_their_way_while_a_transformer_is_in_its_backward_pass() {
    if !is_cpu() {
        println!("skipped: other devices than cpu send gradients after the backward pass");
        return;
    }
    for name in ["dino", "vssl"] {
        let buckets = same_bits(&Case::of(methods::find(name).unwrap(), small_vit()));
        println!("{name}: {buckets} sums of gradients in a step");
        assert!(buckets > 3, "{name}: {buckets}");
    }
}
