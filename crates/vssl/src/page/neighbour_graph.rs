//! The nearest neighbours of each image of the page. They give the rows of similar images, and, for
//! methods without a posterior, the images that the encoder is unsure of.

use serde::Serialize;

use crate::{
    eval::{
        EvalError,
        neighbours::{Distance, Neighbour, neighbours},
    },
    features::Features,
    posterior,
};

/// Number of neighbours that vote and temperature of the vote, as in the accuracy of a run.
const VOTERS: usize = 20;
const TEMPERATURE: f64 = 0.07;

/// Number of images shown as the most and as the least certain.
const EXTREMES: usize = 14;

/// Number of rows of neighbours, and number of neighbours in a row.
const ROWS: usize = 8;
const NEAREST: usize = 10;

/// The nearest other images of each image by cosine, nearest first.
pub(super) struct NeighbourGraph {
    near: Vec<Vec<(u32, f64)>>,
}

/// An image and its nearest neighbours.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    query: usize,
    /// Number and cosine similarity of each neighbour, nearest first.
    nearest: Vec<(u32, f32)>,
}

/// Images in the order of a score.
#[derive(Clone, Debug, Serialize)]
pub struct Certainty {
    /// Name of the score.
    pub(super) score: String,
    /// How the score is computed.
    pub(super) how: String,
    /// Number and score of the images with the lowest scores, the most certain first.
    pub(super) most: Vec<(usize, f32)>,
    /// Number and score of the images with the highest scores, the least certain first.
    pub(super) least: Vec<(usize, f32)>,
}

impl NeighbourGraph {
    /// Finds at least `wanted` neighbours of each image, if there are so many other images.
    pub(super) fn of(features: &Features, wanted: usize) -> Result<Self, EvalError> {
        let wanted = wanted.max(VOTERS).max(NEAREST);
        let found = neighbours(features, features, Distance::Cosine, wanted + 1)?;
        let others = |row: usize| -> Vec<(u32, f64)> {
            let other = |neighbour: &&Neighbour| neighbour.index as usize != row;
            let near = found.of(row).iter().filter(other).take(wanted);
            near.map(|neighbour| (neighbour.index, neighbour.closeness)).collect()
        };
        Ok(Self { near: (0..features.rows).map(others).collect() })
    }

    /// The nearest `count` neighbours of image `row`, and the same number for every image. A list may be
    /// longer by one than others: among equal images, an image may be missing from its own search.
    pub(super) fn nearest(&self, row: usize, count: usize) -> &[(u32, f64)] {
        let shortest = self.near.iter().map(Vec::len).min().unwrap_or(0);
        &self.near[row][..shortest.min(count)]
    }

    /// Rows for images of different classes; without labels, for images spread evenly over the set.
    pub(super) fn rows(&self, labels: Option<&[i64]>) -> Vec<Row> {
        let count = self.near.len();
        let mut queries: Vec<usize> = Vec::new();
        if let Some(labels) = labels {
            let mut seen = std::collections::BTreeSet::new();
            queries = (0..count).filter(|&row| seen.insert(labels[row])).take(ROWS).collect();
        }
        let even = (0..ROWS).map(|row| row * count / ROWS);
        for row in even.filter(|row| *row < count) {
            if queries.len() < ROWS && !queries.contains(&row) {
                queries.push(row);
            }
        }
        let row = |query: usize| {
            let near = self.near[query].iter().take(NEAREST);
            Row { query, nearest: near.map(|&(index, cosine)| (index, cosine as f32)).collect() }
        };
        queries.into_iter().map(row).collect()
    }

    /// Orders the images by the entropy of their neighbours' vote; without labels, by the mean distance
    /// to the neighbours.
    pub(super) fn certainty(&self, labels: Option<&[i64]>) -> Certainty {
        let (score, how, values) = match labels {
            Some(labels) => (
                "entropy of the neighbours' vote, nats",
                format!(
                    "Each image's class voted by its {VOTERS} nearest others, weight exp(cosine / \
                     {TEMPERATURE}): 0 when they agree. It needs labels and is no property of the \
                     encoder alone"
                ),
                self.scores(|near| vote_entropy(near, labels)),
            ),
            None => (
                "mean distance to the neighbours, 1 − cosine",
                format!("Over the {VOTERS} nearest others: 0 when they are all the same"),
                self.scores(|near| {
                    near.iter().map(|(_, cosine)| 1.0 - cosine).sum::<f64>() / near.len() as f64
                }),
            ),
        };
        Certainty::ordered(score.to_owned(), how, &values)
    }

    fn scores(&self, score: impl Fn(&[(u32, f64)]) -> f64) -> Vec<f64> {
        let value = |near: &Vec<(u32, f64)>| match near.len() {
            0 => 0.0,
            count => score(&near[..count.min(VOTERS)]),
        };
        self.near.iter().map(value).collect()
    }
}

impl Certainty {
    /// Orders the images by the score that the network's posterior gives: [`crate::posterior::score`].
    pub(super) fn of_posterior(values: &[f32]) -> Self {
        let values: Vec<f64> = values.iter().map(|&value| f64::from(value)).collect();
        let how = "The network's own: what its posterior says of each image, without augmentation and \
                   without labels. High means less sure";
        Self::ordered(
            format!("{}, the score of the posterior", posterior::SCORE),
            how.into(),
            &values,
        )
    }

    /// The images with the lowest and the highest score.
    pub(super) fn ordered(score: String, how: String, values: &[f64]) -> Self {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
        let extremes = EXTREMES.min(values.len() / 2);
        let entry = |&index: &usize| (index, values[index] as f32);
        let most = order.iter().take(extremes).map(entry).collect();
        let least = order.iter().rev().take(extremes).map(entry).collect();
        Self { score, how, most, least }
    }
}

fn vote_entropy(near: &[(u32, f64)], labels: &[i64]) -> f64 {
    let mut votes = std::collections::BTreeMap::<i64, f64>::new();
    for &(index, cosine) in near {
        // Cosines are taken relative to the nearest, so that the exponential cannot overflow.
        *votes.entry(labels[index as usize]).or_default() +=
            ((cosine - near[0].1) / TEMPERATURE).exp();
    }
    let total: f64 = votes.values().sum();
    votes.values().map(|vote| vote / total).filter(|&p| p > 0.0).map(|p| -p * p.ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Directions on a quarter of a circle.
    fn circle(rows: usize) -> Features {
        let angle = |row: usize| row as f32 / rows as f32 * std::f32::consts::FRAC_PI_2;
        let values = (0..rows).flat_map(|row| [angle(row).cos(), angle(row).sin()]).collect();
        Features { rows, dim: 2, values, labels: None }
    }

    #[test]
    fn an_image_is_not_its_own_neighbour() {
        let graph = NeighbourGraph::of(&circle(50), 5).unwrap();
        for row in 0..50 {
            let near = graph.nearest(row, 99);
            assert!(near.len() >= 20 && near.iter().all(|(index, _)| *index as usize != row));
            assert!(near.windows(2).all(|pair| pair[0].1 >= pair[1].1));
        }
        assert_eq!(graph.rows(None).len(), ROWS);
    }

    #[test]
    fn images_between_classes_are_the_least_certain() {
        let labels: Vec<i64> = (0..200).map(|row| i64::from(row >= 100)).collect();
        let graph = NeighbourGraph::of(&circle(200), 20).unwrap();
        let certainty = graph.certainty(Some(&labels));
        assert!(
            certainty.least.iter().all(|(index, score)| index.abs_diff(100) < 12 && *score > 0.1)
        );
        assert!(certainty.most.iter().all(|(_, score)| *score == 0.0));
    }

    #[test]
    fn a_posterior_s_own_score_orders_the_images_and_is_named() {
        let certainty = Certainty::of_posterior(&[0.5, 3.0, -1.0, 2.0]);
        assert_eq!(certainty.most, [(2, -1.0), (0, 0.5)]);
        assert_eq!(certainty.least, [(1, 3.0), (3, 2.0)]);
        assert!(certainty.score.contains(posterior::SCORE), "{}", certainty.score);
    }

    #[test]
    fn one_image_has_no_neighbours_and_no_extremes() {
        let graph = NeighbourGraph::of(&circle(1), 5).unwrap();
        assert!(graph.nearest(0, 99).is_empty());
        assert!(graph.certainty(None).most.is_empty());
        assert!(graph.rows(None)[0].nearest.is_empty());
    }
}
