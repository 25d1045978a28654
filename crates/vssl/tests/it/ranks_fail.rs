//! Ranks that do not come, give up or are not in step: what the others are told.

use std::{thread, time::Duration};

use vssl::collective::{Collective, CollectiveError, Threads};

use crate::ranks::ranks;

#[test]
fn a_rank_that_does_not_come_is_named() {
    let mut threads = Threads::new(3, Duration::from_millis(50)).into_iter();
    let (Some(zero), Some(one)) = (threads.next(), threads.next()) else { panic!("three ranks") };
    let errors = thread::scope(|scope| {
        [zero, one]
            .map(|rank| scope.spawn(move || rank.gather("a test", &[1]).unwrap_err()))
            .map(|rank| rank.join().unwrap())
    });
    let missing = CollectiveError::Missing { operation: "a test", ranks: vec![2], seconds: 0 };
    assert!(errors.contains(&missing), "{errors:?}");
    assert!(errors.iter().any(|error| matches!(error, CollectiveError::GivenUp { .. })));
}

#[test]
fn a_rank_that_gives_up_lets_nobody_wait() {
    let failed = ranks(2, |group| {
        if group.rank() == 1 {
            group.abort();
        }
        assert_eq!(group.gather_numbers(&[5]), [5, 5], "the own numbers stand in");
        group.check().unwrap_err()
    });
    assert_eq!(failed.len(), 2);
    assert!(matches!(failed[0], CollectiveError::GivenUp { rank: 1, .. }));
}

#[test]
fn ranks_that_are_not_in_step_are_told() {
    let failed = ranks(2, |group| {
        group.gather_numbers(&[7]);
        group.check().unwrap();
        // Different operations of the same length.
        match group.rank() {
            0 => drop(group.gather_numbers(&[7])),
            _ => drop(group.gather_labels(&[7, 7])),
        }
        group.check().unwrap_err()
    });
    for error in failed {
        assert!(matches!(error, CollectiveError::OutOfStep { .. }), "{error}");
    }
}
