//! The commands, one file each.

mod accuracies;
mod bench;
mod config;
mod data;
mod destination;
mod embed;
mod encoder;
mod evaluate;
mod export;
mod features;
mod finished;
mod grid;
mod import;
mod knn;
mod manual;
mod methods;
mod new_recipe;
mod pretrain;
mod rank;
mod report;
mod search;
mod supervised;
mod table;
mod uncertainty;
mod watch;

use anyhow::Context;

use crate::{
    arguments::{Arguments, Command},
    failure::Failure,
    launcher::Launch,
    notes, signals,
};

/// Runs the command that was asked for.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let common = &arguments.common;
    if common.quiet {
        notes::be_quiet();
    }
    if common.quiet || common.json || Launch::is_follower() {
        signals::be_silent();
    }
    vssl_kernels::requested().map_err(Failure::usage)?;
    if let Some(threads) = common.threads {
        vssl_kernels::set_threads(threads.into());
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads.into())
            .build_global()
            .with_context(|| format!("starting {threads} threads"))?;
    }
    match &arguments.command {
        Command::Pretrain(arguments) => pretrain::run(arguments, common),
        Command::Config(arguments) => config::run(arguments, common),
        Command::Methods => methods::run(common),
        Command::NewRecipe(arguments) => new_recipe::run(arguments, common),
        Command::Data(arguments) => data::run(&arguments.command, common),
        Command::Import(arguments) => import::run(arguments, common),
        Command::Export(arguments) => export::run(arguments, common),
        Command::Evaluate(arguments) => evaluate::run(arguments, common),
        Command::Linear(arguments) => supervised::run_linear(arguments, common),
        Command::Finetune(arguments) => supervised::run_finetune(arguments, common),
        Command::Knn(arguments) => knn::run(arguments, common),
        Command::Uncertainty(arguments) => uncertainty::run(arguments, common),
        Command::Embed(arguments) => embed::run(arguments, common),
        Command::Search(arguments) => search::run(arguments, common),
        Command::Table(arguments) => table::run(arguments, common),
        Command::Rank(arguments) => rank::run(arguments, common),
        Command::Report(arguments) => report::run(arguments, common),
        Command::Watch(arguments) => watch::run(arguments, common),
        Command::Bench(arguments) => bench::run(&arguments.command, common),
        Command::Completions(arguments) => manual::complete(arguments, common),
        Command::Man(arguments) => manual::man(arguments, common),
    }
}
