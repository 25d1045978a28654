//! Every operation against its definition in double precision, over one table of ugly shapes, in every
//! instruction set of the machine. No Burn is needed, so the table runs under AddressSanitizer in seconds:
//! all slices have exactly the size of their shape, and a read or write behind one is found.

use super::norm::Rectifier;
use super::norm_backward::Gate;
use super::pooling::MaxPool;
use super::shape::Conv;
use super::simd::Isa;
use super::{conv, gemm, linear, norm, norm_backward, pack::Matrix, pooling, update};

/// Numbers between −1 and 1 that look random (Knuth's multiplicative hash of their place).
pub(super) fn numbers(count: usize, seed: usize) -> Vec<f32> {
    let number = |i: usize| ((i + 1) * (2 * seed + 1)).wrapping_mul(2_654_435_761) % 2003;
    (0..count).map(|i| number(i) as f32 / 1001.0 - 1.0).collect()
}

/// Room for a result, which must be written and not added to.
pub(super) fn room(count: usize) -> Vec<f32> {
    vec![f32::NAN; count]
}

pub(super) fn assert_close(got: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    // Differences of larger numbers may come out small, and are as exact as those.
    let largest = expected.iter().fold(0.1, |largest: f64, value| largest.max(value.abs()));
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (f64::from(*got) - expected).abs() / largest;
        assert!(error <= tolerance, "{what}: {got} at {index}, expected {expected}");
    }
}

/// `[n, c, h, w]`, output channels, filter, stride, padding.
type Case = ([usize; 4], usize, (usize, usize), usize, usize);

const CONVOLUTIONS: [Case; 37] = [
    ([1, 1, 1, 1], 1, (1, 1), 1, 0),
    ([2, 3, 9, 8], 5, (3, 3), 1, 1),
    ([2, 3, 17, 13], 7, (7, 7), 2, 3),
    ([3, 4, 8, 7], 6, (1, 1), 2, 0),
    ([2, 4, 5, 6], 3, (1, 1), 1, 2),
    ([2, 7, 4, 6], 11, (3, 3), 1, 3),
    ([2, 2, 10, 9], 3, (1, 3), 1, 1),
    ([1, 3, 7, 7], 4, (7, 7), 1, 0),
    // Filters that Winograd's method would suit, with too few tiles for it.
    ([1, 8, 8, 8], 8, (3, 3), 1, 1),
    ([2, 16, 9, 11], 24, (3, 3), 1, 1),
    ([2, 13, 12, 7], 17, (3, 3), 1, 0),
    ([3, 9, 6, 10], 31, (3, 3), 1, 2),
    ([1, 8, 6, 6], 8, (3, 3), 1, 3),
    ([2, 33, 4, 4], 40, (3, 3), 1, 1),
    ([50, 16, 8, 8], 16, (3, 3), 1, 1), // enough tiles for whole tasks
    ([7, 9, 21, 18], 13, (3, 3), 1, 1), // whole tasks of cut tiles
    ([1, 264, 4, 4], 72, (3, 3), 1, 1),
    // Winograd: whole and cut tiles, odd channels, every padding.
    ([3, 16, 9, 11], 24, (3, 3), 1, 1),
    ([4, 13, 12, 7], 17, (3, 3), 1, 0),
    ([4, 9, 6, 10], 31, (3, 3), 1, 2),
    ([3, 8, 6, 6], 8, (3, 3), 1, 3),
    ([25, 33, 4, 4], 40, (3, 3), 1, 1),
    ([24, 264, 4, 4], 20, (3, 3), 1, 1), // more channels than one pass sums
    ([13, 70, 8, 8], 66, (3, 3), 1, 1),  // more weights than a task sums
    // Weights of which a task takes a part.
    ([1, 264, 6, 5], 20, (3, 3), 2, 1),
    ([2, 64, 7, 6], 260, (3, 3), 2, 1),
    ([1, 144, 6, 5], 70, (5, 5), 1, 2),
    ([2, 20, 7, 7], 290, (1, 1), 1, 0),
    // Few channels in, of whole vectors and other numbers out, in one band and in several.
    ([2, 3, 16, 19], 16, (7, 7), 2, 3),
    ([1, 3, 70, 66], 64, (3, 3), 1, 1),
    ([11, 1, 9, 12], 48, (3, 2), 1, 0),
    ([2, 3, 75, 80], 20, (7, 7), 2, 3),
    ([1, 7, 12, 41], 32, (5, 5), 3, 2),
    // Nothing to sum over.
    ([3, 0, 5, 5], 4, (3, 3), 1, 1),
    ([0, 4, 5, 5], 6, (3, 3), 2, 1),
    ([0, 16, 8, 8], 16, (3, 3), 1, 1),
    ([2, 16, 8, 8], 0, (3, 3), 1, 1),
];

/// Calls `f` with the places of every product of the definition: in the image, the weight, the output.
fn each_product(conv: &Conv, mut f: impl FnMut(usize, usize, usize)) {
    let (rows, columns) = conv.kernel;
    let inside = |at: usize, tap: usize, size: usize| {
        (at * conv.stride + tap).checked_sub(conv.padding).filter(|at| *at < size)
    };
    let (out_height, out_width) = (conv.out_height(), conv.out_width());
    for pixel in 0..conv.pixels() {
        let (n, i, j) =
            (pixel / (out_height * out_width), pixel / out_width % out_height, pixel % out_width);
        for tap in 0..rows * columns {
            let (r, s) = (tap / columns, tap % columns);
            let (Some(y), Some(x)) = (inside(i, r, conv.height), inside(j, s, conv.width)) else {
                continue;
            };
            for c in 0..conv.in_channels {
                let image = ((n * conv.height + y) * conv.width + x) * conv.in_channels + c;
                for k in 0..conv.out_channels {
                    let weight = ((k * conv.in_channels + c) * rows + r) * columns + s;
                    f(image, weight, pixel * conv.out_channels + k);
                }
            }
        }
    }
}

#[test]
fn convolutions_and_their_gradients_are_the_definitions() {
    for case in CONVOLUTIONS {
        let ([batch, in_channels, height, width], out_channels, kernel, stride, padding) = case;
        let conv =
            Conv { batch, height, width, in_channels, out_channels, kernel, stride, padding };
        let x = numbers(conv.input_size(), 1);
        let weight = numbers(conv.weight_size(), 2);
        let dy = numbers(conv.output_size(), 3);
        let [mut y, mut dx, mut dweight] =
            [dy.len(), x.len(), weight.len()].map(|size| vec![0.0_f64; size]);
        each_product(&conv, |image, tap, out| {
            let [x, w, g] = [x[image], weight[tap], dy[out]].map(f64::from);
            y[out] += x * w;
            dx[image] += w * g;
            dweight[tap] += x * g;
        });
        for isa in Isa::all_available() {
            let what = format!("{isa:?} {case:?}");
            let mut got = room(y.len());
            conv::forward(isa, &conv, &x, &weight, &mut got);
            assert_close(&got, &y, 1e-4, &what);
            let mut got = room(dx.len());
            conv::input_gradient(isa, &conv, &dy, &weight, &mut got, false);
            assert_close(&got, &dx, 1e-4, &format!("{what}: gradient of the input"));
            conv::input_gradient(isa, &conv, &dy, &weight, &mut got, true);
            let twice: Vec<f64> = dx.iter().map(|value| 2.0 * value).collect();
            assert_close(&got, &twice, 1e-4, &format!("{what}: gradient of the input, added"));
            let mut got = room(dweight.len());
            conv::weight_gradient(isa, &conv, &x, &dy, &mut got);
            assert_close(&got, &dweight, 1e-4, &format!("{what}: gradient of the weight"));
        }
    }
}

/// `left · right`, rows one after the other.
fn product(left: &[f32], right: &[f32], [m, depth, n]: [usize; 3]) -> Vec<f64> {
    let at = |i: usize, j: usize| {
        let terms =
            (0..depth).map(|p| f64::from(left[i * depth + p]) * f64::from(right[p * n + j]));
        terms.sum()
    };
    (0..m * n).map(|index| at(index / n, index % n)).collect()
}

fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    let rows = matrix.len() / columns.max(1);
    (0..matrix.len()).map(|at| matrix[at % rows * columns + at / rows]).collect()
}

#[test]
fn products_and_linear_layers_are_the_definitions_however_the_matrices_lie() {
    let shapes = [
        [1, 1, 1],
        [2, 3, 5],
        [7, 37, 11],
        [13, 257, 33],
        [65, 300, 130],
        [130, 7, 513],
        [3, 0, 4],
    ];
    for [m, depth, n] in shapes {
        let (left, right) = (numbers(m * depth, 1), numbers(depth * n, 2));
        let expected = product(&left, &right, [m, depth, n]);
        let (turned_left, turned_right) = (transposed(&left, depth), transposed(&right, n));
        for isa in Isa::all_available() {
            let lefts = [
                Matrix::row_major(&left, m, depth),
                Matrix::row_major(&turned_left, depth, m).transposed(),
            ];
            let rights = [
                Matrix::row_major(&right, depth, n),
                Matrix::row_major(&turned_right, n, depth).transposed(),
            ];
            let what = format!("{isa:?} {m}x{depth}x{n}");
            for (a, b) in lefts.into_iter().flat_map(|a| rights.map(|b| (a, b))) {
                let mut got = room(m * n);
                gemm::product(isa, a, b, &mut got, false);
                assert_close(&got, &expected, 1e-5, &what);
                gemm::product(isa, a, b, &mut got, true);
                let twice: Vec<f64> = expected.iter().map(|value| 2.0 * value).collect();
                assert_close(&got, &twice, 1e-5, &format!("{what}, added"));
            }
            if depth == 0 {
                continue;
            }
            // The weight of a layer is `[outputs, inputs]`: the right side, transposed.
            let sizes = linear::Linear { batch: m, inputs: depth, outputs: n };
            let bias = numbers(n, 3);
            let mut got = room(m * n);
            linear::forward(isa, sizes, &left, &turned_right, Some(&bias), &mut got);
            let sums = expected.iter().enumerate();
            let expected: Vec<f64> = sums.map(|(at, sum)| sum + f64::from(bias[at % n])).collect();
            assert_close(&got, &expected, 1e-5, &format!("{what}, linear"));
            let dy = numbers(m * n, 4);
            let mut got = room(m * depth);
            linear::input_gradient(isa, sizes, &dy, &turned_right, &mut got);
            assert_close(&got, &product(&dy, &turned_right, [m, n, depth]), 1e-5, &what);
            let mut got = room(n * depth);
            linear::weight_gradient(isa, sizes, &left, &dy, &mut got);
            assert_close(&got, &product(&transposed(&dy, n), &left, [n, m, depth]), 1e-5, &what);
        }
    }
}

#[test]
fn batch_norm_and_its_gradients_are_the_definitions() {
    for (rows, channels) in [(4, 1), (3, 5), (70, 37), (257, 16), (33, 100), (9000, 3)] {
        let [x, dy, residual] = [1, 2, 3].map(|seed| numbers(rows * channels, seed));
        let [gamma, beta] = [4, 5].map(|seed| numbers(channels, seed));
        let eps = 1e-5;
        let value = |values: &[f32], row: usize, c: usize| f64::from(values[row * channels + c]);
        let mean_over = |f: &dyn Fn(usize) -> f64| (0..rows).map(f).sum::<f64>() / rows as f64;
        let mean: Vec<f64> = (0..channels).map(|c| mean_over(&|row| value(&x, row, c))).collect();
        let spread = |c: usize| mean_over(&|row| (value(&x, row, c) - mean[c]).powi(2));
        let variance: Vec<f64> = (0..channels).map(spread).collect();
        let deviation: Vec<f64> = variance.iter().map(|v| (v + eps).sqrt()).collect();
        let unit = |row: usize, c: usize| (value(&x, row, c) - mean[c]) / deviation[c];
        for isa in Isa::all_available() {
            let what = format!("{isa:?} {rows}x{channels}");
            let moments = norm::moments(isa, &x, channels);
            assert_close(&moments.mean, &mean, 1e-5, &format!("{what}: mean"));
            assert_close(&moments.variance, &variance, 1e-5, &format!("{what}: variance"));
            let scale: Vec<f32> =
                (0..channels).map(|c| (f64::from(gamma[c]) / deviation[c]) as f32).collect();
            let means: Vec<f32> = mean.iter().map(|mean| *mean as f32).collect();
            let rectifiers = [Rectifier::None, Rectifier::Relu, Rectifier::Leaky(0.1)];
            for (added, rectifier) in rectifiers.iter().flat_map(|r| [(false, *r), (true, *r)]) {
                let residual = added.then_some(residual.as_slice());
                let mut y = room(x.len());
                norm::apply(isa, &x, &means, &scale, &beta, residual, rectifier, &mut y);
                let expected = (0..x.len()).map(|at| {
                    let (row, c) = (at / channels, at % channels);
                    let sum = f64::from(gamma[c]) * unit(row, c)
                        + f64::from(beta[c])
                        + residual.map_or(0.0, |residual| f64::from(residual[at]));
                    match rectifier {
                        Rectifier::None => sum,
                        Rectifier::Relu => sum.max(0.0),
                        Rectifier::Leaky(slope) => sum.max(f64::from(slope) * sum),
                    }
                });
                assert_close(&y, &expected.collect::<Vec<_>>(), 1e-5, &what);
                let (slope, gate) = match rectifier {
                    Rectifier::None => (1.0, Gate::Open),
                    Rectifier::Relu => (0.0, Gate::Output(&y)),
                    Rectifier::Leaky(slope) => (slope, Gate::Output(&y)),
                };
                let (images, statistics) = ([&*x, &dy, &gamma], [&*mean, &deviation]);
                check_gradients(isa, &y, (gate, slope), images, statistics, &what);
                if !added && rectifier != Rectifier::None {
                    let gate = Gate::Input { scale: &scale, shift: &beta };
                    check_gradients(isa, &y, (gate, slope), images, statistics, &what);
                }
            }
        }
    }
}

/// The gradients, where `y` is what came out, with statistics as given in double precision.
fn check_gradients(
    isa: Isa,
    y: &[f32],
    (gate, slope): (Gate<'_>, f32),
    [x, dy, gamma]: [&[f32]; 3],
    [mean, deviation]: [&[f64]; 2],
    what: &str,
) {
    let channels = mean.len();
    let rows = x.len() / channels;
    let single = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<_>>();
    let variance: Vec<f64> = deviation.iter().map(|deviation| deviation.powi(2)).collect();
    let (means, variance) = (single(mean), single(&variance));
    let given = norm_backward::Backward {
        x,
        dy,
        gate,
        slope,
        gamma,
        mean: &means,
        variance: &variance,
        eps: 0.0,
        residual: true,
    };
    let sums = norm_backward::sums(isa, &given);
    let totals = norm_backward::Totals { own: &sums, joint: &sums, count: rows as f64 };
    let got = norm_backward::backward(isa, &given, totals);
    let mut replaced = dy.to_vec();
    let given = norm_backward::Backward { dy: &[], ..given };
    let in_place = norm_backward::backward_in_place(isa, &given, &mut replaced, totals);
    assert_eq!((&*got.x, &got.gamma, &got.beta), (&*replaced, &in_place.gamma, &in_place.beta));
    assert_eq!(got.residual.as_deref(), in_place.residual.as_deref());
    // In two passes that need no further memory.
    let (mut gated, mut over) = (dy.to_vec(), x.to_vec());
    assert_eq!(norm_backward::sums_in_place(isa, &given, &mut gated), sums);
    assert_eq!(got.residual.as_deref(), Some(&*gated));
    let given = norm_backward::Backward { x: &[], dy: &gated, gate: Gate::Open, ..given };
    let over_input = norm_backward::backward_over_input(isa, &given, &mut over, totals);
    assert_eq!((&*over, &over_input.gamma, &over_input.beta), (&*got.x, &got.gamma, &got.beta));
    let gated: Vec<f64> = dy
        .iter()
        .zip(y)
        .map(|(g, y)| if *y <= 0.0 { f64::from(slope * *g) } else { f64::from(*g) })
        .collect();
    let unit: Vec<f64> = (0..x.len())
        .map(|at| (f64::from(x[at]) - mean[at % channels]) / deviation[at % channels])
        .collect();
    let over = |f: &dyn Fn(usize) -> f64, c: usize| (c..x.len()).step_by(channels).map(f).sum();
    let dbeta: Vec<f64> = (0..channels).map(|c| over(&|at| gated[at], c)).collect();
    let dgamma: Vec<f64> = (0..channels).map(|c| over(&|at| gated[at] * unit[at], c)).collect();
    let dx = (0..x.len()).map(|at| {
        let c = at % channels;
        let rest = gated[at] - (dbeta[c] + unit[at] * dgamma[c]) / rows as f64;
        f64::from(gamma[c]) / deviation[c] * rest
    });
    assert_close(&got.x, &dx.collect::<Vec<_>>(), 2e-5, &format!("{what}: dx"));
    assert_close(&got.gamma, &dgamma, 2e-5, &format!("{what}: dgamma"));
    assert_close(&got.beta, &dbeta, 2e-5, &format!("{what}: dbeta"));
    let residual = got.residual.expect("it was asked for");
    assert_close(&residual, &gated, 0.0, &format!("{what}: gradient behind the rectifier"));
}

#[test]
fn pooling_and_its_gradients_are_the_definitions() {
    let cases = [
        ([1, 1, 4, 4], 2, 2, 0),
        ([2, 5, 9, 7], 3, 2, 1),
        ([3, 16, 8, 11], 3, 1, 1),
        ([2, 37, 6, 5], 2, 1, 1),
    ];
    for ([batch, channels, height, width], kernel, stride, padding) in cases {
        let pool = MaxPool { batch, height, width, channels, kernel, stride, padding };
        let pixels = pool.out_height() * pool.out_width();
        let x = numbers(batch * height * width * channels, 1);
        let dy = numbers(batch * pixels * channels, 2);
        let (mut y, mut dx) = (Vec::new(), vec![0.0_f64; x.len()]);
        for (out, dy) in dy.iter().enumerate() {
            let (n, pixel, c) = (out / channels / pixels, out / channels % pixels, out % channels);
            let (row, column) = (pixel / pool.out_width(), pixel % pool.out_width());
            let inside = |at: usize, tap: usize, size: usize| {
                (at * stride + tap).checked_sub(padding).filter(|at| *at < size)
            };
            let window = (0..kernel * kernel).filter_map(|tap| {
                let y = inside(row, tap / kernel, height)?;
                let x = inside(column, tap % kernel, width)?;
                Some(((n * height + y) * width + x) * channels + c)
            });
            let best = window.reduce(|best, at| if x[at] > x[best] { at } else { best });
            let best = best.expect("a window has a pixel");
            y.push(f64::from(x[best]));
            dx[best] += f64::from(*dy);
        }
        for isa in Isa::all_available() {
            let what = format!("{isa:?} {pool:?}");
            let mut got = room(y.len());
            pooling::max_pool(isa, &pool, &x, &mut got);
            assert_close(&got, &y, 0.0, &what);
            let mut got = room(x.len());
            pooling::max_pool_gradient(isa, &pool, &x, &dy, &mut got);
            assert_close(&got, &dx, 1e-6, &what);
        }
        let mut got = room(batch * channels);
        pooling::average(&x, batch, channels, &mut got);
        let image = height * width;
        let mean = |n: usize, c: usize| {
            let pixels = (0..image).map(|pixel| f64::from(x[(n * image + pixel) * channels + c]));
            pixels.sum::<f64>() / image as f64
        };
        let means = (0..batch * channels).map(|at| mean(at / channels, at % channels));
        assert_close(&got, &means.collect::<Vec<_>>(), 1e-6, "average");
        let given = numbers(batch * channels, 3);
        let mut got = room(x.len());
        pooling::average_gradient(&given, batch, channels, &mut got);
        let share = |at: usize| given[at / image / channels * channels + at % channels];
        let shares = (0..x.len()).map(|at| f64::from(share(at)) / image as f64);
        assert_close(&got, &shares.collect::<Vec<_>>(), 1e-6, "gradient of the average");
    }
}

#[test]
fn updates_are_their_formulas() {
    for length in [0, 1, 7, 31, 33, 4097, 70_001] {
        let [start, given, other] = [1, 2, 3].map(|seed| numbers(length, seed));
        let each = |f: &dyn Fn(f64, f64, f64) -> f64| -> Vec<f64> {
            let pairs = start.iter().zip(&given).zip(&other);
            pairs.map(|((a, b), c)| f(f64::from(*a), f64::from(*b), f64::from(*c))).collect()
        };
        for isa in Isa::all_available() {
            let what = format!("{isa:?} {length}");
            let mut got = start.clone();
            update::ema(isa, &mut got, &given, 0.9);
            assert_close(&got, &each(&|a, b, _| 0.9 * a + 0.1 * b), 1e-6, &what);
            let mut got = start.clone();
            update::add(isa, &mut got, &given);
            assert_close(&got, &each(&|a, b, _| a + b), 1e-6, &what);
            let descent = update::Descent { rate: 0.5, weight_decay: 0.25, trust: 2.0 };
            let mut got = start.clone();
            update::descent(isa, &mut got, &given, descent);
            assert_close(&got, &each(&|a, b, _| a - (b + 0.25 * a)), 1e-6, &what);
            let (mut got, mut buffer) = (start.clone(), other.clone());
            let by = update::Momentum { descent, momentum: 0.5, take: 1.0, direction: (0.0, 1.0) };
            update::momentum(isa, &mut got, &mut buffer, &given, by);
            let next = |a: f64, b: f64, c: f64| 0.5 * c + 2.0 * (b + 0.25 * a);
            assert_close(&buffer, &each(&next), 1e-6, &what);
            assert_close(&got, &each(&|a, b, c| a - 0.5 * next(a, b, c)), 1e-6, &what);
            let squares: f64 = start.iter().map(|value| f64::from(*value).powi(2)).sum();
            let got = update::sum_of_squares(isa, &start);
            assert!((got - squares).abs() <= 1e-6 * squares, "{what}: {got} of {squares}");
        }
    }
}
