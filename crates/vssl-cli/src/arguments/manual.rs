//! Arguments of `vssl completions` and `vssl man`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// Arguments of `vssl completions`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vssl completions bash\n  vssl completions zsh\n\nWhere shells look for \
                  the script: bash in ~/.local/share/bash-completion/completions/vssl, fish in \
                  ~/.config/fish/completions/vssl.fish, zsh in a folder of $fpath as _vssl."
)]
pub struct Completions {
    /// The shell.
    pub shell: Shell,
}

/// Arguments of `vssl man`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  vssl man man1\n\nMANPATH=. man vssl-pretrain then shows a page."
)]
pub struct Man {
    /// The folder to write to; it is made if it does not exist.
    #[arg(value_name = "DIR")]
    pub to: PathBuf,
}
