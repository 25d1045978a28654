//! Panics that become errors: a decoder that panics on a damaged file is no worse than one that reports it.
//!
//! A panic hook runs before anything is caught, and may end the process. [`is_caught`] tells it these
//! panics from others. Called by decoding, by the loader, and by the hook of the command line.

use std::{
    any::Any,
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

thread_local! {
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread would become an error.
pub fn is_caught() -> bool {
    IS_CAUGHT.get()
}

/// What `work` returns, or what its panic said.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let before = IS_CAUGHT.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    IS_CAUGHT.set(before);
    result.map_err(|panic| text(&*panic).to_owned())
}

/// What a panic said.
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
