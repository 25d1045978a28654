//! Convolution as an implicit matrix product, for any filter, stride and padding.
//!
//! With rows for output pixels and columns for taps `(r, s, c)`, the patches of an image form a
//! matrix `P`, of which only cache-sized pieces are ever written out. Then `y = P · W`, and `dx` collects
//! `dy · Wᵀ` back from patches to pixels. The weight gradient is in [`super::weight_gradient`].

use std::ops::Range;

use super::buffer::{self, Buffer};
use super::gemm::{Block, DEPTH};
use super::pack::Matrix;
use super::patches;
use super::pool::{Shared, parallel_for};
use super::shape::Conv;
use super::simd::{Isa, isa};
use super::transpose::{self, Transpose};

/// The number of output pixels of one task of the forward pass: a slice of their patches fills a fourth of a
/// 512 KiB L2.
const PIXELS: usize = 96;

/// See [`super::conv::forward`], which checks the sizes.
pub fn forward(isa: Isa, conv: &Conv, x: &[f32], weight: &[f32], y: &mut [f32]) {
    let panels = forward_panels(conv, weight, isa.tile_columns());
    forward_then(isa, conv, x, &panels, (y, false), |_, _, _| {});
}

/// The number of tasks that are wanted of the forward pass. Where there are few pixels, a task has some of the
/// output channels only: three tasks of 96 pixels would leave one of two threads without work for a third of the
/// time.
const TASKS: usize = 16;
/// The smallest number of output channels of a task, for which it is worth to copy patches again.
const CHANNELS: usize = 128;

/// Writes the convolution of `x` with the weight that [`forward_panels`] packed to `y`, or adds it if `add`.
/// `finish` is called with the number of pixels and the channels whose outputs are complete, and with a pointer to
/// the first of them, while they are in the cache.
pub(super) fn forward_then(
    isa: Isa,
    conv: &Conv,
    x: &[f32],
    panels: &[f32],
    (y, add): (&mut [f32], bool),
    finish: impl Fn(usize, Range<usize>, *mut f32) + Sync,
) {
    let width = isa.tile_columns();
    let taps = conv.taps();
    let pixels = conv.pixels();
    let pointwise = is_pointwise(conv);
    let blocks = pixels.div_ceil(PIXELS);
    let groups = TASKS.div_ceil(blocks.max(1)).min(conv.out_channels.div_ceil(CHANNELS));
    let group = conv.out_channels.div_ceil(groups).next_multiple_of(width);
    let groups = conv.out_channels.div_ceil(group);
    let out = Shared::new(y);
    parallel_for(blocks * groups, |task| {
        let first = task / groups * PIXELS;
        let count = PIXELS.min(pixels - first);
        let channel = task % groups * group;
        let channels = channel..(channel + group).min(conv.out_channels);
        let depth_limit = DEPTH.min(taps);
        buffer::with_scratch(if pointwise { 0 } else { PIXELS * depth_limit }, |patches| {
            for start in (0..taps).step_by(DEPTH) {
                let depth = DEPTH.min(taps - start);
                let (a, a_row) = if pointwise {
                    (x[first * taps + start..].as_ptr(), taps)
                } else {
                    let taps = start..start + depth;
                    patches::pack(isa, conv, x, (first..first + count, taps), patches, depth);
                    (patches.as_ptr(), depth)
                };
                // SAFETY: these channels of the rows `first..first + count` of `y` are this task's; the panels
                // hold `taps` rows each, of which `depth` from `start` on are read.
                unsafe {
                    isa.run(Block {
                        rows: count,
                        columns: channels.len(),
                        depth,
                        a,
                        a_row,
                        a_column: 1,
                        b: panels[channel * taps + start * width..].as_ptr(),
                        b_panel: taps * width,
                        c: out.at(first * conv.out_channels + channel),
                        c_row: conv.out_channels,
                        accumulate: add || start > 0,
                    });
                }
            }
        });
        // SAFETY: as above.
        let to = unsafe { out.at(first * conv.out_channels + channel) };
        finish(count, channels, to);
    });
}

/// Returns whether the patches are the image itself.
fn is_pointwise(conv: &Conv) -> bool {
    conv.kernel == (1, 1) && conv.stride == 1 && conv.padding == 0
}

/// Returns `W` as panels: the rows are taps `(r, s, c)`, the columns output channels.
pub(super) fn forward_panels(conv: &Conv, weight: &[f32], width: usize) -> Buffer {
    let (taps, spatial) = (conv.taps(), conv.kernel.0 * conv.kernel.1);
    let panels = conv.out_channels.div_ceil(width);
    // Where the taps of a row of the weight, in the order (c, r, s), are in a panel.
    let places: Vec<usize> =
        (0..taps).map(|tap| tap % spatial * conv.in_channels + tap / spatial).collect();
    let mut packed = buffer::take(panels * taps * width);
    let out = Shared::new(&mut packed);
    parallel_for(panels, |panel| {
        // SAFETY: each task has its own panel.
        let to = unsafe { out.slice(panel * taps * width, taps * width) };
        let first = panel * width;
        let count = width.min(conv.out_channels - first);
        if count < width {
            to.fill(0.0);
        }
        let (from, size) = (weight[first * taps..].as_ptr(), (count, taps));
        let to = to.as_mut_ptr();
        // SAFETY: the panel's rows of the weight, and as many places as it has taps. A copy has the same bits
        // in every instruction set.
        unsafe {
            let to = |tap: usize| to.wrapping_add(places[tap] * width);
            isa().run(Transpose { from, size, from_row: taps, to });
        }
    });
    packed
}

/// See [`super::conv::input_gradient`], which checks the sizes.
pub fn input_gradient(
    isa: Isa,
    conv: &Conv,
    dy: &[f32],
    weight: &[f32],
    dx: &mut [f32],
    add: bool,
) {
    let (k, taps) = (conv.out_channels, conv.taps());
    let width = isa.tile_columns();
    if is_pointwise(conv) {
        let dy = Matrix::row_major(dy, conv.pixels(), k);
        super::gemm::product(isa, dy, Matrix::row_major(weight, k, taps), dx, add);
        return;
    }
    if conv.kernel == (1, 1) && conv.padding == 0 {
        return scattered_gradient(isa, conv, dy, weight, dx, add);
    }
    let order = Columns::of(conv, width);
    let panels = backward_panels(conv, weight, width, order);
    let image_pixels = conv.out_height() * conv.out_width();
    let image_size = conv.height * conv.width * conv.in_channels;
    let columns = order.together * conv.kernel.0 * conv.kernel.1;
    // A quarter of a megabyte of patches at a time, but enough rows to pay for reading `W`.
    let rows = (65_536 / columns).clamp(4 * isa.tile_rows(), 256).min(image_pixels);
    let out = Shared::new(dx);
    // Image by image for a group of channels, whose part of `W` stays in L2.
    parallel_for(conv.batch * conv.in_channels.div_ceil(order.together), |task| {
        let (image, group) = (task % conv.batch, task / conv.batch);
        let channels = group * order.together..((group + 1) * order.together).min(conv.in_channels);
        let columns = channels.len() * conv.kernel.0 * conv.kernel.1;
        let panels = &panels[channels.start * conv.kernel.0 * conv.kernel.1 * k..];
        // SAFETY: each task has its own channels of its own image.
        let dx = unsafe {
            let dx = out.from(image * image_size);
            if !add {
                patches::clear(conv, channels.clone(), dx);
            }
            dx
        };
        buffer::with_scratch(rows * columns, |patches| {
            for start in (0..image_pixels).step_by(rows) {
                let first = image * image_pixels + start;
                let count = rows.min(image_pixels - start);
                for channel in (0..k).step_by(DEPTH) {
                    // SAFETY: `patches` has `rows · columns` floats; the panels have `k` rows.
                    unsafe {
                        isa.run(Block {
                            rows: count,
                            columns,
                            depth: DEPTH.min(k - channel),
                            a: dy[first * k + channel..].as_ptr(),
                            a_row: k,
                            a_column: 1,
                            b: panels[channel * width..].as_ptr(),
                            b_panel: k * width,
                            c: patches.as_mut_ptr(),
                            c_row: columns,
                            accumulate: channel > 0,
                        });
                    }
                }
                let (pixels, part) = (start..start + count, (channels.clone(), order.block));
                // SAFETY: as above.
                unsafe { patches::collect(isa, conv, pixels, part, patches, dx) };
            }
        });
    });
}

/// The order of the columns of `Wᵀ`, and of the patches that the input gradient makes with it: blocks of
/// channels, each with all its filter positions in turn.
#[derive(Clone, Copy)]
struct Columns {
    /// The channels of a block: a panel's width, or all channels, which makes the order `(r, s, c)`.
    block: usize,
    /// The number of channels of a task, a multiple of the block.
    together: usize,
}

impl Columns {
    fn of(conv: &Conv, width: usize) -> Self {
        /// The number of floats of `W` that may stay in L2.
        const NEAR: usize = 1 << 17;
        let all = conv.in_channels;
        if conv.weight_size() <= NEAR || !all.is_multiple_of(width) {
            return Self { block: all, together: all };
        }
        let of_block = conv.weight_size() / (all / width);
        Self { block: width, together: (NEAR / 2 / of_block).max(1) * width }
    }
}

/// Returns `Wᵀ` as panels: the rows are output channels, the columns are in the given order.
fn backward_panels(conv: &Conv, weight: &[f32], width: usize, order: Columns) -> Buffer {
    let (taps, spatial, all) = (conv.taps(), conv.kernel.0 * conv.kernel.1, conv.in_channels);
    let panels = taps.div_ceil(width);
    let size = conv.out_channels * width;
    let mut packed = buffer::take(panels * size);
    let out = Shared::new(&mut packed);
    if !all.is_multiple_of(width) {
        /// The output channels of a task.
        const TOGETHER: usize = 16;
        parallel_for(conv.out_channels.div_ceil(TOGETHER), |task| {
            let rows = task * TOGETHER..((task + 1) * TOGETHER).min(conv.out_channels);
            // SAFETY: each task has its own rows of each panel.
            unsafe { backward_rows(conv, weight, width, rows, out) };
        });
        return packed;
    }
    // A panel holds `width` channels at one filter position; a task has those of all positions.
    let blocks = all / width;
    parallel_for(blocks, |block| {
        let panel = |tap: usize| match order.block == all {
            true => tap * blocks + block,
            false => block * spatial + tap,
        };
        for (k, from) in weight.chunks_exact(taps).enumerate() {
            let from = from[block * width * spatial..][..width * spatial].as_ptr();
            // SAFETY: the channels' part of a row of the weight; each task has its own panels.
            unsafe {
                let to = |tap: usize| out.at(panel(tap) * size + k * width);
                isa().run(Transpose { from, size: (width, spatial), from_row: spatial, to });
            }
        }
    });
    packed
}

/// Writes the rows `rows` of all panels, whose columns are in the order `(r, s, c)`.
///
/// # Safety
///
/// `out` must be the panels of [`backward_panels`], and no other task may use these rows.
unsafe fn backward_rows(
    conv: &Conv,
    weight: &[f32],
    width: usize,
    rows: Range<usize>,
    out: Shared,
) {
    let (taps, spatial) = (conv.taps(), conv.kernel.0 * conv.kernel.1);
    let size = conv.out_channels * width;
    buffer::with_scratch(taps, |line| {
        for k in rows {
            let from = &weight[k * taps..][..taps];
            transpose::transpose(isa(), from, conv.in_channels, spatial, line);
            for (panel, from) in line.chunks(width).enumerate() {
                // SAFETY: the row of the panel is this task's.
                let to = unsafe { out.slice(panel * size + k * width, width) };
                to[..from.len()].copy_from_slice(from);
                to[from.len()..].fill(0.0);
            }
        }
    });
}

/// The input gradient of a 1×1 filter that visits only some of the pixels: the product `dy · W`, whose rows
/// are copied to their pixels or added there.
fn scattered_gradient(
    isa: Isa,
    conv: &Conv,
    dy: &[f32],
    weight: &[f32],
    dx: &mut [f32],
    add: bool,
) {
    let (c, k) = (conv.in_channels, conv.out_channels);
    let mut rows = buffer::take(conv.pixels() * c);
    let dy = Matrix::row_major(dy, conv.pixels(), k);
    super::gemm::product(isa, dy, Matrix::row_major(weight, k, c), &mut rows, false);
    let (line, out_line) = (conv.width * c, conv.out_width() * c);
    let (rows, out) = (&*rows, Shared::new(dx));
    // A few lines of the images a task, about a quarter of a megabyte.
    let together = (65_536 / line).max(1);
    let lines = conv.batch * conv.height;
    parallel_for(lines.div_ceil(together), |task| {
        for at in task * together..((task + 1) * together).min(lines) {
            let (image, y) = (at / conv.height, at % conv.height);
            // SAFETY: each task has its own lines.
            let to = unsafe { out.slice(at * line, line) };
            if !add {
                to.fill(0.0);
            }
            if !y.is_multiple_of(conv.stride) || y / conv.stride >= conv.out_height() {
                continue;
            }
            let from =
                &rows[(image * conv.out_height() + y / conv.stride) * out_line..][..out_line];
            let pixels = to.chunks_exact_mut(c).step_by(conv.stride);
            for (to, from) in pixels.zip(from.chunks_exact(c)) {
                match add {
                    true => to.iter_mut().zip(from).for_each(|(to, from)| *to += from),
                    false => to.copy_from_slice(from),
                }
            }
        }
    });
}
