//! Ranks that are threads of one process. The tests prove the mathematics with them, without MPI.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{Collective, CollectiveError, WAITING_FOR_LEADER};

/// A rank that is a thread of this process.
pub struct Threads {
    rank: usize,
    limit: Duration,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The words that each rank has brought to the current exchange.
    brought: Vec<Option<Vec<u32>>>,
    /// The words of all ranks, once they are complete, and the number of ranks that have still to take them.
    complete: Option<(Arc<Vec<u32>>, usize)>,
    given_up: Option<usize>,
}

impl Threads {
    /// Makes the ranks of a job of `world` threads, which wait at most `limit` for each other.
    pub fn new(world: usize, limit: Duration) -> Vec<Self> {
        let state = State { brought: vec![None; world], complete: None, given_up: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        (0..world).map(|rank| Self { rank, limit, shared: Arc::clone(&shared) }).collect()
    }

    /// Waits until `ready` returns a value.
    fn wait<T>(
        &self,
        mut state: MutexGuard<'_, State>,
        operation: &'static str,
        ready: impl Fn(&mut State) -> Option<T>,
    ) -> Result<T, CollectiveError> {
        let patient = operation == WAITING_FOR_LEADER;
        let until = Instant::now() + self.limit;
        loop {
            if let Some(rank) = state.given_up {
                return Err(CollectiveError::GivenUp { operation, rank });
            }
            if let Some(value) = ready(&mut state) {
                self.shared.changed.notify_all();
                return Ok(value);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() && !patient {
                let missing = state.brought.iter().enumerate().filter(|(_, own)| own.is_none());
                let ranks = missing.map(|(rank, _)| rank).collect();
                state.given_up = Some(self.rank);
                self.shared.changed.notify_all();
                let seconds = self.limit.as_secs();
                return Err(CollectiveError::Missing { operation, ranks, seconds });
            }
            let nap = if patient { self.limit } else { left };
            let waited = self.shared.changed.wait_timeout(state, nap);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collective for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world(&self) -> usize {
        self.lock().brought.len()
    }

    fn gather(&self, operation: &'static str, own: &[u32]) -> Result<Vec<u32>, CollectiveError> {
        // The exchange before this one is over when all ranks have taken their copy.
        self.wait(self.lock(), operation, |state| state.complete.is_none().then_some(()))?;
        let mut state = self.lock();
        state.brought[self.rank] = Some(own.to_vec());
        if state.brought.iter().all(Option::is_some) {
            let all = state.brought.iter_mut().filter_map(Option::take).flatten().collect();
            state.complete = Some((Arc::new(all), state.brought.len()));
            self.shared.changed.notify_all();
        }
        let all = self.wait(state, operation, |state| {
            let (all, left) = state.complete.as_mut()?;
            let all = Arc::clone(all);
            *left -= 1;
            if *left == 0 {
                state.complete = None;
            }
            Some(all)
        })?;
        Ok(all.to_vec())
    }

    fn sum(&self, operation: &'static str, values: &mut [f32]) -> Result<(), CollectiveError> {
        let own: Vec<u32> = values.iter().map(|value| value.to_bits()).collect();
        let all = self.gather(operation, &own)?;
        values.fill(0.0);
        for share in all.chunks_exact(own.len().max(1)) {
            values.iter_mut().zip(share).for_each(|(sum, bits)| *sum += f32::from_bits(*bits));
        }
        Ok(())
    }

    fn abort(&self) {
        self.lock().given_up = Some(self.rank);
        self.shared.changed.notify_all();
    }
}
