//! The operations of transformers against their definitions in double precision, as in [`super::tests`].

use super::attention::{self, Attention};
use super::layer_norm::{self, Norm, Statistics};
use super::linear::Linear;
use super::rotary::{Rotary, rotate};
use super::rows::{self, Added, Before};
use super::simd::Isa;
use super::tests::{assert_close, numbers, room};
use super::{gelu, tall};

/// Φ(x), with all digits in both tails.
fn normal(x: f64) -> f64 {
    let z = x.abs() / std::f64::consts::SQRT_2;
    let tail = if z < 2.0 {
        let (mut term, mut sum) = (z, z);
        for n in 1..80 {
            term *= -z * z / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        0.5 - sum / std::f64::consts::PI.sqrt()
    } else {
        let fraction = (1..200).rev().fold(z, |below, n| z + f64::from(n) / 2.0 / below);
        0.5 * (-z * z).exp() / std::f64::consts::PI.sqrt() / fraction
    };
    if x > 0.0 { 1.0 - tail } else { tail }
}

fn gelu_of(x: f64) -> f64 {
    x * normal(x)
}

fn gelu_slope(x: f64) -> f64 {
    normal(x) + x * (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

#[test]
fn gelu_and_its_gradient_are_the_definitions_to_single_precision() {
    for count in [1, 15, 16, 33, 20_001] {
        let x: Vec<f32> = numbers(count, 1).iter().map(|x| 9.0 * x).collect();
        let ones = vec![1.0; count];
        let value: Vec<f64> = wide(&x).into_iter().map(gelu_of).collect();
        let slope: Vec<f64> = wide(&x).into_iter().map(gelu_slope).collect();
        for isa in Isa::all_available() {
            let (mut y, mut dx) = (room(count), room(count));
            gelu::forward(isa, &x, &mut y);
            gelu::backward(isa, &x, &ones, &mut dx);
            for ((got, expected), x) in y.iter().zip(&value).zip(&x) {
                // Below zero the relative error is that of the rounded square in an exponent.
                let error = (f64::from(*got) - expected).abs();
                let tolerance = if *x < 0.0 { 5e-6 } else { 4e-7 };
                assert!(error <= tolerance * expected.abs() + 1e-30, "{isa:?}: {got} at {x}");
            }
            assert_close(&dx, &slope, 4e-7, &format!("{isa:?} {count}"));
        }
    }
}

#[test]
fn gelu_of_what_is_no_number_or_large_is_as_defined() {
    for isa in Isa::all_available() {
        let x = [f32::NAN, f32::INFINITY, 1e30, -1e4, 0.0, -30.0, 30.0];
        let (mut y, mut dx) = (room(7), room(7));
        gelu::forward(isa, &x, &mut y);
        gelu::backward(isa, &x, &[1.0; 7], &mut dx);
        assert!(y[0].is_nan() && dx[0].is_nan(), "{isa:?}");
        assert_eq!(y[1..3], [f32::INFINITY, 1e30], "{isa:?}");
        assert!(y[3..6].iter().all(|value| value.abs() < 1e-30), "{isa:?}: {y:?}");
        assert_eq!((y[6], dx[6]), (30.0, 1.0), "{isa:?}");
    }
}

/// Means and reciprocal deviations of rows.
fn moments(x: &[f64], columns: usize, eps: f64) -> [Vec<f64>; 2] {
    let mean = |row: &[f64]| row.iter().sum::<f64>() / columns as f64;
    let means: Vec<f64> = x.chunks(columns).map(mean).collect();
    let factor = |(row, mean): (&[f64], &f64)| {
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / columns as f64;
        1.0 / (variance + eps).sqrt()
    };
    let factors = x.chunks(columns).zip(&means).map(factor).collect();
    [means, factors]
}

/// A normalisation of rows by definition: the unit rows and the output.
fn normed(x: &[f64], [mean, factor]: &[Vec<f64>; 2], gamma: &[f32], beta: &[f32]) -> [Vec<f64>; 2] {
    let columns = gamma.len();
    let unit: Vec<f64> = x
        .iter()
        .enumerate()
        .map(|(at, x)| (x - mean[at / columns]) * factor[at / columns])
        .collect();
    let scaled = unit
        .iter()
        .enumerate()
        .map(|(at, unit)| f64::from(gamma[at % columns]) * unit + f64::from(beta[at % columns]));
    let y = scaled.collect();
    [unit, y]
}

/// The gradients of rows, γ and β by definition.
fn norm_gradients(unit: &[f64], factor: &[f64], gamma: &[f32], dy: &[f64]) -> [Vec<f64>; 3] {
    let columns = gamma.len();
    let (mut dx, mut dgamma, mut dbeta) = (Vec::new(), vec![0.0; columns], vec![0.0; columns]);
    for (row, dy) in dy.chunks(columns).enumerate() {
        let unit = &unit[row * columns..][..columns];
        let g: Vec<f64> = dy.iter().zip(gamma).map(|(dy, gamma)| dy * f64::from(*gamma)).collect();
        let plain = g.iter().sum::<f64>() / columns as f64;
        let along = g.iter().zip(unit).map(|(g, unit)| g * unit).sum::<f64>() / columns as f64;
        dx.extend((0..columns).map(|c| factor[row] * (g[c] - plain - unit[c] * along)));
        for c in 0..columns {
            dgamma[c] += dy[c] * unit[c];
            dbeta[c] += dy[c];
        }
    }
    [dx, dgamma, dbeta]
}

#[test]
fn layer_norm_and_its_gradients_are_the_definitions() {
    for (rows, columns) in [(1, 1), (3, 5), (7, 16), (70, 37), (257, 192), (33, 1000), (0, 4)] {
        let x: Vec<f32> = numbers(rows * columns, 1).iter().map(|x| 3.0 + x).collect();
        let dy = numbers(rows * columns, 2);
        let [gamma, beta] = [3, 4].map(|seed| numbers(columns, seed));
        let of = moments(&wide(&x), columns, 1e-6);
        let [unit, y] = normed(&wide(&x), &of, &gamma, &beta);
        let [dx, dgamma, dbeta] = norm_gradients(&unit, &of[1], &gamma, &wide(&dy));
        for isa in Isa::all_available() {
            let what = format!("{isa:?} {rows}x{columns}");
            let (mut mean, mut factor) = (room(rows), room(rows));
            layer_norm::statistics(isa, &x, 1e-6, &mut mean, &mut factor);
            assert_close(&mean, &of[0], 1e-6, &format!("{what}: mean"));
            assert_close(&factor, &of[1], 1e-5, &format!("{what}: deviation"));
            let of = Statistics { mean: &mean, factor: &factor };
            let norm = Norm { of, gamma: &gamma, beta: &beta };
            let mut got = room(x.len());
            layer_norm::forward(isa, &x, norm, &mut got);
            assert_close(&got, &y, 1e-5, &what);
            let mut got = room(x.len());
            let [scale, shift] = layer_norm::backward(isa, &x, norm, &dy, &mut got, false);
            // A row of one number has gradients of zero, through a factor of a thousand.
            let tolerance = if columns == 1 { 1e-2 } else { 2e-5 };
            assert_close(&got, &dx, tolerance, &format!("{what}: dx"));
            assert_close(&scale, &dgamma, 2e-5, &format!("{what}: dgamma"));
            assert_close(&shift, &dbeta, 1e-5, &format!("{what}: dbeta"));
            layer_norm::backward(isa, &x, norm, &dy, &mut got, true);
            let twice: Vec<f64> = dx.iter().map(|value| 2.0 * value).collect();
            assert_close(&got, &twice, tolerance, &format!("{what}: dx, added"));
        }
    }
}

/// `left · right` of rows in double precision.
fn product(left: &[f64], right: &[f64], [m, depth, n]: [usize; 3]) -> Vec<f64> {
    let term = |at: usize, p: usize| left[at / n * depth + p] * right[p * n + at % n];
    (0..m * n).map(|at| (0..depth).map(|p| term(at, p)).sum()).collect()
}

fn turned(matrix: &[f64], columns: usize) -> Vec<f64> {
    let rows = matrix.len() / columns.max(1);
    (0..matrix.len()).map(|at| matrix[at % rows * columns + at / rows]).collect()
}

#[test]
fn linear_layers_with_what_stands_around_them_are_the_definitions() {
    let shapes = [
        [1, 1, 1],
        [2, 3, 5],
        [7, 37, 11],
        [131, 257, 33],
        [65, 300, 130],
        [130, 7, 813],
        [1100, 40, 20],
        [0, 4, 3],
        [5, 3, 0],
    ];
    for [batch, inputs, outputs] in shapes {
        let sizes = Linear { batch, inputs, outputs };
        let (x, weight) = (numbers(batch * inputs, 1), numbers(outputs * inputs, 2));
        let [bias, residual] = [outputs, batch * outputs].map(|count| numbers(count, 3 + count));
        let dy = numbers(batch * outputs, 4);
        let [gamma, beta] = [5, 6].map(|seed| numbers(inputs, seed));
        let of = moments(&wide(&x), inputs, 1e-6);
        let [unit, scaled] = normed(&wide(&x), &of, &gamma, &beta);
        let through: Vec<f64> = wide(&x).into_iter().map(gelu_of).collect();
        let seen = [wide(&x), through, scaled];
        let back = product(&wide(&dy), &wide(&weight), [batch, outputs, inputs]);
        for isa in Isa::all_available() {
            let (mut mean, mut factor) = (room(batch), room(batch));
            layer_norm::statistics(isa, &x, 1e-6, &mut mean, &mut factor);
            let of_rows = Statistics { mean: &mean, factor: &factor };
            let norm = Norm { of: of_rows, gamma: &gamma, beta: &beta };
            // The normalisation of a row of few numbers magnifies errors.
            let loose = if inputs < 4 { 1e-2 } else { 4e-5 };
            let befores =
                [(Before::Nothing, 1e-5), (Before::Gelu, 1e-5), (Before::Norm(norm), loose)];
            for ((before, tolerance), seen) in befores.into_iter().zip(&seen) {
                let what = format!("{isa:?} {sizes:?}");
                let plain =
                    product(seen, &turned(&wide(&weight), inputs), [batch, inputs, outputs]);
                for (with_bias, with_residual) in
                    [(false, false), (true, false), (false, true), (true, true)]
                {
                    let added = Added {
                        bias: with_bias.then_some(&bias),
                        residual: with_residual.then_some(&residual),
                    };
                    let sum = |(at, value): (usize, &f64)| {
                        value
                            + added.bias.map_or(0.0, |bias| f64::from(bias[at % outputs]))
                            + added.residual.map_or(0.0, |residual| f64::from(residual[at]))
                    };
                    let expected: Vec<f64> = plain.iter().enumerate().map(sum).collect();
                    let mut got = room(batch * outputs);
                    rows::forward(isa, sizes, &x, before, &weight, added, &mut got);
                    assert_close(&got, &expected, tolerance, &what);
                }
                let (mut dweight, mut dbias) = (room(outputs * inputs), room(outputs));
                let sum = Some(dbias.as_mut_slice());
                tall::weight_gradient(isa, sizes, &x, before, &dy, &mut dweight, sum);
                let expected =
                    product(&turned(&wide(&dy), outputs), seen, [outputs, batch, inputs]);
                assert_close(&dweight, &expected, tolerance, &format!("{what}: weight"));
                let ones = vec![1.0; batch];
                let expected = product(&ones, &wide(&dy), [1, batch, outputs]);
                assert_close(&dbias, &expected, 1e-5, &format!("{what}: bias"));
            }
            let what = format!("{isa:?} {sizes:?}: gradient of the input");
            let mut got = room(x.len());
            rows::input_gradient(isa, sizes, &dy, &weight, None, &mut got);
            assert_close(&got, &back, 1e-5, &what);
            rows::input_gradient(isa, sizes, &dy, &weight, Some(&x), &mut got);
            let slopes = wide(&x).into_iter().map(gelu_slope);
            let expected: Vec<f64> =
                back.iter().zip(slopes).map(|(dy, slope)| dy * slope).collect();
            assert_close(&got, &expected, 1e-5, &what);
            let [dx, dgamma, dbeta] = norm_gradients(&unit, &of[1], &gamma, &back);
            let mut got = numbers(x.len(), 7);
            let expected: Vec<f64> = dx.iter().zip(wide(&got)).map(|(a, b)| a + b).collect();
            let [scale, shift] =
                rows::normed_input_gradient(isa, sizes, &x, norm, &dy, &weight, &mut got, true);
            assert_close(&got, &expected, loose, &what);
            assert_close(&scale, &dgamma, loose, &format!("{what}: dgamma"));
            assert_close(&shift, &dbeta, 1e-5, &format!("{what}: dbeta"));
        }
    }
}

/// Output and gradient of an attention by definition.
fn attend(sizes: Attention, qkv: &[f64], dout: &[f64]) -> [Vec<f64>; 2] {
    let Attention { images, tokens, heads, size } = sizes;
    let width = sizes.width();
    let (mut out, mut dqkv) = (vec![0.0; dout.len()], vec![0.0; qkv.len()]);
    for (image, head) in (0..images * heads).map(|index| (index / heads, index % heads)) {
        let place = |part: usize, token: usize, d: usize| {
            (image * tokens + token) * 3 * width + part * width + head * size + d
        };
        let at = |token: usize, d: usize| (image * tokens + token) * width + head * size + d;
        let scale = 1.0 / (size as f64).sqrt();
        for q in 0..tokens {
            let dot = |k: usize| -> f64 {
                (0..size).map(|d| qkv[place(0, q, d)] * qkv[place(1, k, d)]).sum::<f64>() * scale
            };
            let logits: Vec<f64> = (0..tokens).map(dot).collect();
            let top = logits.iter().fold(f64::MIN, |top, logit| top.max(*logit));
            let powers: Vec<f64> = logits.iter().map(|logit| (logit - top).exp()).collect();
            let total: f64 = powers.iter().sum();
            let p: Vec<f64> = powers.iter().map(|power| power / total).collect();
            let dp: Vec<f64> = (0..tokens)
                .map(|k| (0..size).map(|d| dout[at(q, d)] * qkv[place(2, k, d)]).sum())
                .collect();
            let mean: f64 = p.iter().zip(&dp).map(|(p, dp)| p * dp).sum();
            for k in 0..tokens {
                let ds = p[k] * (dp[k] - mean) * scale;
                for d in 0..size {
                    out[at(q, d)] += p[k] * qkv[place(2, k, d)];
                    dqkv[place(0, q, d)] += ds * qkv[place(1, k, d)];
                    dqkv[place(1, k, d)] += ds * qkv[place(0, q, d)];
                    dqkv[place(2, k, d)] += p[k] * dout[at(q, d)];
                }
            }
        }
    }
    [out, dqkv]
}

#[test]
fn attention_and_its_gradient_are_the_definitions() {
    let shapes = [
        [1, 1, 1, 1],
        [2, 1, 3, 5],
        [2, 7, 1, 3],
        [1, 33, 2, 16],
        [3, 65, 3, 64],
        [1, 130, 2, 40],
        [1, 301, 1, 33],
        [1, 1030, 1, 3],
        [0, 5, 2, 8],
    ];
    for [images, tokens, heads, size] in shapes {
        let sizes = Attention { images, tokens, heads, size };
        // Some logits are far from the others.
        let qkv: Vec<f32> = numbers(3 * sizes.output_size(), 1).iter().map(|x| 4.0 * x).collect();
        let dout = numbers(sizes.output_size(), 2);
        let [out, dqkv] = attend(sizes, &wide(&qkv), &wide(&dout));
        for isa in Isa::all_available() {
            let what = format!("{isa:?} {sizes:?}");
            let (mut got, mut sums) = (room(out.len()), room(sizes.rows()));
            attention::forward(isa, sizes, &qkv, &mut got, &mut sums);
            // Logits of a hundred have an error of some 10⁻⁵, and so have their exponentials.
            assert_close(&got, &out, 1e-4, &what);
            let mut got = room(qkv.len());
            attention::backward(isa, sizes, &qkv, &sums, &dout, &mut got);
            assert_close(&got, &dqkv, 1e-4, &format!("{what}: gradient"));
        }
    }
}

#[test]
fn a_rotation_turns_queries_and_keys_of_patches_and_nothing_else() {
    for (images, prefix, patches, heads, size) in
        [(1, 0, 1, 1, 2), (2, 1, 17, 3, 6), (3, 5, 33, 2, 64)]
    {
        let (tokens, width) = (prefix + patches, heads * size);
        let of = Rotary { images, tokens, patches, heads, size };
        let (x, turns) = (numbers(images * tokens * 3 * width, 1), numbers(patches * size / 2, 2));
        let angles: Vec<f32> = turns
            .chunks(size / 2)
            .flat_map(|row| row.iter().map(|x| x.cos()).chain(row.iter().map(|x| x.sin())))
            .collect();
        let mut expected = wide(&x);
        for (token, row) in expected.chunks_mut(3 * width).enumerate() {
            let Some(patch) = (token % tokens).checked_sub(prefix) else { continue };
            for part in row[..2 * width].chunks_mut(size) {
                for j in 0..size / 2 {
                    let angle = f64::from(turns[patch * size / 2 + j]);
                    let (a, b) = (part[j], part[j + size / 2]);
                    part[j] = a * angle.cos() - b * angle.sin();
                    part[j + size / 2] = b * angle.cos() + a * angle.sin();
                }
            }
        }
        for isa in Isa::all_available() {
            let mut got = x.clone();
            rotate(isa, of, &angles, false, &mut got);
            assert_close(&got, &expected, 4e-7, &format!("{isa:?} {of:?}"));
            rotate(isa, of, &angles, true, &mut got);
            assert_close(&got, &wide(&x), 1e-6, &format!("{isa:?} {of:?} and back"));
        }
    }
}
