//! Queries and what a search found, as one picture: a row a query, the query on the left, the nearest
//! beside it. Called by `vssl search --draw`.

use std::sync::Arc;

use image::codecs::png::PngEncoder;
use vssl_data::{
    Collage, Dataset, Image,
    augment::Scratch,
    dataset::{DataConfig, Folder},
};

use super::{Entry, IndexError, Origin};

/// White between pictures, and between a query and its row.
const GAP: usize = 4;
const WIDE_GAP: usize = 16;

/// The image of an entry: its file if there is one, else the record of its set. `images` is where the
/// set lies now; `opened` keeps a set that had to be opened for it.
///
/// # Errors
/// An image that cannot be read, or a set that is not what it was.
pub fn image_of(
    entry: &Entry,
    origin: &Origin,
    images: &DataConfig,
    opened: &mut Option<Arc<dyn Dataset>>,
) -> Result<Image, IndexError> {
    let file = images.path.join(&entry.path);
    if file.is_file() {
        let file = Folder::of_files(vec![file]).with_tones(images.tones());
        return Ok(file.with_channels(images.channels).image(0)?);
    }
    let moved = || IndexError::Moved { path: entry.path.clone(), images: images.path.clone() };
    let set = match opened {
        Some(set) => set,
        None => {
            let splits = origin.split.open(images)?;
            opened.insert(origin.split.of(&splits).ok_or_else(moved)?)
        }
    };
    let here = Origin { images: images.clone(), ..origin.clone() };
    if entry.image >= set.len() || here.relative(&**set, entry.image) != entry.path {
        return Err(moved());
    }
    Ok(set.image(entry.image)?)
}

/// A PNG of squares of `side` pixels; each row a query and the images found for it, nearest first. The place
/// of an image that could not be read, `None`, stays empty.
///
/// # Errors
/// Images that do not hold what their size promises, a picture beyond what PNG can be.
pub fn draw(rows: &[(Image, Vec<Option<Image>>)], side: usize) -> Result<Vec<u8>, IndexError> {
    let columns = rows.iter().map(|(_, found)| found.len()).max().unwrap_or(0);
    let width = side + WIDE_GAP + columns * side + columns.saturating_sub(1) * GAP;
    let height = rows.len() * side + rows.len().saturating_sub(1) * GAP;
    let mut collage = Collage::new(width, height, side, 255);
    let mut scratch = Scratch::default();
    for (row, (query, found)) in rows.iter().enumerate() {
        let y = row * (side + GAP);
        collage.put((0, y), query, &mut scratch)?;
        for (column, image) in found.iter().enumerate() {
            let Some(image) = image else { continue };
            collage.put((side + WIDE_GAP + column * (side + GAP), y), image, &mut scratch)?;
        }
    }
    let mut png = Vec::new();
    let problem = |what| IndexError::Picture { rows: rows.len(), columns, what };
    collage.encode(PngEncoder::new(&mut png)).map_err(problem)?;
    Ok(png)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(level: u8) -> Image {
        Image { width: 5, height: 7, values: vec![level; 5 * 7 * 3] }
    }

    #[test]
    fn the_query_stands_before_what_was_found() {
        let rows = [
            (plain(10), vec![Some(plain(20)), Some(plain(30))]),
            (plain(40), vec![Some(plain(50)), None]),
        ];
        let png = draw(&rows, 8).unwrap();
        let picture = image::load_from_memory(&png).unwrap().to_rgb8();
        assert_eq!(picture.dimensions(), (8 + 16 + 8 + 4 + 8, 8 + 4 + 8));
        let level = |x, y| picture.get_pixel(x, y)[0];
        assert_eq!([level(0, 0), level(7, 7), level(8, 0), level(23, 7)], [10, 10, 255, 255]);
        assert_eq!([level(24, 0), level(31, 7), level(33, 0), level(36, 3)], [20, 20, 255, 30]);
        assert_eq!([level(0, 9), level(0, 12), level(24, 19), level(36, 13)], [255, 40, 50, 255]);
    }
}
