//! `vssl knn`: accuracy of nearest neighbours, over a grid of its settings.

use anyhow::anyhow;
use serde_json::json;
use vssl::{
    encoder::{Encoder, Reading},
    eval::{
        Accuracy, Features,
        knn::{self, Distance, KnnAccuracy},
    },
};
use vssl_data::Splits;

use super::{encoder, say};
use crate::{
    arguments::{Common, DistanceName, EncoderArguments, Knn},
    failure::Failure,
    progress,
};

pub(super) fn run(arguments: &Knn, common: &Common) -> Result<(), Failure> {
    let encoder = encoder::open(&arguments.encoder.encoder, &arguments.encoder.copy)?;
    let (train, test) = labelled_splits(&encoder, &arguments.encoder, common)?;
    let ks: Vec<usize> = arguments.k.iter().map(|&k| k as usize).collect();
    let distances: Vec<Distance> = arguments.distance.iter().map(|&name| name.into()).collect();
    let cells = knn::grid(&train, &test, &distances, &ks, &arguments.temperature)?;
    tell(&cells, &train, &test, common)
}

/// Features and labels of the training and the validation images.
fn labelled_splits(
    encoder: &Encoder,
    arguments: &EncoderArguments,
    common: &Common,
) -> Result<(Features, Features), Failure> {
    let Splits { train, validation } = encoder::splits(arguments, encoder, common)?;
    let Some(validation) = validation else {
        return Err(anyhow!(
            "there are no validation images to judge by; expected the folders train/ and val/"
        )
        .into());
    };
    let bar = progress::bar(common, "{spinner} {msg}");
    bar.set_message(format!("features of {} training images", train.len()));
    let reading = Reading::default();
    let known = encoder.features(&train, &reading)?;
    bar.set_message(format!("features of {} validation images", validation.len()));
    let asked = encoder.features(&validation, &reading)?;
    bar.finish_and_clear();
    Ok((known, asked))
}

fn tell(
    cells: &[KnnAccuracy],
    train: &Features,
    test: &Features,
    common: &Common,
) -> Result<(), Failure> {
    if common.json {
        for cell in cells {
            let value = json!({
                "event": "knn", "distance": name(cell.distance), "k": cell.k,
                "temperature": temperature(cell), "top1": cell.accuracy.top1,
                "top5": cell.accuracy.top5,
                "train": train.rows, "test": test.rows, "dim": train.dim,
            });
            say(&value.to_string())?;
        }
        return Ok(());
    }
    let best = cells.iter().map(|cell| cell.accuracy.top1).fold(f64::MIN, f64::max);
    if common.quiet {
        return say(&format!("{best:.2}"));
    }
    say(&format!(
        "{} images among {} with known classes, features of {} numbers\n\n{:<10} {:>5} \
         {:>6}   {:>7}   {:>7}",
        test.rows, train.rows, train.dim, "distance", "k", "T", "top-1", "top-5"
    ))?;
    for cell in cells {
        let temperature = temperature(cell).map_or_else(|| "-".to_owned(), |t| t.to_string());
        let Accuracy { top1, top5 } = cell.accuracy;
        let mark = if top1 == best { "  best" } else { "" };
        say(&format!(
            "{:<10} {:>5} {temperature:>6}   {top1:>5.2} %   {top5:>5.2} %{mark}",
            name(cell.distance),
            cell.k
        ))?;
    }
    say("\nthe best cell was chosen by the images it is judged on: quote a fixed one beside it")
}

/// The one that the weights used: the Euclidean ones know none.
fn temperature(cell: &KnnAccuracy) -> Option<f64> {
    (cell.distance == Distance::Cosine).then_some(cell.temperature)
}

fn name(distance: Distance) -> &'static str {
    match distance {
        Distance::Cosine => "cosine",
        Distance::Euclidean => "euclidean",
    }
}

impl From<DistanceName> for Distance {
    fn from(name: DistanceName) -> Self {
        match name {
            DistanceName::Cosine => Self::Cosine,
            DistanceName::Euclidean => Self::Euclidean,
        }
    }
}
