//! `vssl methods`: lists the methods that a recipe can name.

use serde_json::json;
use vssl::methods::METHODS;

use crate::{arguments::Common, failure::Failure, output::say};

pub(super) fn run(common: &Common) -> Result<(), Failure> {
    let width = METHODS.iter().map(|entry| entry.name.len()).max().unwrap_or(0);
    for entry in METHODS {
        let (name, summary, paper) = (entry.name, entry.summary, entry.paper);
        let line = if common.json {
            let settings = entry.defaults().settings();
            let value = json!({
                "method": name, "summary": summary, "paper": paper, "settings": settings,
            });
            value.to_string()
        } else if common.quiet {
            name.to_owned()
        } else {
            format!("{name:<width$}  {summary} ({paper})")
        };
        say(&line)?;
    }
    Ok(())
}
