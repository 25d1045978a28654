//! Ctrl-C and `kill`: the first signal asks the run to stop, the second ends the process.

use std::io;

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};
use vssl::run::stop::Stop;

/// Exit code of a process that a signal ended, without the number of the signal.
const ENDED_BY_SIGNAL: i32 = 128;

/// Lets SIGINT and SIGTERM request a stop. A signal after that ends the process with exit code 130
/// or 143.
pub fn listen(stop: &Stop) -> io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        // Handlers run in the order of registration: the first one sees the flag of an earlier signal.
        flag::register_conditional_shutdown(signal, ENDED_BY_SIGNAL + signal, stop.flag())?;
        flag::register(signal, stop.flag())?;
    }
    Ok(())
}
