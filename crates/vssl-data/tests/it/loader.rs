//! Loaders from outside: the same bytes for any number of workers and from any step, bad images,
//! stopping.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use vssl_data::{
    Batch, DataError, Dataset, EvaluationLoader, EvaluationPlan, EvaluationTransform, Image,
    Loader, LoaderPlan, Normalisation, OnBadImage, Pipeline, Share, ViewGroup,
};

/// Pictures of different sizes in memory; some cannot be read.
#[derive(Default)]
struct Memory {
    images: usize,
    labels: Option<Vec<u32>>,
    classes: Vec<String>,
    bad: HashSet<usize>,
    panicking: HashSet<usize>,
    inconsistent: HashSet<usize>,
    delay: Duration,
    reads: AtomicUsize,
}

impl Memory {
    fn of(images: usize) -> Self {
        let labels = Some((0..images as u32).map(|i| i % 10).collect());
        let classes = (0..10).map(|class| format!("class {class}")).collect();
        Self { images, labels, classes, ..Self::default() }
    }
}

impl Dataset for Memory {
    fn len(&self) -> usize {
        self.images
    }

    fn image(&self, index: usize) -> Result<Image, DataError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(self.delay);
        assert!(!self.panicking.contains(&index), "made to panic");
        if self.bad.contains(&index) {
            let what = "made to fail".into();
            return Err(DataError::BadImage { name: self.name(index), index, what });
        }
        let (width, height) = (8 + index % 5, 6 + index % 7);
        let mut values = (0..width * height * 3)
            .map(|i| ((i + index * 7_919).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u8)
            .collect::<Vec<_>>();
        if self.inconsistent.contains(&index) {
            values.pop();
        }
        Ok(Image { width, height, values })
    }

    fn labels(&self) -> Option<&[u32]> {
        self.labels.as_deref()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn name(&self, index: usize) -> String {
        format!("picture {index}")
    }
}

const NORMALISATION: Normalisation = Normalisation::new([0.5; 3], [0.25; 3]);

fn pipeline() -> Arc<Pipeline> {
    let large = ViewGroup { size: 12, blur: 0.5, solarize: 0.2, ..ViewGroup::default() };
    let small = ViewGroup { size: 5, count: 3, local: true, ..large.clone() };
    Arc::new(Pipeline::new(vec![large, small], NORMALISATION, 17).expect("valid settings"))
}

fn plan(steps: std::ops::Range<u64>, workers: usize) -> LoaderPlan {
    LoaderPlan {
        seed: 5,
        batch: 6,
        share: Share::WHOLE,
        workers,
        prefetch: 3,
        on_bad_image: OnBadImage::Stop,
        start_step: steps.start,
        end_step: steps.end,
    }
}

fn load(dataset: Memory, plan: LoaderPlan) -> Loader {
    Loader::new(Arc::new(dataset), pipeline(), plan).expect("a valid plan")
}

/// All that has to be equal: everything but the wait.
fn content(batch: Batch) -> impl PartialEq + std::fmt::Debug {
    let replaced = batch.replaced.iter().map(|r| (r.place, r.index, r.error.to_string()));
    let replaced = replaced.collect::<Vec<_>>();
    (batch.step, batch.epoch, batch.indices, batch.labels, batch.views, replaced)
}

#[test]
fn batches_are_byte_identical_for_any_number_of_workers() {
    for on_bad_image in [OnBadImage::Stop, OnBadImage::Skip] {
        let bad = || match on_bad_image {
            OnBadImage::Stop => HashSet::new(),
            OnBadImage::Skip => HashSet::from([3, 8, 31]),
        };
        let all = |workers| {
            let dataset = Memory { bad: bad(), ..Memory::of(40) };
            let plan = LoaderPlan { on_bad_image, ..plan(0..20, workers) };
            load(dataset, plan).map(|batch| content(batch.unwrap())).collect::<Vec<_>>()
        };
        let expected = all(0);
        assert_eq!(expected.len(), 20);
        for workers in [1, 2, 4] {
            assert!(all(workers) == expected, "{workers} workers, {on_bad_image:?}");
        }
    }
}

#[test]
fn any_step_resumes_without_those_before() {
    let all = load(Memory::of(40), plan(0..20, 0)).map(|batch| content(batch.unwrap()));
    let mut all = all.collect::<Vec<_>>();
    for start in [19, 13, 6, 1] {
        let dataset = Arc::new(Memory::of(40));
        let loader =
            Loader::new(Arc::clone(&dataset) as _, pipeline(), plan(start..20, 2)).unwrap();
        let resumed = loader.map(|batch| content(batch.unwrap())).collect::<Vec<_>>();
        assert!(resumed == all.split_off(start as usize), "from step {start}");
        assert_eq!(dataset.reads.load(Ordering::SeqCst), resumed.len() * 6);
        all.extend(resumed);
    }
}

#[test]
fn batch_has_the_shapes_labels_and_steps_of_the_plan() {
    let mut loader = load(Memory::of(40), plan(5..8, 1));
    assert_eq!(loader.steps_per_epoch(), 6);
    let views = 2 * 12 * 12 * 3 + 3 * 5 * 5 * 3;
    let bound = |workers| plan(5..8, workers).memory_bound(&pipeline());
    // Three in the making, or one for each worker, and one that came back.
    assert_eq!(bound(1), views * 4 * 6 * (3 + 1));
    assert_eq!(bound(5), views * 4 * 6 * (5 + 1));
    assert_eq!(bound(0), views * 4 * 6 * (1 + 1));
    let batch = loader.next().unwrap().unwrap();
    assert_eq!((batch.step, batch.epoch), (5, 0));
    let sizes = batch.views.iter().map(|v| (v.size, v.local, v.pixels.len())).collect::<Vec<_>>();
    let (large, small) = ((12, false, 6 * 12 * 12 * 3), (5, true, 6 * 5 * 5 * 3));
    assert_eq!(sizes, [large, large, small, small, small]);
    let expected = batch.indices.iter().map(|i| *i as u32 % 10).collect::<Vec<_>>();
    assert_eq!(batch.labels, Some(expected));
    let batch = loader.next().unwrap().unwrap();
    assert_eq!((batch.step, batch.epoch), (6, 1));
    assert!(loader.next().is_some() && loader.next().is_none());

    let unlabelled = Memory { labels: None, ..Memory::of(40) };
    assert_eq!(load(unlabelled, plan(0..1, 0)).next().unwrap().unwrap().labels, None);
}

#[test]
fn bad_image_stops_at_its_batch_and_is_named() {
    let order = load(Memory::of(40), plan(0..6, 0)).flat_map(|batch| batch.unwrap().indices);
    let order = order.collect::<Vec<_>>();
    for workers in [0, 2] {
        let dataset = Memory { bad: HashSet::from([order[20]]), ..Memory::of(40) };
        let mut loader = load(dataset, plan(0..6, workers));
        for step in 0..3 {
            assert_eq!(loader.next().unwrap().unwrap().step, step);
        }
        let error = loader.next().unwrap().unwrap_err();
        let named = matches!(&error, DataError::BadImage { index, .. } if *index == order[20]);
        assert!(named && error.to_string().contains("picture"), "{error}");
        assert!(loader.next().is_none());
    }
}

#[test]
fn skipped_images_are_replaced_counted_and_named() {
    let dataset = Memory {
        bad: HashSet::from([1, 2, 3]),
        panicking: HashSet::from([4]),
        inconsistent: HashSet::from([5]),
        ..Memory::of(36)
    };
    let loader = load(dataset, LoaderPlan { on_bad_image: OnBadImage::Skip, ..plan(0..6, 2) });
    let mut seen = Vec::new();
    for batch in loader {
        let batch = batch.unwrap();
        assert_eq!(batch.indices.len(), 6);
        assert!(batch.indices.iter().all(|index| !(1..=5).contains(index)), "{batch:?}");
        for (&index, &label) in batch.indices.iter().zip(batch.labels.as_ref().unwrap()) {
            assert_eq!(label, index as u32 % 10, "labels are those of the replacements");
        }
        for replaced in &batch.replaced {
            assert!(replaced.error.to_string().contains(&format!("picture {}", replaced.index)));
            assert_ne!(batch.indices[replaced.place], replaced.index);
            seen.push(replaced.index);
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, [1, 2, 3, 4, 5]);
}

#[test]
fn dataset_without_a_readable_image_is_an_error_even_when_skipping() {
    let dataset = Memory { bad: (0..40).collect(), ..Memory::of(40) };
    let mut loader = load(dataset, LoaderPlan { on_bad_image: OnBadImage::Skip, ..plan(0..6, 1) });
    let error = loader.next().unwrap().unwrap_err().to_string();
    assert!(error.contains("check the dataset"), "{error}");
    assert!(loader.next().is_none());
}

#[test]
fn panicking_decoder_is_an_error_and_not_a_hang() {
    for workers in [0, 1, 3] {
        let dataset = Memory { panicking: (0..40).collect(), ..Memory::of(40) };
        let mut loader = load(dataset, plan(0..6, workers));
        let error = loader.next().unwrap().unwrap_err().to_string();
        assert!(error.contains("the decoder panicked: made to panic"), "{error}");
        assert!(loader.next().is_none());
    }
}

#[test]
fn panicking_worker_is_an_error_and_not_a_hang() {
    for workers in [0, 2] {
        // Fewer labels than images break the contract of `Dataset` outside the decoder.
        let dataset = Memory { labels: Some(vec![0; 3]), ..Memory::of(40) };
        let mut loader = load(dataset, plan(0..6, workers));
        let error = loader.next().unwrap().unwrap_err().to_string();
        assert!(error.contains("a worker panicked"), "{error}");
        assert!(loader.next().is_none());
    }
}

#[test]
fn dropped_loader_stops_its_workers_in_the_middle_of_a_batch() {
    let dataset = Memory { delay: Duration::from_millis(20), ..Memory::of(1000) };
    let dataset = Arc::new(dataset);
    let plan = LoaderPlan { batch: 500, ..plan(0..100, 3) };
    let loader = Loader::new(Arc::clone(&dataset) as _, pipeline(), plan).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let dropped = Instant::now();
    drop(loader);
    // A batch takes ten seconds, an image 20 milliseconds.
    assert!(dropped.elapsed() < Duration::from_secs(2), "{:?}", dropped.elapsed());
    assert_eq!(Arc::strong_count(&dataset), 1, "all workers have gone");
}

#[test]
fn wait_is_the_time_that_the_consumer_was_blocked() {
    let dataset = Memory { delay: Duration::from_millis(10), ..Memory::of(40) };
    let mut loader = load(dataset, plan(0..3, 1));
    let first = loader.next().unwrap().unwrap();
    assert!(first.wait >= Duration::from_millis(40), "{:?}", first.wait);
    std::thread::sleep(Duration::from_millis(600));
    let ready = loader.next().unwrap().unwrap();
    assert!(ready.wait < Duration::from_millis(40), "{:?}", ready.wait);
}

#[test]
fn senseless_plans_are_refused() {
    let refused = |plan: LoaderPlan, what: &str| {
        let error = Loader::new(Arc::new(Memory::of(40)), pipeline(), plan).err();
        let error = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(what), "{error}");
    };
    refused(LoaderPlan { batch: 0, ..plan(0..1, 0) }, "a batch of 0");
    refused(LoaderPlan { batch: 41, ..plan(0..1, 0) }, "a batch of 41 from 40 images");
    refused(LoaderPlan { prefetch: 0, ..plan(0..1, 2) }, "prefetch is 0");
    refused(LoaderPlan { start_step: 2, ..plan(0..1, 0) }, "steps 2 to 1");
}

fn evaluation(workers: usize) -> EvaluationPlan {
    EvaluationPlan {
        transform: EvaluationTransform { resize: Some(9), crop: 7 },
        normalisation: NORMALISATION,
        batch: 6,
        workers,
        prefetch: 2,
        on_bad_image: OnBadImage::Stop,
    }
}

#[test]
fn evaluation_visits_every_image_once_in_order() {
    let all = |workers| {
        let loader = EvaluationLoader::new(Arc::new(Memory::of(40)), evaluation(workers)).unwrap();
        let batches = loader.map(|batch| {
            let batch = batch.unwrap();
            assert_eq!(batch.pixels.len(), batch.indices.len() * 7 * 7 * 3);
            (batch.indices, batch.pixels)
        });
        batches.collect::<Vec<_>>()
    };
    let expected = all(0);
    let indices = expected.iter().flat_map(|(indices, _)| indices.clone()).collect::<Vec<_>>();
    assert_eq!(indices, (0..40).collect::<Vec<_>>());
    assert_eq!(expected.last().unwrap().0.len(), 4);
    for workers in [1, 2, 4] {
        assert!(all(workers) == expected, "{workers} workers");
    }
}

#[test]
fn evaluation_leaves_bad_images_out_or_stops() {
    let dataset = || Arc::new(Memory { bad: HashSet::from([7]), ..Memory::of(10) });
    let stop = EvaluationLoader::new(dataset(), evaluation(1)).unwrap().collect::<Vec<_>>();
    assert_eq!(stop.len(), 2);
    assert!(stop[1].as_ref().unwrap_err().to_string().contains("picture 7"));

    let plan = EvaluationPlan { on_bad_image: OnBadImage::Skip, ..evaluation(1) };
    let skip = EvaluationLoader::new(dataset(), plan).unwrap().map(Result::unwrap);
    let skip = skip.collect::<Vec<_>>();
    assert_eq!(skip[1].indices, [6, 8, 9]);
    assert_eq!(skip[1].pixels.len(), 3 * 7 * 7 * 3);
    assert!(skip[1].left_out[0].to_string().contains("picture 7"));
}
