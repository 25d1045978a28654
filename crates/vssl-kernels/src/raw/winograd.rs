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
/// The largest number of pairs of input and output channels for which the weight gradient is computed tile by
/// tile.
const FEW_WEIGHTS: usize = 64 * 64;
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
pub fn weight_gradient(isa: Isa, conv: &Conv, x: &[f32], dy: &[f32], dweight: &mut [f32]) {
    let pass = Pass::forward(conv);
    let (c, k) = (conv.in_channels, conv.out_channels);
    if c * k <= FEW_WEIGHTS && pass.tiles >= 8 * FUSED_TILES {
        return fused_weight_gradient(isa, conv, x, dy, dweight);
    }
    let alive = |rooms: usize| (ALIVE / (POSITIONS * rooms)).clamp(96, 320).min(pass.tiles.max(1));
    let products = WeightProducts::new(isa, &pass, [x, dy], alive);
    let mut inputs = buffer::take(POSITIONS * products.strides.0);
    let mut gradients = buffer::take(POSITIONS * products.strides.1);
    let mut sums = buffer::take(POSITIONS * padded_stride(c * k));
    if pass.tiles == 0 {
        sums.fill(0.0);
    }
    let (inputs, gradients) = (Shared::new(&mut inputs), Shared::new(&mut gradients));
    let out = Shared::new(&mut sums);
    for first in (0..pass.tiles).step_by(products.room) {
        let count = products.room.min(pass.tiles - first);
        // SAFETY: pieces are disjoint tiles, of which the buffers have room for `products.room`.
        parallel_for(count.div_ceil(4), |piece| unsafe {
            let at = piece * 4;
            products.gather((first + at, 4.min(count - at)), at, inputs, gradients);
        });
        // SAFETY: each task has its own position.
        parallel_for(POSITIONS, |position| unsafe {
            products.multiply(position, count, [inputs, gradients], out, first > 0);
        });
    }
    collect_filters(isa, conv, &sums, dweight);
}

/// Computes the weight gradient where its transform fits into L2 beside some tiles: a task takes tiles from
/// the images to the products, in its own sum, so that they never leave its cache.
fn fused_weight_gradient(isa: Isa, conv: &Conv, x: &[f32], dy: &[f32], dweight: &mut [f32]) {
    /// The number of sums that are added up at the end.
    const TASKS: usize = 8;
    let pass = Pass::forward(conv);
    let near = |rooms: usize| (NEAR / (POSITIONS * rooms)).clamp(16, 64);
    let products = WeightProducts::new(isa, &pass, [x, dy], near);
    let (inputs, gradients) = products.strides;
    let size = POSITIONS * padded_stride(conv.in_channels * conv.out_channels);
    let share = pass.tiles.div_ceil(TASKS);
    let mut sums = buffer::take(TASKS * size);
    let out = Shared::new(&mut sums);
    parallel_for(TASKS, |task| {
        let (start, end) = ((task * share).min(pass.tiles), ((task + 1) * share).min(pass.tiles));
        // SAFETY: each task has its own sums.
        let sums = unsafe { out.from(task * size) };
        if start == end {
            // SAFETY: as above.
            unsafe { sums.slice(0, size) }.fill(0.0);
        }
        buffer::with_scratch(POSITIONS * (inputs + gradients), |scratch| {
            let (from, to) = scratch.split_at_mut(POSITIONS * inputs);
            let (from, to) = (Shared::new(from), Shared::new(to));
            for first in (start..end).step_by(products.room) {
                let tiles = (first, products.room.min(end - first));
                // SAFETY: the scratch is this task's and has room for `products.room` tiles.
                unsafe {
                    products.gather(tiles, 0, from, to);
                    for position in 0..POSITIONS {
                        products.multiply(position, tiles.1, [from, to], sums, first > start);
                    }
                }
            }
        });
    });
    let (total, others) = sums.split_at_mut(size);
    let others = others.chunks_exact(size);
    others.for_each(|part| super::update::add(isa, total, part));
    collect_filters(isa, conv, total, dweight);
}

/// The products of the weight gradient, over some tiles at a time.
struct WeightProducts<'a> {
    isa: Isa,
    pass: &'a Pass,
    /// The images and the gradient of the output.
    from: [&'a [f32]; 2],
    /// The rows of the left side that the matrix product reads together, and the columns of its right side.
    widths: (usize, usize),
    /// The largest number of tiles at a time.
    room: usize,
    /// The number of floats from a position to the next, of transformed inputs and of transformed gradients.
    strides: (usize, usize),
}

impl<'a> WeightProducts<'a> {
    /// Makes the products; `room` returns how many tiles are taken at a time, from the floats of one position
    /// of a tile.
    fn new(isa: Isa, pass: &'a Pass, from: [&'a [f32]; 2], room: impl Fn(usize) -> usize) -> Self {
        let widths = (slab_rows(isa), isa.tile_columns());
        let inputs = pass.input.channels.next_multiple_of(widths.0);
        let gradients = pass.output.channels.next_multiple_of(widths.1);
        let room = room(inputs + gradients);
        let strides = (padded_stride(room * inputs), padded_stride(room * gradients));
        Self { isa, pass, from, widths, room, strides }
    }

    /// Transforms `tiles` (the first tile and their number) to the places from tile `at` on.
    ///
    /// # Safety
    ///
    /// `inputs` and `gradients` must have [`POSITIONS`] times their stride, and no other task may use
    /// these places; `at` and the number of tiles must not exceed the room.
    unsafe fn gather(&self, tiles: (usize, usize), at: usize, inputs: Shared, gradients: Shared) {
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
                tiles,
                to: inputs.at(at * slab),
                strips: strips(slab, self.strides.0),
                transform: PhantomData,
            });
            self.isa.run(Gather::<OutputAdjoint, 4> {
                from: dy,
                grid: self.pass.output,
                tiles,
                to: gradients.at(at * width),
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
        let (c, k) = (self.pass.input.channels, self.pass.output.channels);
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
                    c: sums.at(position * padded_stride(c * k) + row * k),
                    c_row: k,
                    accumulate,
                });
            }
        }
    }
}

/// Transforms the sums of all positions into the gradients of the filters.
fn collect_filters(isa: Isa, conv: &Conv, sums: &[f32], dweight: &mut [f32]) {
    // As many lines of `dweight` as an eight-way cache holds when they meet in two sets.
    const CHANNELS: usize = 16;
    let (c, k) = (conv.in_channels, conv.out_channels);
    let to = Shared::new(dweight);
    parallel_for(k.div_ceil(CHANNELS), |task| {
        let first = task * CHANNELS;
        for channel in (0..c).step_by(TOGETHER) {
            // SAFETY: each task writes its own output channels.
            unsafe {
                isa.run(FilterGradient {
                    from: sums[channel * k..].as_ptr(),
                    inputs: TOGETHER.min(c - channel),
                    row: k,
                    position: padded_stride(c * k),
                    channels: (first, CHANNELS.min(k - first)),
                    to: to.at(channel * 9),
                    filter: c * 9,
                });
            }
        }
    });
}
