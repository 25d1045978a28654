//! Masks over the patches of images: which patches a network sees, and which it predicts. Called by the masked methods.
//!
//! A mask is a function of its address: the seed, the step, the micro-batch, the row of the joint batch and the view. So
//! one process and any number of ranks make the same masks, and a resumed run makes those of a run that was not stopped.

use std::ops::Range;

use rand::RngCore;
use vssl_data::rng::{Stream, below, rng, uniform};

use super::Views;
use crate::schedule::Step;

/// Where the masks of one view of a step come from.
#[derive(Clone, Copy, Debug)]
pub struct Masks<'a> {
    /// The view's number.
    pub view: usize,
    /// The step and micro-batch.
    pub at: &'a Step,
}

impl Masks<'_> {
    /// The row whose numbers are those of the whole batch.
    const SHARED: u64 = u32::MAX as u64;

    /// The random numbers of a row of the joint batch.
    fn row(&self, row: u64) -> impl RngCore + use<> {
        let Step { seed, index, micro, .. } = *self.at;
        rng(seed, Stream::Mask(self.view as u16), index, micro << 32 | row)
    }

    /// Hides random patches of each of the `rows` of the joint batch (He et al. 2022, arXiv:2111.06377, section 3).
    pub fn random(&self, rows: Range<usize>, patches: usize, ratio: f64) -> Vec<RandomMask> {
        let mask = |row: usize| {
            let mut rng = self.row(row as u64);
            let noise: Vec<f64> = (0..patches).map(|_| uniform(&mut rng, 0.0, 1.0)).collect();
            RandomMask::from_noise(&noise, ratio)
        };
        rows.map(mask).collect()
    }

    /// Makes the blocks of all `images` of the joint batch, so that the smallest context of all is known to every rank.
    pub fn blocks(&self, images: usize, grid: [usize; 2], shape: &BlockMasks) -> Vec<Blocks> {
        let mut shared = self.row(Self::SHARED);
        let target = shape.target(grid, &mut shared);
        let context = shape.context(grid, &mut shared);
        let mut all: Vec<Blocks> = (0..images as u64)
            .map(|row| shape.place(grid, target, context, &mut self.row(row)))
            .collect();
        let least = all.iter().map(|blocks| blocks.context.len()).min().unwrap_or(0);
        all.iter_mut().for_each(|blocks| blocks.context.truncate(least));
        all
    }
}

/// Returns the rows of the joint batch that are this rank's, `own` of them.
pub fn own_rows(views: &Views, own: usize) -> Range<usize> {
    let first = views.group.rank() * own;
    first..first + own
}

/// Returns how many of `patches` are seen when the share `ratio` is hidden: `patches · (1 − ratio)`, cut to a whole
/// number, in double precision as the reference computes it: 25 patches at 0.8 leave 4.
pub fn seen(patches: usize, ratio: f64) -> usize {
    (patches as f64 * (1.0 - ratio)) as usize
}

/// The patches of an image in a random order, of which the first are seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RandomMask {
    /// The patches, those that are seen first.
    pub order: Vec<u32>,
    /// The place of each patch in the order.
    pub places: Vec<u32>,
    /// How many are seen.
    pub seen: usize,
}

impl RandomMask {
    /// Orders the patches by a random number each; those with the smallest are seen.
    pub fn from_noise(noise: &[f64], ratio: f64) -> Self {
        let mut order: Vec<u32> = (0..noise.len() as u32).collect();
        order.sort_by(|&a, &b| noise[a as usize].total_cmp(&noise[b as usize]));
        let mut places = vec![0; order.len()];
        for (place, &patch) in order.iter().enumerate() {
            places[patch as usize] = place as u32;
        }
        Self { seen: seen(order.len(), ratio), order, places }
    }

    /// Returns the patches that are seen, in their random order.
    pub fn visible(&self) -> Vec<u32> {
        self.order[..self.seen].to_vec()
    }

    /// Returns 1 for each patch that is hidden and 0 for the others, patch by patch.
    pub fn hidden(&self) -> Vec<f32> {
        let hidden = |&place: &u32| f32::from(u8::from(place as usize >= self.seen));
        self.places.iter().map(hidden).collect()
    }
}

/// The blocks of I-JEPA (Assran et al. 2023, arXiv:2301.08243, section 3): target blocks of a random size and aspect
/// ratio, and a large square context block without the patches of the targets. Sizes are drawn once for a batch,
/// places for each image.
///
/// Two choices differ from the published program: size and aspect ratio are drawn independently of each other, as the
/// paper says, and a block may touch all four sides of the grid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockMasks {
    /// The number of target blocks.
    pub targets: usize,
    /// The area of a target, as a share of the grid.
    pub target_scale: [f64; 2],
    /// The height of a target over its width.
    pub target_aspect: [f64; 2],
    /// The area of the context before the targets are taken out, as a share of the grid.
    pub context_scale: [f64; 2],
    /// The number of patches that a context has at least.
    pub least: usize,
}

/// The masks of one image; patches are numbered row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// The patches that the student sees, in ascending order.
    pub context: Vec<u32>,
    /// The patches of each target block, in ascending order.
    pub targets: Vec<Vec<u32>>,
    /// How many targets the context may overlap, because without them it was too small.
    pub overlapped: usize,
}

impl BlockMasks {
    /// Draws of a place for the context before it may overlap one target more.
    const DRAWS: usize = 20;

    /// Returns the height and width of this step's target blocks.
    fn target(&self, grid: [usize; 2], rng: &mut impl RngCore) -> [usize; 2] {
        let area = self.area(grid, self.target_scale, rng);
        let [low, high] = self.target_aspect;
        block(grid, area, uniform(rng, low, high))
    }

    /// Returns the height and width of this step's context blocks.
    fn context(&self, grid: [usize; 2], rng: &mut impl RngCore) -> [usize; 2] {
        block(grid, self.area(grid, self.context_scale, rng), 1.0)
    }

    /// Draws an area, in whole patches.
    fn area(&self, grid: [usize; 2], [low, high]: [f64; 2], rng: &mut impl RngCore) -> f64 {
        ((grid[0] * grid[1]) as f64 * uniform(rng, low, high)).floor()
    }

    /// Places the blocks of one image. The context is drawn again while too few of its patches are outside of the
    /// targets; after some draws it may overlap the last target, then the last two, and so on.
    fn place(
        &self,
        grid: [usize; 2],
        target: [usize; 2],
        context: [usize; 2],
        rng: &mut impl RngCore,
    ) -> Blocks {
        let targets: Vec<Vec<u32>> =
            (0..self.targets).map(|_| patches_of(place(grid, target, rng), target, grid)).collect();
        for overlapped in 0..=self.targets {
            let apart = &targets[..self.targets - overlapped];
            for _ in 0..Self::DRAWS {
                let mut context = patches_of(place(grid, context, rng), context, grid);
                context.retain(|patch| !apart.iter().any(|target| target.contains(patch)));
                if context.len() >= self.least.max(1) {
                    return Blocks { context, targets, overlapped };
                }
            }
        }
        // A block that is smaller than the least: all patches, as far as they are asked for.
        let all = (0..(grid[0] * grid[1]) as u32).collect();
        Blocks { context: all, overlapped: self.targets, targets }
    }
}

/// Returns the height and width of a block of about `area` patches that fits the grid, at least one patch.
fn block(grid: [usize; 2], area: f64, aspect: f64) -> [usize; 2] {
    let side = |length: f64, most: usize| (length.round() as usize).clamp(1, most.max(1));
    [side((area * aspect).sqrt(), grid[0]), side((area / aspect).sqrt(), grid[1])]
}

/// Draws the top left corner of a block.
fn place(grid: [usize; 2], block: [usize; 2], rng: &mut impl RngCore) -> [usize; 2] {
    let mut along = |axis: usize| below(rng, (grid[axis] - block[axis]) as u64 + 1) as usize;
    [along(0), along(1)]
}

fn patches_of([top, left]: [usize; 2], [height, width]: [usize; 2], grid: [usize; 2]) -> Vec<u32> {
    let rows = top..top + height;
    rows.flat_map(|row| (left..left + width).map(move |column| (row * grid[1] + column) as u32))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: BlockMasks = BlockMasks {
        targets: 4,
        target_scale: [0.15, 0.2],
        target_aspect: [0.75, 1.5],
        context_scale: [0.85, 1.0],
        least: 10,
    };

    fn step(index: u64, micro: u64) -> Step {
        Step { index, micro, seed: 3, ..Step::default() }
    }

    #[test]
    fn the_number_of_patches_that_are_seen_is_cut_as_the_reference_cuts_it() {
        for (patches, ratio, expected) in
            [(25, 0.8, 4), (10, 0.9, 0), (64, 0.75, 16), (9, 0.5, 4), (7, 0.0, 7)]
        {
            assert_eq!(seen(patches, ratio), expected, "{patches} patches at {ratio}");
        }
    }

    #[test]
    fn a_random_mask_is_a_permutation_and_other_addresses_have_other_masks() {
        let at = step(5, 1);
        let masks = Masks { view: 0, at: &at }.random(0..6, 64, 0.75);
        for (row, mask) in masks.iter().enumerate() {
            assert!((0..64).all(|patch| mask.order[mask.places[patch] as usize] == patch as u32));
            assert_eq!(mask.hidden().iter().sum::<f32>(), 48.0);
            assert!(mask.visible().iter().all(|&patch| mask.hidden()[patch as usize] == 0.0));
            assert!(masks[..row].iter().all(|other| other.order != mask.order));
        }
        let own = Masks { view: 0, at: &at }.random(3..6, 64, 0.75);
        assert_eq!(own, masks[3..], "a rank makes the masks of its rows");
        for other in [step(6, 1), step(5, 0)] {
            assert_ne!(Masks { view: 0, at: &other }.random(0..6, 64, 0.75), masks);
        }
        assert_ne!(Masks { view: 1, at: &at }.random(0..6, 64, 0.75), masks);
    }

    #[test]
    fn blocks_have_one_size_and_the_context_has_no_patch_of_a_target() {
        for grid in [[8, 8], [14, 14], [16, 16], [7, 9]] {
            for index in 0..50 {
                let at = step(index, 0);
                let all = Masks { view: 0, at: &at }.blocks(32, grid, &SHAPE);
                let (context, target) = (all[0].context.len(), all[0].targets[0].len());
                let patches = grid[0] * grid[1];
                assert!(context >= SHAPE.least && target >= 1, "{grid:?}: {context} and {target}");
                assert!(target <= patches * 3 / 10, "{grid:?}: {target}");
                for blocks in &all {
                    assert_eq!(blocks.context.len(), context);
                    assert_eq!(blocks.targets.len(), 4);
                    let apart = &blocks.targets[..4 - blocks.overlapped];
                    for target in &blocks.targets {
                        assert_eq!(target.len(), all[0].targets[0].len());
                        assert!(
                            target.is_sorted() && target.iter().all(|&p| (p as usize) < patches)
                        );
                    }
                    let seen = |patch: &u32| blocks.context.contains(patch);
                    assert!(!apart.iter().flatten().any(seen), "{grid:?}: {blocks:?}");
                }
            }
        }
    }

    #[test]
    fn every_patch_is_a_target_sometimes_and_context_at_other_times() {
        let (mut targets, mut contexts) = ([0; 64], [0; 64]);
        for index in 0..100 {
            let at = step(index, 0);
            for blocks in (Masks { view: 0, at: &at }).blocks(4, [8, 8], &SHAPE) {
                blocks.targets.iter().flatten().for_each(|&patch| targets[patch as usize] += 1);
                blocks.context.iter().for_each(|&patch| contexts[patch as usize] += 1);
            }
        }
        assert!(targets.iter().all(|&count| count > 0), "{targets:?}");
        assert!(contexts.iter().all(|&count| count > 0), "{contexts:?}");
    }

    #[test]
    fn a_grid_that_the_targets_may_cover_leaves_a_context_that_overlaps_them() {
        let shape = BlockMasks { target_scale: [1.0, 1.0], target_aspect: [1.0, 1.0], ..SHAPE };
        let at = step(0, 0);
        let all = Masks { view: 0, at: &at }.blocks(3, [4, 4], &shape);
        assert!(all.iter().all(|blocks| blocks.overlapped == 4 && blocks.context.len() >= 10));
    }

    #[test]
    fn the_masks_of_a_row_do_not_depend_on_the_rows_after_it_but_for_their_cut() {
        let at = step(9, 2);
        let masks = Masks { view: 0, at: &at };
        let (few, many) = (masks.blocks(4, [8, 8], &SHAPE), masks.blocks(16, [8, 8], &SHAPE));
        for (few, many) in few.iter().zip(&many) {
            assert_eq!(few.targets, many.targets);
            assert!(few.context.starts_with(&many.context));
        }
    }
}
