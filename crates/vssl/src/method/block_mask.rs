//! Masks of blocks of patches, as iBOT and DINOv2 draw them (BEiT, Bao et al. 2022, arXiv:2106.08254, algorithm 1; Zhou et
//! al. 2022, arXiv:2111.07832, section 3; Oquab et al. 2024, arXiv:2304.07193). Called by the methods that mask patches
//! of the student's views.
//!
//! A mask is a function of its address: the seed, the step, the micro-batch, the row of the joint batch and the view. So
//! one process and any number of ranks draw the same masks, and each rank knows those of the others.

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};
use rand::RngCore;
use vssl_data::rng::{Stream, below, coin, rng, uniform};

use super::Views;
use crate::{objective::self_distillation, schedule::Step};

/// The smallest block, in patches, unless fewer patches are left to mask: that of DINOv2.
const SMALLEST_BLOCK: f64 = 4.0;
/// How often a block is drawn until one fits.
const ATTEMPTS: usize = 10;

/// How patches are masked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockMasking {
    /// The probability that an image has a mask at all.
    pub probability: f64,
    /// The smallest and the largest share of the patches of such an image that are masked.
    pub ratio: [f64; 2],
    /// The smallest ratio of a block's sides; the largest is 1 over it.
    pub aspect: f64,
}

impl BlockMasking {
    /// Draws the mask of one view of the image in this row of the joint batch: whether each patch, row by row, is masked.
    ///
    /// Blocks are laid over each other until the drawn share of the patches is covered, or no block fits in ten attempts.
    /// A block is less high and less wide than the grid.
    pub fn draw(&self, grid: [usize; 2], at: &Step, view: usize, row: usize) -> Vec<bool> {
        let (stream, place) = (Stream::Mask(view as u16), at.micro << 32 | row as u64);
        let mut rng = rng(at.seed, stream, at.index, place);
        let mut mask = vec![false; grid[0] * grid[1]];
        if !coin(&mut rng, self.probability) {
            return mask;
        }
        let share = uniform(&mut rng, self.ratio[0], self.ratio[1]);
        let mut left = (share * mask.len() as f64) as usize;
        while left > 0 {
            let covered = (0..ATTEMPTS).find_map(|_| self.block(&mut rng, &mut mask, grid, left));
            let Some(covered) = covered else { break };
            left -= covered;
        }
        mask
    }

    /// Draws a block and masks its patches, if it fits and covers between 1 and `most` patches that were not masked.
    /// Returns how many they are.
    fn block(
        &self,
        rng: &mut impl RngCore,
        mask: &mut [bool],
        [rows, columns]: [usize; 2],
        most: usize,
    ) -> Option<usize> {
        let area = uniform(rng, SMALLEST_BLOCK.min(most as f64), most as f64);
        let bound = self.aspect.ln();
        let aspect = uniform(rng, bound, -bound).exp();
        let side = |length: f64| length.sqrt().round() as usize;
        let (height, width) = (side(area * aspect), side(area / aspect));
        if height >= rows || width >= columns {
            return None;
        }
        let top = below(rng, (rows - height + 1) as u64) as usize;
        let left = below(rng, (columns - width + 1) as u64) as usize;
        let patches = (top..top + height)
            .flat_map(|row| (left..left + width).map(move |column| row * columns + column));
        let new: Vec<usize> = patches.filter(|&patch| !mask[patch]).collect();
        if new.is_empty() || new.len() > most {
            return None;
        }
        new.iter().for_each(|&patch| mask[patch] = true);
        Some(new.len())
    }
}

/// The masks of the full-size views of a joint batch, and where the masked patches are.
///
/// Ranks have different numbers of masked patches. Each brings as many rows as the rank with the most, and at least one,
/// to an exchange; the rows behind its own masked patches have no share in the loss.
pub struct MaskedBatch {
    /// For each view, 1 for each masked patch of the own images and 0 for the others.
    masks: Vec<TensorData>,
    /// The masked patches of the own images among the patches of all views, view by view.
    places: Vec<i64>,
    /// The share of the loss of each of them.
    shares: Vec<f32>,
    /// The number of masked patches of each rank.
    counts: Vec<usize>,
    /// The number of this rank.
    rank: usize,
    /// The number of patches of the joint batch, masked or not.
    patches: usize,
}

impl MaskedBatch {
    /// Draws the masks of this step; `grids` are the rows and columns of patches of each full-size view.
    pub fn new(masking: &BlockMasking, grids: &[[usize; 2]], views: &Views, at: &Step) -> Self {
        let (n, rank, world) = (views.images.len(), views.group.rank(), views.group.world());
        let images = world * n * grids.len();
        let (mut masks, mut places, mut shares) = (Vec::new(), Vec::new(), Vec::new());
        let (mut counts, mut offset) = (vec![0; world], 0);
        for (view, &grid) in grids.iter().enumerate() {
            let of_image = grid[0] * grid[1];
            let mut own = vec![0.0; n * of_image];
            for row in 0..world * n {
                let mask = masking.draw(grid, at, view, row);
                let masked = mask.iter().filter(|&&masked| masked).count();
                counts[row / n] += masked;
                if row / n != rank {
                    continue;
                }
                let first = (row % n) * of_image;
                for patch in (0..of_image).filter(|&patch| mask[patch]) {
                    own[first + patch] = 1.0;
                    places.push((offset + first + patch) as i64);
                    shares.push(self_distillation::share(masked, images));
                }
            }
            masks.push(TensorData::new(own, [n, of_image]));
            offset += n * of_image;
        }
        let rows = counts.iter().copied().max().unwrap_or(0).max(1);
        places.resize(rows, 0);
        shares.resize(rows, 0.0);
        Self { masks, places, shares, counts, rank, patches: world * offset }
    }

    /// Returns the mask of the own images of a view, `[n, patches]`.
    pub fn mask(&self, view: usize, device: &Device) -> Tensor<2> {
        Tensor::from_data(self.masks[view].clone(), device)
    }

    /// Returns the rows that this rank brings to an exchange: its masked patches, and others behind them.
    ///
    /// # Shapes — `patches`: `[n, patches, dim]` of each view; returns `[rows, dim]`.
    pub fn rows(&self, patches: Vec<Tensor<3>>) -> Tensor<2> {
        let flat = |patches: Tensor<3>| {
            let [n, count, dim] = patches.dims();
            patches.reshape([n * count, dim])
        };
        let all = Tensor::cat(patches.into_iter().map(flat).collect(), 0);
        let places = TensorData::new(self.places.clone(), [self.places.len()]);
        let places = Tensor::<1, Int>::from_data(places, &all.device());
        all.select(0, places)
    }

    /// Returns the sums of the rows' values over the masked patches of each own image, in all its views. The values of rows
    /// without a share in the loss have to be 0.
    ///
    /// # Shapes — `[rows]` to `[n]`.
    pub fn of_images(&self, values: Tensor<1>) -> Tensor<1> {
        let device = values.device();
        let sizes = self.masks.iter().map(|mask| [mask.shape()[0], mask.shape()[1]]);
        let places = TensorData::new(self.places.clone(), [self.places.len()]);
        let places = Tensor::<1, Int>::from_data(places, &device);
        let all = sizes.clone().map(|[n, patches]| n * patches).sum::<usize>();
        let all = Tensor::<1>::zeros([all], &device);
        let all = all.select_assign(0, places, values, IndexingUpdateOp::Add);
        let mut first = 0;
        let sums = sizes.map(|[n, patches]| {
            let view = all.clone().narrow(0, first, n * patches).reshape([n, patches]);
            first += n * patches;
            view.sum_dim(1).reshape([n]) // [n, patches] -> [n, 1] -> [n]
        });
        sums.reduce(|a, b| a + b).expect("there is a full-size view")
    }

    /// Returns the share that each row has in the loss, `[rows]`.
    pub fn shares(&self, device: &Device) -> Tensor<1> {
        Tensor::from_floats(self.shares.as_slice(), device)
    }

    /// Returns the number of masked patches of the joint batch.
    pub fn count(&self) -> usize {
        self.counts.iter().sum()
    }

    /// Returns the share of the patches of the joint batch that are masked.
    pub fn share(&self) -> f32 {
        self.count() as f32 / self.patches.max(1) as f32
    }

    /// Returns the sum of the masked patches among the rows of this rank.
    ///
    /// # Shapes — `[rows, dim]` to `[1, dim]`.
    pub fn sum(&self, rows: Tensor<2>) -> Tensor<2> {
        match self.counts[self.rank] {
            0 => rows.narrow(0, 0, 1).zeros_like(),
            own => rows.narrow(0, 0, own).sum_dim(0),
        }
    }

    /// Applies `f` to the masked patches of all ranks, one row each, and returns the results of the rows of this rank; they
    /// are 0 behind its masked patches. Without any masked patch all are 0.
    ///
    /// # Shapes — `joint`: `[world · rows, dim]`; returns `[rows, dim]`.
    pub fn together(&self, joint: Tensor<2>, f: impl FnOnce(Tensor<2>) -> Tensor<2>) -> Tensor<2> {
        let rows = self.places.len();
        let of = |rank: usize| (self.counts[rank] > 0).then_some((rank * rows, self.counts[rank]));
        let masked = (0..self.counts.len()).filter_map(of);
        let masked = masked.map(|(first, count)| joint.clone().narrow(0, first, count));
        let masked: Vec<Tensor<2>> = masked.collect();
        let blank = |count: usize| Tensor::zeros([count, joint.dims()[1]], &joint.device());
        let own = self.counts[self.rank];
        if own == 0 {
            return blank(rows);
        }
        let before: usize = self.counts[..self.rank].iter().sum();
        let result = f(Tensor::cat(masked, 0)).narrow(0, before, own);
        match rows - own {
            0 => result,
            rest => {
                let rest = blank(rest).cast(result.dtype());
                Tensor::cat(vec![result, rest], 0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collective::Group;

    const MASKING: BlockMasking = BlockMasking { probability: 0.5, ratio: [0.1, 0.5], aspect: 0.3 };

    fn masks(grid: [usize; 2], rows: usize) -> Vec<Vec<bool>> {
        let at = Step { seed: 3, index: 5, ..Step::default() };
        (0..rows).map(|row| MASKING.draw(grid, &at, 0, row)).collect()
    }

    fn count(mask: &[bool]) -> usize {
        mask.iter().filter(|&&masked| masked).count()
    }

    #[test]
    fn half_of_the_images_have_masks_of_the_shares_asked_for() {
        for (grid, rows) in [([14, 14], 2000), ([8, 8], 2000), ([7, 16], 500)] {
            let (masks, patches) = (masks(grid, rows), grid[0] * grid[1]);
            let masked: Vec<usize> =
                masks.iter().map(|mask| count(mask)).filter(|&n| n > 0).collect();
            let share = masked.len() as f64 / rows as f64;
            // Five standard deviations.
            assert!((share - 0.5).abs() < 2.5 / (rows as f64).sqrt(), "{grid:?}: {share}");
            assert!(masked.iter().all(|&n| n <= patches / 2), "{grid:?}");
            let mean = masked.iter().sum::<usize>() as f64 / (masked.len() * patches) as f64;
            assert!((mean - 0.3).abs() < 0.03, "{grid:?}: {mean}");
        }
    }

    #[test]
    fn masks_are_of_blocks() {
        // A masked patch has more masked neighbours than a patch of a random mask of 30 %.
        let side = 14;
        let (mut neighbours, mut masked) = (0, 0);
        for mask in masks([side, side], 400) {
            for patch in (0..mask.len()).filter(|&patch| mask[patch]) {
                masked += 1;
                let beside = |other: usize| usize::from(mask[other]);
                neighbours += if patch % side > 0 { beside(patch - 1) } else { 0 };
                neighbours += if patch >= side { beside(patch - side) } else { 0 };
            }
        }
        let share = neighbours as f64 / (2 * masked) as f64;
        assert!(share > 0.5, "{share}");
    }

    #[test]
    fn other_addresses_have_other_masks_and_the_same_address_the_same() {
        let at = Step { seed: 3, ..Step::default() };
        let always = BlockMasking { probability: 1.0, ..MASKING };
        let draw = |at: Step, view, row| always.draw([14, 14], &at, view, row);
        let first = draw(at, 0, 0);
        assert_eq!(draw(at, 0, 0), first);
        for other in [
            draw(at, 1, 0),
            draw(at, 0, 1),
            draw(Step { micro: 1, ..at }, 0, 0),
            draw(Step { index: 1, ..at }, 0, 0),
            draw(Step { seed: 4, ..at }, 0, 0),
        ] {
            assert_ne!(other, first);
        }
    }

    #[test]
    fn grids_too_small_for_a_block_and_shares_of_nothing_have_no_mask() {
        let at = Step::default();
        for grid in [[1, 1], [1, 9]] {
            let always = BlockMasking { probability: 1.0, ..MASKING };
            assert_eq!(count(&always.draw(grid, &at, 0, 0)), 0, "{grid:?}");
        }
        let none = BlockMasking { probability: 0.0, ..MASKING };
        assert_eq!(count(&none.draw([14, 14], &at, 0, 0)), 0);
    }

    #[test]
    fn rows_are_those_of_the_masked_patches_and_a_row_without_share_where_there_is_none() {
        let device = Device::flex();
        let images = || vec![0; 6];
        let (global, local) = (Vec::new(), Vec::new());
        let group = Group::alone();
        let views =
            Views { images: images(), labels: None, global, local, group, frozen_backbone: false };
        let (grids, at) = ([[4, 4], [2, 3]], Step { seed: 1, ..Step::default() });
        let always = BlockMasking { probability: 0.8, ratio: [0.5, 0.5], aspect: 0.5 };
        let batch = MaskedBatch::new(&always, &grids, &views, &at);
        let patch = |offset: usize, patches: usize| -> Tensor<3> {
            let values: Vec<f32> = (0..6 * patches).map(|i| (offset + i) as f32).collect();
            Tensor::<1>::from_floats(values.as_slice(), &device).reshape([6, patches, 1])
        };
        let rows = batch.rows(vec![patch(0, 16), patch(96, 6)]);
        let rows: Vec<f32> = rows.into_data().try_to_vec().unwrap();
        let masks = [0, 1].map(|view| batch.mask(view, &device).into_data());
        let masks: Vec<f32> = masks.iter().flat_map(|mask| mask.iter::<f32>()).collect();
        let expected = (0..masks.len()).filter(|&i| masks[i] == 1.0).map(|i| i as f32);
        assert_eq!(rows, expected.collect::<Vec<_>>());
        assert_eq!(rows.len(), batch.count());
        // Each of the twelve images with a mask has a twelfth of the loss.
        let shares: f32 = batch.shares(&device).sum().into_scalar();
        let masked = (0..2).flat_map(|view| (0..6).map(move |row| (view, row)));
        let masked = masked
            .filter(|&(view, row)| count(&always.draw(grids[view], &at, view, row)) > 0)
            .count();
        assert!((shares - masked as f32 / 12.0).abs() < 1e-6, "{shares}");
        // The shares of an image add up to a twelfth for each of its views with a mask.
        let of_images: Vec<f32> =
            batch.of_images(batch.shares(&device)).into_data().try_to_vec().unwrap();
        for (row, sum) in of_images.iter().enumerate() {
            let views = (0..2).filter(|&view| count(&always.draw(grids[view], &at, view, row)) > 0);
            assert!((sum - views.count() as f32 / 12.0).abs() < 1e-6, "{row}: {sum}");
        }
        let none = BlockMasking { probability: 0.0, ..always };
        let none = MaskedBatch::new(&none, &grids, &views, &at);
        assert_eq!((none.count(), none.share()), (0, 0.0));
        assert_eq!(none.shares(&device).into_data().try_to_vec::<f32>().unwrap(), [0.0]);
    }
}
