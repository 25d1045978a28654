//! Evaluations as a whole: they must not depend on the number of threads.

use rayon::ThreadPoolBuilder;
use vssl::{
    eval::{
        knn::grid,
        linear::{LinearConfig, linear_probe},
        neighbours::Distance,
        spectrum::spectrum,
    },
    features::Features,
};

/// Overlapping classes in a space large enough for parallel products.
fn features(rows: usize, salt: u64) -> Features {
    let (dim, classes) = (64, 7);
    let mut state = salt;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut values = Vec::with_capacity(rows * dim);
    for row in 0..rows {
        let centre = |column: usize| if column % classes == row % classes { 0.15 } else { 0.0 };
        values.extend((0..dim).map(|column| centre(column) + draw()));
    }
    let labels = (0..rows).map(|row| (row % classes) as i64).collect();
    Features { rows, dim, values, labels: Some(labels) }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let (train, test) = (features(3000, 1), features(700, 2));
    let evaluate = || {
        let config = LinearConfig { iterations: 20, ..LinearConfig::default() };
        let near = grid(&train, &test, &[Distance::Cosine], &[1, 20], &[0.07, 0.2]).unwrap();
        let far = grid(&train, &test, &[Distance::Euclidean], &[20], &[1.0]).unwrap();
        let linear = linear_probe(&train, &test, &config).unwrap();
        (near, far, linear, spectrum(&train).unwrap())
    };
    let with = |threads| ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let one = with(1).install(evaluate);
    assert!(one.2.accuracy.top1 > 30.0 && one.2.accuracy.top1 < 100.0, "{:?}", one.2);
    for threads in [2, 3, 8] {
        assert_eq!(with(threads).install(evaluate), one, "{threads} threads");
    }
}
