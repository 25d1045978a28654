//! What can go wrong between ranks.

/// An exchange that did not take place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CollectiveError {
    /// A rank did not take part in time.
    #[error(
        "{operation}: rank {} did not take part within {seconds} s; it hangs, is stopped, or is \
         slower by more than --rank-timeout",
        list(ranks)
    )]
    Missing {
        /// What was to be exchanged.
        operation: &'static str,
        /// The ranks that are missing.
        ranks: Vec<usize>,
        /// The time limit.
        seconds: u64,
    },
    /// All ranks answer each other, and the exchange does not end.
    #[error(
        "{operation}: all ranks have waited for {seconds} s and answer each other, but the exchange \
         does not end; the network between them may lose messages"
    )]
    Stuck {
        /// What was to be exchanged.
        operation: &'static str,
        /// The time limit.
        seconds: u64,
    },
    /// Another rank has given up, and has said why.
    #[error("{operation}: rank {rank} has given up; it says why")]
    GivenUp {
        /// What was to be exchanged.
        operation: &'static str,
        /// The number of that rank.
        rank: usize,
    },
    /// Ranks are not in step with each other: a bug, or programs that differ.
    #[error(
        "{operation}: rank {rank} is at another place of the program (its message is marked \
         {got:08x}; expected {expected:08x}); expected the same program, recipe and data on all ranks"
    )]
    OutOfStep {
        /// What was to be exchanged.
        operation: &'static str,
        /// The number of that rank.
        rank: usize,
        /// Its mark.
        got: u32,
        /// The own mark.
        expected: u32,
    },
}

fn list(ranks: &[usize]) -> String {
    ranks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
