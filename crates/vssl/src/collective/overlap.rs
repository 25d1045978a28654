//! Sums of gradients that are on their way while the backward pass still computes others
//! (`train.overlap`).
//!
//! Weights fill buckets in the reverse order of the module, which is about the order in which their
//! gradients are complete. A full bucket goes to a thread that sums it over the ranks, one after the
//! other, on a channel of its own ([`Collective::beside`]). All ranks run the same graph, fill the
//! same buckets and add in the same order: the sums have the bits of those after the backward pass.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
};

use burn::tensor::{Tensor, TensorData};
use vssl_kernels::EarlyGradients;

use super::{Collective, CollectiveError};
use crate::optim::Gradients;

/// Numbers of a bucket, at least. On a wire of 1 Gb/s they take 34 ms, far more than the latency.
const BUCKET: usize = 1 << 20;
const SUMMING: &str = "summing gradients during the backward pass";

/// A weight whose gradient may come early.
pub(crate) struct Weight {
    pub path: String,
    /// See [`vssl_kernels::weight_number`].
    pub number: u64,
    pub length: usize,
}

/// The thread that sums, and the buckets of the step that is going on.
pub(super) struct Overlap {
    channel: Arc<dyn Collective>,
    state: Mutex<State>,
}

struct State {
    /// `None` at the end only: the thread ends with it.
    jobs: Option<Sender<Vec<f32>>>,
    sums: Receiver<Result<Vec<f32>, CollectiveError>>,
    thread: Option<JoinHandle<()>>,
    round: Round,
}

#[derive(Default)]
struct Round {
    weights: HashMap<u64, Place>,
    buckets: Vec<Bucket>,
    /// Buckets whose sums are under way; those before and none behind.
    sent: usize,
}

struct Place {
    path: String,
    bucket: usize,
    start: usize,
    length: usize,
}

#[derive(Default)]
struct Bucket {
    values: Vec<f32>,
    /// Weights whose gradients have not come.
    missing: usize,
}

impl Overlap {
    /// Starts the thread.
    pub fn new(channel: Box<dyn Collective>) -> Self {
        let channel: Arc<dyn Collective> = channel.into();
        let (jobs, todo) = mpsc::channel::<Vec<f32>>();
        let (done, sums) = mpsc::channel();
        let collective = Arc::clone(&channel);
        let thread = thread::spawn(move || {
            for mut values in todo {
                let sum = collective.sum(SUMMING, &mut values).map(|()| values);
                if done.send(sum).is_err() {
                    return;
                }
            }
        });
        let thread = Some(thread);
        let state = State { jobs: Some(jobs), sums, thread, round: Round::default() };
        Self { channel, state: Mutex::new(state) }
    }

    /// Between a forward pass, which `watch` has seen, and its backward pass: sends what comes of
    /// these weights, in the module's order.
    pub fn expect(self: &Arc<Self>, watch: &EarlyGradients, mut weights: Vec<Weight>) {
        let used = watch.used();
        weights.retain(|weight| used.contains(&weight.number));
        self.lock().round = Round::of(weights);
        let overlap = Arc::clone(self);
        watch.tell(move |number, values| overlap.told(number, values));
    }

    fn told(&self, number: u64, values: &[f32]) {
        let State { jobs, round, .. } = &mut *self.lock();
        let Some(Place { bucket, start, length, .. }) = round.weights.get(&number) else { return };
        let bucket = &mut round.buckets[*bucket];
        bucket.values[*start..][..*length].copy_from_slice(values);
        bucket.missing -= 1;
        while let Some(bucket) = round.buckets.get(round.sent).filter(|bucket| bucket.missing == 0)
        {
            // The thread lives as long as the sender.
            let _ = jobs.as_ref().map(|jobs| jobs.send(bucket.values.clone()));
            round.sent += 1;
        }
    }

    /// Waits for the sums of what was sent in the backward pass that gave these gradients; returns
    /// them, and the length of each bucket.
    ///
    /// # Errors
    /// Ranks that failed; a gradient that went on growing after it was sent.
    pub fn finish(
        &self,
        gradients: &Gradients,
    ) -> Result<(Gradients, Vec<usize>), CollectiveError> {
        let state = &mut *self.lock();
        let Round { weights, buckets, sent } = std::mem::take(&mut state.round);
        let mut sums = Vec::with_capacity(sent);
        for _ in 0..sent {
            sums.push(state.sums.recv().expect("the thread answers every bucket")?);
        }
        let mut summed = Gradients::default();
        for Place { path, bucket, start, length } in weights.into_values() {
            let Some(sum) = sums.get(bucket) else { continue };
            let was = &buckets[bucket].values[start..][..length];
            let Some(own) = gradients.0.get(&path).filter(|own| same_bits(own, was)) else {
                return Err(CollectiveError::Early { path });
            };
            let sum = TensorData::new(sum[start..][..length].to_vec(), [length]);
            summed.0.insert(path, Tensor::from_data(sum, &own.device()));
        }
        Ok((summed, sums.iter().map(Vec::len).collect()))
    }

    /// See [`Collective::abort`].
    pub fn abort(&self) {
        self.channel.abort();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Overlap {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.jobs = None;
        if let Some(thread) = state.thread.take() {
            // A panic there has said why.
            let _ = thread.join();
        }
    }
}

impl Round {
    fn of(weights: Vec<Weight>) -> Self {
        let mut round = Self::default();
        for Weight { path, number, length } in weights.into_iter().rev() {
            if round.buckets.last().is_none_or(|bucket| bucket.values.len() >= BUCKET) {
                round.buckets.push(Bucket::default());
            }
            let (index, bucket) = (round.buckets.len() - 1, round.buckets.last_mut());
            let bucket = bucket.expect("one was pushed");
            let start = bucket.values.len();
            bucket.values.resize(start + length, 0.0);
            bucket.missing += 1;
            round.weights.insert(number, Place { path, bucket: index, start, length });
        }
        round
    }
}

/// Device read.
fn same_bits(gradient: &Tensor<1>, values: &[f32]) -> bool {
    let data = gradient.clone().into_data();
    data.as_slice::<f32>().is_ok_and(|data| {
        data.len() == values.len()
            && data.iter().zip(values).all(|(a, b)| a.to_bits() == b.to_bits())
    })
}
