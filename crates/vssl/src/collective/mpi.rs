//! Ranks that are processes of an MPI job: `mpirun -n 4 vssl …`, `srun vssl …`. Built with the feature
//! `mpi`.
//!
//! All exchanges are non-blocking and polled against a time limit. When it is over, the ranks that
//! wait ask each other who is there: whoever does not answer is missing, the first one that is there
//! says so, and the job ends.

use std::{
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

/// Keeps MPI running; dropped last, it waits for the other ranks to end as well.
pub struct Job(#[allow(dead_code, reason = "its end ends MPI")] Universe);

/// Starts MPI. `None` if it runs already.
pub fn start() -> Option<Job> {
    // Exchanges are made by whichever thread runs the loop, one at a time.
    mpi::initialize_with_threading(Threading::Serialized).map(|(universe, _)| Job(universe))
}

/// A process of the job.
pub struct Mpi {
    rank: usize,
    world: usize,
    limit: Duration,
    report: Box<dyn Fn(&CollectiveError) + Send + Sync>,
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
        Self { rank, world: size, limit, report: Box::new(report) }
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
            request = match request.test() {
                Ok(_) => return,
                Err(pending) => pending,
            };
            let now = Instant::now();
            if now - began < EAGER {
                thread::yield_now();
                continue;
            }
            thread::sleep(NAP);
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
        let world = SimpleCommunicator::world();
        let mut here = vec![false; self.world];
        here[self.rank] = true;
        for rank in (0..self.world).filter(|rank| *rank != self.rank) {
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
        world.abort(FAILED)
    }
}

/// Answers whoever asks who is there; that one is there, too.
fn answer() -> Vec<usize> {
    let asking = received(ASK);
    for &rank in &asking {
        SimpleCommunicator::world().process_at_rank(rank as i32).send_with_tag(&0_u64, HERE);
    }
    asking
}

/// Who has sent messages with this tag.
fn received(tag: i32) -> Vec<usize> {
    let world = SimpleCommunicator::world();
    let mut ranks = Vec::new();
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
        let world = SimpleCommunicator::world();
        mpi.finish(operation, world.immediate_all_gather_into(scope, own, &mut all[..]));
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
        let part = values.len().div_ceil(self.world);
        let mut padded = values.to_vec();
        padded.resize(part * self.world, 0.0);
        let mut parts = vec![0.0_f32; padded.len()];
        request::scope(|scope| {
            let world = SimpleCommunicator::world();
            let request = world.immediate_all_to_all_into(scope, &padded[..], &mut parts[..]);
            self.finish(operation, request);
        });
        let (own, others) = parts.split_at_mut(part);
        for other in others.chunks_exact(part.max(1)) {
            own.iter_mut().zip(other).for_each(|(sum, value)| *sum += value);
        }
        let all = gather(self, operation, own);
        values.copy_from_slice(&all[..values.len()]);
        Ok(())
    }

    fn abort(&self) {
        SimpleCommunicator::world().abort(FAILED)
    }
}
