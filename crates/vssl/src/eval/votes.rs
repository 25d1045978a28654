//! The vote of the nearest neighbours of a row: which class it is given. Called by `knn`.

use rayon::prelude::*;

use super::{
    neighbours::{Distance, Neighbours},
    topk::{first, rank},
};

/// Added to a Euclidean distance before it is inverted.
const DISTANCE_FLOOR: f64 = 1e-5;

/// The answer to one test row.
pub(super) struct Answer {
    /// The class with the largest vote.
    pub class: u32,
    /// Whether this is the right class.
    pub is_first: bool,
    /// Whether the right class is among the first five.
    pub is_in_five: bool,
}

impl Neighbours {
    /// Sum of the weights of the `k` nearest neighbours of one test row for each class. With the
    /// cosine the weights are relative to the nearest neighbour's, so that no temperature overflows.
    pub fn votes(
        &self,
        row: usize,
        labels: &[usize],
        classes: usize,
        k: usize,
        temperature: f64,
    ) -> Vec<f64> {
        let nearest = &self.of(row)[..k.min(self.k)];
        let mut votes = vec![0.0; classes];
        for neighbour in nearest {
            votes[labels[neighbour.index as usize]] += match self.distance {
                Distance::Cosine => {
                    ((neighbour.closeness - nearest[0].closeness) / temperature).exp()
                }
                Distance::Euclidean => 1.0 / (DISTANCE_FLOOR - neighbour.closeness),
            };
        }
        votes
    }

    /// The answers to the test rows, whose classes are `targets`.
    pub(super) fn answers(
        &self,
        labels: &[usize],
        classes: usize,
        targets: &[usize],
        k: usize,
        temperature: f64,
    ) -> Vec<Answer> {
        let five = 5.min(k).min(self.k).min(classes);
        let answer = |(row, &target): (usize, &usize)| {
            let votes = self.votes(row, labels, classes, k, temperature);
            let rank = rank(&votes, target);
            let class = first(&votes) as u32;
            Answer { class, is_first: rank < 1, is_in_five: rank < five }
        };
        targets.par_iter().enumerate().map(answer).collect()
    }
}
