//! Folder `losses`: values, gradients and training steps of the methods' losses.
//!
//! Each case belongs to one family, by what its name begins with; the families' own files check it.

use super::{clustering, contrastive, neighbours, redundancy, whitening};
use crate::fixtures::{INDEXES, for_each_case_of};

#[test]
fn losses_agree_with_the_reference_in_value_and_gradient() {
    for index in INDEXES {
        for_each_case_of(index, "losses", |case| {
            let claims = [
                clustering::check(case),
                contrastive::check(case),
                neighbours::check(case),
                redundancy::check(case),
                whitening::check(case),
            ];
            let claimed = claims.into_iter().filter(|claimed| *claimed).count();
            assert_eq!(claimed, 1, "{}: claimed by {claimed} families, expected one", case.name);
        });
    }
}
