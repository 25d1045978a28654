//! A bare training step of ResNet-18 with these operations, timed: two views forward, a BYOL-like
//! loss against a teacher's two views, backward, momentum step and moving average.
//!
//! `resnet_step [width] [size] [batch] [steps] [threads]`; prints one JSON line.

use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use vssl_kernels::{
    MomentumStep, TrustRatio, batch_norm_train, conv2d, ema, global_average_pool, linear,
    max_pool2d, momentum_step, set_threads, threads,
};

const EPS: f64 = 1e-5;

/// Parameters in order of use.
struct Parameters<'a> {
    matrices: std::slice::Iter<'a, Tensor<4>>,
    vectors: std::slice::Iter<'a, Tensor<1>>,
}

struct Network {
    matrices: Vec<Tensor<4>>,
    vectors: Vec<Tensor<1>>,
    width: usize,
    small: bool,
}

const HIDDEN: usize = 4096;
const DIM: usize = 256;

fn shapes(width: usize, small: bool) -> (Vec<[usize; 4]>, Vec<[f32; 2]>) {
    let stem = if small { 3 } else { 7 };
    let mut matrices = vec![[width, 3, stem, stem]];
    let mut norms = vec![width];
    let mut channels = width;
    for stage in 0..4 {
        let out = width << stage;
        for block in 0..2 {
            matrices.extend([[out, channels, 3, 3], [out, out, 3, 3]]);
            norms.extend([out, out]);
            if stage > 0 && block == 0 {
                matrices.push([out, channels, 1, 1]);
                norms.push(out);
            }
            channels = out;
        }
    }
    let mut vectors: Vec<[f32; 2]> = Vec::new();
    for channels in norms {
        vectors.extend([[channels as f32, 1.0], [channels as f32, 0.0]]);
    }
    for inputs in [channels, DIM] {
        matrices.extend([[HIDDEN, inputs, 1, 1], [DIM, HIDDEN, 1, 1]]);
        for (size, value) in [(HIDDEN, 0.0), (HIDDEN, 1.0), (HIDDEN, 0.0), (DIM, 0.0)] {
            vectors.push([size as f32, value]);
        }
    }
    (matrices, vectors)
}

impl Network {
    fn new(width: usize, small: bool, device: &Device) -> Self {
        let (matrices, vectors) = shapes(width, small);
        let matrices = matrices.into_iter().map(|shape| {
            let spread = (2.0 / (shape[1] * shape[2] * shape[3]) as f64).sqrt();
            Tensor::random(shape, Distribution::Normal(0.0, spread), device)
        });
        let vectors =
            vectors.into_iter().map(|[size, value]| Tensor::full([size as usize], value, device));
        Self { matrices: matrices.collect(), vectors: vectors.collect(), width, small }
    }

    fn forward(&self, x: Tensor<4>, student: bool) -> Tensor<2> {
        let mut p = Parameters { matrices: self.matrices.iter(), vectors: self.vectors.iter() };
        let mut x = if self.small {
            let y = conv2d(x, p.matrix(), 1, 1);
            p.norm(y, None, true)
        } else {
            let y = conv2d(x, p.matrix(), 2, 3);
            max_pool2d(p.norm(y, None, true), 3, 2, 1)
        };
        for stage in 0..4 {
            for block in 0..2 {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let y = conv2d(x.clone(), p.matrix(), stride, 1);
                let y = p.norm(y, None, true);
                let y = conv2d(y, p.matrix(), 1, 1);
                let (gamma, beta) = (p.vector(), p.vector());
                if stride != 1 {
                    let shortcut = conv2d(x, p.matrix(), stride, 0);
                    x = p.norm(shortcut, None, false);
                }
                x = batch_norm_train(y, gamma, beta, Some(x), true, EPS).output;
            }
        }
        let mut z = p.head(global_average_pool(x));
        if student {
            z = p.head(z);
        }
        z
    }
}

impl Parameters<'_> {
    fn matrix(&mut self) -> Tensor<4> {
        self.matrices.next().expect("as many as shapes() lists").clone()
    }

    fn vector(&mut self) -> Tensor<1> {
        self.vectors.next().expect("as many as shapes() lists").clone()
    }

    fn norm<const D: usize>(
        &mut self,
        x: Tensor<D>,
        add: Option<Tensor<D>>,
        relu: bool,
    ) -> Tensor<D> {
        let (gamma, beta) = (self.vector(), self.vector());
        batch_norm_train(x, gamma, beta, add, relu, EPS).output
    }

    fn head(&mut self, x: Tensor<2>) -> Tensor<2> {
        let flat = |weight: Tensor<4>| {
            let [out, inputs, ..] = weight.dims();
            weight.reshape([out, inputs])
        };
        let (weight, bias) = (flat(self.matrix()), self.vector());
        let y = linear(x, weight, Some(bias));
        let y = self.norm(y, None, true);
        let (weight, bias) = (flat(self.matrix()), self.vector());
        linear(y, weight, Some(bias))
    }
}

fn cosine_loss(p: Tensor<2>, z: Tensor<2>) -> Tensor<1> {
    let unit = |x: Tensor<2>| {
        let norm = x.clone().square().sum_dim(1).sqrt();
        x / norm
    };
    (unit(p) * unit(z.detach())).sum_dim(1).mean() * -2.0 + 2.0
}

fn main() {
    let arguments: Vec<usize> =
        std::env::args().skip(1).map(|a| a.parse().expect("a number")).collect();
    let argument = |index: usize, default| arguments.get(index).copied().unwrap_or(default);
    let (width, size) = (argument(0, 64), argument(1, 32));
    let (batch, steps) = (argument(2, 64), argument(3, 5));
    set_threads(argument(4, 0));
    let device = Device::flex().autodiff();
    let mut student = Network::new(width, size <= 64, &device);
    let mut teacher = Network::new(width, size <= 64, &device);
    let views: [Tensor<4>; 2] = [0, 1]
        .map(|_| Tensor::random([batch, 3, size, size], Distribution::Uniform(0.0, 1.0), &device));
    let mut buffers4: Vec<Option<Tensor<4>>> = student.matrices.iter().map(|_| None).collect();
    let mut buffers1: Vec<Option<Tensor<1>>> = student.vectors.iter().map(|_| None).collect();
    let mut seconds = Vec::new();
    let mut loss_value = 0.0f32;
    for _ in 0..steps + 2 {
        let start = Instant::now();
        student.matrices = student.matrices.into_iter().map(Tensor::require_grad).collect();
        student.vectors = student.vectors.into_iter().map(Tensor::require_grad).collect();
        let q = views.clone().map(|view| student.forward(view, true));
        let z = views.clone().map(|view| teacher.forward(view, false));
        let [q1, q2] = q;
        let [z1, z2] = z;
        let loss = cosine_loss(q1, z2) + cosine_loss(q2, z1);
        let mut gradients = loss.backward();
        loss_value = loss.into_scalar();
        let step = MomentumStep {
            rate: 0.1,
            momentum: 0.9,
            dampening: 0.0,
            nesterov: false,
            weight_decay: 1e-5,
            trust: Some(TrustRatio { eta: 0.02, eps: 1e-8, clip: false }),
        };
        update(&mut student.matrices, &mut buffers4, &mut gradients, &step);
        let plain = MomentumStep { weight_decay: 0.0, trust: None, ..step };
        update(&mut student.vectors, &mut buffers1, &mut gradients, &plain);
        average(&mut teacher.matrices, &student.matrices);
        average(&mut teacher.vectors, &student.vectors);
        seconds.push(start.elapsed().as_secs_f64());
    }
    let mut seconds = seconds.split_off(2);
    seconds.sort_by(f64::total_cmp);
    let median = seconds[seconds.len() / 2];
    println!(
        "{{\"width\": {}, \"size\": {size}, \"batch\": {batch}, \"threads\": {}, \
         \"step_s_median\": {median:.4}, \"step_s_min\": {:.4}, \"images_per_s\": {:.2}, \
         \"loss\": {loss_value:.4}, \"peak_rss_mib\": {}}}",
        student.width,
        threads(),
        seconds[0],
        batch as f64 / median,
        peak_mib()
    );
}

fn update<const D: usize>(
    parameters: &mut [Tensor<D>],
    buffers: &mut [Option<Tensor<D>>],
    gradients: &mut burn::tensor::Gradients,
    step: &MomentumStep,
) {
    for (parameter, buffer) in parameters.iter_mut().zip(buffers) {
        if let Some(gradient) = parameter.grad_remove(gradients) {
            let device = gradient.device();
            let old = std::mem::replace(parameter, Tensor::zeros([0; D], &device)).inner();
            let (new, kept) = momentum_step(old, gradient, buffer.take(), step);
            *parameter = Tensor::from_inner(new);
            *buffer = kept;
        }
    }
}

fn average<const D: usize>(averages: &mut [Tensor<D>], values: &[Tensor<D>]) {
    for (average, value) in averages.iter_mut().zip(values) {
        let device = average.device();
        let old = std::mem::replace(average, Tensor::zeros([0; D], &device));
        *average = ema(old, value.clone().detach(), 0.99);
    }
}

/// The most memory this process ever held, where the system tells.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
