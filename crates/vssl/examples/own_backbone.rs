//! A backbone of one's own, trained by SimCLR for some steps on the images in `data/` and judged by nearest neighbours:
//! `cargo run --release -p vssl --example own_backbone`, in the folder of the repository.

use std::{
    error::Error,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

// ANCHOR: backbone
use burn::tensor::Tensor;
use vssl::{
    backbone::{Layer, OwnNetwork, register},
    layers::{BatchNorm, Conv2d, Init, Mode},
};

/// Three convolutions of stride 2, each with batch normalisation and ReLU, and the mean over space.
#[derive(Debug)]
pub struct Small {
    /// The number of channels of the first convolution; each of the others has twice as many as the one before.
    pub width: usize,
}

impl OwnNetwork for Small {
    fn name(&self) -> &str {
        "small"
    }

    fn dim(&self) -> usize {
        4 * self.width
    }

    fn layers(&self, init: &Init) -> Vec<Layer> {
        let channels = [3, self.width, 2 * self.width, 4 * self.width];
        let pairs = channels.windows(2).flat_map(|pair| {
            let (input, output) = (pair[0], pair[1]);
            let conv = Conv2d::he_normal([output, input, 3, 3], 2, 1, init);
            [Layer::Conv(conv), Layer::BatchNorm(BatchNorm::new(output, init))]
        });
        pairs.collect()
    }

    fn forward(&self, layers: &[Layer], x: Tensor<4>, mode: Mode) -> Tensor<2> {
        let step = |x, pair: &[Layer]| {
            let x = pair[0].conv().forward(x);
            pair[1].batch_norm().forward(x, None, true, mode)
        };
        let x = layers.chunks_exact(2).fold(x, step); // [n, dim, h / 8, w / 8]
        vssl_kernels::global_average_pool(x)
    }
}
// ANCHOR_END: backbone

// ANCHOR: training
use burn::tensor::Device;
use vssl::{
    Environment, Plan, Recipe,
    collective::Group,
    methods, pretrain,
    run::{
        events::{Event, Observer, Summary},
        stop::Stop,
    },
};

const RECIPE: &str = r#"
method = "simclr"
simclr = { projector_hidden = 128, dim = 32 }
data = { format = "idx", path = "data/fashion-mnist-tenth" }
views = [{ size = 28 }]
backbone = { architecture = "own", name = "small" }
optimizer = { name = "adamw", lr = 0.003, scale_lr = false }
schedule = { name = "warmup-cosine", warmup_epochs = 0 }
train = { batch = 64, epochs = 2 }
knn = { every_epochs = 0 }
evaluation = { evaluators = ["knn"], pixels = false }
"#;

/// Writes the loss of every logged step.
struct Print<'a>(&'a mut dyn Write);

impl Observer for Print<'_> {
    fn event(&mut self, event: &Event) {
        if let Event::Step { step, loss, .. } = event {
            // A reader that went away does not end the run.
            let _ = writeln!(self.0, "step {step}: loss {loss:.4}");
        }
    }
}

/// Trains the recipe, with changes in the form `train.epochs=1`, on the images below `root`, in the run
/// folder `run`. Writes the losses, and how many images get their class from their nearest neighbours.
pub fn run(
    root: &Path,
    run: &Path,
    changes: &[String],
    out: &mut dyn Write,
) -> Result<Summary, Box<dyn Error>> {
    // From here on recipes know the backbone by its name.
    register(Small { width: 16 });
    let (recipe, _) = Recipe::parse(RECIPE, "own_backbone.rs", changes, methods::METHODS)?;
    let environment = Environment {
        device: Device::flex(),
        group: Group::alone(),
        data_root: Some(root.to_owned()),
        recipe_folder: None,
        commit: None,
        force: true,
        allow_changed_data: false,
        adapts_batch: false,
    };
    let plan = Plan::new(recipe, run, environment)?;
    let summary = pretrain(&plan, &Stop::default(), &mut Print(out))?;
    for (name, key) in [("trained", "knn_top1"), ("untrained", "untrained_knn_top1")] {
        let top1 = summary.figure(key).ok_or("the images have labels and a validation split")?;
        writeln!(out, "kNN accuracy of the {name} encoder: {top1:.1} %")?;
    }
    Ok(summary)
}
// ANCHOR_END: training

fn main() -> ExitCode {
    match run(Path::new("."), Path::new("runs/own-backbone"), &[], &mut io::stdout()) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
