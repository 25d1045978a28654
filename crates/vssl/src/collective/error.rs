//! The errors of exchanges between ranks.

/// Why an exchange did not take place.
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
        /// The name of the exchange.
        operation: &'static str,
        /// The ranks that are missing.
        ranks: Vec<usize>,
        /// The time limit.
        seconds: u64,
    },
    /// All ranks answer each other, but the exchange does not end.
    #[error(
        "{operation}: all ranks have waited for {seconds} s and answer each other, but the exchange \
         does not end; the network between them may lose messages"
    )]
    Stuck {
        /// The name of the exchange.
        operation: &'static str,
        /// The time limit.
        seconds: u64,
    },
    /// Another rank has given up and has reported the reason.
    #[error("{operation}: rank {rank} has given up; it says why")]
    GivenUp {
        /// The name of the exchange.
        operation: &'static str,
        /// The number of the rank that has given up.
        rank: usize,
    },
    /// Ranks are not in step with each other, because of a bug or because their programs differ.
    #[error(
        "{operation}: rank {rank} is at another place of the program (its message is marked \
         {got:08x}; expected {expected:08x}); expected the same program, recipe and data on all ranks"
    )]
    OutOfStep {
        /// The name of the exchange.
        operation: &'static str,
        /// The number of the other rank.
        rank: usize,
        /// The mark of the other rank.
        got: u32,
        /// The mark of this rank.
        expected: u32,
    },
}

fn list(ranks: &[usize]) -> String {
    ranks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
