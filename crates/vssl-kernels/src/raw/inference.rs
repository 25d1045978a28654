//! Convolutions of a network that is only used: the weight is packed once, and what follows the convolution
//! (the shift of a folded normalisation, the residual sum, the activation) is done while its outputs are in
//! registers or in the cache.
//!
//! A batch normalisation with running statistics is the linear map `s · x + t` of each channel, with
//! `s = γ / √(σ² + ε)` and `t = β − s · μ` (Jacob et al. 2018, arXiv:1712.05877, section 3.2). Behind a
//! convolution without bias the scale goes into the weight: `y = activation(x ∗ (s · W) + t + residual)`.
//!
//! Every output is one sum in a fixed order, so it depends neither on the number of threads nor on the other
//! images of the batch.

use std::ops::Range;

use super::buffer::{self, Buffer};
use super::norm::{Rectifier, block_rows, load, store};
use super::pool::{Shared, parallel_for};
use super::shape::Conv;
use super::simd::{Isa, Kernel, Simd};
use super::winograd_transform::Finish;
use super::{direct, winograd};

/// A weight, scaled and packed as the products of an instruction set read it.
pub struct Packed {
    isa: Isa,
    winograd: bool,
    /// The output channels, the input channels, and the rows and columns of a filter.
    shape: [usize; 4],
    panels: Buffer,
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { isa, winograd, shape, .. } = self;
        write!(formatter, "Packed({isa:?}, winograd: {winograd}, {shape:?})")
    }
}

impl Packed {
    /// Packs `weight`, each output channel times its `scale`, for images of the sizes of `conv`.
    ///
    /// # Panics
    ///
    /// If a slice does not have the size of its shape.
    pub fn new(isa: Isa, conv: &Conv, weight: &[f32], scale: &[f32]) -> Self {
        assert_eq!(weight.len(), conv.weight_size(), "{conv:?}: floats of the weight");
        assert_eq!(scale.len(), conv.out_channels, "{conv:?}: a scale for each channel");
        let mut scaled = buffer::take_any(weight.len());
        let taps = conv.taps().max(1);
        let rows = scaled.chunks_exact_mut(taps).zip(weight.chunks_exact(taps)).zip(scale);
        for ((to, from), scale) in rows {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = from * scale);
        }
        let winograd = winograd::applies(conv);
        let panels = match winograd {
            true => winograd::forward_filters(isa, conv, &scaled),
            false => direct::forward_panels(conv, &scaled, isa.tile_columns()),
        };
        Self { isa, winograd, shape: shape(conv), panels }
    }

    /// Returns whether the weight is packed as `isa` reads it for images of the sizes of `conv`.
    pub fn fits(&self, isa: Isa, conv: &Conv) -> bool {
        self.isa == isa && self.winograd == winograd::applies(conv) && self.shape == shape(conv)
    }
}

/// Returns the shape of the weight.
fn shape(conv: &Conv) -> [usize; 4] {
    [conv.out_channels, conv.in_channels, conv.kernel.0, conv.kernel.1]
}

/// What follows a convolution.
#[derive(Clone, Copy)]
pub struct Epilogue<'a> {
    /// What is added to each output channel.
    pub shift: &'a [f32],
    /// Whether the output holds residual images, to which the convolution is added in place.
    pub residual: bool,
    /// The function that is applied at the end.
    pub activation: Rectifier,
}

/// An [`Epilogue`] as the tasks share it.
#[derive(Clone, Copy)]
struct After {
    shift: *const f32,
    /// Whether the place of an output holds a number that is added to it.
    residual: bool,
    activation: Rectifier,
}

// SAFETY: the pointer is read only, and the slice that it was made of outlives the tasks.
unsafe impl Sync for After {}

impl Finish for After {
    #[inline(always)]
    unsafe fn finish<S: Simd>(
        self,
        sum: S::Vector,
        to: *const f32,
        channel: usize,
        count: usize,
    ) -> S::Vector {
        // SAFETY: the shift has all channels; the caller promises that `to` can be read.
        unsafe {
            let mut value = S::add(sum, load::<S>(self.shift.add(channel), count));
            if self.residual {
                value = S::add(value, load::<S>(to, count));
            }
            self.activation.apply::<S>(value)
        }
    }
}

/// Writes `activation(x ∗ weight + shift)` to `y`, or `activation(x ∗ weight + shift + y)` in place of residual
/// images; [`Packed::fits`] must hold.
///
/// # Panics
///
/// If a slice does not have the size of its shape, or the weight is packed for other images.
pub fn forward(packed: &Packed, conv: &Conv, x: &[f32], epilogue: Epilogue<'_>, y: &mut [f32]) {
    let isa = packed.isa;
    let Epilogue { shift, residual, activation } = epilogue;
    conv.check(x.len(), conv.weight_size(), y.len());
    assert!(packed.fits(isa, conv), "{conv:?}: a weight that is packed for other images");
    assert_eq!(shift.len(), conv.out_channels, "{conv:?}: a shift for each channel");
    let (shift, row) = (shift.as_ptr(), conv.out_channels);
    if packed.winograd && conv.operations() > 0.0 {
        let after = After { shift, residual, activation };
        return winograd::forward_then(isa, conv, x, &packed.panels, y, after);
    }
    // The product has added the residual images by then.
    let after = After { shift, residual: false, activation };
    let rows = |rows: usize, channels: Range<usize>, y: *mut f32| {
        // SAFETY: `y` is the output at the first of these channels of the first of so many pixels.
        unsafe { isa.run(FinishRows { rows, row, channels, y, after }) }
    };
    if conv.operations() > 0.0 {
        return direct::forward_then(isa, conv, x, &packed.panels, (y, residual), rows);
    }
    if !residual {
        y.fill(0.0); // sums over nothing
    }
    rows(conv.pixels(), 0..row, y.as_mut_ptr());
}

/// Bounds: `y` is the first of `channels` of `rows` that are `row` floats apart.
struct FinishRows {
    rows: usize,
    row: usize,
    channels: Range<usize>,
    y: *mut f32,
    after: After,
}

impl Kernel for FinishRows {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let channels = self.channels.len();
        for row in 0..self.rows {
            for c in (0..channels).step_by(S::LANES) {
                let count = S::LANES.min(channels - c);
                // SAFETY: `c + count` is at most the number of channels of this row.
                unsafe {
                    let y = self.y.add(row * self.row + c);
                    let (sum, channel) = (load::<S>(y, count), self.channels.start + c);
                    store::<S>(y, self.after.finish::<S>(sum, y, channel, count), count);
                }
            }
        }
    }
}

/// Writes `activation(scale · x + shift)` to `y`, both `[rows, channels]`.
///
/// # Panics
///
/// If a slice does not have the size of its shape.
pub fn affine(
    isa: Isa,
    x: &[f32],
    scale: &[f32],
    shift: &[f32],
    activation: Rectifier,
    y: &mut [f32],
) {
    let channels = scale.len();
    assert_eq!(shift.len(), channels, "affine map: a shift for each channel");
    assert_eq!(x.len(), y.len(), "affine map: equal sizes");
    let rows = x.len() / channels.max(1);
    assert_eq!(rows * channels, x.len(), "affine map: whole rows of {channels} channels");
    let block = block_rows(channels);
    let out = Shared::new(y);
    parallel_for(rows.div_ceil(block), |index| {
        let first = index * block;
        let size = block.min(rows - first) * channels;
        let x = &x[first * channels..][..size];
        // SAFETY: each task has its own rows.
        unsafe { isa.run(Affine { x, scale, shift, activation, y: out.at(first * channels) }) }
    });
}

/// Bounds: `y` holds as many floats as `x`, whole rows of as many channels as `scale` and `shift` have.
struct Affine<'a> {
    x: &'a [f32],
    scale: &'a [f32],
    shift: &'a [f32],
    activation: Rectifier,
    y: *mut f32,
}

impl Kernel for Affine<'_> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let channels = self.scale.len();
        for row in 0..self.x.len() / channels {
            for c in (0..channels).step_by(S::LANES) {
                let (at, count) = (row * channels + c, S::LANES.min(channels - c));
                // SAFETY: `c + count` is at most the number of channels of this row.
                unsafe {
                    let x = load::<S>(self.x.as_ptr().add(at), count);
                    let scale = load::<S>(self.scale.as_ptr().add(c), count);
                    let shift = load::<S>(self.shift.as_ptr().add(c), count);
                    let value = self.activation.apply::<S>(S::fma(x, scale, shift));
                    store::<S>(self.y.add(at), value, count);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        let number = |i: usize| ((i + 1) * (2 * seed + 1)).wrapping_mul(2_654_435_761) % 2003;
        (0..count).map(|i| number(i) as f32 / 1001.0 - 1.0).collect()
    }

    fn activated(activation: Rectifier, x: f64) -> f64 {
        match activation {
            Rectifier::None => x,
            Rectifier::Relu => x.max(0.0),
            Rectifier::Leaky(slope) => x.max(f64::from(slope) * x),
        }
    }

    const ACTIVATIONS: [Rectifier; 3] = [Rectifier::None, Rectifier::Relu, Rectifier::Leaky(0.1)];

    /// `[n, c, h, w]`, output channels, filter, stride, padding.
    type Case = ([usize; 4], usize, (usize, usize), usize, usize);

    /// Direct convolutions and Winograd's: whole and cut tiles, odd and prime channels, no images and nothing to sum
    /// over.
    const CONVOLUTIONS: [Case; 12] = [
        ([1, 1, 1, 1], 1, (1, 1), 1, 0),
        ([2, 3, 17, 13], 7, (7, 7), 2, 3),
        ([3, 4, 8, 7], 37, (1, 1), 2, 0),
        ([2, 20, 7, 7], 290, (1, 1), 1, 0),
        ([1, 264, 6, 5], 20, (3, 3), 2, 1),
        ([1, 8, 8, 8], 8, (3, 3), 1, 1),
        ([2, 13, 12, 7], 17, (3, 3), 1, 0),
        ([3, 9, 6, 10], 31, (3, 3), 1, 2),
        ([50, 16, 8, 8], 16, (3, 3), 1, 1),
        ([7, 9, 21, 18], 13, (3, 3), 1, 1),
        ([3, 0, 5, 5], 4, (3, 3), 1, 1),
        ([0, 16, 8, 8], 16, (3, 3), 1, 1),
    ];

    #[test]
    fn a_folded_convolution_is_the_plain_one_with_what_follows_it() {
        for (index, case) in CONVOLUTIONS.into_iter().enumerate() {
            let ([batch, in_channels, height, width], out_channels, kernel, stride, padding) = case;
            let conv =
                Conv { batch, height, width, in_channels, out_channels, kernel, stride, padding };
            let activation = ACTIVATIONS[index % 3];
            let x = numbers(conv.input_size(), 1);
            let weight = numbers(conv.weight_size(), 2);
            let [scale, shift] = [3, 4].map(|seed| numbers(out_channels, seed));
            let images = numbers(conv.output_size(), 5);
            for isa in Isa::all_available() {
                let mut plain = vec![f32::NAN; conv.output_size()];
                super::super::conv::forward(isa, &conv, &x, &weight, &mut plain);
                let packed = Packed::new(isa, &conv, &weight, &scale);
                for residual in [false, true] {
                    let mut got = vec![f32::NAN; plain.len()];
                    if residual {
                        got.copy_from_slice(&images);
                    }
                    let epilogue = Epilogue { shift: &shift, residual, activation };
                    forward(&packed, &conv, &x, epilogue, &mut got);
                    let largest = plain.iter().fold(1.0f32, |most, value| most.max(value.abs()));
                    for (at, got) in got.iter().enumerate() {
                        let channel = at % out_channels;
                        let sum = f64::from(plain[at]) * f64::from(scale[channel])
                            + f64::from(shift[channel])
                            + if residual { f64::from(images[at]) } else { 0.0 };
                        let expected = activated(activation, sum);
                        let error = (f64::from(*got) - expected).abs() / f64::from(largest);
                        assert!(error <= 1e-4, "{isa:?} {case:?}: {got} at {at}, not {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_image_has_the_same_bits_in_every_batch() {
        for (shape, out_channels, kernel, stride) in [
            ([64, 16, 8, 8], 24, (3, 3), 1), // Winograd's, with few and with many tiles
            ([64, 5, 9, 7], 13, (3, 3), 2),
            ([64, 37, 5, 5], 40, (1, 1), 1),
        ] {
            let [all, in_channels, height, width] = shape;
            let of = |batch| Conv {
                batch,
                height,
                width,
                in_channels,
                out_channels,
                kernel,
                stride,
                padding: kernel.0 / 2,
            };
            let x = numbers(of(all).input_size(), 1);
            let weight = numbers(of(all).weight_size(), 2);
            let (scale, shift) = (numbers(out_channels, 3), numbers(out_channels, 4));
            for isa in Isa::all_available() {
                let packed = Packed::new(isa, &of(1), &weight, &scale);
                let activation = Rectifier::Relu;
                let epilogue = Epilogue { shift: &shift, residual: false, activation };
                let mut whole = vec![f32::NAN; of(all).output_size()];
                forward(&packed, &of(all), &x, epilogue, &mut whole);
                for batch in [1, 7, 50] {
                    let mut part = vec![f32::NAN; of(batch).output_size()];
                    forward(&packed, &of(batch), &x[..of(batch).input_size()], epilogue, &mut part);
                    let same = part.iter().zip(&whole).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same, "{isa:?} {shape:?}: a batch of {batch}");
                }
            }
        }
    }

    #[test]
    fn an_affine_map_is_its_definition() {
        for (rows, channels) in [(1, 1), (3, 7), (70, 33), (2049, 16), (0, 5)] {
            let x = numbers(rows * channels, 1);
            let (scale, shift) = (numbers(channels, 2), numbers(channels, 3));
            for (isa, activation) in
                Isa::all_available().into_iter().flat_map(|isa| ACTIVATIONS.map(|a| (isa, a)))
            {
                let mut y = vec![f32::NAN; x.len()];
                affine(isa, &x, &scale, &shift, activation, &mut y);
                for (at, y) in y.iter().enumerate() {
                    let [x, scale, shift] =
                        [x[at], scale[at % channels], shift[at % channels]].map(f64::from);
                    let expected = activated(activation, x * scale + shift);
                    assert!(
                        (f64::from(*y) - expected).abs() < 1e-6,
                        "{isa:?}: {y}, not {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn activations_keep_what_is_not_finite() {
        for isa in Isa::all_available() {
            for activation in ACTIVATIONS {
                let x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0, -1.0, 0.0];
                let mut y = [0.0; 6];
                affine(isa, &x, &[1.0], &[0.0], activation, &mut y);
                assert!(y[0].is_nan() && y[1] == f32::INFINITY, "{isa:?} {activation:?}: {y:?}");
                let low = if activation == Rectifier::Relu { 0.0 } else { f32::NEG_INFINITY };
                assert_eq!((y[2], y[3], y[5]), (low, 1.0, 0.0), "{isa:?} {activation:?}");
            }
        }
    }
}
