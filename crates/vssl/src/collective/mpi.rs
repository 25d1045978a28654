//! Ranks that are processes of an MPI job: `mpirun -n 4 vssl …`, `srun vssl …`. Built with the feature
//! `mpi`.
//!
//! All exchanges are non-blocking and polled against a time limit. When it is over, the ranks that
//! wait ask each other who is there: whoever does not answer is missing, the first one that is there
//! says so, and the job ends.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use mpi::{
    Threading,
    environment::Universe,
    request::{self, Request, Scope},
    topology::SimpleCommunicator,
    traits::{Communicator, CommunicatorCollectives, Destination, Equivalence, Source},
};

use super::{Collective, CollectiveError, WAITING_FOR_LEADER};

/// Polled without a pause for as long: most exchanges take less.
const EAGER: Duration = Duration::from_millis(2);
/// Between polls after that.
const NAP: Duration = Duration::from_micros(50);
/// Between polls beside other work, from the start: the cores belong to it, and buffers of the wire
/// hold more than goes out in that time.
const LONG_NAP: Duration = Duration::from_millis(1);
/// Between looks for the question who is there.
const LOOK: Duration = Duration::from_millis(100);
/// How long answers to it may take.
const ANSWERS: Duration = Duration::from_secs(3);
/// How long a rank that is not to speak waits for the one that is.
const SILENCE: Duration = Duration::from_secs(5);
/// Exit code of a job that is brought down.
const FAILED: i32 = 1;

const ASK: i32 = 1;
const HERE: i32 = 2;

/// Of messages beside the collective exchanges.
const BESIDE: i32 = 3;

/// Calls of MPI are made one at a time ([`Threading::Serialized`]), by two threads where sums run
/// beside other exchanges.
static CALLS: Mutex<()> = Mutex::new(());
/// Held by the thread that brings the job down.
static ENDING: Mutex<()> = Mutex::new(());

fn one(lock: &'static Mutex<()>) -> MutexGuard<'static, ()> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps MPI running; dropped last, it waits for the other ranks to end as well.
pub struct Job(#[allow(dead_code, reason = "its end ends MPI")] Universe);

/// Starts MPI. `None` if it runs already.
pub fn start() -> Option<Job> {
    mpi::initialize_with_threading(Threading::Serialized).map(|(universe, _)| Job(universe))
}

/// A process of the job.
pub struct Mpi {
    rank: usize,
    world: usize,
    limit: Duration,
    report: Arc<dyn Fn(&CollectiveError) + Send + Sync>,
    /// Whether this is [`Collective::beside`] of another.
    beside: bool,
}

impl Mpi {
    /// Waits at most `limit` for the others. `report` says why the job ends, on one rank only; the
    /// process ends right after it.
    pub fn new(
        _job: &Job,
        limit: Duration,
        report: impl Fn(&CollectiveError) + Send + Sync + 'static,
    ) -> Self {
        let world = SimpleCommunicator::world();
        // Neither is negative.
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        Self { rank, world: size, limit, report: Arc::new(report), beside: false }
    }

    /// Polls until the exchange is over; ends the job if it never is.
    fn finish<'a, D: ?Sized, S: Scope<'a>>(
        &self,
        operation: &'static str,
        mut request: Request<'a, D, S>,
    ) {
        let began = Instant::now();
        let mut looked = began;
        loop {
            let tested = {
                let _one = one(&CALLS);
                request.test()
            };
            request = match tested {
                Ok(_) => return,
                Err(pending) => pending,
            };
            let now = Instant::now();
            if !self.beside && now - began < EAGER {
                thread::yield_now();
                continue;
            }
            thread::sleep(if self.beside { LONG_NAP } else { NAP });
            if now - looked > LOOK {
                looked = now;
                answer();
            }
            if now - began > self.limit && operation != WAITING_FOR_LEADER {
                self.end(operation);
            }
        }
    }

    /// Finds out who is missing, and ends the job.
    fn end(&self, operation: &'static str) -> ! {
        let _alone = one(&ENDING);
        let world = SimpleCommunicator::world();
        let mut here = vec![false; self.world];
        here[self.rank] = true;
        for rank in (0..self.world).filter(|rank| *rank != self.rank) {
            let _one = one(&CALLS);
            world.process_at_rank(rank as i32).send_with_tag(&self.limit.as_secs(), ASK);
        }
        let until = Instant::now() + ANSWERS;
        while Instant::now() < until && here.contains(&false) {
            answer().into_iter().chain(received(HERE)).for_each(|rank| here[rank] = true);
            thread::sleep(NAP);
        }
        let seconds = self.limit.as_secs();
        let ranks: Vec<usize> = (0..self.world).filter(|rank| !here[*rank]).collect();
        let error = match ranks.is_empty() {
            true => CollectiveError::Stuck { operation, seconds },
            false => CollectiveError::Missing { operation, ranks, seconds },
        };
        let speaker = here.iter().position(|here| *here);
        if speaker != Some(self.rank) {
            thread::sleep(SILENCE);
        }
        (self.report)(&error);
        let _one = one(&CALLS);
        world.abort(FAILED)
    }
}

/// Answers whoever asks who is there; that one is there, too.
fn answer() -> Vec<usize> {
    let asking = received(ASK);
    for &rank in &asking {
        let _one = one(&CALLS);
        SimpleCommunicator::world().process_at_rank(rank as i32).send_with_tag(&0_u64, HERE);
    }
    asking
}

/// Who has sent messages with this tag.
fn received(tag: i32) -> Vec<usize> {
    let world = SimpleCommunicator::world();
    let mut ranks = Vec::new();
    let _one = one(&CALLS);
    while let Some((message, status)) = world.any_process().immediate_matched_probe_with_tag(tag) {
        message.matched_receive::<u64>();
        ranks.push(status.source_rank() as usize);
    }
    ranks
}

/// Everybody's values in the order of ranks.
fn gather<T: Equivalence + Copy + Default>(
    mpi: &Mpi,
    operation: &'static str,
    own: &[T],
) -> Vec<T> {
    let mut all = vec![T::default(); own.len() * mpi.world];
    request::scope(|scope| {
        let request = {
            let _one = one(&CALLS);
            SimpleCommunicator::world().immediate_all_gather_into(scope, own, &mut all[..])
        };
        mpi.finish(operation, request);
    });
    all
}

/// Sends each of the others its part of `own`, and returns what all have sent here, in the order of
/// ranks: by messages, which collective exchanges of another thread do not get in the way of.
fn swap(mpi: &Mpi, operation: &'static str, own: &[&[f32]]) -> Vec<f32> {
    let part = own[mpi.rank].len();
    let mut all = vec![0.0; part * mpi.world];
    all[mpi.rank * part..][..part].copy_from_slice(own[mpi.rank]);
    let world = SimpleCommunicator::world();
    request::scope(|scope| {
        let (mut sent, mut received) = (Vec::new(), Vec::new());
        for ((rank, incoming), outgoing) in all.chunks_exact_mut(part).enumerate().zip(own) {
            if rank != mpi.rank {
                let _one = one(&CALLS);
                let process = world.process_at_rank(rank as i32);
                received.push(process.immediate_receive_into_with_tag(scope, incoming, BESIDE));
                sent.push(process.immediate_send_with_tag(scope, *outgoing, BESIDE));
            }
        }
        received.into_iter().for_each(|request| mpi.finish(operation, request));
        sent.into_iter().for_each(|request| mpi.finish(operation, request));
    });
    all
}

/// Part `r` of everybody's values is for rank `r`: what is for this one, in the order of ranks.
fn all_to_all(mpi: &Mpi, operation: &'static str, own: &[f32]) -> Vec<f32> {
    let mut all = vec![0.0; own.len()];
    request::scope(|scope| {
        let request = {
            let _one = one(&CALLS);
            SimpleCommunicator::world().immediate_all_to_all_into(scope, own, &mut all[..])
        };
        mpi.finish(operation, request);
    });
    all
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world(&self) -> usize {
        self.world
    }

    fn gather(&self, operation: &'static str, own: &[u32]) -> Result<Vec<u32>, CollectiveError> {
        Ok(gather(self, operation, own))
    }

    /// Each rank adds up one part of the values and sends it to all: twice the values through every
    /// wire, whatever the number of ranks.
    fn sum(&self, operation: &'static str, values: &mut [f32]) -> Result<(), CollectiveError> {
        if values.is_empty() {
            return Ok(());
        }
        let part = values.len().div_ceil(self.world);
        let mut padded = values.to_vec();
        padded.resize(part * self.world, 0.0);
        let mut parts = match self.beside {
            true => swap(self, operation, &padded.chunks_exact(part).collect::<Vec<_>>()),
            false => all_to_all(self, operation, &padded),
        };
        let (own, others) = parts.split_at_mut(part);
        for other in others.chunks_exact(part) {
            own.iter_mut().zip(other).for_each(|(sum, value)| *sum += value);
        }
        let all = match self.beside {
            true => swap(self, operation, &vec![&*own; self.world]),
            false => gather(self, operation, own),
        };
        values.copy_from_slice(&all[..values.len()]);
        Ok(())
    }

    fn beside(&self) -> Option<Box<dyn Collective>> {
        let report = Arc::clone(&self.report);
        let Self { rank, world, limit, .. } = *self;
        Some(Box::new(Self { rank, world, limit, report, beside: true }))
    }

    fn abort(&self) {
        let _one = one(&CALLS);
        SimpleCommunicator::world().abort(FAILED)
    }
}
