//! Ranks that are processes of an MPI job: `mpirun -n 4 vssl …`, `srun vssl …`. The cargo feature `mpi`
//! builds this module.
//!
//! All exchanges are non-blocking and polled until a time limit. When the limit is over, the waiting ranks
//! send each other a presence check. A rank that does not answer is missing; the first rank that is present
//! prints the missing ranks, and the job ends.
//!
//! One thread of the process makes all calls of MPI: the thread that called [`start`].

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

/// The time in which an exchange is polled without a pause: most exchanges take less.
const EAGER: Duration = Duration::from_millis(2);
/// The pause between two polls after [`EAGER`].
const NAP: Duration = Duration::from_micros(50);
/// The time after which a waiting rank looks again for presence checks of the others.
const LOOK: Duration = Duration::from_millis(100);
/// The time that the answers to a presence check may take.
const ANSWERS: Duration = Duration::from_secs(3);
/// The time that the other ranks wait while the first rank that is present prints why the job ends.
const SILENCE: Duration = Duration::from_secs(5);
/// The exit code of a job that is aborted.
const FAILED: i32 = 1;

/// The tag of a presence check.
const ASK: i32 = 1;
/// The tag of the answer to a presence check.
const HERE: i32 = 2;

/// Keeps MPI running; when it is dropped, it waits for the other ranks to end as well.
pub struct Job(#[allow(dead_code, reason = "its end ends MPI")] Universe);

/// Starts MPI, whose calls belong to this thread from now on. Returns `None` if MPI runs already.
pub fn start() -> Option<Job> {
    mpi::initialize_with_threading(Threading::Funneled).map(|(universe, _)| Job(universe))
}

/// A process of the job.
pub struct Mpi {
    rank: usize,
    world: usize,
    limit: Duration,
    report: Box<dyn Fn(&CollectiveError) + Send + Sync>,
}

impl Mpi {
    /// Makes the rank of this process, which waits at most `limit` for the others. `report` prints why the
    /// job ends, on one rank only; the process ends right after it.
    pub fn new(
        _job: &Job,
        limit: Duration,
        report: impl Fn(&CollectiveError) + Send + Sync + 'static,
    ) -> Self {
        let world = SimpleCommunicator::world();
        // Neither number is negative.
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        Self { rank, world: size, limit, report: Box::new(report) }
    }

    /// Polls until the exchange is over; ends the job if the exchange does not end in time.
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
                answer_presence_checks();
            }
            if now - began > self.limit && operation != WAITING_FOR_LEADER {
                self.end(operation);
            }
        }
    }

    /// Finds out which ranks are missing, and ends the job.
    fn end(&self, operation: &'static str) -> ! {
        let world = SimpleCommunicator::world();
        let mut here = vec![false; self.world];
        here[self.rank] = true;
        for rank in (0..self.world).filter(|rank| *rank != self.rank) {
            world.process_at_rank(rank as i32).send_with_tag(&self.limit.as_secs(), ASK);
        }
        let until = Instant::now() + ANSWERS;
        while Instant::now() < until && here.contains(&false) {
            let asking = answer_presence_checks();
            asking.into_iter().chain(received(HERE)).for_each(|rank| here[rank] = true);
            thread::sleep(NAP);
        }
        let seconds = self.limit.as_secs();
        let ranks: Vec<usize> = (0..self.world).filter(|rank| !here[*rank]).collect();
        let error = match ranks.is_empty() {
            true => CollectiveError::Stuck { operation, seconds },
            false => CollectiveError::Missing { operation, ranks, seconds },
        };
        let first_present = here.iter().position(|here| *here);
        if first_present != Some(self.rank) {
            thread::sleep(SILENCE);
        }
        (self.report)(&error);
        world.abort(FAILED)
    }
}

/// Answers the presence checks of other ranks and returns these ranks, because they are present as well.
fn answer_presence_checks() -> Vec<usize> {
    let asking = received(ASK);
    for &rank in &asking {
        SimpleCommunicator::world().process_at_rank(rank as i32).send_with_tag(&0_u64, HERE);
    }
    asking
}

/// Returns the ranks that have sent messages with this tag.
fn received(tag: i32) -> Vec<usize> {
    let world = SimpleCommunicator::world();
    let mut ranks = Vec::new();
    while let Some((message, status)) = world.any_process().immediate_matched_probe_with_tag(tag) {
        message.matched_receive::<u64>();
        ranks.push(status.source_rank() as usize);
    }
    ranks
}

/// Returns the values of all ranks, in the order of ranks.
fn gather<T: Equivalence + Copy + Default>(
    mpi: &Mpi,
    operation: &'static str,
    own: &[T],
) -> Vec<T> {
    let mut all = vec![T::default(); own.len() * mpi.world];
    request::scope(|scope| {
        let world = SimpleCommunicator::world();
        let request = world.immediate_all_gather_into(scope, own, &mut all[..]);
        mpi.finish(operation, request);
    });
    all
}

/// Exchanges parts of the values: part `r` of every rank is for rank `r`. Returns the parts for this rank, in
/// the order of the ranks that sent them.
fn all_to_all(mpi: &Mpi, operation: &'static str, own: &[f32]) -> Vec<f32> {
    let mut all = vec![0.0; own.len()];
    request::scope(|scope| {
        let world = SimpleCommunicator::world();
        let request = world.immediate_all_to_all_into(scope, own, &mut all[..]);
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

    /// Each rank adds up one part of the values and sends it to all ranks, so each rank sends the values
    /// about twice, whatever the number of ranks.
    fn sum(&self, operation: &'static str, values: &mut [f32]) -> Result<(), CollectiveError> {
        if values.is_empty() {
            return Ok(());
        }
        let part = values.len().div_ceil(self.world);
        let mut padded = values.to_vec();
        padded.resize(part * self.world, 0.0);
        let mut parts = all_to_all(self, operation, &padded);
        let (own, others) = parts.split_at_mut(part);
        for other in others.chunks_exact(part) {
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
