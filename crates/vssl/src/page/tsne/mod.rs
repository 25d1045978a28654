//! t-SNE (van der Maaten and Hinton 2008) by the method of Barnes and Hut (van der Maaten 2014, JMLR 15), on all
//! threads.
//!
//! `C = KL(P ‖ Q)`; p from the distances to the nearest neighbours, with a width for each point so that the
//! entropy is the logarithm of the perplexity; `q_ij ∝ 1 / (1 + |y_i − y_j|²)`. The gradient of a point is
//! `4·Σ_j (p_ij − q_ij)·(y_i − y_j) / (1 + |y_i − y_j|²)`: its neighbours attract it one by one, all points repel
//! it through the cells of a tree. Every sum has an order of its own, so that the map does not depend on the
//! number of threads. Called by `map`.

mod affinities;
mod tree;

use rayon::prelude::*;

use affinities::Affinities;
use tree::Tree;

/// A point of the map.
pub(super) type Point = [f64; 2];

/// Steps of the descent; the method's authors use 1000 as well, and 250 for the beginning.
const STEPS: usize = 1000;
/// Steps in which the attraction is exaggerated, and by how much.
const BEGINNING: usize = 250;
const EXAGGERATION: f64 = 12.0;
/// Momentum in the beginning and after.
const MOMENTUM: [f64; 2] = [0.5, 0.8];
/// The smallest learning rate, as in scikit-learn; else `n / 12 / 4` (Belkina et al. 2019,
/// doi:10.1038/s41467-019-13055-y).
const LEAST_RATE: f64 = 50.0;
/// How the step of each coordinate grows while its gradient keeps its sign and shrinks when that turns.
const GAIN: [f64; 2] = [0.2, 0.8];
const LEAST_GAIN: f64 = 0.01;
/// Points of a task.
const PIECE: usize = 64;

/// Moves the points `start` to where distances in the plane fit those to the neighbours, `(number, distance)`
/// of each point, the same number for all.
pub(super) fn descend(
    neighbours: &[Vec<(u32, f64)>],
    perplexity: f64,
    start: Vec<Point>,
) -> Vec<Point> {
    let affinities = Affinities::of(neighbours, perplexity);
    let count = start.len();
    let rate = (count as f64 / EXAGGERATION / 4.0).max(LEAST_RATE);
    let mut points = start;
    let mut moves = vec![[0.0; 2]; count];
    let mut gains = vec![[1.0; 2]; count];
    for step in 0..STEPS {
        let is_beginning = step < BEGINNING;
        let exaggeration = if is_beginning { EXAGGERATION } else { 1.0 };
        let momentum = MOMENTUM[usize::from(!is_beginning)];
        let gradient = gradient(&points, &affinities, exaggeration);
        let states = points.par_iter_mut().zip(&mut moves).zip(&mut gains).zip(&gradient);
        states.with_min_len(PIECE).for_each(|(((point, step), gain), gradient)| {
            let axes = point.iter_mut().zip(step).zip(gain).zip(gradient);
            for (((point, step), gain), gradient) in axes {
                let turned = (*gradient > 0.0) == (*step > 0.0);
                *gain = if turned { *gain * GAIN[1] } else { *gain + GAIN[0] };
                *gain = gain.max(LEAST_GAIN);
                *step = momentum * *step - rate * *gain * gradient;
                *point += *step;
            }
        });
        centre(&mut points);
    }
    points
}

/// The gradient of `C`, with exaggerated attraction.
fn gradient(points: &[Point], affinities: &Affinities, exaggeration: f64) -> Vec<Point> {
    let tree = Tree::of(points);
    let mut repulsion = vec![([0.0; 2], 0.0); points.len()];
    // In the order of the tree, neighbours go the same ways through it.
    let found: Vec<_> = tree
        .order()
        .par_chunks(PIECE)
        .flat_map_iter(|piece| piece.iter().map(|&i| tree.repulsion(points[i as usize])))
        .collect();
    for (&i, found) in tree.order().iter().zip(found) {
        repulsion[i as usize] = found;
    }
    let total: f64 = repulsion.iter().map(|(_, share)| share).sum();
    let scale = 1.0 / total.max(f64::MIN_POSITIVE);
    let force = |(i, (repulsion, _)): (usize, &(Point, f64))| {
        let attraction = affinities.attraction(i, points);
        [0, 1].map(|axis| 4.0 * (exaggeration * attraction[axis] - repulsion[axis] * scale))
    };
    repulsion.par_iter().enumerate().with_min_len(PIECE).map(force).collect()
}

/// Moves the points so that their mean is zero.
fn centre(points: &mut [Point]) {
    let count = points.len() as f64;
    let mut mean = [0.0; 2];
    for point in &*points {
        mean = [mean[0] + point[0] / count, mean[1] + point[1] / count];
    }
    points.iter_mut().for_each(|point| *point = [point[0] - mean[0], point[1] - mean[1]]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nearest 15 of points on a ring of 5 clumps in 3 dimensions, and a start.
    fn clumps(count: usize) -> (Vec<Vec<(u32, f64)>>, Vec<Point>) {
        let number = |i: usize| ((i * 7919 + 13) % 1009) as f64 / 1009.0;
        let place = |i: usize| {
            let angle = (i % 5) as f64 * 1.256;
            [4.0 * angle.sin() + number(i), 4.0 * angle.cos() + number(2 * i), number(3 * i + 1)]
        };
        let distance = |i: usize, j: usize| {
            let (a, b): ([f64; 3], [f64; 3]) = (place(i), place(j));
            a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
        };
        let near = (0..count).map(|i| {
            let others = (0..count).filter(|&j| j != i).map(|j| (j as u32, distance(i, j)));
            let mut others: Vec<(u32, f64)> = others.collect();
            others.sort_by(|a, b| a.1.total_cmp(&b.1));
            others.truncate(15);
            others
        });
        let start = (0..count).map(|i| [1e-4 * number(i), 1e-4 * number(i * 5)]).collect();
        (near.collect(), start)
    }

    /// The divergence itself, over all pairs.
    fn divergence(points: &[Point], affinities: &Affinities) -> f64 {
        let weight = |i: usize, j: usize| {
            let gap = [points[i][0] - points[j][0], points[i][1] - points[j][1]];
            1.0 / (1.0 + gap[0] * gap[0] + gap[1] * gap[1])
        };
        let pairs = (0..points.len()).flat_map(|i| (0..points.len()).map(move |j| (i, j)));
        let total: f64 = pairs.filter(|(i, j)| i != j).map(|(i, j)| weight(i, j)).sum();
        let terms = (0..points.len()).flat_map(|i| {
            affinities.row(i).map(move |(j, p)| p * (p * total / weight(i, j as usize)).ln())
        });
        terms.sum()
    }

    #[test]
    fn the_gradient_is_that_of_the_divergence() {
        let (near, _) = clumps(60);
        let affinities = Affinities::of(&near, 5.0);
        let points: Vec<Point> =
            (0..60).map(|i| [(i as f64 * 1.7).sin() * 3.0, (i as f64 * 2.3).cos() * 2.0]).collect();
        let got = gradient(&points, &affinities, 1.0);
        let largest = got.iter().flatten().fold(0.0, |largest: f64, g| largest.max(g.abs()));
        for i in (0..60).step_by(7) {
            for (axis, got) in got[i].iter().enumerate() {
                let moved = |by: f64| {
                    let mut points = points.clone();
                    points[i][axis] += by;
                    divergence(&points, &affinities)
                };
                let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                // The cells of the tree are an approximation.
                let error = (got - slope).abs();
                assert!(error < 0.1 * largest, "{i}, {axis}: {got} for {slope}");
            }
        }
    }

    #[test]
    fn the_divergence_is_as_low_as_that_of_another_program() {
        let (near, start) = clumps(150);
        let affinities = Affinities::of(&near, 5.0);
        let ours = divergence(&descend(&near, 5.0, start), &affinities);
        // The map of scikit-learn 1.9.1 of the same points from the same start:
        //     TSNE(perplexity=5, init=start, learning_rate=50, max_iter=1000, n_iter_without_progress=1000,
        //          random_state=0).fit_transform(points)
        let points: Vec<Point> = include_str!("clumps.csv")
            .lines()
            .map(|line| {
                let (x, y) = line.split_once(',').unwrap();
                [x, y].map(|number| number.parse().unwrap())
            })
            .collect();
        assert_eq!(points.len(), near.len());
        let theirs = divergence(&points, &affinities);
        // It says 0.1177 of its map itself, by the distances to 16 neighbours.
        assert!((theirs - 0.1177).abs() < 0.01, "{theirs}");
        assert!(ours > 0.0 && ours < 1.1 * theirs, "{ours} and {theirs}");
    }

    #[test]
    fn threads_change_no_bit() {
        let (near, start) = clumps(700);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let points = pool.install(|| descend(&near, 5.0, start.clone()));
            points.into_iter().flatten().map(f64::to_bits).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(3));
    }
}
