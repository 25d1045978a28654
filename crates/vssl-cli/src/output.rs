//! What commands print: lines on standard output, and numbers, durations and paths in text. The macros of the
//! standard library are not used, because they panic where a stream cannot be written.

use std::{
    io::{self, ErrorKind, Write, stdout},
    sync::{Mutex, PoisonError},
    time::Duration,
};

pub use vssl_data::{counted, dataset::name_of as shown};

use crate::failure::Failure;

/// The first error of [`Out`], if there was one.
static FAILED: Mutex<Option<io::Error>> = Mutex::new(None);

/// Writes a line to standard output. A reader that went away, as `| head` does, is not an error.
pub fn say(text: &str) -> Result<(), Failure> {
    match writeln!(stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(unwritten(error)),
        _ => Ok(()),
    }
}

fn unwritten(error: io::Error) -> Failure {
    anyhow::Error::new(error).context("writing to standard output").into()
}

/// Standard output for what shows a training while it goes on. An error does not end the training;
/// [`check`] reports it when the training is done.
pub struct Out;

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        stdout().write_all(bytes).map(|()| bytes.len()).inspect_err(remember)
    }

    fn flush(&mut self) -> io::Result<()> {
        stdout().flush().inspect_err(remember)
    }
}

fn remember(error: &io::Error) {
    if error.kind() != ErrorKind::BrokenPipe {
        let mut failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get_or_insert_with(|| {
            error.raw_os_error().map_or(error.kind().into(), io::Error::from_raw_os_error)
        });
    }
}

/// Checks that everything that was written through [`Out`] has arrived.
///
/// # Errors
/// The first error of a write.
pub fn check() -> Result<(), Failure> {
    // What is left of the last line is written, too.
    let _ = Out.flush();
    match FAILED.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(error) => Err(unwritten(error)),
        None => Ok(()),
    }
}

/// `path` as a shell takes it. A NUL byte, which no path can have, stays as it is.
pub fn quoted(path: &str) -> String {
    shlex::Quoter::new().allow_nul(true).quote(path).map_or(path.to_owned(), Into::into)
}

/// `value` rounded to `digits` digits behind the point.
pub fn to_digits(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

/// `x` with three significant digits; very small and very large numbers have an exponent.
pub fn rounded(x: f64) -> String {
    let size = x.abs();
    if x == 0.0 || !x.is_finite() {
        format!("{x}")
    } else if !(1e-3..1e5).contains(&size) {
        format!("{x:.2e}")
    } else {
        let before = size.log10().floor() as i32 + 1;
        format!("{x:.*}", (3 - before).clamp(0, 5) as usize)
    }
}

/// A duration in two units at most, such as `2 h 05 min`, `3 min 20 s` or `12 s`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s:02} s"),
        (0, h, m, _) => format!("{h} h {m:02} min"),
        (d, h, ..) => format!("{d} d {h:02} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (-3.214_159, "-3.21"),
            (0.0, "0"),
            (0.000_012, "1.20e-5"),
            (812.4, "812"),
            (12345.6, "12346"),
            (0.003, "0.00300"),
            (f64::NAN, "NaN"),
        ];
        for (x, expected) in cases {
            assert_eq!(rounded(x), expected);
        }
    }

    #[test]
    fn durations_have_two_parts() {
        for (seconds, expected) in
            [(12, "12 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"), (180_000, "2 d 02 h")]
        {
            assert_eq!(duration(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn paths_are_quoted_where_a_shell_would_split_them() {
        for (path, expected) in [
            ("runs/a-0", "runs/a-0"),
            ("my runs/a", "'my runs/a'"),
            ("it's", "\"it's\""),
            ("$HOME", "'$HOME'"),
        ] {
            assert_eq!(quoted(path), expected);
        }
    }
}
