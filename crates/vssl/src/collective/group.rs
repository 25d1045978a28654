//! The ranks that share a batch, as the rest of the program sees them: tensors in, tensors out.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use burn::tensor::{DType, Tensor, TensorData};
use vssl_kernels::{AcrossRanks, Ranks};

use super::{
    Collective, CollectiveError, SingleProcess, WAITING_FOR_LEADER,
    message::{floats, from_words, mark, to_words},
};
use crate::optim::Gradients;

/// A handle on the ranks that share a batch. It is cheap to clone.
///
/// Exchanges happen in places that cannot return an error, such as the backward pass of a batch
/// normalisation. So the group keeps the first error, every later exchange returns the own numbers at once,
/// and the loop calls [`Group::check`] before it uses the results.
#[derive(Clone)]
pub struct Group {
    inner: Arc<Inner>,
    joint_norms: bool,
}

struct Inner {
    collective: Box<dyn Collective>,
    failure: Mutex<Option<CollectiveError>>,
    exchanges: AtomicU64,
    bytes: AtomicU64,
    nanoseconds: AtomicU64,
}

/// Counts of what one rank has sent so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// The number of exchanges between all ranks.
    pub exchanges: u64,
    /// The number of bytes that this rank brought to the exchanges, before they are sent to each other rank.
    pub bytes: u64,
    /// The time that this rank spent in exchanges: sending, and waiting for the slowest rank.
    pub time: Duration,
}

impl Group {
    /// Makes a group of a single process.
    pub fn alone() -> Self {
        Self::new(SingleProcess)
    }

    /// Makes a group whose batch normalisation uses joint statistics.
    pub fn new(collective: impl Collective + 'static) -> Self {
        let inner = Inner {
            collective: Box::new(collective),
            failure: Mutex::new(None),
            exchanges: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            nanoseconds: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner), joint_norms: true }
    }

    /// Returns the same ranks; `joint` says whether batch normalisation uses the statistics of the joint
    /// batch (SyncBN).
    pub fn with_joint_norms(self, joint: bool) -> Self {
        Self { joint_norms: joint, ..self }
    }

    /// Returns the number of this process, from 0.
    pub fn rank(&self) -> usize {
        self.inner.collective.rank()
    }

    /// Returns the number of processes.
    pub fn world(&self) -> usize {
        self.inner.collective.world()
    }

    /// Returns whether this process is the only one.
    pub fn is_alone(&self) -> bool {
        self.world() == 1
    }

    /// Returns whether this is the rank that writes and prints.
    pub fn leads(&self) -> bool {
        self.rank() == 0
    }

    /// Returns the ranks that share the statistics of batch normalisation, and their number.
    pub(crate) fn norms(&self) -> (AcrossRanks, usize) {
        match self.is_alone() || !self.joint_norms {
            true => (AcrossRanks::alone(), 1),
            false => (AcrossRanks::with(Arc::clone(&self.inner) as Arc<dyn Ranks>), self.world()),
        }
    }

    /// Returns for each tensor the rows of the joint batch, in the order of ranks; gradients flow to the own
    /// rows only. All tensors travel in one exchange.
    ///
    /// # Shapes — `own`: any number of `[n, dim]`; returns `[world · n, dim]` of each.
    pub fn gather_all(&self, own: Vec<Tensor<2>>) -> Vec<Tensor<2>> {
        if self.is_alone() || own.is_empty() {
            return own;
        }
        let values = own.iter().map(|x| x.clone().detach()).map(|x| x.reshape([-1])).collect();
        let values = Tensor::<1>::cat(values, 0).into_data(); // device read
        let dtype = values.dtype();
        let (words, width) = match dtype {
            DType::F64 => (to_words(values.iter::<f64>().map(f64::to_bits)), 2),
            _ => (values.iter::<f32>().map(f32::to_bits).collect(), 1),
        };
        let all = self.exchange("gathering the batch", &words);
        let mut start = 0;
        own.into_iter()
            .map(|own| {
                let [n, dim] = own.dims();
                let place = start..start + n * dim * width;
                start = place.end;
                let others = |ranks: std::ops::Range<usize>| {
                    let rows = ranks.len() * n;
                    let shares = ranks.flat_map(|rank| &all[rank * words.len()..][place.clone()]);
                    let data = floats(shares.copied().collect(), dtype, [rows, dim]);
                    (rows > 0).then(|| Tensor::from_data(data, (&own.device(), dtype)))
                };
                let before = others(0..self.rank());
                let after = others(self.rank() + 1..self.world());
                let parts = before.into_iter().chain([own]).chain(after).collect();
                Tensor::cat(parts, 0) // -> [world · n, dim]
            })
            .collect()
    }

    /// Returns the numbers of all ranks, in the order of ranks; each rank brings as many as `own`.
    pub fn gather_numbers(&self, own: &[u64]) -> Vec<u64> {
        if self.is_alone() {
            return own.to_vec();
        }
        from_words(&self.exchange("gathering numbers", &to_words(own.iter().copied())))
    }

    /// Returns the sum over all ranks of each of these numbers.
    pub fn sum_numbers<const N: usize>(&self, own: [u64; N]) -> [u64; N] {
        let all = self.gather_numbers(&own);
        std::array::from_fn(|index| all.iter().skip(index).step_by(N).sum())
    }

    /// Returns the labels of all ranks, in the order of ranks.
    pub fn gather_labels(&self, own: &[u32]) -> Vec<u32> {
        if self.is_alone() {
            return own.to_vec();
        }
        self.exchange("gathering labels", own)
    }

    /// Replaces the gradients of the own rows by those of the joint batch: their sum over the ranks, in one
    /// message. In double precision, which is for tests of exactness, every rank gets the gradients of all
    /// ranks and adds them up.
    pub fn sum_gradients(&self, gradients: Gradients) -> Gradients {
        if self.is_alone() {
            return gradients;
        }
        let (paths, tensors): (Vec<String>, Vec<Tensor<1>>) = gradients.0.into_iter().unzip();
        let Some(device) = tensors.first().map(Tensor::device) else { return Gradients::default() };
        let lengths: Vec<usize> = tensors.iter().map(|x| x.dims()[0]).collect();
        if tensors[0].dtype() == DType::F64 {
            let all = self.gather_all(tensors.into_iter().map(Tensor::unsqueeze).collect());
            let summed = all.into_iter().map(|x| x.sum_dim(0).squeeze_dim(0)); // [world, n] -> [n]
            return Gradients(paths.into_iter().zip(summed).collect());
        }
        // These are device reads.
        let mut bucket: Vec<f32> = Vec::with_capacity(lengths.iter().sum());
        for tensor in tensors {
            bucket.extend(tensor.into_data().iter::<f32>());
        }
        self.sum("summing gradients", &mut bucket);
        let mut rest = bucket.as_slice();
        let summed = paths.into_iter().zip(lengths).map(|(path, length)| {
            let (own, others) = rest.split_at(length);
            rest = others;
            (path, Tensor::from_data(TensorData::new(own.to_vec(), [length]), &device))
        });
        Gradients(summed.collect())
    }

    /// Replaces `values` by their sums over the ranks.
    pub fn sum(&self, operation: &'static str, values: &mut [f32]) {
        if self.is_alone() || self.failure().is_some() {
            return;
        }
        self.count(values.len());
        if let Err(error) = self.inner.timed(|collective| collective.sum(operation, values)) {
            self.fail(error);
        }
    }

    /// Waits for all ranks.
    pub fn barrier(&self) {
        self.gather_numbers(&[]);
    }

    /// Waits for rank 0, however long it takes: see [`WAITING_FOR_LEADER`].
    pub fn wait_for_leader(&self) {
        if !self.is_alone() {
            self.exchange(WAITING_FOR_LEADER, &[]);
        }
    }

    /// Returns the counts of what this rank has sent so far.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            exchanges: self.inner.exchanges.load(Ordering::Relaxed),
            bytes: self.inner.bytes.load(Ordering::Relaxed),
            time: Duration::from_nanos(self.inner.nanoseconds.load(Ordering::Relaxed)),
        }
    }

    /// Returns a sentence on what a rank sends in each of `steps` steps; `None` for a single process.
    pub fn traffic_of(&self, steps: u64) -> Option<String> {
        let Traffic { exchanges, bytes, time } = self.traffic();
        let steps = steps.max(1) as f64;
        let (exchanges, mib) =
            (exchanges as f64 / steps, bytes as f64 / steps / f64::from(1 << 20));
        let milliseconds = time.as_secs_f64() / steps * 1e3;
        (!self.is_alone()).then(|| {
            format!(
                "{} ranks; in each step each of them took part in {exchanges:.0} exchanges and \
                 brought {mib:.2} MiB; rank 0 spent {milliseconds:.1} ms in them",
                self.world()
            )
        })
    }

    /// Checks that no exchange has failed.
    ///
    /// # Errors
    /// The error of the first exchange that failed. Results since then are invalid.
    pub fn check(&self) -> Result<(), CollectiveError> {
        self.failure().map_or(Ok(()), Err)
    }

    /// Gives up, so that the other ranks stop waiting. Under MPI all processes of the job end here.
    pub fn abort(&self) {
        self.inner.collective.abort();
    }

    fn exchange(&self, operation: &'static str, own: &[u32]) -> Vec<u32> {
        self.inner.exchange(operation, own)
    }

    fn count(&self, words: usize) {
        self.inner.count(words);
    }

    fn failure(&self) -> Option<CollectiveError> {
        self.inner.failure()
    }

    fn fail(&self, error: CollectiveError) {
        self.inner.fail(error);
    }
}

impl Inner {
    /// Sends the words after a mark, by which each rank sees whether all take part in the same exchange.
    fn exchange(&self, operation: &'static str, own: &[u32]) -> Vec<u32> {
        let world = self.collective.world();
        if self.failure().is_some() {
            return own.repeat(world);
        }
        let number = self.count(own.len() + 1);
        let expected = mark(operation, own.len(), number);
        let mut message = Vec::with_capacity(own.len() + 1);
        message.push(expected);
        message.extend_from_slice(own);
        let gathered = self.timed(|all| all.gather(operation, &message)).and_then(|all| {
            let mut words = Vec::with_capacity(own.len() * world);
            for (rank, share) in all.chunks_exact(message.len()).enumerate() {
                if share[0] != expected {
                    let got = share[0];
                    return Err(CollectiveError::OutOfStep { operation, rank, got, expected });
                }
                words.extend_from_slice(&share[1..]);
            }
            Ok(words)
        });
        gathered.unwrap_or_else(|error| {
            self.fail(error);
            own.repeat(world)
        })
    }

    /// Runs an exchange and adds its time to [`Traffic::time`].
    fn timed<T>(&self, exchange: impl FnOnce(&dyn Collective) -> T) -> T {
        let began = Instant::now();
        let result = exchange(self.collective.as_ref());
        let nanoseconds = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        result
    }

    /// Counts an exchange and returns its number.
    fn count(&self, words: usize) -> u64 {
        self.bytes.fetch_add(4 * words as u64, Ordering::Relaxed);
        self.exchanges.fetch_add(1, Ordering::Relaxed)
    }

    fn failure(&self) -> Option<CollectiveError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fail(&self, error: CollectiveError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

impl Ranks for Inner {
    fn gather(&self, what: &'static str, own: &[f64]) -> Vec<f64> {
        let words = self.exchange(what, &to_words(own.iter().map(|value| value.to_bits())));
        from_words(&words).into_iter().map(f64::from_bits).collect()
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Group(rank {} of {})", self.rank(), self.world())
    }
}
