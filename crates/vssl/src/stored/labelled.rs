//! Files of features with the class of each row, for evaluations: all that `vssl embed` writes, and arrays of
//! other programs. Called by `vssl knn`.

use std::{fs::File, path::Path};

use super::{
    Form,
    columns::StoredColumns,
    table::IndexError,
    tensors::StoredTensors,
    text::{Names, StoredText},
};
use crate::features::{self, FeatureError, FeatureRows, Source};

/// Rows of features and the class of each row.
pub struct LabelledRows {
    rows: Box<dyn Source>,
    labels: Option<Vec<i64>>,
    /// The names of the classes in the order of the labels, as far as the file tells them; a name that is not
    /// known is empty.
    pub classes: Vec<String>,
    /// The number of bytes of memory that the numbers take; 0 where the rows stay in their file.
    pub bytes_in_memory: u64,
}

impl LabelledRows {
    /// Opens the features in `path`: a Parquet, CSV, `.npy` or safetensors file. Their classes are in
    /// `labels`, an `.npy` file, if it is given, else in the file itself or, for `NAME.npy`, in
    /// `NAME.labels.npy` beside it. Without any of these the rows have no labels.
    ///
    /// # Errors
    /// A file that cannot be read, or that is something else.
    pub fn open(path: &Path, labels: Option<&Path>) -> Result<Self, IndexError> {
        let given = |rows: usize| labels.map(|file| features::read_labels(file, rows)).transpose();
        match Form::of(path) {
            Some(Form::Parquet) => {
                let (origin, table) = StoredColumns::open(path)?;
                let labels = match given(table.rows())? {
                    Some(labels) => Some(labels),
                    None => table.read_labels()?,
                };
                let rows = Box::new(table);
                Ok(Self { rows, labels, classes: origin.classes, bytes_in_memory: 0 })
            }
            Some(Form::Csv) => {
                let StoredText { mut features, classes } = StoredText::read(path)?;
                let labels = given(features.rows)?.or(features.labels.take());
                let bytes_in_memory = 4 * features.values.len() as u64;
                Ok(Self { rows: Box::new(features), labels, classes, bytes_in_memory })
            }
            Some(Form::Npy) => Self::of_arrays(path, labels, names_beside(path)),
            Some(Form::Safetensors) => {
                // A file of another program has no origin, and so no names.
                let classes = StoredTensors::open(path).map(|(origin, _)| origin.classes);
                Self::of_arrays(path, labels, classes.unwrap_or_default())
            }
            None => Err(IndexError::Form { path: path.to_owned() }),
        }
    }

    fn of_arrays(
        path: &Path,
        labels: Option<&Path>,
        classes: Vec<String>,
    ) -> Result<Self, IndexError> {
        let rows = features::open(path, labels)?;
        let labels = rows.labels().map(<[i64]>::to_vec);
        Ok(Self { rows: Box::new(rows), labels, classes, bytes_in_memory: 0 })
    }
}

/// Returns the names of the classes in `NAME.paths.csv` beside `NAME.npy`; an empty list where there is no
/// such file, or one of another program.
fn names_beside(path: &Path) -> Vec<String> {
    let Ok(file) = File::open(path.with_extension("paths.csv")) else { return Vec::new() };
    let mut reader = csv::Reader::from_reader(std::io::BufReader::new(file));
    let Ok(header) = reader.headers().cloned() else { return Vec::new() };
    let column = |name: &str| header.iter().position(|known| known == name);
    let (Some(label), Some(class)) = (column("label"), column("class")) else { return Vec::new() };
    let mut names = Names::default();
    for record in reader.records().map_while(Result::ok) {
        if let Some(label) = record.get(label).and_then(|text| text.parse().ok()) {
            names.add(label, record.get(class));
        }
    }
    names.finish()
}

impl LabelledRows {
    /// Returns rows that an encoder computed, of images with these classes.
    pub fn of(rows: FeatureRows, classes: Vec<String>) -> Self {
        let bytes_in_memory = rows.bytes_in_memory();
        let labels = rows.source().labels().map(<[i64]>::to_vec);
        let rows: Box<dyn Source> = match rows {
            FeatureRows::Memory(features) => Box::new(features),
            FeatureRows::File(rows) => Box::new(rows),
        };
        Self { rows, labels, classes, bytes_in_memory }
    }
}

impl Source for LabelledRows {
    fn rows(&self) -> usize {
        self.rows.rows()
    }

    fn dim(&self) -> usize {
        self.rows.dim()
    }

    fn labels(&self) -> Option<&[i64]> {
        self.labels.as_deref()
    }

    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), FeatureError> {
        self.rows.read(first, out)
    }
}
