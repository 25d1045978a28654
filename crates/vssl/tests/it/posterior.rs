//! The Gaussian outputs of a run, read back from its folder.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use vssl::{
    encoder::Encoder, method::learner::Network, objective::gaussian, posterior::Posteriors,
};

use crate::training;

/// A run of three steps on the embedded images.
pub(super) fn trained(run: &Path, method: &str, table: &str) {
    let recipe = format!(
        r#"
        method = "{method}"
        [data]
        format = "idx"
        path = "data/fashion-mnist-tenth"
        limit_train = 48
        [[views]]
        count = 2
        size = 28
        [backbone]
        architecture = "resnet18"
        width = 4
        stem = "imagenet"
        [{method}]
        {table}
        [optimizer]
        name = "adamw"
        lr = 1e-2
        [schedule]
        name = "constant"
        [train]
        epochs = 3
        batch = 32
        [evaluation]
        enabled = false
        "#
    );
    training::train(run, &recipe);
}

fn pixels(count: usize) -> Vec<f32> {
    (0..count * 28 * 28 * 3).map(|i| ((i * i % 97) as f32 - 48.0) / 30.0).collect()
}

pub(super) fn numbers<const D: usize>(x: &Tensor<D>) -> Vec<f32> {
    x.to_data().try_into_vec().unwrap()
}

#[test]
fn a_posterior_belongs_to_the_encoder_of_the_same_run() {
    let folder = tempfile::tempdir().unwrap();
    for objective in ["cosine", "gaussian"] {
        let run = folder.path().join(objective);
        trained(&run, "vssl", &format!("hidden = 16\ndim = 8\nobjective = \"{objective}\""));
        let device = Device::flex();
        let posteriors = Posteriors::open(&run, "latest", &device).unwrap().unwrap();
        assert_eq!(posteriors.step, 3);
        let all = posteriors.of(pixels(5), 5);
        for (network, output) in
            [(Network::Student, &all.student), (Network::Teacher, &all.teacher)]
        {
            let encoder = Encoder::open(&run, "latest", network, &device).unwrap();
            assert_eq!(numbers(&output.features), encoder.embed(pixels(5), 5).values);
            assert_eq!(output.gaussian.mean.dims(), [5, 8]);
            assert_eq!(output.gaussian.variance.dims(), [5, 8]);
        }
        assert_eq!(all.free_variance, objective == "cosine");
        let (q, p) = (&all.student.gaussian, &all.teacher.gaussian);
        let expected = if all.free_variance {
            gaussian::cosine_kl(q, p)
        } else {
            assert!(numbers(&q.variance).iter().all(|x| *x > 0.0));
            gaussian::gaussian_kl(q, p) / 8.0
        };
        for (got, expected) in numbers(&all.divergence).iter().zip(numbers(&expected)) {
            assert!((got - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{got} {expected}");
        }
        // Running statistics: an image alone says what it says among others.
        let one = posteriors.of(pixels(1), 1);
        let alone = numbers(&one.student.gaussian.mean);
        for (alone, among) in alone.iter().zip(numbers(&q.mean)) {
            assert!((alone - among).abs() <= 1e-5 * among.abs().max(1.0), "{alone} {among}");
        }
    }
}

#[test]
fn a_method_of_points_has_no_posterior() {
    let folder = tempfile::tempdir().unwrap();
    trained(folder.path(), "simclr", "projector_hidden = 16\ndim = 8");
    assert!(Posteriors::open(folder.path(), "latest", &Device::flex()).unwrap().is_none());
}
