//! Stride-1 3×3 convolution by Winograd's F(4×4, 3×3): a fourth of the multiplications
//! (Lavin and Gray 2015, arXiv:1509.09308).
//!
//! In one dimension, four outputs of a filter of three taps take 12 multiplications. They can be had from
//! six: a matrix `Bᵀ` turns six inputs into six numbers, a matrix `G` three taps into six numbers, these are
//! multiplied pair by pair, and a matrix `Aᵀ` turns the six products into four outputs. In both dimensions
//! of an image that makes 36 multiplications for 16 outputs instead of 144. The matrices hold constants, and
//! each tile is transformed once for all output channels, so with many channels the products are most of the
//! work. A pass has four steps:
//!
//! 1. The filters are transformed: 36 numbers for each pair of an input and an output channel.
//! 2. The image is cut into tiles of 6×6 pixels that overlap by two, one for each 4×4 outputs, and the
//!    tiles are transformed: 36 numbers, called positions, for each tile and channel.
//! 3. At each position the sum over input channels is a matrix product: `[tiles, in] · [in, out]`.
//! 4. The 36 products of each tile and output channel are transformed into its 4×4 outputs.
//!
//! Where there are many tiles, a task takes a few of them through steps 2 to 4, so that what lies between
//! the steps stays in its cache. Where there are few tiles, the filters are larger than the images: then all
//! threads work on one step at a time, and the filters of a position are read once.
//!
//! The input gradient is the convolution of the output gradient with filters turned by 180°. The weight
//! gradient is the adjoint of the forward pass: at each position the product of transformed tiles of the
//! input and of the output gradient, `[in, tiles] · [tiles, out]`, and at the end one transform of each
//! filter.
//!
//! # Error
//!
//! The transforms amplify rounding: outputs are off by up to about 2·10⁻⁵ of the largest output
//! (direct convolution: 10⁻⁶). The tests bound it by 10⁻⁴.

use std::marker::PhantomData;

use super::buffer::{self, Buffer};
use super::gemm::{Block, DEPTH, slab_rows};
use super::pool::{Shared, parallel_for};
use super::shape::Conv;
use super::simd::Isa;
use super::winograd_transform::{
    Added, FilterGradient, FilterPanel, Finish, Gather, Grid, Input, OutputAdjoint, POSITIONS,
    Plain, Scatter, Strips, TOGETHER,
};

/// The number of tiles that a task takes from image to image, when there are enough tiles: its products stay
/// near L2.
const FUSED_TILES: usize = 24;
/// The number of floats of transformed tiles that are in memory when all threads work on one step.
const ALIVE: usize = 3 << 20;
/// The largest number of input and of output channels of a task of the weight gradient: its sums at all positions
/// take 600 KB of L2. With 64 channels in and out, this is twice as fast as sums in memory.
const SIDE: usize = 64;
/// The number of tasks of the weight gradient that are wanted: fewer leave threads without work.
const TASKS: usize = 8;
/// The number of floats of transformed tiles that share L2 with the transformed weight gradient.
const NEAR: usize = 1 << 16;
/// The number of lanes to a multiple of which channels are filled up, for any instruction set.
const LANES: usize = 16;

/// Returns the number of floats from a position to the next, where a position has `size` floats: an odd
/// number of cache lines. The 36 positions of a tile are written together; at distances of a power of two
/// they would all fall into the same set of the cache and evict each other.
fn padded_stride(size: usize) -> usize {
    (size.div_ceil(16) | 1) * 16
}

/// Returns whether the convolution is of the right kind and gains from Winograd's method.
pub fn applies(conv: &Conv) -> bool {
    let shape = conv.kernel == (3, 3) && conv.stride == 1 && conv.padding <= 3;
    let channels = conv.in_channels.min(conv.out_channels);
    if !shape || channels < 8 {
        return false;
    }
    // Tiles at the border do work for nothing.
    let tiles = conv.out_height().div_ceil(4) * conv.out_width().div_ceil(4);
    9 * conv.out_height() * conv.out_width() >= 2 * POSITIONS * tiles
}

/// Returns whether Winograd's method [`applies`] and pays in training, where the filters are transformed at each
/// step: that takes longer than the multiplications that it saves if the batch has fewer than `tiles` tiles.
pub fn pays(conv: &Conv, tiles: usize) -> bool {
    applies(conv) && Pass::forward(conv).tiles >= tiles
}

/// A convolution of images of `in_channels` to images of `out_channels`, forward or backward.
struct Pass {
    input: Grid,
    output: Grid,
    tiles: usize,
}

impl Pass {
    fn forward(conv: &Conv) -> Self {
        let size = (conv.out_height(), conv.out_width());
        let tiles = (size.0.div_ceil(4), size.1.div_ceil(4));
        Pass {
            input: Grid {
                size: (conv.height, conv.width),
                tiles,
                outside: conv.padding,
                channels: conv.in_channels,
            },
            output: Grid { size, tiles, outside: 0, channels: conv.out_channels },
            tiles: conv.batch * tiles.0 * tiles.1,
        }
    }

    fn backward(conv: &Conv) -> Self {
        let tiles = (conv.height.div_ceil(4), conv.width.div_ceil(4));
        Pass {
            input: Grid {
                size: (conv.out_height(), conv.out_width()),
                tiles,
                outside: 2 - conv.padding,
                channels: conv.out_channels,
            },
            output: Grid {
                size: (conv.height, conv.width),
                tiles,
                outside: 0,
                channels: conv.in_channels,
            },
            tiles: conv.batch * tiles.0 * tiles.1,
        }
    }
}

/// See [`super::conv::forward`], which checks the sizes.
pub fn forward(isa: Isa, conv: &Conv, x: &[f32], weight: &[f32], y: &mut [f32]) {
    let pass = Pass::forward(conv);
    let filters = filters(isa, conv, weight, false);
    convolve(isa, &pass, x, &filters, y, Plain);
}

/// Returns the filters of the forward pass, transformed and packed for [`forward_then`].
pub(super) fn forward_filters(isa: Isa, conv: &Conv, weight: &[f32]) -> Buffer {
    filters(isa, conv, weight, false)
}

/// Writes the convolution of `x` with the weight that [`forward_filters`] packed to `y`, each number after
/// `finish`.
pub(super) fn forward_then(
    isa: Isa,
    conv: &Conv,
    x: &[f32],
    filters: &[f32],
    y: &mut [f32],
    finish: impl Finish,
) {
    convolve(isa, &Pass::forward(conv), x, filters, y, finish);
}

/// See [`super::conv::input_gradient`], which checks the sizes. The padding must not be above two.
pub fn input_gradient(
    isa: Isa,
    conv: &Conv,
    dy: &[f32],
    weight: &[f32],
    dx: &mut [f32],
    add: bool,
) {
    let pass = Pass::backward(conv);
    let filters = filters(isa, conv, weight, true);
    match add {
        true => convolve(isa, &pass, dy, &filters, dx, Added),
        false => convolve(isa, &pass, dy, &filters, dx, Plain),
    }
}

/// Returns the transformed filters as panels, `[36, panel, depth, width]`.
fn filters(isa: Isa, conv: &Conv, weight: &[f32], turned: bool) -> Buffer {
    let width = isa.tile_columns();
    let (mut depth, mut columns) = (conv.in_channels, conv.out_channels);
    if turned {
        (depth, columns) = (columns, depth);
    }
    let panels = columns.div_ceil(width);
    let position = padded_stride(panels * depth * width);
    let mut packed = buffer::take(POSITIONS * position);
    let out = Shared::new(&mut packed);
    parallel_for(panels, |panel| {
        let first = panel * width;
        // SAFETY: each task writes its own panel at each position.
        unsafe {
            isa.run(FilterPanel {
                weight,
                in_channels: conv.in_channels,
                depth,
                first,
                count: width.min(columns - first),
                turned,
                to: out.at(panel * depth * width),
                position,
            });
        }
    });
    packed
}

fn convolve(isa: Isa, pass: &Pass, x: &[f32], filters: &[f32], y: &mut [f32], finish: impl Finish) {
    let rows = pass.input.channels.next_multiple_of(LANES);
    let columns = pass.output.channels.next_multiple_of(LANES);
    let y = Shared::new(y);
    if pass.tiles >= 8 * FUSED_TILES {
        parallel_for(pass.tiles.div_ceil(FUSED_TILES), |task| {
            let first = task * FUSED_TILES;
            let tiles = (first, FUSED_TILES.min(pass.tiles - first));
            let from = POSITIONS * padded_stride(FUSED_TILES * rows);
            let to = POSITIONS * padded_stride(FUSED_TILES * columns);
            buffer::with_scratch(from + to, |scratch| {
                let (from, to) = scratch.split_at_mut(from);
                let products = Products { isa, pass, filters, stride: FUSED_TILES };
                let (from, to) = (Shared::new(from), Shared::new(to));
                // SAFETY: scratch of this task; its tiles are its own.
                unsafe {
                    products.gather(x, tiles, from);
                    (0..POSITIONS).for_each(|p| products.multiply(p, tiles.1, from, to));
                    products.scatter(tiles, to, y, finish);
                }
            });
        });
        return;
    }
    // Few tiles and mostly many channels: the filters outweigh the images, and are read once.
    let alive = (ALIVE / (POSITIONS * (rows + columns))).max(64).min(pass.tiles.max(1));
    let products = Products { isa, pass, filters, stride: alive };
    let mut from = buffer::take(POSITIONS * padded_stride(alive * rows));
    let mut to = buffer::take(POSITIONS * padded_stride(alive * columns));
    let (from, to) = (Shared::new(&mut from), Shared::new(&mut to));
    for first in (0..pass.tiles).step_by(alive) {
        let count = alive.min(pass.tiles - first);
        let pieces = count.div_ceil(4);
        // SAFETY: pieces are disjoint tiles, products disjoint positions.
        parallel_for(pieces, |piece| unsafe {
            let at = piece * 4;
            products.gather(x, (first + at, 4.min(count - at)), from.from(at * rows));
        });
        // SAFETY: as above.
        parallel_for(POSITIONS, |p| unsafe { products.multiply(p, count, from, to) });
        // SAFETY: as above.
        parallel_for(pieces, |piece| unsafe {
            let at = piece * 4;
            let tiles = (first + at, 4.min(count - at));
            products.scatter(tiles, to.from(at * columns), y, finish);
        });
    }
}

struct Products<'a> {
    isa: Isa,
    pass: &'a Pass,
    filters: &'a [f32],
    /// The number of tiles between positions.
    stride: usize,
}

impl Products<'_> {
    unsafe fn gather(&self, x: &[f32], tiles: (usize, usize), to: Shared) {
        let row = self.pass.input.channels.next_multiple_of(LANES);
        // SAFETY: the caller promises room for these tiles.
        unsafe {
            self.isa.run(Gather::<Input, 6> {
                from: x,
                grid: self.pass.input,
                channels: (0, self.pass.input.channels),
                tiles,
                to: to.at(0),
                strips: Strips {
                    strip: row,
                    strip_stride: 0,
                    row,
                    position: padded_stride(self.stride * row),
                },
                transform: PhantomData,
            });
        }
    }

    unsafe fn multiply(&self, position: usize, tiles: usize, from: Shared, to: Shared) {
        let (depth, columns) = (self.pass.input.channels, self.pass.output.channels);
        let (from_row, to_row) = (depth.next_multiple_of(LANES), columns.next_multiple_of(LANES));
        let width = self.isa.tile_columns();
        let filters =
            &self.filters[position * padded_stride(columns.next_multiple_of(width) * depth)..];
        for start in (0..depth).step_by(DEPTH) {
            // SAFETY: the caller promises the tiles; the filters of a position have `depth` rows.
            unsafe {
                self.isa.run(Block {
                    rows: tiles,
                    columns,
                    depth: DEPTH.min(depth - start),
                    a: from.at(position * padded_stride(self.stride * from_row) + start),
                    a_row: from_row,
                    a_column: 1,
                    b: filters[start * width..].as_ptr(),
                    b_panel: depth * width,
                    c: to.at(position * padded_stride(self.stride * to_row)),
                    c_row: to_row,
                    accumulate: start > 0,
                });
            }
        }
    }

    unsafe fn scatter(&self, tiles: (usize, usize), from: Shared, y: Shared, finish: impl Finish) {
        let row = self.pass.output.channels.next_multiple_of(LANES);
        // SAFETY: the caller promises that no other task writes these tiles.
        unsafe {
            self.isa.run(Scatter {
                from: from.at(0),
                row,
                position: padded_stride(self.stride * row),
                grid: self.pass.output,
                tiles,
                to: y.at(0),
                finish,
            });
        }
    }
}

/// See [`super::conv::weight_gradient`], which checks the sizes.
///
/// A task has the sums of some input and output channels, which stay in its cache, and takes the tiles from the images
/// to the products. Other tasks gather the same tiles again, which costs a fourth of the products.
pub fn weight_gradient(isa: Isa, conv: &Conv, x: &[f32], dy: &[f32], dweight: &mut [f32]) {
    let pass = Pass::forward(conv);
    let (inputs, outputs) = (blocks(conv.in_channels), blocks(conv.out_channels));
    let count = inputs.1 * outputs.1;
    // Where there are few blocks, a task has some of the tiles only.
    let pieces = TASKS.div_ceil(count).min(pass.tiles.div_ceil(FUSED_TILES)).max(1);
    let share = pass.tiles.div_ceil(pieces);
    let size = POSITIONS * padded_stride(inputs.0 * outputs.0);
    let mut sums = buffer::take(if pieces > 1 { pieces * count * size } else { 0 });
    let (out, to) = (Shared::new(&mut sums), Shared::new(dweight));
    let block = |index: usize| {
        let part =
            |index: usize, side: usize, all: usize| (index * side, side.min(all - index * side));
        Channels {
            inputs: part(index / outputs.1, inputs.0, conv.in_channels),
            outputs: part(index % outputs.1, outputs.0, conv.out_channels),
        }
    };
    parallel_for(pieces * count, |task| {
        let (piece, index) = (task / count, task % count);
        let (start, end) = (piece * share, ((piece + 1) * share).min(pass.tiles));
        let products = WeightProducts::new(isa, &pass, [x, dy], block(index));
        let own = if pieces > 1 { 0 } else { size };
        buffer::with_scratch(
            POSITIONS * (products.strides.0 + products.strides.1) + own,
            |scratch| {
                let (own, scratch) = scratch.split_at_mut(own);
                // SAFETY: each task has its own sums, in the scratch or in the buffer.
                unsafe {
                    if pieces > 1 {
                        return products.sum((start, end), scratch, out.from(task * size));
                    }
                    let sums = Shared::new(own);
                    products.sum((start, end), scratch, sums);
                    products.collect_filters(sums, (0, products.channels.outputs.1), to);
                }
            },
        );
    });
    if pieces == 1 {
        return;
    }
    let (total, others) = sums.split_at_mut(count * size);
    let others = others.chunks_exact(count * size);
    others.for_each(|part| super::update::add(isa, total, part));
    let total = Shared::new(total);
    parallel_for(count * SIDE.div_ceil(FILTERS), |task| {
        let (index, first) = (task % count, task / count * FILTERS);
        let products = WeightProducts::new(isa, &pass, [x, dy], block(index));
        let outputs = products.channels.outputs.1;
        if first < outputs {
            // SAFETY: each task has its own output channels of its own block.
            unsafe {
                let part = (first, FILTERS.min(outputs - first));
                products.collect_filters(total.from(index * size), part, to);
            }
        }
    });
}

/// The number of output channels whose filters are transformed back together: as many lines of the weight as an
/// eight-way cache holds when they meet in two sets.
const FILTERS: usize = 16;

/// Returns the channels of a block and the number of blocks.
fn blocks(channels: usize) -> (usize, usize) {
    let side = channels.div_ceil(channels.div_ceil(SIDE)).next_multiple_of(LANES);
    (side, channels.div_ceil(side))
}

/// The first channel and the number of channels of a block.
#[derive(Clone, Copy)]
struct Channels {
    inputs: (usize, usize),
    outputs: (usize, usize),
}

/// The products of the weight gradient of some channels, over some tiles at a time.
struct WeightProducts<'a> {
    isa: Isa,
    pass: &'a Pass,
    /// The images and the gradient of the output.
    from: [&'a [f32]; 2],
    channels: Channels,
    /// The rows of the left side that the matrix product reads together, and the columns of its right side.
    widths: (usize, usize),
    /// The largest number of tiles at a time.
    room: usize,
    /// The number of floats from a position to the next, of transformed inputs and of transformed gradients.
    strides: (usize, usize),
}

impl<'a> WeightProducts<'a> {
    fn new(isa: Isa, pass: &'a Pass, from: [&'a [f32]; 2], channels: Channels) -> Self {
        let widths = (slab_rows(isa), isa.tile_columns());
        let inputs = channels.inputs.1.next_multiple_of(widths.0);
        let gradients = channels.outputs.1.next_multiple_of(widths.1);
        let room = (NEAR / (POSITIONS * (inputs + gradients))).clamp(16, 64);
        let strides = (padded_stride(room * inputs), padded_stride(room * gradients));
        Self { isa, pass, from, channels, widths, room, strides }
    }

    /// Returns the number of floats from a position to the next of the sums.
    fn position(&self) -> usize {
        padded_stride(self.channels.inputs.1 * self.channels.outputs.1)
    }

    /// Writes the sums over the tiles from `start` to `end`, at least one.
    ///
    /// # Safety
    ///
    /// `sums` must have all positions, and no other task may use them.
    unsafe fn sum(&self, (start, end): (usize, usize), scratch: &mut [f32], sums: Shared) {
        debug_assert!(start < end, "a task of at least one tile");
        let (from, to) = scratch.split_at_mut(POSITIONS * self.strides.0);
        assert!(to.len() >= POSITIONS * self.strides.1, "room for the tiles");
        let (from, to) = (Shared::new(from), Shared::new(to));
        for first in (start..end).step_by(self.room) {
            let tiles = (first, self.room.min(end - first));
            // SAFETY: the scratch has room for `room` tiles; the sums are the caller's.
            unsafe {
                self.gather(tiles, from, to);
                for position in 0..POSITIONS {
                    self.multiply(position, tiles.1, [from, to], sums, first > start);
                }
            }
        }
    }

    /// Transforms `tiles`, the first tile and their number.
    ///
    /// # Safety
    ///
    /// `inputs` and `gradients` must have [`POSITIONS`] times their stride, and no other task may use them; there
    /// must be room for the tiles.
    unsafe fn gather(&self, tiles: (usize, usize), inputs: Shared, gradients: Shared) {
        let ((slab, width), [x, dy]) = (self.widths, self.from);
        // In strips as wide as the matrix product reads them.
        let strips = |strip: usize, position: usize| Strips {
            strip,
            strip_stride: self.room * strip,
            row: strip,
            position,
        };
        // SAFETY: the caller promises room for these tiles.
        unsafe {
            self.isa.run(Gather::<Input, 6> {
                from: x,
                grid: self.pass.input,
                channels: self.channels.inputs,
                tiles,
                to: inputs.at(0),
                strips: strips(slab, self.strides.0),
                transform: PhantomData,
            });
            self.isa.run(Gather::<OutputAdjoint, 4> {
                from: dy,
                grid: self.pass.output,
                channels: self.channels.outputs,
                tiles,
                to: gradients.at(0),
                strips: strips(width, self.strides.1),
                transform: PhantomData,
            });
        }
    }

    /// Adds the product of the gathered tiles at one position to `sums`, or replaces `sums` by it.
    ///
    /// # Safety
    ///
    /// The tiles must have been gathered; `sums` must have that position, and no other task may use it.
    unsafe fn multiply(
        &self,
        position: usize,
        tiles: usize,
        [inputs, gradients]: [Shared; 2],
        sums: Shared,
        accumulate: bool,
    ) {
        let (c, k) = (self.channels.inputs.1, self.channels.outputs.1);
        let (slab, width) = self.widths;
        for row in (0..c).step_by(slab) {
            // SAFETY: the caller promises the tiles and the sums of this position.
            unsafe {
                self.isa.run(Block {
                    rows: slab.min(c - row),
                    columns: k,
                    depth: tiles,
                    a: inputs.at(position * self.strides.0 + row * self.room),
                    a_row: 1,
                    a_column: slab,
                    b: gradients.at(position * self.strides.1),
                    b_panel: self.room * width,
                    c: sums.at(position * self.position() + row * k),
                    c_row: k,
                    accumulate,
                });
            }
        }
    }

    /// Transforms the sums of all positions into the gradients of the filters of some of the output channels, the
    /// first and their number.
    ///
    /// # Safety
    ///
    /// `sums` must have all positions, `to` must be the gradient of the whole weight, and no other task may use these
    /// filters.
    unsafe fn collect_filters(&self, sums: Shared, (first, count): (usize, usize), to: Shared) {
        let Channels { inputs: (c, inputs), outputs: (k, outputs) } = self.channels;
        let filter = self.pass.input.channels * 9;
        for channel in (0..inputs).step_by(TOGETHER) {
            // SAFETY: the caller's bounds.
            unsafe {
                self.isa.run(FilterGradient {
                    from: sums.at(channel * outputs),
                    inputs: TOGETHER.min(inputs - channel),
                    row: outputs,
                    position: self.position(),
                    channels: (first, count),
                    to: to.at(k * filter + (c + channel) * 9),
                    filter,
                });
            }
        }
    }
}
