//! The best scores of one row, kept in bounded memory while blocks of scores go by.
//! Used by the first pass.

/// Scores that are looked at together: most pieces of this length have nothing to offer.
const PIECE: usize = 32;
/// Scores that are looked at together in a piece that has something to offer. PERF: half of the pieces
/// have while the best of 100,000 are found; looking at their scores singly took 6 % of a search,
/// record/2026-11-knn.
const PART: usize = 8;

/// The best scores seen so far by one test row.
#[derive(Clone)]
pub(super) struct Candidates {
    limit: usize,
    threshold: f32,
    entries: Vec<(f32, u32)>,
}

impl Candidates {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, threshold: f32::NEG_INFINITY, entries: Vec::new() }
    }

    /// Takes in the scores of training rows `first..`. Rows come in the order of their index, so a
    /// later row whose score equals the threshold comes behind the earlier one.
    pub(super) fn offer(&mut self, scores: &[f32], first: usize) {
        for (piece, scores) in scores.chunks(PIECE).enumerate() {
            if self.may_take(scores) {
                for (part, scores) in scores.chunks(PART).enumerate() {
                    if self.may_take(scores) {
                        self.take(scores, first + piece * PIECE + part * PART);
                    }
                }
            }
        }
    }

    /// Whether one of `scores` belongs to the best so far: a few vector comparisons.
    #[inline(always)]
    fn may_take(&self, scores: &[f32]) -> bool {
        let mut any = self.entries.len() < self.limit;
        for &score in scores {
            any |= score > self.threshold;
        }
        any
    }

    fn take(&mut self, scores: &[f32], first: usize) {
        if self.entries.capacity() == 0 {
            // The largest size at once: a vector that grows by doubling may end at twice that.
            self.entries.reserve_exact(2 * self.limit);
        }
        for (offset, &score) in scores.iter().enumerate() {
            if score > self.threshold || self.entries.len() < self.limit {
                self.entries.push((score, (first + offset) as u32));
                if self.entries.len() >= 2 * self.limit {
                    self.shrink();
                }
            }
        }
    }

    fn shrink(&mut self) {
        if self.entries.len() > self.limit {
            let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
            let (_, last, _) = self.entries.select_nth_unstable_by(self.limit - 1, order);
            self.threshold = last.0;
            self.entries.truncate(self.limit);
        }
    }

    /// The rows of the best scores, in no order.
    pub(super) fn into_rows(mut self) -> Vec<u32> {
        self.shrink();
        self.entries.into_iter().map(|(_, row)| row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_scores_remain_whatever_the_blocks() {
        let scores: Vec<f32> = (0..1000).map(|i| ((i * 7919) % 101) as f32).collect();
        let mut expected: Vec<_> = (0..1000_u32).collect();
        expected.sort_by_key(|&i| (-(scores[i as usize] as i64), i));
        expected.truncate(25);
        expected.sort_unstable();
        for block in [1, 24, 25, 333, 1000] {
            let mut candidates = Candidates::new(25);
            for (i, scores) in scores.chunks(block).enumerate() {
                candidates.offer(scores, i * block);
            }
            let mut rows = candidates.into_rows();
            rows.sort_unstable();
            assert_eq!(rows, expected, "blocks of {block}");
        }
    }
}
