//! A quadtree over the points of a map (Barnes and Hut 1986, doi:10.1038/324446a0), for the repulsion of all
//! points by all.
//!
//! The points are sorted along a curve that goes through the quarters of the square one after the other (Morton
//! 1966), so that a cell is a range of them. Cells lie in the order of that walk, each with the number of cells to
//! the end of its own, so that a walk needs no stack and parts of the tree can be built beside each other.

use rayon::prelude::*;

use super::Point;

/// Levels of the tree: points that share a cell of the last one are taken for one.
const LEVELS: u32 = 24;
/// A cell of side s at the distance d counts as one point where `s < 0.5·d`; the method's authors use 0.5.
const OPENING: f64 = 0.5;
/// Points of a cell whose quarters are built beside each other.
const MANY: usize = 1024;

/// A square with the points in it.
struct Cell {
    mean: Point,
    count: f64,
    /// The square of its side over the opening: a point whose squared distance is larger does not look inside.
    /// Zero for a cell without cells inside.
    reach: f64,
    /// The number of cells in it, itself included.
    cells: u32,
}

/// The tree over some points.
pub(super) struct Tree {
    order: Vec<u32>,
    cells: Vec<Cell>,
}

impl Tree {
    pub(super) fn of(points: &[Point]) -> Self {
        let mut low = [f64::INFINITY; 2];
        let mut high = [f64::NEG_INFINITY; 2];
        for &[x, y] in points {
            low = [low[0].min(x), low[1].min(y)];
            high = [high[0].max(x), high[1].max(y)];
        }
        let side = (high[0] - low[0]).max(high[1] - low[1]).max(f64::MIN_POSITIVE);
        let largest = f64::from((1_u32 << LEVELS) - 1);
        let place = |x: f64, low: f64| ((x - low) / side * largest) as u32;
        let code = |(i, point): (usize, &Point)| {
            let [x, y] = [place(point[0], low[0]), place(point[1], low[1])];
            (spread(x) | spread(y) << 1, i as u32)
        };
        let mut codes: Vec<(u64, u32)> = points.par_iter().enumerate().map(code).collect();
        // The number of the point decides between equals, so there is one order.
        codes.par_sort_unstable();
        let order = codes.iter().map(|&(_, i)| i).collect();
        let cells = cells(&codes, points, LEVELS, side);
        Self { order, cells }
    }

    /// The points along the curve.
    pub(super) fn order(&self) -> &[u32] {
        &self.order
    }

    /// The sums over all other points of `(y − y_j) / (1 + |y − y_j|²)²` and of `1 / (1 + |y − y_j|²)`, for one
    /// of the points of the tree.
    pub(super) fn repulsion(&self, [x, y]: Point) -> (Point, f64) {
        // The point itself is in a cell without cells inside, where it adds 1 to the second sum.
        let (mut force, mut share) = ([0.0; 2], -1.0);
        let mut at = 0;
        while let Some(cell) = self.cells.get(at) {
            let gap = [x - cell.mean[0], y - cell.mean[1]];
            let square = gap[0] * gap[0] + gap[1] * gap[1];
            if square < cell.reach {
                at += 1;
                continue;
            }
            let weight = 1.0 / (1.0 + square);
            let weighted = cell.count * weight;
            share += weighted;
            force[0] += weighted * weight * gap[0];
            force[1] += weighted * weight * gap[1];
            at += cell.cells as usize;
        }
        (force, share)
    }
}

/// The bits of a number of 24 bits with a zero before each.
fn spread(x: u32) -> u64 {
    let mut x = u64::from(x);
    for (shift, mask) in [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ] {
        x = (x | x << shift) & mask;
    }
    x
}

/// The cells of a square of which `level` bits of the codes are left, the square itself first.
fn cells(codes: &[(u64, u32)], points: &[Point], level: u32, side: f64) -> Vec<Cell> {
    let mut all = Vec::new();
    add_cells(codes, points, level, side, &mut all);
    all
}

fn add_cells(codes: &[(u64, u32)], points: &[Point], level: u32, side: f64, all: &mut Vec<Cell>) {
    let count = codes.len() as f64;
    let own = all.len();
    let is_last = codes.len() == 1 || level == 0;
    if is_last {
        let mut mean = [0.0; 2];
        for &(_, i) in codes {
            let point = points[i as usize];
            mean = [mean[0] + point[0], mean[1] + point[1]];
        }
        let mean = match codes.len() {
            1 => mean,
            _ => [mean[0] / count, mean[1] / count],
        };
        all.push(Cell { mean, count, reach: 0.0, cells: 1 });
        return;
    }
    let shift = 2 * (level - 1);
    let quarter = |code: u64| code >> shift & 3;
    let ends: [usize; 5] =
        std::array::from_fn(|q| codes.partition_point(|&(code, _)| quarter(code) < q as u64));
    let quarters = (0..4).map(|q| &codes[ends[q]..ends[q + 1]]).filter(|codes| !codes.is_empty());
    all.push(Cell { mean: [0.0; 2], count, reach: (side / OPENING).powi(2), cells: 0 });
    let half = 0.5 * side;
    if codes.len() > MANY {
        let quarters: Vec<&[(u64, u32)]> = quarters.collect();
        let parts = quarters.into_par_iter().map(|codes| cells(codes, points, level - 1, half));
        parts.collect::<Vec<_>>().into_iter().for_each(|part| all.extend(part));
    } else {
        quarters.for_each(|codes| add_cells(codes, points, level - 1, half, all));
    }
    let (mut at, mut sum) = (own + 1, [0.0; 2]);
    while let Some(cell) = all.get(at) {
        sum = [sum[0] + cell.count * cell.mean[0], sum[1] + cell.count * cell.mean[1]];
        at += cell.cells as usize;
    }
    all[own].mean = [sum[0] / count, sum[1] / count];
    all[own].cells = (all.len() - own) as u32;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(count: usize) -> Vec<Point> {
        let number = |i: usize| ((i * 7919 + 13) % 10_007) as f64 / 10_007.0;
        (0..count).map(|i| [10.0 * number(i) - 3.0, 4.0 * number(7 * i + 5)]).collect()
    }

    #[test]
    fn repulsion_is_near_that_of_the_definition() {
        for count in [1, 2, 3, 50, 3000] {
            let points = points(count);
            let tree = Tree::of(&points);
            assert_eq!(tree.cells[0].count, count as f64);
            assert_eq!(tree.cells[0].cells as usize, tree.cells.len());
            for &point in points.iter().step_by(1 + count / 9) {
                let (mut force, mut share) = ([0.0; 2], -1.0);
                for other in &points {
                    let gap = [point[0] - other[0], point[1] - other[1]];
                    let weight = 1.0 / (1.0 + gap[0] * gap[0] + gap[1] * gap[1]);
                    share += weight;
                    force =
                        [force[0] + weight * weight * gap[0], force[1] + weight * weight * gap[1]];
                }
                let (got, got_share) = tree.repulsion(point);
                assert!((got_share - share).abs() <= 0.02 * share.max(1.0), "{got_share} {share}");
                let error = (got[0] - force[0]).abs().max((got[1] - force[1]).abs());
                assert!(error <= 0.02 * share.max(1.0), "{count}: {got:?} for {force:?}");
            }
        }
    }

    #[test]
    fn points_that_fall_together_are_one_of_their_number() {
        let mut points = vec![[1.5, -2.5]; 40];
        points.push([3.0, 0.0]);
        let tree = Tree::of(&points);
        let (force, share) = tree.repulsion(points[0]);
        let weight = 1.0 / (1.0 + 1.5 * 1.5 + 2.5 * 2.5);
        assert!((share - 39.0 - weight).abs() < 1e-9, "{share}");
        assert!((force[0] + 1.5 * weight * weight).abs() < 1e-9, "{force:?}");
        let same = Tree::of(&[[7.0, 7.0]; 5]);
        assert_eq!(same.repulsion([7.0, 7.0]), ([0.0, 0.0], 4.0));
    }
}
