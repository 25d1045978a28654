//! A long piece of work between steps, which a request to stop ends at once.
//!
//! The work runs in a thread of its own, because one product of an evaluation can take longer than anybody
//! wants to wait for. On request the thread is left to itself: the program is about to save and to end.

use std::{
    panic,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
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

/// How far a piece of work is. Copies are of the same work.
#[derive(Clone, Debug, Default)]
pub struct Task(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    done: AtomicU64,
    of: AtomicU64,
    is_left: std::sync::atomic::AtomicBool,
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
        if stop.requested() {
            return None;
        }
        let task = Self::default();
        let own = task.clone();
        let (sender, receiver) = mpsc::channel();
        let thread = thread::Builder::new().name("evaluation".to_owned()).stack_size(STACK);
        let thread = thread.spawn(move || {
            // Nobody listens any more after a request to stop.
            let _ = sender.send(work(&own));
        });
        let thread = thread.expect("the system has one more thread");
        let (began, mut told) = (Instant::now(), Instant::now());
        loop {
            match receiver.recv_timeout(PAUSE) {
                Ok(result) => return Some(result),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => match thread.join() {
                    Err(payload) => panic::resume_unwind(payload),
                    Ok(()) => unreachable!("a thread that ends well has sent its result"),
                },
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
