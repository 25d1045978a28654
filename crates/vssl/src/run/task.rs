//! A long piece of work between steps, which a request to stop ends at once.
//!
//! The work runs in a worker thread, because one product of an evaluation can take longer than anybody wants to
//! wait for. On request the worker is left to itself: the program is about to save and to end.
//!
//! The worker lives as long as the process and does one piece of work after another: a GPU runtime gives each
//! thread a stream with a pool of memory, and keeps both after the end of the thread. Only a second piece of
//! work at the same time, and work after a worker that was left to itself, get another thread.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use super::{events::Event, stop::Stop};

/// The time between two looks at the request to stop.
const PAUSE: Duration = Duration::from_millis(50);
/// The time between two reports of the progress.
const REPORT: Duration = Duration::from_secs(1);
/// The stack of the thread: as large as that of a program's first thread.
const STACK: usize = 8 << 20;

/// A piece of work that is given to a worker.
type Job = Box<dyn FnOnce() + Send>;

/// The worker threads that have nothing to do. A worker ends when its sender is dropped.
struct Workers(Mutex<Vec<Sender<Job>>>);

/// The workers of this process.
static WORKERS: Workers = Workers(Mutex::new(Vec::new()));

impl Workers {
    fn idle(&self) -> MutexGuard<'_, Vec<Sender<Job>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives `job` to an idle worker, or to a new worker where all are busy. Returns the worker: the caller
    /// hands it to [`Workers::release`] after the end of the job, and drops it if the job goes on unwatched.
    fn give(&self, mut job: Job) -> Sender<Job> {
        while let Some(worker) = { self.idle().pop() } {
            match worker.send(job) {
                Ok(()) => return worker,
                // The thread is gone; the job comes back.
                Err(mpsc::SendError(back)) => job = back,
            }
        }
        let (worker, jobs) = mpsc::channel::<Job>();
        let thread = thread::Builder::new().name("evaluation".to_owned()).stack_size(STACK);
        let thread = thread.spawn(move || jobs.into_iter().for_each(|job| job()));
        thread.expect("the system has one more thread");
        worker.send(job).expect("a new worker waits for its first job");
        worker
    }

    fn release(&self, worker: Sender<Job>) {
        self.idle().push(worker);
    }
}

/// How far a piece of work is. Copies are of the same work.
#[derive(Clone, Debug, Default)]
pub struct Task(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    done: AtomicU64,
    of: AtomicU64,
    is_left: AtomicBool,
}

impl Task {
    /// Says that the next part of the work has `of` things to do; 0 where the number is not known.
    pub fn begin(&self, of: u64) {
        self.0.done.store(0, Ordering::Relaxed);
        self.0.of.store(of, Ordering::Relaxed);
    }

    /// Says that `more` things are done.
    pub fn advance(&self, more: u64) {
        self.0.done.fetch_add(more, Ordering::Relaxed);
    }

    /// Returns whether nobody waits for the work any more.
    pub fn is_left(&self) -> bool {
        self.0.is_left.load(Ordering::Relaxed)
    }

    /// Does `work`, called `what`, and tells `heard` about its progress once a second. Returns its result;
    /// `None` as soon as a stop is requested.
    ///
    /// # Panics
    /// The work panicked, or the system has no thread for it.
    pub fn run<T: Send + 'static>(
        what: &str,
        stop: &Stop,
        heard: &mut dyn FnMut(&Event),
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        Self::run_by(&WORKERS, what, stop, heard, work)
    }

    fn run_by<T: Send + 'static>(
        workers: &Workers,
        what: &str,
        stop: &Stop,
        heard: &mut dyn FnMut(&Event),
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        if stop.requested() {
            return None;
        }
        let task = Self::default();
        let own = task.clone();
        let (sender, receiver) = mpsc::channel();
        let worker = workers.give(Box::new(move || {
            let done = panic::catch_unwind(AssertUnwindSafe(|| work(&own)));
            // Nobody listens any more after a request to stop.
            let _ = sender.send(done);
        }));
        let (began, mut told) = (Instant::now(), Instant::now());
        loop {
            match receiver.recv_timeout(PAUSE) {
                Ok(done) => {
                    workers.release(worker);
                    return Some(done.unwrap_or_else(|payload| panic::resume_unwind(payload)));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    unreachable!("a worker sends what became of its work")
                }
            }
            if stop.requested() {
                task.0.is_left.store(true, Ordering::Relaxed);
                return None;
            }
            if told.elapsed() >= REPORT {
                told = Instant::now();
                let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
                let (done, of) = (count(&task.0.done), count(&task.0.of));
                let (what, seconds) = (what.to_owned(), began.elapsed().as_secs());
                heard(&Event::Progress { what, done, of, seconds });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_gives_its_result_and_a_stop_does_not_wait_for_it() {
        let stop = Stop::default();
        let done = Task::run("adding", &stop, &mut |_| {}, |_| 2 + 2);
        assert_eq!(done, Some(4));
        let asked = stop.clone();
        let began = Instant::now();
        let left = Task::run("waiting", &stop, &mut |_| {}, move |task| {
            asked.request();
            while !task.is_left() {
                thread::sleep(PAUSE);
            }
        });
        assert_eq!(left, None);
        assert!(began.elapsed() < Duration::from_secs(1));
        assert_eq!(Task::run("nothing", &stop, &mut |_| {}, |_| ()), None);
    }

    #[test]
    fn one_thread_does_all_work_until_it_is_left_to_itself() {
        let (workers, stop) = (Workers(Mutex::new(Vec::new())), Stop::default());
        let thread =
            || Task::run_by(&workers, "asking", &stop, &mut |_| {}, |_| thread::current().id());
        let first = thread().unwrap();
        assert_eq!(thread(), Some(first));
        let panics =
            || Task::run_by(&workers, "failing", &stop, &mut |_| {}, |_| panic::panic_any(7_u8));
        let payload = panic::catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
        assert_eq!(payload.downcast_ref::<u8>(), Some(&7));
        assert_eq!(thread(), Some(first), "a panic does not end the worker");

        let (asked, once) = (Stop::default(), Stop::default());
        let own = asked.clone();
        let left = Task::run_by(&workers, "waiting", &asked, &mut |_| {}, move |task| {
            own.request();
            while !task.is_left() {
                thread::sleep(PAUSE);
            }
            thread::sleep(4 * PAUSE);
        });
        assert_eq!(left, None);
        let other =
            Task::run_by(&workers, "asking", &once, &mut |_| {}, |_| thread::current().id());
        assert!(other.is_some_and(|other| other != first), "the first one is still busy");
    }

    #[test]
    fn progress_is_told_once_a_second() {
        let mut heard = Vec::new();
        let mut hear = |event: &Event| {
            let Event::Progress { what, done, of, .. } = event else { return };
            heard.push((what.clone(), *done, *of));
        };
        Task::run("counting", &Stop::default(), &mut hear, |task| {
            task.begin(9);
            task.advance(3);
            thread::sleep(REPORT + 4 * PAUSE);
        });
        assert_eq!(heard, [("counting".to_owned(), 3, 9)]);
    }
}
