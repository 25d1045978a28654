//! The threads of the kernels. A job is divided into numbered tasks by its shape alone, and a free thread
//! takes the next number.
//!
//! The calling thread works too. A call that is made while another call runs (from another thread, or from
//! inside a task) does its tasks by itself, in order. Workers are started once and sleep between jobs, after
//! a short spin, because the operations of a training step follow each other closely.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The number of turns in which a waiting thread keeps its core, about 20 µs.
const SPINS: usize = 1000;
/// The number of turns after [`SPINS`] in which a waiting thread lets other threads go first: about 200 µs in
/// all on an idle core, longer than the time between two operations of a step. Waking a sleeping thread takes
/// as long as a task.
const YIELDS: usize = 400;

/// Waits for a while until `done` returns true.
fn wait_awake(done: impl Fn() -> bool) {
    for turn in 0..SPINS + YIELDS {
        if done() {
            return;
        }
        if turn < SPINS {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}

struct Job {
    body: *const (dyn Fn(usize) + Sync),
    tasks: usize,
    next: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

struct State {
    /// The running job, on its caller's stack; taken away before the caller returns.
    job: Option<*const Job>,
    number: u64,
    may_join: usize,
    working: usize,
    workers: usize,
}

// SAFETY: the pointer is read under the lock, and its target outlives `job` being `Some`.
unsafe impl Send for State {}

static STATE: Mutex<State> =
    Mutex::new(State { job: None, number: 0, may_join: 0, working: 0, workers: 0 });
static START: Condvar = Condvar::new();
static DONE: Condvar = Condvar::new();
/// Copies of `number` and `working`, to spin on without the lock.
static NUMBER: AtomicU64 = AtomicU64::new(0);
static WORKING: AtomicUsize = AtomicUsize::new(0);
static CALLER: Mutex<()> = Mutex::new(());
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// Sets how many threads a job may use; zero means all threads of the machine.
pub fn set_threads(count: usize) {
    THREADS.store(count, Ordering::Relaxed);
}

/// Returns how many threads a job may use.
pub fn threads() -> usize {
    match THREADS.load(Ordering::Relaxed) {
        0 => {
            let count = std::thread::available_parallelism().map_or(1, usize::from);
            THREADS.store(count, Ordering::Relaxed);
            count
        }
        count => count,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while holding these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls `body` with each number below `tasks` once, on up to [`threads`] threads.
///
/// # Panics
///
/// With the panic of a task.
pub fn parallel_for(tasks: usize, body: impl Fn(usize) + Sync) {
    let helpers = threads().min(tasks).saturating_sub(1);
    let caller = if helpers == 0 { None } else { CALLER.try_lock().ok() };
    if caller.is_none() {
        (0..tasks).for_each(body);
        return;
    }
    let body: &(dyn Fn(usize) + Sync) = &body;
    // SAFETY: only the lifetime changes; this function does not return before all workers left.
    let body: *const (dyn Fn(usize) + Sync) = unsafe {
        std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(body)
    };
    let job = Job { body, tasks, next: AtomicUsize::new(0), panic: Mutex::new(None) };
    {
        let mut state = lock(&STATE);
        while state.workers < helpers && start_worker(state.workers) {
            state.workers += 1;
        }
        state.job = Some(&raw const job);
        state.number += 1;
        state.may_join = helpers;
        NUMBER.store(state.number, Ordering::Release);
        START.notify_all();
    }
    work(&job);
    wait_for_workers();
    drop(caller);
    let panic = lock(&job.panic).take();
    if let Some(panic) = panic {
        resume_unwind(panic);
    }
}

fn wait_for_workers() {
    wait_awake(|| WORKING.load(Ordering::Acquire) == 0);
    let mut state = lock(&STATE);
    state.job = None; // from here on no worker joins
    while state.working > 0 {
        state = DONE.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

fn start_worker(index: usize) -> bool {
    let builder = std::thread::Builder::new().name(format!("vssl-kernels-{index}"));
    builder.spawn(worker).is_ok() // without this worker the other threads do the work
}

fn work(job: &Job) {
    let result = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the caller of `parallel_for` keeps the body alive until every worker has left.
        let body = unsafe { &*job.body };
        loop {
            let task = job.next.fetch_add(1, Ordering::Relaxed);
            if task >= job.tasks {
                return;
            }
            body(task);
        }
    }));
    if let Err(panic) = result {
        job.next.store(job.tasks, Ordering::Relaxed);
        *lock(&job.panic) = Some(panic);
    }
}

fn worker() {
    let mut seen = 0;
    loop {
        wait_awake(|| NUMBER.load(Ordering::Acquire) != seen);
        let mut state = lock(&STATE);
        while state.number == seen {
            state = START.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        seen = state.number;
        let Some(job) = state.job.filter(|_| state.may_join > 0) else { continue };
        state.may_join -= 1;
        state.working += 1;
        WORKING.store(state.working, Ordering::Release);
        drop(state);
        // SAFETY: `working` counts this thread, so the job's owner waits for it.
        work(unsafe { &*job });
        let mut state = lock(&STATE);
        state.working -= 1;
        WORKING.store(state.working, Ordering::Release);
        if state.working == 0 {
            DONE.notify_one();
        }
    }
}

/// A pointer that tasks share to write disjoint parts of one slice.
#[derive(Clone, Copy)]
pub struct Shared(*mut f32);

// SAFETY: a caller that dereferences the pointer promises that tasks write disjoint parts.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// Makes a pointer to the start of `slice`, which must stay borrowed while the pointer is in use.
    pub fn new(slice: &mut [f32]) -> Self {
        Self(slice.as_mut_ptr())
    }

    /// Returns the pointer to element `index`.
    ///
    /// # Safety
    ///
    /// `index` must not be above the length of the slice; writes of several threads must not meet.
    #[inline(always)]
    pub unsafe fn at(self, index: usize) -> *mut f32 {
        // SAFETY: handed on to the caller.
        unsafe { self.0.add(index) }
    }

    /// Makes a pointer whose elements are only read, or written by their readers.
    pub fn reading(from: *const f32) -> Self {
        Self(from.cast_mut())
    }

    /// Returns a shared pointer to element `index`.
    ///
    /// # Safety
    ///
    /// As [`Shared::at`].
    #[inline(always)]
    pub unsafe fn from(self, index: usize) -> Self {
        // SAFETY: handed on to the caller.
        Self(unsafe { self.0.add(index) })
    }

    /// Returns `length` elements from `index` on.
    ///
    /// # Safety
    ///
    /// The range must be inside the slice, and no other task may use it during the borrow.
    pub unsafe fn slice<'a>(self, index: usize, length: usize) -> &'a mut [f32] {
        // SAFETY: handed on to the caller.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(index), length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_whatever_the_nesting() {
        for threads in [1, 2, 5] {
            set_threads(threads);
            let counts: Vec<AtomicUsize> = (0..64).map(|_| AtomicUsize::new(0)).collect();
            parallel_for(8, |outer| {
                parallel_for(8, |inner| {
                    counts[outer * 8 + inner].fetch_add(1, Ordering::Relaxed);
                });
            });
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        }
        set_threads(0);
    }

    #[test]
    fn a_panic_in_a_task_reaches_the_caller_and_the_pool_survives() {
        let result = catch_unwind(|| parallel_for(4, |task| assert!(task != 2, "task two")));
        assert!(result.is_err());
        let count = AtomicUsize::new(0);
        parallel_for(4, |_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.load(Ordering::Relaxed), 4);
    }
}
