//! `vssl knn`: accuracy of nearest neighbours over a grid of their number, temperature and distance.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::anyhow;
use serde_json::json;
use vssl::{
    backbone::Pooling,
    embed::LabelledRows,
    eval::{
        Accuracy,
        confusion::{self, ClassReport, other_name},
        knn::{self, Grid, KnnAccuracy},
        neighbours::Distance,
    },
    features::Source,
    run::whole_file,
};
use vssl_data::{Splits, dataset::Evaluated};

use super::{destination, encoder, features};
use crate::{
    arguments::{Common, DistanceName, EncoderArguments, EvaluatedName, K_BY_DEFAULT, Knn},
    failure::{Failure, during},
    notes::note,
    output::{counted, say, shown},
    progress::Meter,
};

/// Number of classes, and of pairs of classes, that are listed; JSON lists more.
const LISTED: usize = 3;

pub(super) fn run(arguments: &Knn, common: &Common) -> Result<(), Failure> {
    if let Some(file) = &arguments.confusion {
        let Knn { encoder, images, features, queries, labels, query_labels, .. } = arguments;
        let read = [encoder, images, features, queries, labels, query_labels];
        let read: Vec<&Path> = read.into_iter().flatten().map(PathBuf::as_path).collect();
        destination::check("--confusion", file, &read)?;
        if destination::ending(file).is_some_and(|ending| ending != "csv") {
            return Err(Failure::usage(anyhow!(
                "--confusion {}: the matrix is written as CSV; expected a name that ends in .csv",
                file.display()
            )));
        }
    }
    let Encoded { sets: [train, test], left_out, pooling } =
        match (&arguments.features, &arguments.queries) {
            (Some(features), Some(queries)) => Encoded {
                sets: stored_sets(features, queries, arguments)?,
                left_out: 0,
                pooling: None,
            },
            _ => encoded_sets(arguments, common)?,
        };
    let classes = if train.classes.is_empty() { &test.classes } else { &train.classes };
    features::check(&train, &test, classes)?;
    let held = train.bytes_in_memory + test.bytes_in_memory;
    let ks = arguments.k.as_deref().unwrap_or(&K_BY_DEFAULT);
    let ks: Vec<usize> = ks.iter().map(|&k| k as usize).collect();
    // Nobody has asked for the numbers of the default.
    if arguments.k.is_some() {
        features::tell_few(ks.iter().copied().max().unwrap_or(0), train.rows());
    }
    let distances: Vec<Distance> = arguments.distance.iter().map(|&name| name.into()).collect();
    let memory = arguments.memory.saturating_sub(held);
    let bar = Meter::waiting(common);
    bar.set_message(format!(
        "neighbours of {} among {}",
        counted(test.rows(), "image"),
        train.rows()
    ));
    let grid = knn::grid_within(&train, &test, &distances, &ks, &arguments.temperature, memory)?;
    bar.finish_and_clear();
    let sets = Sets { train: &train, test: &test, classes, left_out, pooling };
    tell(&grid, &sets, arguments, common)
}

/// The features that were compared.
struct Sets<'a> {
    train: &'a LabelledRows,
    test: &'a LabelledRows,
    classes: &'a [String],
    /// The number of images of both sets that could not be read.
    left_out: usize,
    /// The pooling of a transformer's tokens; `None` for other networks and stored features.
    pooling: Option<Pooling>,
}

/// The features of the training images and of those to classify.
struct Encoded {
    sets: [LabelledRows; 2],
    /// The number of images of both sets that could not be read.
    left_out: usize,
    /// The pooling of a transformer's tokens.
    pooling: Option<Pooling>,
}

/// The features of two files. The rows stay in the files, those of CSV files apart.
fn stored_sets(
    features: &Path,
    queries: &Path,
    arguments: &Knn,
) -> Result<[LabelledRows; 2], Failure> {
    if fs::canonicalize(features).ok() == fs::canonicalize(queries).ok() {
        note(
            "--features and --queries are one file: every image finds itself among its neighbours",
        );
    }
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
    if let Some((class, known, asked)) = other_name(&train.classes, &test.classes) {
        return Err(anyhow!(
            "class {class} is {known:?} in {} and {asked:?} in {}; expected the same classes in the \
             same order: embed both from one set of images, or name the labels with --labels and \
             --query-labels and leave the names out of the files",
            features.display(),
            queries.display()
        )
        .into());
    }
    Ok([train, test])
}

fn stored_set(path: &Path, labels: Option<&Path>, option: &str) -> Result<LabelledRows, Failure> {
    let rows = LabelledRows::open(path, labels)?;
    if rows.labels().is_none() {
        return Err(anyhow!(
            "{}: no labels, and the class of every image is needed; name a file of them with \
             {option} FILE.npy, or store a tensor `labels` beside `features` in a .safetensors file",
            path.display()
        )
        .into());
    }
    Ok(rows)
}

/// The features of the training and of the validation images. Half of the memory is for the training
/// images and a quarter for the others; the rest is left for the search.
fn encoded_sets(arguments: &Knn, common: &Common) -> Result<Encoded, Failure> {
    let Knn { copy, images, format, reading, split, memory, .. } = arguments;
    let path = arguments.encoder.clone().ok_or_else(|| {
        Failure::usage(anyhow!("expected a run folder, a file of an encoder, or --features FILE"))
    })?;
    let source = EncoderArguments {
        encoder: path,
        copy: copy.clone(),
        images: images.clone(),
        format: *format,
        reading: reading.clone(),
    };
    let encoder = encoder::open(&source.encoder, &source.copy)?;
    let Splits { train, validation, .. } =
        encoder::splits(&source, (*split).into(), &encoder, common)?;
    let Some(validation) = validation else {
        return Err(anyhow!(
            "there are no validation images to judge by; expected the folders train/ and val/, or test/"
        )
        .into());
    };
    let bar = Meter::waiting(common);
    bar.set_message(format!("features of {}", counted(train.len(), "training image")));
    let reading = encoder::reading(reading, images.is_some(), &encoder);
    let encoded = |name, set: &_, memory| {
        encoder.features_within(name, set, &reading, memory).map_err(encoder::advised)
    };
    let known = encoded("training features", &train, memory / 2)?;
    let judged = Evaluated::from(*split).name();
    let images = counted(validation.len(), &format!("{judged} image"));
    bar.set_message(format!("features of {images}"));
    let name = match split {
        EvaluatedName::Validation => "validation features",
        EvaluatedName::Test => "test features",
    };
    let asked = encoded(name, &validation, memory / 4)?;
    bar.finish_and_clear();
    let read = known.source().rows() + asked.source().rows();
    let left_out = train.len() + validation.len() - read;
    encoder::tell_left_out(left_out);
    features::tell_lost("training", train.as_ref(), known.source());
    features::tell_lost(judged, validation.as_ref(), asked.source());
    let classes = train.classes();
    let sets = [known, asked].map(|rows| LabelledRows::of(rows, classes.to_vec()));
    Ok(Encoded { sets, left_out, pooling: encoder.config.pooling() })
}

fn tell(grid: &Grid, sets: &Sets, arguments: &Knn, common: &Common) -> Result<(), Failure> {
    let Sets { train, test, classes, left_out, pooling } = *sets;
    let cells = &grid.cells;
    let best = cells.iter().map(|cell| cell.accuracy.top1).fold(f64::MIN, f64::max);
    let at = cells.iter().position(|cell| cell.accuracy.top1 == best).unwrap_or(0);
    let (confusion, classifier) = (grid.confusion(at), words(&cells[at]));
    let report = confusion.report(&classifier, classes);
    if let Some(path) = &arguments.confusion {
        let text = confusion::csv(&[(&classifier, &confusion)], classes);
        whole_file::write(path, text).map_err(during("writing", path))?;
    }
    if common.json {
        for cell in cells {
            let value = json!({
                "event": "knn", "distance": name(cell.distance), "k": cell.k,
                "temperature": temperature(cell), "top1": cell.accuracy.top1,
                "top5": cell.accuracy.top5, "balanced_top1": cell.balanced_top1,
                "train": train.rows(), "test": test.rows(), "left_out": left_out,
                "dim": train.dim(), "pooling": pooling,
            });
            say(&value.to_string())?;
        }
        let cell = &cells[at];
        let of = json!({ "distance": name(cell.distance), "k": cell.k, "temperature": temperature(cell) });
        return say(&json!({ "event": "classes", "cell": of, "report": report }).to_string());
    }
    if common.quiet {
        return say(&format!("{best:.2}"));
    }
    table(cells, best, sets)?;
    by_class(&report)?;
    say("\nthe best cell was chosen by the images it is judged on: quote a fixed one beside it")
}

/// Prints the cells, with a mark at the best top-1, `best`.
fn table(cells: &[KnnAccuracy], best: f64, sets: &Sets) -> Result<(), Failure> {
    let Sets { train, test, pooling, .. } = sets;
    let feature = pooling.map(|pooling| format!(": {}", pooling.words())).unwrap_or_default();
    say(&format!(
        "{} among {} with known classes, features of {}{feature}\n\n{:<10} {:>5} \
         {:>6}   {:>7}   {:>7}   {:>8}",
        counted(test.rows(), "image"),
        train.rows(),
        counted(train.dim(), "number"),
        "distance",
        "k",
        "T",
        "top-1",
        "top-5",
        "balanced"
    ))?;
    for cell in cells {
        let temperature = temperature(cell).map_or_else(|| "-".to_owned(), |t| t.to_string());
        let (Accuracy { top1, top5 }, balanced) = (cell.accuracy, cell.balanced_top1);
        let mark = if top1 == best { "  best" } else { "" };
        say(&format!(
            "{:<10} {:>5} {temperature:>6}   {top1:>5.2} %   {top5:>5.2} %   {balanced:>6.2} %{mark}",
            name(cell.distance),
            cell.k
        ))?;
    }
    Ok(())
}

/// Prints the classes that the best cell knows least, and those that it confuses most often.
fn by_class(report: &ClassReport) -> Result<(), Failure> {
    let worst = report.worst(LISTED).into_iter();
    let worst: Vec<String> = worst
        .map(|class| format!("{} {:.2} %", shown(&class.class), class.top1.unwrap_or_default()))
        .collect();
    say(&format!(
        "\nof the best cell, {}\nlowest accuracy: {}",
        report.classifier,
        worst.join(", ")
    ))?;
    let confused = report.most_confused.iter().take(LISTED);
    let confused: Vec<String> = confused
        .map(|pair| {
            let images = counted(pair.images as usize, "image");
            format!("{} taken for {} ({images})", shown(&pair.class), shown(&pair.taken_for))
        })
        .collect();
    if !confused.is_empty() {
        say(&format!("confused most often: {}", confused.join(", ")))?;
    }
    match report.classes_without_images {
        0 => Ok(()),
        count => say(&format!(
            "{count} of {} classes have no image here: the balanced accuracy is the mean over the others",
            report.classes
        )),
    }
}

/// The cell in words.
fn words(cell: &KnnAccuracy) -> String {
    match temperature(cell) {
        Some(t) => format!("nearest neighbours by cosine, k = {}, T = {t}", cell.k),
        None => format!("nearest neighbours by Euclidean distance, k = {}", cell.k),
    }
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
