//! Makes panics into errors: a decoder may panic on a damaged file, which must not end a run.
//!
//! A panic hook runs before a panic is caught, and may end the process. [`is_caught`] tells the hook
//! whether a panic will be caught here. Called by decoding, by the loader, and by the hook of the
//! command line, and by readers of other files whose library may panic.

use std::{
    any::Any,
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

thread_local! {
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside `caught`, where a panic becomes an error.
pub fn is_caught() -> bool {
    IS_CAUGHT.get()
}

/// Runs `work` and returns its result, or the message of its panic.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let before = IS_CAUGHT.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    IS_CAUGHT.set(before);
    result.map_err(|panic| text(&*panic).to_owned())
}

/// The message of a panic.
pub(crate) fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_at_work_inside_is_caught() {
        assert!(!is_caught());
        let inner = caught(|| {
            assert_eq!(caught(is_caught), Ok(true));
            assert!(is_caught(), "the outer one still is");
            assert!(!std::thread::scope(|scope| scope.spawn(is_caught).join().unwrap()));
            panic!("made to {}", "panic")
        });
        assert_eq!(inner, Err::<(), _>("made to panic".to_owned()));
        assert!(!is_caught());
    }
}
