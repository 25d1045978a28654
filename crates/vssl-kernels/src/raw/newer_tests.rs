//! The operations of newer networks against their definitions in double precision, as in [`super::tests`].

use super::depthwise::{self, Depthwise, SIDE, TAPS};
use super::gated;
use super::halving::{self, Halving};
use super::response_norm::{self, Other};
use super::simd::Isa;
use super::tests::{assert_close, numbers, room};

const SHAPES: [[usize; 4]; 7] = [
    [1, 1, 1, 1],
    [2, 3, 5, 7],
    [1, 7, 7, 16],
    [3, 16, 17, 33],
    [2, 35, 9, 40],
    [1, 56, 56, 3],
    [70, 2, 8, 5],
];

/// The depthwise convolution by definition; `reversed` turns the filter around.
fn convolved(of: Depthwise, x: &[f32], weight: &[f32], bias: &[f32], reversed: bool) -> Vec<f64> {
    let Depthwise { batch, height, width, channels } = of;
    let mut y = Vec::new();
    for image in 0..batch {
        for row in 0..height {
            for column in 0..width {
                for channel in 0..channels {
                    let mut sum = f64::from(bias[channel]);
                    for tap in 0..TAPS {
                        let (r, c) =
                            ((row + tap / SIDE) as i64 - 3, (column + tap % SIDE) as i64 - 3);
                        if r < 0 || c < 0 || r >= height as i64 || c >= width as i64 {
                            continue;
                        }
                        let pixel = (image * height + r as usize) * width + c as usize;
                        let tap = if reversed { TAPS - 1 - tap } else { tap };
                        let weight = f64::from(weight[channel * TAPS + tap]);
                        sum += weight * f64::from(x[pixel * channels + channel]);
                    }
                    y.push(sum);
                }
            }
        }
    }
    y
}

#[test]
fn a_depthwise_convolution_and_its_gradients_are_the_definitions() {
    for [batch, height, width, channels] in SHAPES {
        let of = Depthwise { batch, height, width, channels };
        let size = batch * height * width * channels;
        let (x, dy) = (numbers(size, 1), numbers(size, 2));
        let (weight, bias) = (numbers(channels * TAPS, 3), numbers(channels, 4));
        let expected = convolved(of, &x, &weight, &bias, false);
        let input = convolved(of, &dy, &weight, &vec![0.0; channels], true);
        // The gradient of a weight is what the loss gains where the weight alone is one.
        let mut filters = vec![0.0f64; channels * TAPS];
        for (index, filter) in filters.iter_mut().enumerate() {
            let (channel, tap) = (index / TAPS, index % TAPS);
            for pixel in 0..batch * height * width {
                let (row, column) = (pixel / width % height, pixel % width);
                let (r, c) = ((row + tap / SIDE) as i64 - 3, (column + tap % SIDE) as i64 - 3);
                if r < 0 || c < 0 || r >= height as i64 || c >= width as i64 {
                    continue;
                }
                let from = (pixel / width / height * height + r as usize) * width + c as usize;
                *filter += f64::from(x[from * channels + channel])
                    * f64::from(dy[pixel * channels + channel]);
            }
        }
        let biases: Vec<f64> = (0..channels)
            .map(|c| dy.iter().skip(c).step_by(channels).map(|dy| f64::from(*dy)).sum())
            .collect();
        for isa in Isa::all_available() {
            let what = format!("{isa:?} {of:?}");
            let (mut y, mut dx) = (room(size), room(size));
            let taps = depthwise::turned(&weight, channels, false);
            depthwise::forward(isa, of, &x, &taps, Some(&bias), &mut y);
            assert_close(&y, &expected, 2e-6, &what);
            let taps = depthwise::turned(&weight, channels, true);
            depthwise::forward(isa, of, &dy, &taps, None, &mut dx);
            assert_close(&dx, &input, 2e-6, &what);
            let (mut dweight, mut dbias) = (room(channels * TAPS), room(channels));
            depthwise::weight_gradient(isa, of, &x, &dy, &mut dweight, &mut dbias);
            assert_close(&dweight, &filters, 1e-5, &what);
            assert_close(&dbias, &biases, 1e-5, &what);
        }
    }
}

#[test]
fn a_gate_and_its_gradient_are_the_definitions() {
    for (rows, columns) in [(1, 1), (3, 7), (5, 16), (67, 33), (9, 4099)] {
        let x: Vec<f32> = numbers(rows * 2 * columns, 1).iter().map(|x| 9.0 * x).collect();
        let dy = numbers(rows * columns, 2);
        let (mut expected, mut gradient) = (Vec::new(), Vec::new());
        for (x, dy) in x.chunks(2 * columns).zip(dy.chunks(columns)) {
            let wide = |x: &f32| f64::from(*x);
            let (g, v): (Vec<f64>, Vec<f64>) =
                (x[..columns].iter().map(wide).collect(), x[columns..].iter().map(wide).collect());
            let open = |g: f64| 1.0 / (1.0 + (-g).exp());
            expected.extend(g.iter().zip(&v).map(|(g, v)| g * open(*g) * v));
            let of_gate =
                g.iter().zip(&v).zip(dy).map(|((g, v), dy)| {
                    f64::from(*dy) * v * open(*g) * (1.0 + g * (1.0 - open(*g)))
                });
            gradient.extend(of_gate);
            gradient.extend(g.iter().zip(dy).map(|(g, dy)| f64::from(*dy) * g * open(*g)));
        }
        for isa in Isa::all_available() {
            let what = format!("{isa:?} {rows}x{columns}");
            let (mut y, mut dx) = (room(expected.len()), room(gradient.len()));
            gated::forward(isa, &x, columns, &mut y);
            gated::backward(isa, &x, &dy, columns, &mut dx);
            assert_close(&y, &expected, 1e-6, &what);
            assert_close(&dx, &gradient, 1e-6, &what);
        }
    }
}

#[test]
fn sums_and_maps_of_images_are_the_definitions() {
    for (images, rows, channels) in [(1, 1, 1), (2, 9, 7), (3, 64, 16), (5, 49, 160), (1, 200, 33)]
    {
        let size = images * rows * channels;
        let (a, b) = (numbers(size, 1), numbers(size, 2));
        let (factor, other) = (numbers(images * channels, 3), numbers(images * channels, 4));
        let shift = numbers(channels, 5);
        let of = |at: usize| at / (rows * channels) * channels + at % channels;
        let mut sums = vec![0.0; images * channels];
        for at in 0..size {
            sums[of(at)] += f64::from(a[at]) * f64::from(b[at]);
        }
        let wide = f64::from;
        let shifted: Vec<f64> = (0..size)
            .map(|at| wide(a[at]) * wide(factor[of(at)]) + wide(shift[at % channels]))
            .collect();
        let joined: Vec<f64> = (0..size)
            .map(|at| wide(a[at]) * wide(factor[of(at)]) + wide(b[at]) * wide(other[of(at)]))
            .collect();
        for isa in Isa::all_available() {
            let what = format!("{isa:?} {images} {rows} {channels}");
            let (mut got, mut y) = (room(sums.len()), room(size));
            response_norm::sums(isa, &a, Some(&b), images, &mut got);
            assert_close(&got, &sums, 5e-6, &what);
            response_norm::map(isa, &a, &factor, Other::Shift(&shift), images, &mut y);
            assert_close(&y, &shifted, 1e-6, &what);
            response_norm::map(isa, &a, &factor, Other::Scaled(&b, &other), images, &mut y);
            assert_close(&y, &joined, 1e-6, &what);
        }
    }
}

#[test]
fn a_window_at_the_border_is_the_mean_of_the_pixels_inside() {
    for [batch, height, width, channels] in SHAPES {
        let of = Halving { batch, height, width, channels };
        let (h, w) = (of.out_height(), of.out_width());
        let (size, out) = (batch * height * width * channels, batch * h * w * channels);
        let (x, dy) = (numbers(size, 1), numbers(out, 2));
        let (mut sums, mut counts) = (vec![0.0f64; out], vec![0usize; out]);
        let place = |at: usize| {
            let (c, pixel) = (at % channels, at / channels);
            let (column, row, image) =
                (pixel % width, pixel / width % height, pixel / width / height);
            ((image * h + row / 2) * w + column / 2) * channels + c
        };
        for at in 0..size {
            sums[place(at)] += f64::from(x[at]);
            counts[place(at)] += 1;
        }
        let expected: Vec<f64> = sums.iter().zip(&counts).map(|(s, c)| s / *c as f64).collect();
        let gradient: Vec<f64> =
            (0..size).map(|at| f64::from(dy[place(at)]) / counts[place(at)] as f64).collect();
        let (mut y, mut dx) = (room(out), room(size));
        halving::forward(&of, &x, &mut y);
        halving::backward(&of, &dy, &mut dx);
        assert_close(&y, &expected, 1e-6, &format!("{of:?}"));
        assert_close(&dx, &gradient, 1e-6, &format!("{of:?}"));
    }
}
