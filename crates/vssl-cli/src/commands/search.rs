//! `vssl search`: finds the images of an index that are nearest to given images.

use std::path::Path;

use anyhow::anyhow;
use serde_json::json;
use vssl::{
    embed::{Entry, Index, IndexError, draw, image_of},
    encoder::{Encoder, Reading},
};
use vssl_data::{
    DataConfig, Dataset,
    dataset::{Folder, Labels},
};

use super::{
    destination,
    encoder::{moved, of_query, tell_fine_tuned, tell_stand_in},
};
use crate::{
    arguments::{Common, Search},
    failure::{Failure, during},
    launcher,
    notes::note,
    output::{counted, say, shown},
    progress::Meter,
};

/// The images that were found for one query.
struct Answer {
    query: String,
    /// The entry of each image, its row in the index and its cosine similarity.
    found: Vec<(Entry, f64)>,
}

pub(super) fn run(arguments: &Search, common: &Common) -> Result<(), Failure> {
    if let Some(path) = &arguments.draw
        && !path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("png"))
    {
        let error = anyhow!("--draw {}: expected a file that ends in .png", path.display());
        return Err(Failure::usage(error));
    }
    let index = Index::open(&arguments.index)?;
    if let Some(to) = &arguments.draw {
        let origin = &index.origin;
        let images = moved(origin.images.clone(), common).path;
        let mut read = arguments.images.clone();
        read.extend([arguments.index.clone(), origin.encoder.clone(), images]);
        read.extend(arguments.encoder.iter().chain(&arguments.images_root).cloned());
        destination::check("--draw", to, &read)?;
    }
    let encoder = open(&index, arguments)?;
    index.check(&encoder)?;
    if index.origin.is_unsure() {
        note(&format!(
            "{}: an earlier version wrote it, which noted the weights of the encoder and not its settings: that these are \
             the same was not checked",
            arguments.index.display()
        ));
    }
    let bar = Meter::waiting(common);
    bar.set_message(format!("searching {}", counted(index.rows(), "image")));
    let images = &index.origin.images;
    let queries: std::sync::Arc<dyn Dataset> = std::sync::Arc::new(
        Folder::of_files(arguments.images.clone())
            .with_tones(images.tones())
            .with_channels(encoder.input.channels()),
    );
    let features = encoder.features(&queries, &Reading::default()).map_err(of_query)?;
    let neighbours = index.nearest(&features, arguments.k as usize)?;
    let mut answers = Vec::new();
    for row in 0..features.rows {
        let near = neighbours.of(row).iter();
        let found = near.map(|near| Ok((index.entry(near.index as usize)?, near.closeness)));
        let found = found.collect::<Result<_, Failure>>()?;
        answers.push(Answer { query: queries.name(row), found });
    }
    let drawn = match &arguments.draw {
        Some(to) => picture(&index, &answers, &*queries, to, arguments, common),
        None => Ok(()),
    };
    bar.finish_and_clear();
    // A picture that cannot be made does not cost what was found.
    answers.iter().enumerate().try_for_each(|(at, answer)| tell(at, answer, &index, common))?;
    drawn
}

/// The encoder that the index names, or the one of `--encoder`.
fn open(index: &Index, arguments: &Search) -> Result<Encoder, Failure> {
    let origin = &index.origin;
    let path = arguments.encoder.as_ref().unwrap_or(&origin.encoder);
    if !path.exists() {
        return Err(anyhow!(
            "{}: it made the index {} and is not there any more; name it with --encoder",
            path.display(),
            arguments.index.display()
        )
        .into());
    }
    let checkpoint = arguments.checkpoint.as_ref().unwrap_or(&origin.checkpoint);
    let network = arguments.network.map_or(origin.network(), Into::into);
    let device = launcher::open(arguments.device)?;
    tell_stand_in(path, checkpoint)?;
    tell_fine_tuned(path);
    let encoder = Encoder::open(path, checkpoint, network, &device)?;
    match origin.pooling {
        Some(pooling) => Ok(encoder.with_pooling(pooling)?),
        None => Ok(encoder),
    }
}

fn picture(
    index: &Index,
    answers: &[Answer],
    queries: &dyn Dataset,
    to: &Path,
    arguments: &Search,
    common: &Common,
) -> Result<(), Failure> {
    let config = index.origin.images.clone();
    let images = match &arguments.images_root {
        Some(path) => DataConfig { path: path.clone(), ..config },
        None => moved(config, common),
    };
    // A set whose class names cannot be read any more can still be searched.
    let images = DataConfig { labels: Labels::Auto, ..images };
    let mut opened = None;
    let (mut unread, mut drawn) = (Vec::new(), 0);
    let mut rows = Vec::new();
    for (row, answer) in answers.iter().enumerate() {
        let mut found = Vec::new();
        for (entry, _) in &answer.found {
            match image_of(entry, &index.origin, &images, &mut opened) {
                // An image that was damaged, moved or removed since must not cost the picture.
                Err(error @ (IndexError::Data(_) | IndexError::Moved { .. })) => {
                    unread.push((entry.path.as_str(), error));
                    found.push(None);
                }
                image => {
                    found.push(Some(image?));
                    drawn += 1;
                }
            }
        }
        rows.push((queries.image(row)?, found));
    }
    match unread.len() {
        0 => {}
        // Not a single image is where it was: the set has moved.
        _ if drawn == 0 => {
            let error = anyhow::Error::from(unread.swap_remove(0).1);
            let advice = match &arguments.images_root {
                None => "; if they were moved, name their folder with --images-root",
                Some(_) => "",
            };
            let what = format!("--draw: no image that was found could be read{advice}");
            return Err(error.context(what).into());
        }
        count => {
            let (first, error) = &unread[0];
            let images = counted(count, "image");
            note(&format!("{images} could not be drawn, the first is {first}: {error}"));
        }
    }
    let png = draw(&rows, arguments.side as usize)?;
    vssl::run::whole_file::write(to, png).map_err(during("writing the picture to", to))?;
    Ok(())
}

fn tell(at: usize, answer: &Answer, index: &Index, common: &Common) -> Result<(), Failure> {
    let class = |entry: &Entry| {
        let label = usize::try_from(entry.label?).ok()?;
        index.origin.classes.get(label).cloned()
    };
    if common.json {
        let found = answer.found.iter().map(|(entry, cosine)| {
            json!({
                "path": entry.path, "image": entry.image, "similarity": cosine,
                "label": entry.label, "class": class(entry),
            })
        });
        let found: Vec<_> = found.collect();
        let value = json!({ "event": "found", "query": answer.query, "nearest": found });
        return say(&value.to_string());
    }
    if !common.quiet {
        let gap = if at > 0 { "\n" } else { "" };
        let images = counted(index.rows(), "image");
        say(&format!("{gap}{}: nearest of {images} by cosine", shown(&answer.query)))?;
    }
    for (entry, cosine) in &answer.found {
        let class = class(entry).map(|class| format!("  {}", shown(&class))).unwrap_or_default();
        match common.quiet {
            true => say(&shown(&entry.path))?,
            false => say(&format!("  {cosine:.4}  {}{class}", shown(&entry.path)))?,
        }
    }
    Ok(())
}
