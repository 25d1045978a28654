//! Speed and error of the convolution kernels, for tuning.
use std::time::Instant;
use vssl_kernels::raw::{conv::{self, Conv}, simd::isa, gemm, pack::Matrix, direct, winograd};

fn random(n: usize, seed: u64) -> Vec<f32> {
    let mut s = seed.wrapping_mul(0x9E3779B97F4A7C15) | 1;
    (0..n).map(|_| { s ^= s << 13; s ^= s >> 7; s ^= s << 17; (s >> 40) as f32 / (1u64 << 23) as f32 - 1.0 }).collect()
}
fn best(mut f: impl FnMut(), reps: usize) -> f64 {
    f();
    (0..reps).map(|_| { let t = Instant::now(); f(); t.elapsed().as_secs_f64() }).fold(f64::MAX, f64::min)
}
fn error(a: &[f32], b: &[f32]) -> f32 {
    let m = b.iter().fold(0f32, |m, v| m.max(v.abs()));
    a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / m
}
fn main() {
    let isa = isa();
    println!("{isa:?}");
    for (m, k, n) in [(4096, 576, 64), (1024, 1024, 1024), (64, 512, 4096)] {
        let (a, b) = (random(m * k, 1), random(k * n, 2));
        let mut c = vec![0.0; m * n];
        let t = best(|| gemm::product(isa, Matrix::row_major(&a, m, k), Matrix::row_major(&b, k, n), &mut c, false), 10);
        println!("gemm {m}x{k}x{n} {:.1} GF", 2e-9 * (m * k * n) as f64 / t);
    }
    let b: usize = std::env::args().nth(1).and_then(|b| b.parse().ok()).unwrap_or(64);
    for (h, c, k, r, s, p) in [(32, 3, 64, 3, 1, 1), (32, 64, 64, 3, 1, 1), (32, 64, 128, 3, 2, 1), (32, 64, 128, 1, 2, 0), (16, 128, 128, 3, 1, 1), (8, 256, 256, 3, 1, 1), (8, 256, 512, 3, 2, 1), (4, 512, 512, 3, 1, 1), (32, 16, 16, 3, 1, 1), (16, 32, 32, 3, 1, 1), (8, 64, 64, 3, 1, 1), (4, 128, 128, 3, 1, 1), (56,64,256,1,1,0), (224, 3, 64, 7, 2, 3)] {
        let b = if h > 32 { b.div_ceil(4) } else { b };
        let g = Conv { batch: b, height: h, width: h, in_channels: c, out_channels: k, kernel: (r, r), stride: s, padding: p };
        let (x, w, dy) = (random(g.input_size(), 1), random(g.weight_size(), 2), random(g.output_size(), 3));
        let (mut y, mut dx, mut dw) = (vec![0.0; g.output_size()], vec![0.0; g.input_size()], vec![0.0; g.weight_size()]);
        let gf = g.operations() * 1e-9;
        let f = best(|| conv::forward(isa, &g, &x, &w, &mut y), 5);
        let i = best(|| conv::input_gradient(isa, &g, &dy, &w, &mut dx), 5);
        let wg = best(|| conv::weight_gradient(isa, &g, &x, &dy, &mut dw), 5);
        print!("{h}² {c}->{k} {r}x{r}/{s}: fwd {:.2} ms {:.0} GF, dx {:.2} ms {:.0}, dw {:.2} ms {:.0}", f * 1e3, gf / f, i * 1e3, gf / i, wg * 1e3, gf / wg);
        if winograd::applies(&g) {
            let (mut y2, mut dx2, mut dw2) = (y.clone(), dx.clone(), dw.clone());
            let f = best(|| direct::forward(isa, &g, &x, &w, &mut y2), 2);
            let i = best(|| direct::input_gradient(isa, &g, &dy, &w, &mut dx2), 2);
            let wg = best(|| direct::weight_gradient(isa, &g, &x, &dy, &mut dw2), 2);
            print!(" | direct {:.0} {:.0} {:.0} GF; error {:.1e} {:.1e} {:.1e}", gf / f, gf / i, gf / wg, error(&y, &y2), error(&dx, &dx2), error(&dw, &dw2));
        }
        println!();
    }
}
