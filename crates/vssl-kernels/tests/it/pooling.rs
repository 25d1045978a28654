//! Max-pooling and global average pooling.

use vssl_kernels::{global_average_pool, max_pool2d, reference};

use crate::{
    assert_close, floats, for_each_isa, gradients, random, same_for_any_threads, scattered,
};

#[test]
fn max_pooling_matches_the_reference() {
    let cases = [
        ([1, 1, 4, 4], 2, 2, 0),
        ([2, 5, 9, 7], 3, 2, 1),
        ([3, 16, 8, 11], 3, 1, 1),
        ([2, 37, 6, 5], 2, 1, 1),
        ([2, 64, 16, 16], 3, 2, 1),
    ];
    for_each_isa(|isa| {
        for (shape, kernel, stride, padding) in cases {
            let what = format!("{isa:?} {shape:?} {kernel} {stride} {padding}");
            let x = random(shape, 1).require_grad();
            let slow = reference::max_pool2d(x.clone(), kernel, stride, padding);
            let expected = gradients(slow.clone(), &[&x]).remove(0);
            for arranged in [x.clone(), scattered(x.clone())] {
                let fast = max_pool2d(arranged, kernel, stride, padding);
                assert_close(fast.clone(), slow.clone(), 0.0, &what); // picks, does not compute
                let got = gradients(fast, &[&x]).remove(0);
                assert_close(got, expected.clone(), 1e-6, &format!("{what}: gradient"));
            }
        }
    });
}

#[test]
fn images_without_channels_are_pooled_to_images_without_channels() {
    let x = burn::tensor::Tensor::<4>::zeros([2, 0, 4, 6], &burn::tensor::Device::flex());
    assert_eq!(max_pool2d(x, 3, 2, 1).dims(), [2, 0, 2, 3]);
}

#[test]
fn the_average_matches_the_reference() {
    for_each_isa(|isa| {
        for shape in [[1, 1, 1, 1], [3, 7, 4, 5], [2, 512, 4, 4]] {
            let x = random(shape, 1).require_grad();
            let fast = global_average_pool(scattered(x.clone()));
            let slow = reference::global_average_pool(x.clone());
            assert_close(fast.clone(), slow.clone(), 1e-6, &format!("{isa:?} {shape:?}"));
            let (fast, slow) = (gradients(fast, &[&x]), gradients(slow, &[&x]));
            assert_close(fast[0].clone(), slow[0].clone(), 1e-6, "gradient of the average");
        }
    });
}

#[test]
fn pooling_is_the_same_bits_for_any_number_of_threads() {
    same_for_any_threads(|| {
        let x = random([5, 37, 33, 31], 1).require_grad();
        let pooled = max_pool2d(x.clone(), 3, 2, 1);
        let average = global_average_pool(x.clone());
        let mut all = vec![floats(pooled.clone()), floats(average.clone())];
        all.extend([gradients(pooled, &[&x]), gradients(average, &[&x])].map(|mut g| {
            floats(g.remove(0)) // one input
        }));
        all
    });
}
