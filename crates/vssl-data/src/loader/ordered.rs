//! Numbered results that worker threads make and that are handed out in order.
//!
//! A worker takes the next number, makes the whole result and files it; threads share nothing while
//! they work. At most `ahead` results are finished or in the making; otherwise workers sleep.

use std::{
    collections::BTreeMap,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use crate::{DataError, augment::Scratch, panics};

/// Makes result `number`. Long work checks the flag now and then and may return anything once the
/// flag is set, because the result is thrown away.
pub(crate) type Make<T> =
    dyn Fn(u64, &mut Scratch, &AtomicBool) -> Result<T, DataError> + Send + Sync;

/// The results of a range of numbers, in order, up to the first error.
pub(crate) struct Ordered<T> {
    shared: Arc<Shared<T>>,
    /// The worker threads; empty when the calling thread makes every result.
    workers: Vec<JoinHandle<()>>,
    scratch: Scratch,
}

struct Shared<T> {
    make: Box<Make<T>>,
    ahead: u64,
    stop: AtomicBool,
    state: Mutex<State<T>>,
    /// Signals that there is room for another result, or that the work is over.
    room: Condvar,
    /// Signals that a result was filed.
    filed: Condvar,
}

struct State<T> {
    /// Number of the next result to make, of the next one to hand out, and one past the last.
    next: u64,
    taken: u64,
    end: u64,
    ready: BTreeMap<u64, Result<T, DataError>>,
}

impl<T: Send + 'static> Ordered<T> {
    /// Starts `workers` threads; with 0 the calling thread makes each result when it asks for it.
    pub fn new(
        range: Range<u64>,
        workers: usize,
        ahead: usize,
        make: Box<Make<T>>,
    ) -> Result<Self, DataError> {
        let (next, end) = (range.start, range.end.max(range.start));
        let shared = Arc::new(Shared {
            make,
            ahead: ahead as u64,
            stop: AtomicBool::new(false),
            state: Mutex::new(State { next, taken: next, end, ready: BTreeMap::new() }),
            room: Condvar::new(),
            filed: Condvar::new(),
        });
        let mut ordered = Self { shared, workers: Vec::new(), scratch: Scratch::default() };
        for number in 0..workers {
            let shared = Arc::clone(&ordered.shared);
            let thread = thread::Builder::new()
                .name(format!("data-{number}"))
                .spawn(move || shared.work())
                // Dropping `ordered` joins the threads that did start.
                .map_err(|source| {
                    DataError::Worker(format!("cannot start worker thread {number}: {source}"))
                })?;
            ordered.workers.push(thread);
        }
        Ok(ordered)
    }

    /// The next result; `None` after the last one and after an error.
    pub fn next(&mut self) -> Option<Result<T, DataError>> {
        let number = {
            let state = self.shared.lock();
            (state.taken < state.end).then_some(state.taken)?
        };
        let result = if self.workers.is_empty() {
            self.shared.made(number, &mut self.scratch)
        } else {
            self.shared.wait_for(number)
        };
        let mut state = self.shared.lock();
        state.taken = number + 1;
        if result.is_err() {
            state.end = state.taken;
            self.shared.stop.store(true, Ordering::Relaxed);
        }
        drop(state);
        self.shared.room.notify_all();
        Some(result)
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No code panics while it holds the lock, and the state is consistent at every moment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loop of a worker: makes results until there are none left to make.
    fn work(&self) {
        let mut scratch = Scratch::default();
        while let Some(number) = self.next_number() {
            let result = self.made(number, &mut scratch);
            self.lock().ready.insert(number, result);
            self.filed.notify_all();
        }
    }

    fn next_number(&self) -> Option<u64> {
        let mut state = self.lock();
        loop {
            if state.next >= state.end || self.stop.load(Ordering::Relaxed) {
                return None;
            }
            if state.next < state.taken + self.ahead {
                state.next += 1;
                return Some(state.next - 1);
            }
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn wait_for(&self, number: u64) -> Result<T, DataError> {
        let mut state = self.lock();
        loop {
            if let Some(result) = state.ready.remove(&number) {
                return result;
            }
            state = self.filed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Makes a result. A panic becomes an error, so that the caller does not wait for ever.
    fn made(&self, number: u64, scratch: &mut Scratch) -> Result<T, DataError> {
        let make = || (self.make)(number, scratch, &self.stop);
        catch_unwind(AssertUnwindSafe(make)).unwrap_or_else(|panic| {
            *scratch = Scratch::default();
            Err(DataError::Worker(format!(
                "batch {number}: a worker panicked: {}; please report this",
                panics::text(&*panic)
            )))
        })
    }
}

impl<T> Drop for Ordered<T> {
    fn drop(&mut self) {
        {
            // The flag is set under the lock, so that no worker is between its check and its sleep.
            let _state = self.shared.lock();
            self.shared.stop.store(true, Ordering::Relaxed);
        }
        self.shared.room.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its work; there is nothing else to report.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicU64, time::Duration};

    use super::*;

    #[test]
    fn results_come_in_order_whoever_makes_them() {
        for workers in [0, 1, 2, 5] {
            let make = Box::new(|number: u64, _: &mut Scratch, _: &AtomicBool| {
                thread::sleep(Duration::from_micros(number * 7919 % 300));
                Ok(number)
            });
            let mut ordered = Ordered::new(3..40, workers, 4, make).unwrap();
            let got = std::iter::from_fn(|| ordered.next()).map(Result::unwrap);
            assert_eq!(got.collect::<Vec<_>>(), (3..40).collect::<Vec<_>>());
            assert!(ordered.next().is_none());
        }
    }

    #[test]
    fn no_more_than_the_bound_is_made_ahead() {
        let made = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&made);
        let make = Box::new(move |number: u64, _: &mut Scratch, _: &AtomicBool| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(number)
        });
        let mut ordered = Ordered::new(0..100, 4, 3, make).unwrap();
        thread::sleep(Duration::from_millis(100));
        assert_eq!(made.load(Ordering::SeqCst), 3);
        ordered.next().unwrap().unwrap();
        thread::sleep(Duration::from_millis(100));
        assert_eq!(made.load(Ordering::SeqCst), 4);
    }

    #[test]
    fn panic_of_a_worker_is_an_error_at_its_place() {
        for workers in [0, 2] {
            let make = Box::new(|number: u64, _: &mut Scratch, _: &AtomicBool| {
                assert!(number != 2, "made to fail");
                Ok(number)
            });
            let mut ordered = Ordered::new(0..9, workers, 2, make).unwrap();
            assert_eq!(ordered.next().unwrap().unwrap(), 0);
            assert_eq!(ordered.next().unwrap().unwrap(), 1);
            let error = ordered.next().unwrap().unwrap_err().to_string();
            assert!(error.contains("batch 2") && error.contains("made to fail"), "{error}");
            assert!(ordered.next().is_none());
        }
    }
}
