//! `vssl knn`: accuracy of nearest neighbours over a grid of their number, temperature and distance.

use std::path::Path;

use anyhow::anyhow;
use serde_json::json;
use vssl::{
    encoder::Reading,
    eval::{
        Accuracy,
        knn::{self, KnnAccuracy},
        neighbours::Distance,
    },
    features::{self, FeatureRows, FileRows, Source},
};
use vssl_data::Splits;

use super::encoder;
use crate::{
    arguments::{Common, DistanceName, EncoderArguments, Knn},
    failure::Failure,
    notes::note,
    output::say,
    progress::Meter,
};

pub(super) fn run(arguments: &Knn, common: &Common) -> Result<(), Failure> {
    let [train, test] = match (&arguments.features, &arguments.queries) {
        (Some(features), Some(queries)) => stored_sets(features, queries, arguments)?,
        _ => encoded_sets(arguments, common)?,
    };
    let held = train.bytes_in_memory() + test.bytes_in_memory();
    let (train, test) = (train.source(), test.source());
    let ks: Vec<usize> = arguments.k.iter().map(|&k| k as usize).collect();
    if let Some(most) = ks.iter().max().filter(|&&k| k > train.rows()) {
        let rows = train.rows();
        note(&format!(
            "--k {most}: only {rows} images have known classes; where k is larger, all of them vote"
        ));
    }
    let distances: Vec<Distance> = arguments.distance.iter().map(|&name| name.into()).collect();
    let memory = arguments.memory.saturating_sub(held);
    let bar = Meter::waiting(common);
    bar.set_message(format!("neighbours of {} images among {}", test.rows(), train.rows()));
    let cells = knn::grid_within(train, test, &distances, &ks, &arguments.temperature, memory)?;
    bar.finish_and_clear();
    tell(&cells, train, test, common)
}

/// The features of two files. The rows stay in the files.
fn stored_sets(
    features: &Path,
    queries: &Path,
    arguments: &Knn,
) -> Result<[FeatureRows; 2], Failure> {
    let train = stored_set(features, arguments.labels.as_deref(), "--labels")?;
    let test = stored_set(queries, arguments.query_labels.as_deref(), "--query-labels")?;
    if train.dim() != test.dim() {
        return Err(anyhow!(
            "{}: rows of {} numbers, but those of {} have {}; expected features of one encoder",
            queries.display(),
            test.dim(),
            features.display(),
            train.dim()
        )
        .into());
    }
    Ok([FeatureRows::File(train), FeatureRows::File(test)])
}

fn stored_set(path: &Path, labels: Option<&Path>, option: &str) -> Result<FileRows, Failure> {
    let rows = features::open(path, labels)?;
    if rows.labels().is_none() {
        return Err(Failure::usage(anyhow!(
            "{}: no labels, and the class of every image is needed; name a file of them with \
             {option} FILE.npy, or store a tensor `labels` beside `features` in a .safetensors file",
            path.display()
        )));
    }
    Ok(rows)
}

/// The features of the training and of the validation images. Half of the memory is for the training
/// images and a quarter for the others; the rest is left for the search.
fn encoded_sets(arguments: &Knn, common: &Common) -> Result<[FeatureRows; 2], Failure> {
    let Knn { copy, images, format, memory, .. } = arguments;
    let path = arguments.encoder.clone().ok_or_else(|| {
        Failure::usage(anyhow!("expected a run folder, a file of an encoder, or --features FILE"))
    })?;
    let source = EncoderArguments {
        encoder: path,
        copy: copy.clone(),
        images: images.clone(),
        format: *format,
    };
    let encoder = encoder::open(&source.encoder, &source.copy)?;
    let Splits { train, validation } = encoder::splits(&source, &encoder, common)?;
    let Some(validation) = validation else {
        return Err(anyhow!(
            "there are no validation images to judge by; expected the folders train/ and val/"
        )
        .into());
    };
    let bar = Meter::waiting(common);
    bar.set_message(format!("features of {} training images", train.len()));
    let reading = Reading::default();
    let known = encoder.features_within("training features", &train, &reading, memory / 2)?;
    bar.set_message(format!("features of {} validation images", validation.len()));
    let asked = encoder.features_within("test features", &validation, &reading, memory / 4)?;
    bar.finish_and_clear();
    Ok([known, asked])
}

fn tell(
    cells: &[KnnAccuracy],
    train: &dyn Source,
    test: &dyn Source,
    common: &Common,
) -> Result<(), Failure> {
    if common.json {
        for cell in cells {
            let value = json!({
                "event": "knn", "distance": name(cell.distance), "k": cell.k,
                "temperature": temperature(cell), "top1": cell.accuracy.top1,
                "top5": cell.accuracy.top5,
                "train": train.rows(), "test": test.rows(), "dim": train.dim(),
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
        test.rows(),
        train.rows(),
        train.dim(),
        "distance",
        "k",
        "T",
        "top-1",
        "top-5"
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

/// The temperature of the weights; weights of the Euclidean distance have no temperature.
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
