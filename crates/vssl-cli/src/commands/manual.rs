//! `vssl completions` and `vssl man`: both are made from the command line's own description.

use std::{fs, path::Path};

use anyhow::Context;
use clap::{
    Command, CommandFactory,
    builder::{Resettable, Str},
};
use serde_json::json;
use vssl::run::whole_file;

use crate::{
    arguments::{Arguments, Common, Completions, Man},
    failure::{Failure, during},
    output::say,
};

pub(super) fn complete(arguments: &Completions, common: &Common) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "vssl", &mut script);
    let script = String::from_utf8(script).context("the script")?;
    match common.json {
        true => {
            let shell = arguments.shell.to_string();
            say(&json!({ "event": "completions", "shell": shell, "script": script }).to_string())
        }
        false => say(script.trim_end()),
    }
}

pub(super) fn man(arguments: &Man, common: &Common) -> Result<(), Failure> {
    let to = &arguments.to;
    fs::create_dir_all(to).map_err(during("making the folder", to))?;
    // The long version tells of this machine, and a page may be read on another.
    let command = Arguments::command().disable_help_subcommand(true);
    let mut command = command.long_version(Resettable::<Str>::Reset);
    command.build();
    let mut names = Vec::new();
    pages(&command, to, &mut names)?;
    if common.json {
        let value = json!({ "event": "written", "path": to.to_string_lossy(), "pages": names });
        return say(&value.to_string());
    }
    match common.quiet {
        true => say(&to.display().to_string()),
        false => say(&format!(
            "{}: {} manual pages, vssl.1 and one for each command",
            to.display(),
            names.len()
        )),
    }
}

/// Writes the page of `command` and those of its subcommands, and adds their names.
fn pages(command: &Command, to: &Path, names: &mut Vec<String>) -> Result<(), Failure> {
    let name = format!("{}.1", command.get_display_name().unwrap_or(command.get_name()));
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page).context("making a manual page")?;
    let path = to.join(&name);
    whole_file::write(&path, page).map_err(during("writing", &path))?;
    names.push(name);
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    shown.into_iter().try_for_each(|command| pages(command, to, names))
}
