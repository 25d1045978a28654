//! Folder `losses`: values, gradients and training steps of the methods' losses.
//!
//! Each case belongs to one family, by what its name begins with; the families' own files check it.

use super::{clustering, contrastive, redundancy};
use crate::fixtures::for_each_case;

/// Families that no file here claims yet.
const ELSEWHERE: &[&str] = &["deepclusterv2"];

#[test]
fn losses_agree_with_the_reference_in_value_and_gradient() {
    let mut elsewhere = 0;
    for_each_case("losses", |case| {
        let family = case.name.split('_').next().unwrap_or_default();
        let claims = [
            clustering::check(case),
            contrastive::check(case),
            redundancy::check(case),
            ELSEWHERE.contains(&family),
        ];
        let claimed = claims.into_iter().filter(|claimed| *claimed).count();
        assert_eq!(claimed, 1, "{}: claimed by {claimed} families, expected one", case.name);
        elsewhere += usize::from(claims[3]);
    });
    println!("losses: {elsewhere} of them elsewhere");
}
