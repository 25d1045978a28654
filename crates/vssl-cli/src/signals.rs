//! Ctrl-C and `kill`: the first asks the run to stop, the second ends the process.

use std::io;

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};
use vssl::run::stop::Stop;

/// What a shell reports for a process that a signal ended, less the signal's number.
const ENDED_BY_SIGNAL: i32 = 128;

/// From now on, SIGINT and SIGTERM request a stop; when one was requested already, they end the
/// process with 130 or 143.
pub fn listen(stop: &Stop) -> io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        // Handlers run in the order of registration: this one sees the flag of an earlier signal.
        flag::register_conditional_shutdown(signal, ENDED_BY_SIGNAL + signal, stop.flag())?;
        flag::register(signal, stop.flag())?;
    }
    Ok(())
}
