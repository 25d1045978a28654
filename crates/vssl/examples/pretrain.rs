//! Pretraining from another program: `cargo run --release -p vssl --example pretrain -- RECIPE RUN`.

use std::{path::Path, process::ExitCode};

use vssl::{
    DeviceChoice, Environment, Plan, Recipe,
    collective::Group,
    methods::METHODS,
    pretrain,
    run::{
        events::{Event, Observer},
        stop::Stop,
    },
};

/// Prints what a person wants to see.
struct Print;

impl Observer for Print {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Step { step, loss, images_per_s, probe_top1, .. } => {
                println!(
                    "step {step}: loss {loss:.4}, probe {probe_top1:.1?} %, {images_per_s:.0} images/s"
                );
            }
            other => println!("{other:?}"),
        }
    }
}

fn run(recipe: &str, folder: &str) -> Result<(), Box<dyn std::error::Error>> {
    let path = Path::new(recipe);
    let (recipe, _) = Recipe::load(path, &[], METHODS)?;
    let environment = Environment {
        group: Group::alone(),
        device: "cpu".parse::<DeviceChoice>()?.resolve()?,
        data_root: None,
        recipe_folder: path.parent().map(Path::to_owned),
        commit: None,
        force: false,
        allow_changed_data: false,
        adapts_batch: false,
    };
    let plan = Plan::new(recipe, Path::new(folder), environment)?;
    pretrain(&plan, &Stop::default(), &mut Print)?;
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [recipe, folder] = arguments.as_slice() else {
        eprintln!("usage: pretrain RECIPE RUN");
        return ExitCode::from(2);
    };
    match run(recipe, folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
