//! The first convolution of a network, whose images have few channels.
//!
//! There, the patches of [`super::direct`] would be most of the work: with three channels a pixel of the
//! output needs a copy of 27 or 147 floats and has a few hundred products. Instead a band of the image is
//! copied once with its padding, and the matrix product reads the patches out of it: neighbouring output pixels
//! are `stride` pixels apart there, and a patch consists of one run of `kernel.1 · in_channels` floats in each
//! of `kernel.0` lines. The weight gradient is the product of the transposed patches and `dy`, both as they
//! lie.

use super::buffer;
use super::direct::forward_panels;
use super::gemm::{Block, RunsBlock};
use super::pool::{Shared, parallel_for};
use super::shape::Conv;
use super::simd::Isa;
use super::transpose;

/// The number of output pixels of a band, about: their gradients, of 64 channels, fill 256 KiB of L2.
const BAND: usize = 1024;
/// The largest number of sums of the weight gradient that are added up at the end.
const PIECES: usize = 8;

/// Returns whether the forward pass is faster in this way.
pub fn applies(conv: &Conv) -> bool {
    // A tile takes pixels of one line, and has up to twelve rows.
    conv.in_channels < 8 && conv.kernel.1 > 1 && conv.out_width() >= 6
}

/// Returns whether the weight gradient is faster in this way: `dy` is read in whole vectors.
pub fn applies_to_gradient(isa: Isa, conv: &Conv) -> bool {
    applies(conv) && conv.out_channels.is_multiple_of(isa.tile_columns().min(16))
}

/// A band of an image: some lines of the output and what they are computed from.
struct Band {
    image: usize,
    /// The first line of the output, and the number of lines.
    first: usize,
    lines: usize,
}

/// How images are cut into bands.
struct Bands<'a> {
    conv: &'a Conv,
    /// The lines of a band, and the number of bands of an image.
    lines: usize,
    of_image: usize,
    /// The floats of a padded line.
    line: usize,
}

impl<'a> Bands<'a> {
    fn new(conv: &'a Conv) -> Self {
        let height = conv.out_height();
        let bands = (height * conv.out_width()).div_ceil(BAND).min(height);
        let lines = height.div_ceil(bands);
        let line = (conv.width + 2 * conv.padding) * conv.in_channels;
        Self { conv, lines, of_image: height.div_ceil(lines), line }
    }

    fn count(&self) -> usize {
        self.conv.batch * self.of_image
    }

    fn band(&self, index: usize) -> Band {
        let (image, band) = (index / self.of_image, index % self.of_image);
        let first = band * self.lines;
        Band { image, first, lines: self.lines.min(self.conv.out_height() - first) }
    }

    /// Returns the floats of the padded lines of the largest band.
    fn room(&self) -> usize {
        ((self.lines - 1) * self.conv.stride + self.conv.kernel.0) * self.line
    }

    /// Copies the lines that a band is computed from, with their padding.
    fn copy(&self, band: &Band, x: &[f32], to: &mut [f32]) {
        let conv = self.conv;
        let (row, side) = (conv.width * conv.in_channels, conv.padding * conv.in_channels);
        let lines = (band.lines - 1) * conv.stride + conv.kernel.0;
        let top = band.first * conv.stride;
        for (index, to) in to.chunks_exact_mut(self.line).take(lines).enumerate() {
            let inside = (top + index).checked_sub(conv.padding).filter(|y| *y < conv.height);
            let Some(y) = inside else {
                to.fill(0.0);
                continue;
            };
            let from = &x[(band.image * conv.height + y) * row..][..row];
            to[..side].fill(0.0);
            to[side..side + row].copy_from_slice(from);
            to[side + row..].fill(0.0);
        }
    }
}

/// See [`super::conv::forward`], which checks the sizes.
pub fn forward(isa: Isa, conv: &Conv, x: &[f32], weight: &[f32], y: &mut [f32]) {
    let (k, width) = (conv.out_channels, conv.out_width());
    let panels = forward_panels(conv, weight, isa.tile_columns());
    let bands = Bands::new(conv);
    let run = conv.kernel.1 * conv.in_channels;
    let out = Shared::new(y);
    parallel_for(bands.count(), |index| {
        let band = bands.band(index);
        buffer::with_scratch(bands.room(), |padded| {
            bands.copy(&band, x, padded);
            for line in 0..band.lines {
                let pixel = (band.image * conv.out_height() + band.first + line) * width;
                // SAFETY: the lines of `y` are this task's; a patch is `kernel.0` runs of the padded lines,
                // and the panels hold as many rows as it has taps.
                unsafe {
                    isa.run(RunsBlock {
                        block: Block {
                            rows: width,
                            columns: k,
                            depth: conv.taps(),
                            a: padded[line * conv.stride * bands.line..].as_ptr(),
                            a_row: conv.stride * conv.in_channels,
                            a_column: 1,
                            b: panels.as_ptr(),
                            b_panel: conv.taps() * isa.tile_columns(),
                            c: out.at(pixel * k),
                            c_row: k,
                            accumulate: false,
                        },
                        b_row: isa.tile_columns(),
                        run,
                        next_run: bands.line,
                    });
                }
            }
        });
    });
}

/// See [`super::conv::weight_gradient`], which checks the sizes.
pub fn weight_gradient(isa: Isa, conv: &Conv, x: &[f32], dy: &[f32], dweight: &mut [f32]) {
    let (k, taps, spatial) = (conv.out_channels, conv.taps(), conv.kernel.0 * conv.kernel.1);
    let bands = Bands::new(conv);
    let share = bands.count().div_ceil(PIECES).max(1);
    let pieces = bands.count().div_ceil(share);
    let mut sums = buffer::take(pieces * taps * k);
    let out = Shared::new(&mut sums);
    parallel_for(pieces, |piece| {
        // SAFETY: each task has its own sums.
        let sums = unsafe { out.slice(piece * taps * k, taps * k) };
        buffer::with_scratch(bands.room(), |padded| {
            let all = piece * share..((piece + 1) * share).min(bands.count());
            for index in all.clone() {
                let band = bands.band(index);
                bands.copy(&band, x, padded);
                let accumulate = index > all.start;
                gradient_of_band(isa, &bands, &band, padded, dy, sums, accumulate);
            }
        });
    });
    let (total, others) = sums.split_at_mut(taps * k);
    others.chunks_exact(taps * k).for_each(|part| super::update::add(isa, total, part));
    // [r, s, c, k] -> [k, r, s, c] -> [k, c, r, s]
    let mut turned = buffer::take(taps * k);
    transpose::transpose(isa, total, taps, k, &mut turned);
    for (from, to) in turned.chunks_exact(taps).zip(dweight.chunks_exact_mut(taps)) {
        transpose::transpose(isa, from, spatial, conv.in_channels, to);
    }
}

/// Adds the product of the transposed patches of a band and its gradients to `sums`, `[r, s, c, k]`, or
/// replaces `sums` by it.
fn gradient_of_band(
    isa: Isa,
    bands: &Bands<'_>,
    band: &Band,
    padded: &[f32],
    dy: &[f32],
    sums: &mut [f32],
    accumulate: bool,
) {
    let conv = bands.conv;
    let (k, width) = (conv.out_channels, conv.out_width());
    let run = conv.kernel.1 * conv.in_channels;
    let pixel = (band.image * conv.out_height() + band.first) * width;
    let pixels = band.lines * width;
    let dy = &dy[pixel * k..][..pixels * k];
    for (r, sums) in sums.chunks_exact_mut(run * k).enumerate() {
        // SAFETY: the padded lines hold the patches of the band, `dy` has whole vectors of `k` floats for each
        // of its pixels.
        unsafe {
            isa.run(RunsBlock {
                block: Block {
                    rows: run,
                    columns: k,
                    depth: pixels,
                    a: padded[r * bands.line..].as_ptr(),
                    a_row: 1,
                    a_column: conv.stride * conv.in_channels,
                    b: dy.as_ptr(),
                    b_panel: isa.tile_columns(),
                    c: sums.as_mut_ptr(),
                    c_row: k,
                    accumulate,
                },
                b_row: k,
                run: width,
                next_run: conv.stride * bands.line,
            });
        }
    }
}
