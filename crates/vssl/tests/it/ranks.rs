//! Several ranks compute what one process computes on the joint batch: walks `METHODS`.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, thread, time::Duration};

use burn::{
    module::{Param, RunningState},
    tensor::{Device, Tensor, TensorData},
};
use vssl::{
    backbone::{Backbone, BackboneConfig, ResnetConfig, Stem, VitConfig},
    collective::{Group, Threads},
    layers::{BatchNorm, Init, Mode},
    method::{Sizes, learner::Initial},
    methods::METHODS,
    optim::{Gradients, Optimizer, OptimizerConfig},
    precision::Precision,
    recipe::Entry,
    schedule::Step,
    tensors::state::{self, Tensors},
    train::batch,
};
use vssl_data::{
    DataConfig, Dataset, Image, Loader, LoaderPlan, Normalisation, OnBadImage, PerChannel,
    Pipeline, Share, ViewGroup, dataset,
    pack::{PackPlan, PackSplit, pack},
    rng::{Stream, rng, uniform},
};

use crate::contract::{device, labelled, loss_scale, network, small};

const SIZE: usize = 16;
/// Images of a forward pass; a rank of four sees four of them.
const BATCH: usize = 16;
/// Three steps reach into the second epoch: clusters are made of embeddings, queues are in use.
const STEPS: u64 = 3;
const LIMIT: Duration = Duration::from_secs(60);

/// Of losses, figures, weights and what is remembered, relative to the tensor's Euclidean norm.
const TOLERANCE: f64 = 1e-5;
/// Of gradients: sums of other rows in another order, behind a dozen layers.
const GRADIENT_TOLERANCE: f64 = 2e-5;
/// Gradients that are zero but for rounding (a bias in front of a batch norm) are held against this
/// share of the norm of all gradients instead.
const NOTHING: f64 = 1e-2;

/// Smooth colours that differ from image to image.
struct Pictures;

/// The first channels of [`Pictures`], and those again that are missing.
struct Channels(usize);

impl Dataset for Channels {
    fn len(&self) -> usize {
        Pictures.len()
    }
    fn image(&self, index: usize) -> Result<Image, vssl_data::DataError> {
        let Image { width, height, values } = Pictures.image(index)?;
        let pixels = values.chunks_exact(3);
        let values =
            pixels.flat_map(|pixel| (0..self.0).map(|channel| pixel[channel % 3])).collect();
        Ok(Image { width, height, values })
    }
    fn labels(&self) -> Option<&[u32]> {
        None
    }
    fn classes(&self) -> &[String] {
        &[]
    }
    fn name(&self, index: usize) -> String {
        Pictures.name(index)
    }
}

impl Dataset for Pictures {
    fn len(&self) -> usize {
        32
    }
    fn image(&self, index: usize) -> Result<Image, vssl_data::DataError> {
        let mut rng = rng(3, Stream::Init, index as u64, 0);
        let waves: [[f64; 4]; 3] =
            std::array::from_fn(|_| std::array::from_fn(|_| uniform(&mut rng, 0.0, 6.0)));
        let value = |i: usize| {
            let (row, column) = ((i / 3 / SIZE) as f64, (i / 3 % SIZE) as f64);
            let [a, b, c, d] = waves[i % 3];
            let wave = (a * row / 6.0 + b).sin() + (c * column / 6.0 + d).sin();
            (127.5 + 60.0 * wave) as u8
        };
        let rgb = (0..SIZE * SIZE * 3).map(value).collect();
        Ok(Image { width: SIZE, height: SIZE, values: rgb })
    }
    fn labels(&self) -> Option<&[u32]> {
        None
    }
    fn classes(&self) -> &[String] {
        &[]
    }
    fn name(&self, index: usize) -> String {
        format!("picture {index}")
    }
}

/// What one rank saw.
pub(super) struct Trace {
    pub losses: Vec<f64>,
    pub gradients: Vec<BTreeMap<String, Vec<f64>>>,
    pub student: Tensors,
    pub memory: Tensors,
}

/// The method's settings, made small, with what usually starts late started in the second epoch.
fn settings(entry: &Entry, changes: &str) -> toml::Table {
    let mut settings = small(entry);
    if entry.name == "distill" && !changes.is_empty() {
        // Another objective has other keys.
        settings.clear();
    }
    if settings.contains_key("queue_starts_epoch") {
        settings["queue_starts_epoch"] = toml::Value::Integer(1);
        settings["freeze_prototypes_epochs"] = toml::Value::Integer(1);
    }
    if settings.contains_key("queue") {
        settings["queue"] = toml::Value::Integer(3 * BATCH as i64);
    }
    settings.extend(toml::from_str::<toml::Table>(changes).unwrap());
    settings
}

pub(super) struct Case<'a> {
    pub entry: &'a Entry,
    /// Settings of the method, as TOML.
    pub changes: &'a str,
    /// Micro-batches of a step.
    pub parts: usize,
    pub backbone: BackboneConfig,
    pub precision: Precision,
    /// What the backbones start from.
    pub initial: Initial,
    /// The images.
    pub images: Arc<dyn Dataset>,
}

impl<'a> Case<'a> {
    /// Settings as they are, batches in one part, single precision.
    pub fn of(entry: &'a Entry, backbone: BackboneConfig) -> Self {
        let initial = Initial::default();
        let images = Arc::new(Pictures);
        Self { entry, changes: "", parts: 1, backbone, precision: Precision::F32, initial, images }
    }
}

pub(super) fn small_resnet() -> BackboneConfig {
    ResnetConfig { width: 4, stem: Stem::Cifar, ..Default::default() }.into()
}

/// Smooth: see [`joint_statistics_run_through_a_whole_resnet`].
pub(super) fn small_vit() -> BackboneConfig {
    VitConfig { patch: 8, image_size: SIZE, ..Default::default() }.into()
}

/// The small transformer, or one with more patches for a method that needs them.
pub(super) fn transformer(entry: &Entry) -> BackboneConfig {
    let small = small_vit();
    let method = entry.with(&self::small(entry)).unwrap();
    match method.check_patches(small.patches(SIZE)) {
        Ok(()) => small,
        Err(_) => network(entry, 4),
    }
}

pub(super) fn train(case: &Case, group: &Group) -> Trace {
    let Case { entry, changes, parts, backbone, precision, initial, images } = case;
    let batch = BATCH * parts;
    let method = entry.with(&settings(entry, changes)).unwrap();
    let mut global = ViewGroup { size: SIZE, ..ViewGroup::default() };
    if initial.channels != 3 {
        (global.saturation, global.hue, global.grayscale) = (0.0, 0.0, 0.0);
    }
    let local = ViewGroup { size: SIZE / 2, count: 1, local: true, ..global.clone() };
    let mut views = vec![global, local];
    let sizes = Sizes { images: Pictures.len(), batch: BATCH, global_views: 2, local_views: 1 };
    let sizes = match method.check(&sizes) {
        Ok(()) => sizes,
        Err(_) => {
            views.truncate(1);
            Sizes { local_views: 0, ..sizes }
        }
    };
    method.check(&sizes).unwrap();
    let device = device();
    let learner = method.learner_from(initial.clone(), backbone, &sizes, &device, 7);
    let mut learner = learner.unwrap();
    let config = r#"{ "name": "sgd", "lr": 0.003, "scale_lr": false, "weight_decay": 1e-4 }"#;
    let config: OptimizerConfig = serde_json::from_str(config).unwrap();
    let mut optimizer = Optimizer::new(config, batch).unwrap();
    let pipeline = Pipeline::new(views, normalisation(initial.channels), 7).unwrap();
    let plan = LoaderPlan {
        seed: 7,
        batch,
        share: Share { rank: group.rank(), world: group.world(), parts: *parts },
        workers: 0,
        prefetch: 1,
        on_bad_image: OnBadImage::Stop,
        start_step: 0,
        end_step: STEPS,
    };
    let mut trace = Trace {
        losses: Vec::new(),
        gradients: Vec::new(),
        student: Tensors::new(),
        memory: Tensors::new(),
    };
    for batch in Loader::new(Arc::clone(images), Arc::new(pipeline), plan).unwrap() {
        let mut batch = batch.unwrap();
        let at = step(batch.step, *parts);
        if at.starts_epoch() {
            learner.before_epoch(&at);
        }
        for micro in 0..*parts {
            let part = batch::micro(&mut batch, micro, *parts, group, &device);
            let views = labelled(part, *precision);
            let at = Step { micro: micro as u64, ..at };
            let share = loss_scale(*precision) / *parts as f64;
            let outcome = learner.forward_backward(&views, share, &at);
            trace.losses.push(outcome.total.into_scalar::<f64>());
            for (_, value) in outcome.parts {
                trace.losses.push(value.into_scalar::<f64>());
            }
        }
        let gradients = group.sum_gradients(learner.take_gradients());
        let gradients = gradients.scale(1.0 / loss_scale(*precision));
        trace.gradients.push(host(&gradients));
        learner.update(&mut optimizer, gradients, &|base| base, &at).unwrap();
        group.check().unwrap();
    }
    (trace.student, trace.memory) = (learner.student(), learner.memory());
    trace
}

/// The normalisation of images of so many channels.
fn normalisation(channels: usize) -> Normalisation {
    let each = |number: f32| PerChannel::of(&vec![number; channels]).unwrap();
    match channels {
        3 => dataset::CIFAR10,
        _ => Normalisation { mean: each(0.5), std: each(0.25) },
    }
}

fn step(index: u64, parts: usize) -> Step {
    let steps_per_epoch = (Pictures.len() / BATCH / parts) as u64;
    Step {
        index,
        epoch: index / steps_per_epoch,
        steps_per_epoch,
        total: 20,
        accumulate: parts as u64,
        watch: true,
        ..Step::default()
    }
}

fn host(gradients: &Gradients) -> BTreeMap<String, Vec<f64>> {
    let host = |(path, gradient): (&String, &Tensor<1>)| {
        (path.clone(), gradient.to_data().iter::<f64>().collect())
    };
    gradients.0.iter().map(host).collect()
}

/// Runs `body` as each of `world` ranks.
pub(super) fn ranks<T: Send>(world: usize, body: impl Fn(&Group) -> T + Sync) -> Vec<T> {
    let threads = Threads::new(world, LIMIT);
    thread::scope(|scope| {
        let body = &body;
        let running: Vec<_> =
            threads.into_iter().map(|rank| scope.spawn(move || body(&Group::new(rank)))).collect();
        running.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|x| x * x).sum::<f64>().sqrt()
}

/// `|a − b| / max(|a|, floor)`.
pub(super) fn error(a: &[f64], b: &[f64], floor: f64) -> f64 {
    assert_eq!(a.len(), b.len());
    let difference = norm(a.iter().zip(b).map(|(a, b)| a - b));
    let size = norm(a.iter().copied());
    if difference == 0.0 { 0.0 } else { difference / size.max(floor) }
}

/// The largest error, and where.
#[derive(Default)]
pub(super) struct Worst(pub f64, pub String);

impl Worst {
    fn add(&mut self, error: f64, place: impl FnOnce() -> String) {
        if error > self.0 || error.is_nan() {
            *self = Self(error, place());
        }
    }
}

pub(super) fn compare(one: &Trace, other: &Trace) -> Worst {
    let mut worst = Worst::default();
    for (index, (a, b)) in one.losses.iter().zip(&other.losses).enumerate() {
        let error = (a - b).abs() / a.abs().max(0.1);
        worst.add(error, || format!("loss or figure {index}: {a} and {b}"));
    }
    for (step, (one, other)) in one.gradients.iter().zip(&other.gradients).enumerate() {
        assert!(one.keys().eq(other.keys()));
        let all = norm(one.values().flatten().copied());
        for (path, a) in one {
            let error = error(a, &other[path], NOTHING * all) * TOLERANCE / GRADIENT_TOLERANCE;
            worst.add(error, || format!("gradient of {path}, step {step}"));
        }
    }
    for (one, other) in [(&one.student, &other.student), (&one.memory, &other.memory)] {
        assert!(one.keys().eq(other.keys()));
        let floats = |data: &TensorData| -> Vec<f64> { data.iter::<f64>().collect() };
        for (path, a) in one {
            worst.add(error(&floats(a), &floats(&other[path]), 1e-2), || path.clone());
        }
    }
    worst
}

/// Holds for 2 and 4 ranks.
fn ranks_agree(entry: &Entry, changes: &str, parts: usize) {
    ranks_agree_on(Case { changes, parts, ..Case::of(entry, transformer(entry)) });
}

fn ranks_agree_on(case: Case) {
    let (name, changes) = (case.entry.name, case.changes);
    let alone = train(&case, &Group::alone());
    assert!(alone.losses.iter().all(|loss| loss.is_finite()), "{name}");
    for world in [2, 4] {
        let traces = ranks(world, |group| train(&case, group));
        for (rank, trace) in traces.iter().enumerate().skip(1) {
            assert_eq!(trace.losses, traces[0].losses, "{name}: rank {rank} of {world}");
            assert_eq!(trace.student, traces[0].student, "{name}: rank {rank} of {world}");
            assert_eq!(trace.memory, traces[0].memory, "{name}: rank {rank} of {world}");
        }
        let Worst(error, place) = compare(&alone, &traces[0]);
        println!("{name} {changes:?}, {world} ranks: {error:.1e} ({place})");
        // Behind VIbCReg's normalisation gradients are differences of large numbers; in double precision
        // (`ranks_in_double`) the ranks agree as those of all methods do.
        let bound = if name == "vibcreg" { 10.0 * TOLERANCE } else { TOLERANCE };
        assert!(error <= bound, "{name} {changes:?}, {world} ranks: {error:.2e} in {place}");
    }
}

/// The shards hold the same pixels, so the trainings have the same bits as those on the images.
#[test]
fn ranks_read_their_share_of_tar_and_parquet_shards() {
    let folder = tempfile::tempdir().unwrap();
    let tar = folder.path().join("tar");
    let split = PackSplit { name: "train", images: Arc::new(Pictures) };
    let plan = PackPlan {
        side: None,
        quality: 90,
        shard_bytes: 3000,
        workers: 1,
        on_bad_image: OnBadImage::Stop,
        tones: dataset::Tones::default(),
        channels: 3,
    };
    pack(&[split], &tar, &plan, &|_| {}).unwrap();
    let open = |path: PathBuf, format| {
        let config = DataConfig { path, format, ..DataConfig::default() };
        dataset::open(&config, None).unwrap().train
    };
    let packed = open(tar, dataset::Format::Tar);
    let parquet = folder.path().join("parquet");
    std::fs::create_dir(&parquet).unwrap();
    write_parquet(&parquet.join("train.parquet"), &*packed);
    let entry = METHODS.iter().find(|entry| entry.name == "vicreg").unwrap();
    let alone = train(&Case::of(entry, small_vit()), &Group::alone());
    for images in [packed, open(parquet, dataset::Format::Parquet)] {
        let case = Case { images, ..Case::of(entry, small_vit()) };
        assert_eq!(train(&case, &Group::alone()).student, alone.student);
        ranks_agree_on(case);
    }
}

/// The files of a set as the column `image` of bytes, in small pages.
fn write_parquet(path: &std::path::Path, images: &dyn Dataset) {
    use parquet::basic::{Compression, Repetition, Type as Physical};
    use parquet::data_type::{ByteArray, ByteArrayType};
    use parquet::file::{properties::WriterProperties, writer::SerializedFileWriter};
    use parquet::schema::types::Type;
    let bytes = Type::primitive_type_builder("bytes", Physical::BYTE_ARRAY)
        .with_repetition(Repetition::OPTIONAL);
    let image = Type::group_type_builder("image")
        .with_repetition(Repetition::OPTIONAL)
        .with_fields(vec![Arc::new(bytes.build().unwrap())]);
    let schema =
        Type::group_type_builder("schema").with_fields(vec![Arc::new(image.build().unwrap())]);
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_dictionary_enabled(false)
        .set_data_page_size_limit(4000)
        .build();
    let file = std::fs::File::create(path).unwrap();
    let schema = Arc::new(schema.build().unwrap());
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let values: Vec<ByteArray> =
        (0..images.len()).map(|index| images.file(index).unwrap().unwrap().into()).collect();
    let levels = vec![2; values.len()];
    column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn ranks_agree_on_images_of_other_channels() {
    let entry = METHODS.iter().find(|entry| entry.name == "vicreg").unwrap();
    for channels in [1, 4] {
        let initial = Initial { channels, ..Initial::default() };
        let images = Arc::new(Channels(channels));
        ranks_agree_on(Case { initial, images, ..Case::of(entry, small_vit()) });
    }
}

#[test]
fn two_and_four_ranks_compute_what_one_process_computes() {
    METHODS.iter().for_each(|entry| ranks_agree(entry, "", 1));
}

/// In the first of the two epochs the heads train alone.
#[test]
fn so_they_do_from_an_encoder_with_every_method() {
    for entry in METHODS {
        let backbone = transformer(entry);
        let weights = Backbone::new(&backbone, &Init::new(&Device::flex(), 99));
        let initial = Initial {
            weights: Some(state::collect(&weights)),
            freeze_epochs: 1,
            ..Initial::default()
        };
        ranks_agree_on(Case { initial, ..Case::of(entry, backbone) });
    }
}

/// A frozen ResNet has running statistics, and so no statistics of a joint batch: nothing is exchanged for it.
#[test]
fn a_frozen_resnet_is_the_same_on_all_ranks() {
    for name in ["vicreg", "byol"] {
        let entry = vssl::methods::find(name).unwrap();
        let weights = Backbone::new(&small_resnet(), &Init::new(&Device::flex(), 99));
        let initial = Initial {
            weights: Some(state::collect(&weights)),
            freeze_epochs: 9,
            ..Initial::default()
        };
        ranks_agree_on(Case { initial, ..Case::of(entry, small_resnet()) });
    }
}

/// Both networks have places; the queues hold no whole number of batches.
#[test]
fn so_they_do_with_every_objective_of_distillation() {
    let entry = vssl::methods::find("distill").unwrap();
    for changes in [
        "objective = \"mse\"\nprojector_hidden = 24",
        "objective = \"cosine\"",
        "objective = \"seed\"\nqueue = 40",
        "objective = \"compress-1q\"\nqueue = 40",
        "objective = \"compress-2q\"\nqueue = 40",
        "objective = \"queue-kl-local\"\nqueue = 40",
    ] {
        ranks_agree(entry, changes, 1);
    }
    ranks_agree(entry, "queue = 40", 2);
}

#[test]
fn so_they_do_with_other_settings_and_micro_batches() {
    let find = |name| vssl::methods::find(name).unwrap();
    for (name, changes) in [
        ("vssl", "objective = \"gaussian\""),
        ("vssl", "sampling = \"normal\"\npairs = \"cross\"\nprior = \"predictor\""),
        ("mocov3", "vit_heads = true"),
        ("dino", "use_bn_in_head = true\nnorm_last_layer = false"),
        ("ibot", "shared_head = false\ncentering = \"sinkhorn\""),
        // Some ranks have no masked patch, in some steps all of them.
        ("ibot", "mask_probability = 0.03"),
        ("dinov2", "mask_probability = 0.0\ncentering = \"sinkhorn\""),
    ] {
        ranks_agree(find(name), changes, 1);
    }
    ranks_agree(find("mocov2plus"), "", 2);
    ranks_agree(find("dinov2"), "shared_head = false\ncentering = \"sinkhorn\"", 2);
}

/// Masks go by the row of the joint batch, in each micro-batch anew.
#[test]
fn masked_methods_agree_with_micro_batches() {
    let find = |name| vssl::methods::find(name).unwrap();
    ranks_agree(find("mae"), "norm_pix_loss = false\nmask_ratio = 0.5", 2);
    ranks_agree(find("ijepa"), "targets = 2", 2);
}

/// The batch norms of a ResNet are in front of half a million ReLUs. Rounding may turn some of them,
/// and the gradient jumps with each: in single precision only the loss is held tightly. That nothing
/// else tells ranks from one process is shown in double precision, by `ranks_in_double`.
#[test]
fn joint_statistics_run_through_a_whole_resnet() {
    for name in ["vicreg", "vssl"] {
        let entry = vssl::methods::find(name).unwrap();
        let case = Case { parts: 2, ..Case::of(entry, small_resnet()) };
        let alone = train(&case, &Group::alone());
        for world in [2, 4] {
            let trace = &ranks(world, |group| train(&case, group))[0];
            let error = (alone.losses[0] - trace.losses[0]).abs() / alone.losses[0].abs();
            assert!(error < TOLERANCE, "{name}, {world} ranks: {error:.1e}");
            let gradients = [&alone, trace]
                .map(|trace| trace.gradients[0].values().flatten().copied().collect::<Vec<f64>>());
            let jump = self::error(&gradients[0], &gradients[1], 0.0);
            println!("{name}, {world} ranks, resnet: loss {error:.1e}, gradient {jump:.1e}");
            assert!(jump < 0.1, "{name}, {world} ranks: {jump:.1e}");
        }
    }
}

fn error_of(a: &[f32], b: &[f32]) -> f64 {
    let double = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
    error(&double(a), &double(b), 0.0)
}

/// One batch norm over the joint batch, values and all gradients, on the fast path and on the
/// reference (whose choice is the process's: `VSSL_KERNELS`).
#[test]
fn a_batch_norm_over_ranks_has_the_gradients_of_one_process() {
    let (n, c, side) = (8, 5, 7);
    let device = device();
    let mut rng = rng(1, Stream::Init, 0, 0);
    let mut values = |count: usize| -> Vec<f32> {
        (0..count).map(|_| uniform(&mut rng, -2.0, 3.0) as f32).collect()
    };
    let [x, residual, weight] = [0; 3].map(|_| values(n * c * side * side));
    let pass = |group: &Group| {
        let own = n / group.world();
        let rows = |all: &[f32]| {
            let size = own * c * side * side;
            let rows = all[group.rank() * size..][..size].to_vec();
            Tensor::<4>::from_data(TensorData::new(rows, [own, c, side, side]), &device)
        };
        let (x, residual) = (rows(&x).require_grad(), rows(&residual).require_grad());
        let norm = BatchNorm::new(c, &Init::new(&device, 0));
        let y = norm.forward(x.clone(), Some(residual.clone()), true, Mode::Joint(group));
        let gradients = (y.clone().square() * rows(&weight)).sum().backward();
        let flat = |x: Tensor<4>| -> Vec<f32> { x.into_data().iter::<f32>().collect() };
        let rows =
            [flat(y), flat(x.grad(&gradients).unwrap()), flat(residual.grad(&gradients).unwrap())];
        let factor = |factor: &Option<Param<Tensor<1>>>| -> Vec<f32> {
            let gradient = factor.as_ref().unwrap().val().grad(&gradients).unwrap();
            let mut gradient: Vec<f32> = gradient.into_data().iter::<f32>().collect();
            group.sum("gradients", &mut gradient);
            gradient
        };
        let running = |value: &RunningState<Tensor<1>>| -> Vec<f32> {
            value.value_sync().into_data().iter::<f32>().collect()
        };
        let whole = [
            factor(&norm.weight),
            factor(&norm.bias),
            running(&norm.running_mean),
            running(&norm.running_var),
        ];
        (rows, whole)
    };
    let (alone, whole) = pass(&Group::alone());
    for world in [2, 4] {
        let all = ranks(world, pass);
        for (index, alone) in alone.iter().enumerate() {
            let joint: Vec<f32> = all.iter().flat_map(|(rows, _)| rows[index].clone()).collect();
            let error = error_of(alone, &joint);
            assert!(error < 1e-6, "{world} ranks, rows {index}: {error:.1e}");
        }
        for (index, alone) in whole.iter().enumerate() {
            let error = error_of(alone, &all[0].1[index]);
            assert!(error < 1e-6, "{world} ranks, factor {index}: {error:.1e}");
        }
    }
}
