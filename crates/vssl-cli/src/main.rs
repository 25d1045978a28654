//! The binary `vssl`.

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    // Where the system does not know the path of the program, a command that starts it again says so.
    let program = env::current_exe().map_or_else(|_| Vec::new(), |path| vec![path.into()]);
    ExitCode::from(vssl_cli::main(env::args_os().collect(), program))
}
