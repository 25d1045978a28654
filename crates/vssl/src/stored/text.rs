//! A CSV file of `text`, read as a whole: features and labels. Used by `labelled`.
//!
//! A text of many numbers is slow and large to read; Parquet and safetensors stay in their file.

use std::path::Path;

use super::table::IndexError;
use crate::features::Features;

/// The beginning of the name of a column of features.
const FEATURE: &str = "feature_";

/// The content of a CSV file.
pub(super) struct StoredText {
    pub features: Features,
    /// The names of the classes in the order of the labels; empty for a class without images.
    pub classes: Vec<String>,
}

impl StoredText {
    /// Reads the file.
    ///
    /// # Errors
    /// The file cannot be read, or is not a table as `vssl embed` writes it; the text names line and column.
    pub(super) fn read(path: &Path) -> Result<Self, IndexError> {
        let contents = |what: String| IndexError::Contents { path: path.to_owned(), what };
        let file = std::fs::File::open(path);
        let file = file.map_err(|source| IndexError::Io { path: path.to_owned(), source })?;
        let mut reader = csv::Reader::from_reader(std::io::BufReader::new(file));
        let header = reader.headers().map_err(|error| contents(error.to_string()))?.clone();
        let column = |name: &str| header.iter().position(|known| known == name);
        let (label, class) = (column("label"), column("class"));
        let columns: Vec<usize> =
            (0..).map_while(|number| column(&format!("{FEATURE}{number}"))).collect();
        if columns.is_empty() {
            return Err(contents(format!("no column \"{FEATURE}0\"")));
        }
        let mut features = Features {
            dim: columns.len(),
            labels: label.map(|_| Vec::new()),
            ..Default::default()
        };
        let mut names = Names::default();
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(|error| contents(error.to_string()))? {
            let line = record.position().map_or(0, |position| position.line());
            let wrong = |at: usize, expected: &str| {
                let (name, got) = (header.get(at).unwrap_or_default(), record.get(at));
                let got = got.unwrap_or_default();
                contents(format!("line {line}, column {name:?}: got {got:?}, expected {expected}"))
            };
            for &at in &columns {
                let value = record.get(at).and_then(|text| text.trim().parse::<f32>().ok());
                let value = value.filter(|value| value.is_finite());
                features.values.push(value.ok_or_else(|| wrong(at, "a finite number"))?);
            }
            if let (Some(at), Some(labels)) = (label, &mut features.labels) {
                let value = record.get(at).and_then(|text| text.trim().parse().ok());
                let value = value.filter(|&label: &i64| label >= 0);
                let value = value.ok_or_else(|| wrong(at, "the number of a class, from 0"))?;
                labels.push(value);
                names.add(value, class.and_then(|at| record.get(at)));
            }
            features.rows += 1;
        }
        if features.rows == 0 {
            return Err(contents("it has a header and no row below".to_owned()));
        }
        Ok(Self { features, classes: names.finish() })
    }
}

/// Names of classes, collected row by row.
#[derive(Default)]
pub(super) struct Names(Vec<Option<String>>);

impl Names {
    /// Takes the name of the class `label`, if a row has it.
    pub(super) fn add(&mut self, label: i64, name: Option<&str>) {
        let Some((at, name)) = usize::try_from(label).ok().zip(name) else { return };
        if at < crate::features::MOST_CLASSES as usize {
            if self.0.len() <= at {
                self.0.resize(at + 1, None);
            }
            self.0[at].get_or_insert_with(|| name.to_owned());
        }
    }

    /// Returns the names; that of a class without images is not known, and empty.
    pub(super) fn finish(self) -> Vec<String> {
        self.0.into_iter().map(Option::unwrap_or_default).collect()
    }
}
