//! The affinities of t-SNE: `p_j|i ∝ exp(−β_i·d_ij²)` over the neighbours of i, with the β_i whose entropy is the
//! logarithm of the perplexity, and `p_ij = (p_j|i + p_i|j) / 2n`.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::Point;

/// Steps of the search for a β, and how near to the logarithm of the perplexity the entropy has to come.
const SEARCH: usize = 200;
const TOLERANCE: f64 = 1e-5;

/// The symmetric affinities, row after row.
pub(super) struct Affinities {
    /// Where the rows begin, and the end of the last.
    rows: Vec<usize>,
    entries: Vec<(u32, f64)>,
}

impl Affinities {
    pub(super) fn of(neighbours: &[Vec<(u32, f64)>], perplexity: f64) -> Self {
        let count = neighbours.len();
        let conditional: Vec<Vec<f64>> =
            neighbours.par_iter().map(|near| conditional(near, perplexity.ln())).collect();
        let mut sums = vec![BTreeMap::new(); count];
        for (i, (near, shares)) in neighbours.iter().zip(&conditional).enumerate() {
            for (&(j, _), share) in near.iter().zip(shares) {
                *sums[i].entry(j).or_insert(0.0) += share;
                *sums[j as usize].entry(i as u32).or_insert(0.0) += share;
            }
        }
        // The shares of a row add up to 1, so all affinities do.
        let scale = 1.0 / (2 * count) as f64;
        let (mut rows, mut entries) = (vec![0], Vec::new());
        for sums in sums {
            entries.extend(sums.into_iter().map(|(j, sum)| (j, sum * scale)));
            rows.push(entries.len());
        }
        Self { rows, entries }
    }

    /// The points that are near to point `i`, and their affinities.
    pub(super) fn row(&self, i: usize) -> impl Iterator<Item = (u32, f64)> {
        self.entries[self.rows[i]..self.rows[i + 1]].iter().copied()
    }

    /// The sum over the neighbours of `p_ij·(y_i − y_j) / (1 + |y_i − y_j|²)`.
    pub(super) fn attraction(&self, i: usize, points: &[Point]) -> Point {
        let [x, y] = points[i];
        let mut sum = [0.0; 2];
        for (j, p) in self.row(i) {
            let other = points[j as usize];
            let gap = [x - other[0], y - other[1]];
            let weight = p / (1.0 + gap[0] * gap[0] + gap[1] * gap[1]);
            sum = [sum[0] + weight * gap[0], sum[1] + weight * gap[1]];
        }
        sum
    }
}

/// The shares of the neighbours of a point, whose entropy is `wanted` nats or as near to it as can be.
fn conditional(near: &[(u32, f64)], wanted: f64) -> Vec<f64> {
    let least = near.iter().map(|(_, distance)| distance * distance).fold(f64::INFINITY, f64::min);
    // Relative to the nearest, so that the largest share cannot vanish.
    let squares: Vec<f64> = near.iter().map(|(_, distance)| distance * distance - least).collect();
    let mut shares = vec![0.0; near.len()];
    let (mut beta, mut range) = (1.0, [0.0, f64::INFINITY]);
    for _ in 0..SEARCH {
        let mut total = 0.0;
        for (share, square) in shares.iter_mut().zip(&squares) {
            *share = (-beta * square).exp();
            total += *share;
        }
        let mean = shares.iter().zip(&squares).map(|(share, square)| share * square).sum::<f64>();
        let entropy = total.ln() + beta * mean / total;
        shares.iter_mut().for_each(|share| *share /= total);
        if (entropy - wanted).abs() < TOLERANCE {
            break;
        }
        range[usize::from(entropy < wanted)] = beta;
        beta = if range[1].is_finite() { 0.5 * (range[0] + range[1]) } else { 2.0 * beta };
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_the_entropy_that_is_asked_for() {
        let near: Vec<(u32, f64)> = (0..30).map(|i| (i, 0.01 + f64::from(i) * 0.02)).collect();
        for perplexity in [2.0_f64, 7.5, 20.0] {
            let shares = conditional(&near, perplexity.ln());
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            let entropy: f64 = shares.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
            assert!((entropy - perplexity.ln()).abs() < 1e-4, "{perplexity}: {}", entropy.exp());
        }
        // Equal neighbours have equal shares, whatever is asked for.
        let equal = conditional(&[(0, 0.5), (1, 0.5), (2, 0.5)], 1.0_f64.ln());
        assert!(equal.iter().all(|share| (share - 1.0 / 3.0).abs() < 1e-12), "{equal:?}");
    }

    #[test]
    fn affinities_are_symmetric_and_add_up_to_one() {
        let near = vec![
            vec![(1, 1.0), (2, 2.0)],
            vec![(0, 1.0), (2, 1.5)],
            vec![(1, 1.5), (0, 2.0)],
            vec![(0, 3.0), (1, 3.5)],
        ];
        let affinities = Affinities::of(&near, 1.5);
        let all: Vec<(usize, usize, f64)> =
            (0..4).flat_map(|i| affinities.row(i).map(move |(j, p)| (i, j as usize, p))).collect();
        assert!((all.iter().map(|(_, _, p)| p).sum::<f64>() - 1.0).abs() < 1e-12);
        for (i, j, p) in &all {
            let back = all.iter().find(|(from, to, _)| (from, to) == (j, i)).unwrap();
            assert_eq!(back.2, *p);
        }
    }
}
