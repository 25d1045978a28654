//! Integration tests of the binary: what a user types and sees.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod agreement;
mod arguments;
mod bench;
mod channels;
mod config;
mod data;
mod destination;
mod documented;
mod embed;
mod evaluate;
mod export;
mod finetune;
mod import;
mod kernels;
mod killed;
mod knn;
mod linear;
mod longer;
mod lost_images;
mod manual;
mod methods;
mod new_recipe;
mod new_recipe_channels;
mod own_images;
mod pooling;
mod pretrain;
mod rank;
mod recipes;
mod report;
mod resume;
mod streams;
mod structure;
mod table;
mod uncertainty;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The root of the repository, where users run their commands.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// `vssl` in the root of the repository, without the settings of whoever runs the tests.
fn vssl(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vssl"));
    command.args(arguments).current_dir(root()).env_remove("VSSL_DATA").env_remove("VSSL_MIRROR");
    command
}

/// What a finished command left.
struct Done {
    code: Option<i32>,
    out: String,
    error: String,
}

fn run(arguments: &[&str]) -> Done {
    done(vssl(arguments).output().unwrap())
}

fn done(output: Output) -> Done {
    Done {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Done {
    /// It failed with `code`, one message on standard error that has all of `parts`, and nothing
    /// that only a developer wants to see.
    #[track_caller]
    fn refused(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.error);
        assert_eq!(self.error.matches("error:").count(), 1, "{}", self.error);
        assert!(!self.error.contains("panicked") && !self.error.contains('\x1b'), "{}", self.error);
        for part in parts {
            assert!(self.error.contains(part), "{part:?} is not in\n{}", self.error);
        }
    }

    #[track_caller]
    fn succeeded(&self) -> &str {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.error);
        &self.out
    }
}

/// Writes `text` as the recipe `a.toml` into `folder`.
fn recipe(folder: &Path, text: &str) -> String {
    let path = folder.join("a.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}
