//! Folder `quality`: how good features are, judged without labels.

use vssl::{
    eval::{
        quality::{
            LidarSettings, RANK_ME_EPS, alpha_req, covariance_spectrum, lidar, rank_me,
            rank_me_with,
        },
        spectrum::spectrum,
    },
    features::Features,
};

use crate::fixtures::{Case, INDEXES, for_each_case_of};

#[test]
fn figures_without_labels_agree_with_the_references() {
    for_each_case_of(INDEXES[1], "quality", |case| {
        let (family, _) = case.name.rsplit_once('_').expect("a family and a number");
        match family {
            "rankme" => rank(case),
            "alpha_req" => alpha(case),
            "lidar" => views(case),
            name => panic!("{}: unknown family {name}", case.name),
        }
    });
}

fn features(case: &Case) -> Features {
    let &[rows, dim] = case.shape("x") else { panic!("{}: x is no matrix", case.name) };
    Features { rows, dim, values: case.f32("x").to_vec(), labels: None }
}

/// Compares a number with the expected tensor of one entry, and with that of full precision.
fn number(case: &Case, key: &str, got: f64) {
    case.check_values(&format!("out.{key}"), &[got as f32]);
    case.check_scalar(key, got);
}

fn rank(case: &Case) {
    let features = features(case);
    assert_eq!(RANK_ME_EPS, 1e-7, "the paper's");
    number(case, "rankme_eps1e7", rank_me(&features).unwrap());
    number(case, "rankme", rank_me_with(&features, 1e-5).unwrap());
    let found = spectrum(&features).unwrap();
    number(case, "effective_rank", found.effective_rank);
    let values: Vec<f32> = found.singular_values.iter().map(|&s| s as f32).collect();
    case.check_values("out.singular_values", &values);
}

fn alpha(case: &Case) {
    let spectrum = covariance_spectrum(&features(case)).unwrap();
    let values: Vec<f32> = spectrum.iter().map(|&share| share as f32).collect();
    case.check_values("out.eigenspectrum", &values);
    let [first, end] = ["first_index", "end_index_exclusive"].map(|key| case.number(key) as usize);
    let found = alpha_req(&spectrum, first..end);
    number(case, "alpha", found.weighted);
    number(case, "alpha_unweighted", found.unweighted);
}

fn views(case: &Case) {
    let settings = LidarSettings { delta: case.number("delta"), epsilon: case.number("epsilon") };
    let samples = case.number("samples_per_class") as usize;
    let found = lidar(&features(case), samples, settings).unwrap();
    number(case, "lidar", found.lidar);
    number(case, "entropy", found.entropy);
    number(case, "top_eigenvalue", found.top_eigenvalue);
}
