//! Random shapes through both paths of the convolution.

use proptest::prelude::*;

use crate::{conv, for_each_isa};

fn case() -> impl Strategy<Value = conv::Case> {
    let sizes = ([1usize..4, 1usize..40, 3usize..14, 3usize..14], 1usize..40);
    (sizes, prop_oneof![Just([1, 1]), Just([3, 3]), Just([2, 3])], 1usize..3, 0usize..4)
        .prop_map(|((shape, out), kernel, stride, padding)| (shape, out, kernel, stride, padding))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn convolution_matches_the_reference_for_any_shape(case in case()) {
        for_each_isa(|isa| conv::compare(&case, |x| x, &format!("{isa:?} {case:?}")));
    }
}
