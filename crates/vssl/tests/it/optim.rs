//! Optimiser, gradients and teacher over real modules: a holder of tensors of any shape, and a
//! layer with running statistics.

use std::collections::BTreeMap;

use burn::module::{Module, Param};
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use vssl::{
    layers::{BatchNorm, Init, Linear, Mode},
    optim::{
        Adam, Algorithm, Clip, Gradients, Lars, OptimError, Optimizer, OptimizerConfig, Sgd, ema,
    },
    tensors::parameters,
};

/// Tensors of one to four axes in one module.
#[derive(Module, Debug)]
pub struct Tensors {
    one: Vec<Param<Tensor<1>>>,
    two: Vec<Param<Tensor<2>>>,
    three: Vec<Param<Tensor<3>>>,
    four: Vec<Param<Tensor<4>>>,
}

/// A module of named tensors.
pub struct Holder {
    pub module: Tensors,
    paths: BTreeMap<String, String>,
    device: Device,
}

impl Holder {
    pub fn new(
        tensors: impl Iterator<Item = (String, Vec<usize>, Vec<f32>)>,
        device: &Device,
    ) -> Self {
        let mut module = Tensors { one: vec![], two: vec![], three: vec![], four: vec![] };
        let mut paths = BTreeMap::new();
        for (name, shape, values) in tensors {
            let rank = shape.len();
            let data = TensorData::new(values, shape);
            let path = match rank {
                1 => push(&mut module.one, "one", data, device),
                2 => push(&mut module.two, "two", data, device),
                3 => push(&mut module.three, "three", data, device),
                4 => push(&mut module.four, "four", data, device),
                _ => panic!("{name} has {rank} axes"),
            };
            paths.insert(name, path);
        }
        Self { module, paths, device: device.clone() }
    }

    pub fn untracked(self) -> Self {
        Self { module: self.module.no_grad(), ..self }
    }

    pub fn path(&self, name: &str) -> &str {
        &self.paths[name]
    }

    /// Gradients by way of a backward pass through `Σ slope·parameter`.
    pub fn gradients(&self, slopes: impl Fn(&str) -> Vec<f32>) -> Gradients {
        let mut loss = Tensor::<1>::zeros([1], &self.device);
        for (name, path) in &self.paths {
            let slope = Tensor::<1>::from_floats(slopes(name).as_slice(), &self.device);
            loss = loss + (self.flat(path) * slope).sum();
        }
        Gradients::collect(loss.backward(), &self.module)
    }

    pub fn values(&self, name: &str) -> Vec<f32> {
        self.flat(self.path(name)).into_data().try_to_vec().unwrap()
    }

    pub fn data(&self) -> TensorData {
        let all = self.paths.values().map(|path| self.flat(path)).collect();
        Tensor::cat(all, 0).into_data()
    }

    fn flat(&self, path: &str) -> Tensor<1> {
        let (list, index) = path.split_once('.').unwrap();
        let index: usize = index.parse().unwrap();
        match list {
            "one" => self.module.one[index].val(),
            "two" => self.module.two[index].val().flatten(0, 1),
            "three" => self.module.three[index].val().flatten(0, 2),
            _ => self.module.four[index].val().flatten(0, 3),
        }
    }
}

fn push<const D: usize>(
    list: &mut Vec<Param<Tensor<D>>>,
    name: &str,
    data: TensorData,
    device: &Device,
) -> String {
    list.push(Param::from_data(data, device));
    format!("{name}.{}", list.len() - 1)
}

#[derive(Module, Debug)]
struct Layer {
    fc: Linear,
    bn: BatchNorm,
}

fn layer(device: &Device) -> Layer {
    let init = Init::new(device, 0);
    Layer { fc: Linear::new(3, 4, &init), bn: BatchNorm::new(4, &init) }
}

fn backward(layer: &Layer, device: &Device) -> Gradients {
    let x = Tensor::<2>::random([8, 3], Distribution::Default, device);
    let y = layer.bn.forward_rows(layer.fc.forward(x), false, Mode::Train);
    Gradients::collect((y.clone() * y.exp()).mean().backward(), layer)
}

fn optimizer(algorithm: Algorithm) -> Optimizer {
    let config = OptimizerConfig { algorithm, lr: 0.1, ..OptimizerConfig::default() };
    Optimizer::new(config, 256).unwrap()
}

#[test]
fn running_statistics_are_not_parameters() {
    let device = Device::flex().autodiff();
    let layer = layer(&device);
    let paths: Vec<_> = parameters(&layer).into_iter().map(|p| p.path).collect();
    assert_eq!(paths, ["fc.weight", "fc.bias", "bn.weight", "bn.bias"]);
    let gradients = backward(&layer, &device);
    assert_eq!(gradients.0.len(), 4);
    let before: Vec<f32> = layer.bn.running_mean.value_sync().into_data().try_to_vec().unwrap();
    let layer =
        optimizer(Algorithm::Sgd(Sgd::default())).step(layer, gradients, |base| base).unwrap();
    let after: Vec<f32> = layer.bn.running_mean.value_sync().into_data().try_to_vec().unwrap();
    assert_eq!(before, after);
}

#[test]
fn an_updated_parameter_is_a_tracked_leaf_with_its_old_id() {
    let device = Device::flex().autodiff().gradient_checkpointing();
    for algorithm in [
        Algorithm::Lars(Lars::default()),
        Algorithm::Sgd(Sgd::default()),
        Algorithm::Adam(Adam::default()),
        Algorithm::Adamw(Adam::default()),
    ] {
        let mut optimizer = optimizer(algorithm);
        let mut layer = layer(&device);
        let id = layer.fc.weight.id;
        for _ in 0..3 {
            let gradients = backward(&layer, &device);
            assert_eq!(gradients.0.len(), 4, "every parameter has a gradient after an update");
            layer = optimizer.step(layer, gradients, |base| base).unwrap();
        }
        assert_eq!(layer.fc.weight.id, id);
        assert!(layer.fc.weight.val().is_require_grad());
    }
}

#[test]
fn a_parameter_without_a_gradient_is_left_alone() {
    let device = Device::flex().autodiff();
    let layer = layer(&device);
    let before: Vec<f32> = layer.fc.weight.val().into_data().try_to_vec().unwrap();
    let mut gradients = backward(&layer, &device);
    gradients.0.remove("fc.weight");
    let mut optimizer = optimizer(Algorithm::Adamw(Adam::default()));
    let layer = optimizer.step(layer, gradients, |base| base).unwrap();
    assert_eq!(before, layer.fc.weight.val().into_data().try_to_vec::<f32>().unwrap());
    let state = optimizer.state();
    assert!(state.contains_key("exp_avg.fc.bias") && !state.contains_key("exp_avg.fc.weight"));
    optimizer.load_state(state, &parameters(&layer), &Device::flex()).unwrap();
}

#[test]
fn gradients_of_another_module_are_refused() {
    let device = Device::flex().autodiff();
    let layer = layer(&device);
    let mut gradients = backward(&layer, &device);
    let stray = gradients.0["fc.weight"].clone();
    gradients.0.insert("head.weight".into(), stray);
    let error =
        optimizer(Algorithm::Sgd(Sgd::default())).step(layer, gradients, |base| base).unwrap_err();
    assert!(matches!(&error, OptimError::UnknownGradients { paths } if paths == &["head.weight"]));
}

#[test]
fn a_gradient_of_the_wrong_length_is_refused() {
    let device = Device::flex().autodiff();
    let layer = layer(&device);
    let mut gradients = backward(&layer, &device);
    gradients.0.insert("fc.weight".into(), Tensor::zeros([5], &Device::flex()));
    let error =
        optimizer(Algorithm::Sgd(Sgd::default())).step(layer, gradients, |base| base).unwrap_err();
    assert_eq!(error.to_string(), "gradient of fc.weight has 5 elements, the parameter has 12");
}

#[test]
fn state_that_does_not_fit_is_refused_by_name() {
    let device = Device::flex().autodiff();
    let layer = layer(&device);
    let mut adam = optimizer(Algorithm::Adam(Adam::default()));
    let gradients = backward(&layer, &device);
    let layer = adam.step(layer, gradients, |base| base).unwrap();
    let (parameters, device) = (parameters(&layer), Device::flex());
    let good = adam.state();

    let mut state = good.clone();
    state.remove("exp_avg_sq.fc.bias");
    state.insert("exp_avg.fc.extra".into(), TensorData::new(vec![0.0_f32], [1]));
    let error = adam.load_state(state, &parameters, &device).unwrap_err().to_string();
    assert!(error.contains("exp_avg_sq.fc.bias") && error.contains("exp_avg.fc.extra"), "{error}");

    let mut state = good.clone();
    state.insert("exp_avg.fc.bias".into(), TensorData::new(vec![0.0_f32], [1]));
    let error = adam.load_state(state, &parameters, &device).unwrap_err().to_string();
    assert!(error.contains("fc.bias has 1 elements, the parameter has 4"), "{error}");

    let mut state = good.clone();
    state.insert("updates.fc.bias".into(), TensorData::new(vec![-1_i64], [1]));
    let error = adam.load_state(state, &parameters, &device).unwrap_err().to_string();
    assert!(error.contains("updates.fc.bias"), "{error}");

    let error = optimizer(Algorithm::Lars(Lars::default()))
        .load_state(good, &parameters, &device)
        .unwrap_err();
    assert!(matches!(error, OptimError::StateKeys { .. }));
}

#[test]
fn the_teacher_moves_without_gradient_and_keeps_its_statistics() {
    let device = Device::flex().autodiff();
    let student = layer(&device);
    let teacher = student.valid().train().no_grad();
    backward(&student, &device); // moves the student's running statistics only
    let statistics = |layer: &Layer| layer.bn.running_mean.value_sync().into_data();
    let before = statistics(&teacher);
    let moved = student.fc.weight.val().inner() + 1.0;
    let student = Layer {
        fc: Linear { weight: Param::from_tensor(Tensor::from_inner(moved)), ..student.fc },
        ..student
    };
    let old = teacher.fc.weight.val().inner();
    let teacher = ema(teacher, &student, 0.75).unwrap();
    let weight = teacher.fc.weight.val();
    assert!(!weight.is_require_grad() && !weight.is_tracked());
    let step: Vec<f32> = (weight.inner() - old).into_data().try_to_vec().unwrap();
    assert!(step.iter().all(|s| (s - 0.25).abs() < 1e-6), "{step:?}");
    assert_eq!(before, statistics(&teacher));
    assert_ne!(before, statistics(&student));
}

#[test]
fn teacher_and_student_still_meet_in_one_graph_under_checkpointing() {
    let device = Device::flex().autodiff().gradient_checkpointing();
    let student = layer(&device);
    backward(&student, &device); // a copy made before the first use would freeze both
    let teacher = ema(student.clone().no_grad(), &student, 0.5).unwrap();
    let x = Tensor::<2>::random([8, 3], Distribution::Default, &device);
    let (y, z) = (student.fc.forward(x.clone()), teacher.fc.forward(x));
    let gradients = Gradients::collect((y * z).sum().backward(), &student);
    assert_eq!(gradients.0.len(), 2, "fc.weight and fc.bias");
}

#[test]
fn a_teacher_that_is_no_part_of_the_student_is_refused() {
    let device = Device::flex();
    let (teacher, student) = (layer(&device), Linear::new(3, 4, &Init::new(&device, 0)));
    let error = ema(teacher, &student, 0.9).unwrap_err().to_string();
    assert!(error.contains("fc.weight"), "{error}");
}

#[test]
fn clipping_bounds_what_the_optimiser_sees() {
    let device = Device::flex().autodiff();
    let gradients = backward(&layer(&device), &device).scale(100.0);
    let clipped = Clip::GlobalNorm(0.5).apply(gradients);
    let norm = clipped.global_norm().unwrap().into_scalar::<f32>();
    assert!((norm - 0.5).abs() < 1e-5, "{norm}");
}
