//! Measures the speed of the convolutions, layer by layer, beside a plain matrix product of the same size.

use std::time::{Duration, Instant};

use crate::raw::gemm;
use crate::raw::pack::Matrix;
use crate::raw::simd::isa;
use crate::raw::{conv, shape::Conv};

/// A convolution of a residual network, named after its place in the network.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The place in the network, and how often the shape occurs.
    pub name: String,
    conv: Conv,
}

/// Speeds in 10⁹ multiplications and additions a second, counted by the definition of the convolution.
/// Winograd's method does fewer operations, so its figure can exceed the speed of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// The speed of the forward pass.
    pub forward: f64,
    /// The speed of the gradient of the input.
    pub input_gradient: f64,
    /// The speed of the gradient of the weight.
    pub weight_gradient: f64,
    /// The speed of a matrix product `[pixels, taps] · [taps, channels]` whose patches are ready in memory.
    pub product: f64,
}

/// Returns the distinct shapes of a ResNet-18 (`bottleneck: false`) or ResNet-50 of base `width` on images of
/// `size` pixels; up to 64 pixels, the network has the stem for small images (3×3, no pooling).
pub fn layers(bottleneck: bool, width: usize, size: usize, batch: usize) -> Vec<Layer> {
    let mut layers: Vec<Layer> = Vec::new();
    let mut add = |place: &str, size, channels: (usize, usize), kernel: usize, stride| {
        let conv = Conv {
            batch,
            height: size,
            width: size,
            in_channels: channels.0,
            out_channels: channels.1,
            kernel: (kernel, kernel),
            stride,
            padding: kernel / 2,
        };
        if layers.iter().all(|layer| layer.conv != conv) {
            let (from, to) = channels;
            let name =
                format!("{place}: {size}² {from} → {to}, {kernel}×{kernel}, stride {stride}");
            layers.push(Layer { name, conv });
        }
    };
    let small = size <= 64;
    add("stem", size, (3, width), if small { 3 } else { 7 }, if small { 1 } else { 2 });
    let mut size = if small { size } else { size.div_ceil(4) };
    let mut channels = width;
    for stage in 0..4 {
        let place = format!("stage {}", stage + 1);
        let (inner, out) = (width << stage, (width << stage) * if bottleneck { 4 } else { 1 });
        for block in 0..2 {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            if stride != 1 || channels != out {
                add(&place, size, (channels, out), 1, stride);
            }
            if bottleneck {
                add(&place, size, (channels, inner), 1, 1);
                add(&place, size, (inner, inner), 3, stride);
                add(&place, size.div_ceil(stride), (inner, out), 1, 1);
            } else {
                add(&place, size, (channels, inner), 3, stride);
                add(&place, size.div_ceil(stride), (inner, inner), 3, 1);
            }
            size = size.div_ceil(stride);
            channels = out;
        }
    }
    layers
}

impl Layer {
    /// Returns the best speed of several runs of each pass, within about `budget` for each pass, after a
    /// first run to warm up.
    pub fn measure(&self, budget: Duration) -> Speed {
        let (isa, conv) = (isa(), &self.conv);
        let operations = conv.operations() * 1e-9;
        let speed = |body: &mut dyn FnMut()| operations / best(budget, body).as_secs_f64();
        let x = ramp(conv.input_size());
        let weight = ramp(conv.weight_size());
        let mut y = vec![0.0; conv.output_size()];
        let forward = speed(&mut || conv::forward(isa, conv, &x, &weight, &mut y));
        let mut gradient = vec![0.0; x.len()];
        let input_gradient =
            speed(&mut || conv::input_gradient(isa, conv, &y, &weight, &mut gradient, false));
        let mut gradient = vec![0.0; weight.len()];
        let weight_gradient =
            speed(&mut || conv::weight_gradient(isa, conv, &x, &y, &mut gradient));
        let (pixels, taps) = (conv.pixels(), conv.taps());
        let patches = ramp(pixels * taps);
        let product = speed(&mut || {
            let patches = Matrix::row_major(&patches, pixels, taps);
            let weight = Matrix::row_major(&weight, taps, conv.out_channels);
            gemm::product(isa, patches, weight, &mut y, false);
        });
        Speed { forward, input_gradient, weight_gradient, product }
    }
}

fn ramp(length: usize) -> Vec<f32> {
    (0..length).map(|index| (index % 251) as f32 / 251.0 - 0.5).collect()
}

fn best(budget: Duration, body: &mut dyn FnMut()) -> Duration {
    body();
    let start = Instant::now();
    let mut best = Duration::MAX;
    let mut runs = 0;
    while runs < 2 || start.elapsed() < budget {
        let run = Instant::now();
        body();
        best = best.min(run.elapsed());
        runs += 1;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layers_of_a_resnet_18_do_the_known_number_of_operations() {
        // The distinct shapes at 32×32, width 64: a stem, four plain 3×3, three that halve the
        // image, three shortcuts.
        let layers = layers(false, 64, 32, 1);
        assert_eq!(layers.len(), 11);
        let plain = layers.iter().filter(|l| l.conv.kernel == (3, 3) && l.conv.stride == 1);
        let operations: Vec<f64> = plain.map(|l| l.conv.operations()).collect();
        assert_eq!(operations[0], 2.0 * 1024.0 * 27.0 * 64.0);
        assert!(operations[1..].iter().all(|o| *o == 2.0 * 1024.0 * 576.0 * 64.0));
    }

    #[test]
    fn a_layer_can_be_measured() {
        let speed = layers(false, 4, 8, 1)[1].measure(Duration::ZERO);
        let Speed { forward, input_gradient, weight_gradient, product } = speed;
        assert!([forward, input_gradient, weight_gradient, product].iter().all(|s| *s > 0.0));
    }
}
