//! Folder `losses`: values, gradients and training steps of the methods' losses.
//!
//! Each case belongs to one family, by what its name begins with; the families' own files check it.

use super::{clustering, contrastive, redundancy};
use crate::fixtures::for_each_case;

#[test]
fn losses_agree_with_the_reference_in_value_and_gradient() {
    for_each_case("losses", |case| {
        let claims = [clustering::check(case), contrastive::check(case), redundancy::check(case)];
        let claimed = claims.into_iter().filter(|claimed| *claimed).count();
        assert_eq!(claimed, 1, "{}: claimed by {claimed} families, expected one", case.name);
    });
}
