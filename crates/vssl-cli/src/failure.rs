//! How a command fails: the message, printed once, and the exit code.

use std::{
    fmt::Display,
    io, panic,
    path::Path,
    process,
    sync::{Mutex, PoisonError},
};

use crate::{notes::complain, signals};

/// Name of the device that is being opened, if any.
static OPENING: Mutex<Option<String>> = Mutex::new(None);

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The request makes no sense: wrong arguments or a wrong recipe. Exit code 2.
    Usage(anyhow::Error),
    /// The request makes sense but could not be fulfilled. Exit code 1.
    Failed(anyhow::Error),
    /// The command was asked to stop before it was done, and everything that can be said was said. Exit code
    /// 128 and the number of the signal; 143 where another process was asked.
    Interrupted,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Failure {
    /// A request that makes no sense.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self::Usage(error.into())
    }

    /// The message and its causes; empty where everything was said.
    pub fn message(&self) -> String {
        match self {
            Self::Usage(error) | Self::Failed(error) => message(error),
            Self::Interrupted => String::new(),
        }
    }

    /// Writes the message and its causes to standard error.
    pub fn print(&self) {
        if let Self::Usage(_) | Self::Failed(_) = self {
            let label = console::style("error:").red().bold().for_stderr();
            complain(&format!("{label} {}", self.message()));
        }
    }

    /// Exit code of the process.
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed(_) => 1,
            Self::Interrupted => signals::exit_code(),
        }
    }
}

/// The message of `error`, then each cause whose message is not part of it already.
pub fn message(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str("\n  because: ");
            text.push_str(&cause);
        }
    }
    text
}

/// Returns what makes a failure of an error of the system in `what` with the file or folder `path`, as in "writing
/// the table to".
pub fn during<'a>(what: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> anyhow::Error + 'a {
    move |error| {
        anyhow::anyhow!("{what} {}: {}", path.display(), vssl_data::explained(path, &error))
    }
}

/// Runs `open`. A panic during the call, in any thread, ends the process with the message that this
/// machine has no such device.
pub fn while_opening(device: &str, open: impl FnOnce()) {
    *OPENING.lock().unwrap_or_else(PoisonError::into_inner) = Some(device.to_owned());
    open();
    *OPENING.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Makes every panic that is not caught, in any thread, end the process with exit code 1 and a
/// message that asks for a report: such a panic is a bug of this program.
pub fn catch_panics() {
    panic::set_hook(Box::new(|panic| {
        // A decoder panicked on a damaged file; the loader makes it an error that names the file.
        if vssl_data::panics::is_caught() {
            return;
        }
        let what: &dyn Display = match panic.payload_as_str() {
            Some(ref text) => &text.to_owned(),
            None => &"no message",
        };
        // `try_lock`, because a panic while the lock is held must not wait for itself.
        if let Some(device) = OPENING.try_lock().ok().and_then(|mut opening| opening.take()) {
            complain(&format!(
                "error: device {device} cannot be opened on this machine: {}\n  its driver or \
                 library has to be installed and to see the device; --device cpu always works",
                first_line(&what.to_string())
            ));
            process::exit(1);
        }
        let place = panic.location().map(|place| format!(" ({place})")).unwrap_or_default();
        complain(&format!(
            "error: vssl has a bug: {what}{place}\n  please report it with the command and the \
             recipe; version {}, commit {}",
            env!("CARGO_PKG_VERSION"),
            option_env!("VSSL_COMMIT").unwrap_or("unknown"),
        ));
        let trace = std::backtrace::Backtrace::capture();
        if trace.status() == std::backtrace::BacktraceStatus::Captured {
            complain(&trace.to_string());
        }
        process::exit(1);
    }));
}

/// Of what a driver says: LibTorch's words have a trace below them, quoted as Rust quotes text.
fn first_line(text: &str) -> &str {
    let end = [text.find('\n'), text.find("\\n")].into_iter().flatten().min();
    &text[..end.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_a_driver_says_the_first_line_is_shown() {
        assert_eq!(first_line("no driver"), "no driver");
        assert_eq!(first_line("no driver\nframe 0"), "no driver");
        assert_eq!(first_line("Torch(\"no driver\\nframe 0\")"), "Torch(\"no driver");
    }

    #[test]
    fn a_cause_that_is_quoted_is_not_repeated() {
        let error = anyhow::anyhow!("disk full").context("a.bin: disk full").context("saving");
        assert_eq!(message(&error), "saving\n  because: a.bin: disk full");
    }

    /// Has one image, on which its decoder panics.
    struct Broken;

    impl vssl_data::Dataset for Broken {
        fn len(&self) -> usize {
            1
        }
        fn image(&self, _: usize) -> Result<vssl_data::Image, vssl_data::DataError> {
            panic!("made to panic")
        }
        fn labels(&self) -> Option<&[u32]> {
            None
        }
        fn classes(&self) -> &[String] {
            &[]
        }
        fn name(&self, _: usize) -> String {
            "broken.jpg".to_owned()
        }
    }

    #[test]
    fn a_decoder_that_panics_does_not_end_the_process() {
        let output = process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "failure::tests::in_a_process_of_its_own"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    #[ignore = "sets the hook of the whole process; the test above starts it"]
    fn in_a_process_of_its_own() {
        catch_panics();
        let report = vssl_data::check::check(&Broken, 1, &|_| {});
        assert_eq!(report.bad[0].name, "broken.jpg");
        assert!(report.bad[0].what.contains("the decoder panicked: made to panic"));
    }
}
