//! Ctrl-C, `kill`, and the end of the terminal.
//!
//! A command that has something to save is asked to stop by the first signal, and ended by the second. Any
//! other command ends at the first one, without half-written files. The exit code is 128 and the number of the
//! signal either way.

use std::{
    fs,
    io::{self, IsTerminal},
    process,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
    thread,
    time::Duration,
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ},
    flag,
    iterator::Signals,
    low_level,
};
use vssl::run::{stop::Stop, whole_file};

use crate::notes;

/// Exit code of a process that a signal ended, without the number of the signal.
const ENDED_BY_SIGNAL: i32 = 128;

/// The time that a command has for its own farewell where nothing is to be saved.
const FAREWELL: Duration = Duration::from_millis(700);

/// The first signal; 0 before there was one.
static RECEIVED: AtomicI32 = AtomicI32::new(0);

/// Whether nothing is said to people: `--quiet`, `--json`, or another rank than the first.
static SILENT: AtomicBool = AtomicBool::new(false);

/// What a signal does first.
static ASKED: Mutex<Option<Asked>> = Mutex::new(None);

#[derive(Clone)]
struct Asked {
    stop: Stop,
    /// Whether the process ends soon, however far the command is.
    soon: bool,
}

/// Attends to SIGINT, SIGTERM and SIGHUP from now on, in a thread of its own. `nohup` starts a program with SIGHUP
/// ignored, and that stays so. A file that outgrows the limit of `ulimit -f` becomes an error of its writer.
///
/// # Errors
/// The system refuses.
pub fn attend() -> io::Result<()> {
    flag::register(SIGXFSZ, Arc::default())?;
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    if !is_ignored(SIGHUP) {
        signals.add_signal(SIGHUP)?;
    }
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            received(signal);
        }
    })?;
    Ok(())
}

/// Whether the process was started with `signal` ignored, as far as the system tells.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}

/// Writes nothing for people to the terminal from now on.
pub fn be_silent() {
    SILENT.store(true, Ordering::Relaxed);
}

/// Lets the first signal request a stop, after which the command saves its state and ends.
pub fn listen(stop: &Stop) {
    ask(Asked { stop: stop.clone(), soon: false });
}

/// Lets the first signal request a stop of a command that saves nothing: it may say how far it came, if it is
/// quick about it.
pub fn listen_briefly(stop: &Stop) {
    ask(Asked { stop: stop.clone(), soon: true });
}

fn ask(asked: Asked) {
    *ASKED.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked);
}

fn received(signal: i32) {
    let asked = ASKED.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let is_first = RECEIVED.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst).is_ok();
    match asked.filter(|asked| is_first && !asked.stop.requested()) {
        Some(asked) => {
            asked.stop.request();
            if !asked.soon {
                return;
            }
            thread::sleep(FAREWELL);
            notes::complain("stopped before the end: nothing was written");
        }
        None if signal == SIGINT && shows_the_keys() => notes::complain(""),
        None => {}
    }
    whole_file::remove_unfinished();
    // So a shell sees that a signal ended the process, and ends a loop around it, too.
    let _ = low_level::emulate_default_handler(signal);
    process::exit(ENDED_BY_SIGNAL + signal);
}

/// Whether the terminal shows `^C`, behind which the shell would write its prompt.
fn shows_the_keys() -> bool {
    !SILENT.load(Ordering::Relaxed) && io::stderr().is_terminal()
}

/// The exit code of a command that was stopped before it was done. Where this process got no signal itself,
/// another process asked for the stop, of the same job or by `--stop-at-eof`: the code then is that of SIGTERM.
pub fn exit_code() -> u8 {
    let signal = match RECEIVED.load(Ordering::SeqCst) {
        0 => SIGTERM,
        signal => signal,
    };
    u8::try_from(ENDED_BY_SIGNAL + signal).unwrap_or(u8::MAX)
}
