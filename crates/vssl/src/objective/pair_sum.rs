//! The sum of one term of a loss over pairs of views. Pairs of two views and pairs of a view with itself are
//! summed separately, because their values differ greatly and are logged separately. Called by
//! `methods::vssl`.

use burn::tensor::Tensor;

/// The sum over cross-view pairs first, the sum over same-view pairs second.
#[derive(Default)]
pub struct PairSum {
    sums: [Option<Tensor<1>>; 2],
    pairs: [usize; 2],
}

impl PairSum {
    /// Adds the term of one pair, `[1]`; `same` says whether the pair is of a view with itself.
    pub fn add(&mut self, same: bool, term: Tensor<1>) {
        let kind = usize::from(same);
        self.sums[kind] = Some(match self.sums[kind].take() {
            Some(sum) => sum + term,
            None => term,
        });
        self.pairs[kind] += 1;
    }

    /// Returns the sum of each kind that has pairs, times `weight`, `[1]` each.
    pub fn weighted(&self, weight: f64) -> impl Iterator<Item = Tensor<1>> {
        self.sums.iter().flatten().map(move |sum| sum.clone() * weight)
    }

    /// Returns the mean over the pairs of each kind that has pairs, `[1]` each, under its name in `names`.
    pub fn means(
        &self,
        names: [&'static str; 2],
    ) -> impl Iterator<Item = (&'static str, Tensor<1>)> {
        let kinds = self.sums.iter().zip(self.pairs).zip(names);
        kinds.filter_map(|((sum, pairs), name)| Some((name, sum.clone()?.detach() / pairs as f64)))
    }
}
