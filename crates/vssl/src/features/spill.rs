//! Features that stay in memory up to a limit, and beyond it go into a temporary file.
//!
//! The file has no name, so it disappears however the process ends. Called by the encoder.

use std::{
    env,
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use super::{FeatureError, Features, FileRows, Source, check_finite, rows::Number};

/// Features of a set of images, in memory or in a temporary file.
#[derive(Debug)]
pub enum FeatureRows {
    /// The features are all in memory.
    Memory(Features),
    /// The features are in a file without a name, which disappears with the process.
    File(FileRows),
}

impl FeatureRows {
    /// Returns the rows.
    pub fn source(&self) -> &dyn Source {
        match self {
            Self::Memory(features) => features,
            Self::File(rows) => rows,
        }
    }

    /// Returns how many bytes of memory the numbers take.
    pub fn bytes_in_memory(&self) -> u64 {
        match self {
            Self::Memory(features) => 4 * features.values.len() as u64,
            Self::File(_) => 0,
        }
    }

    /// Reads all rows into memory.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn into_memory(self) -> Result<Features, FeatureError> {
        match self {
            Self::Memory(features) => Ok(features),
            Self::File(rows) => rows.load(),
        }
    }
}

/// Collects rows batch by batch.
pub struct SpillWriter {
    set: &'static str,
    expected: usize,
    limit: u64,
    rows: usize,
    dim: usize,
    values: Vec<f32>,
    file: Option<BufWriter<File>>,
}

impl SpillWriter {
    /// Makes a writer for at most `expected` rows, which stay in memory if they take no more than `limit`
    /// bytes. `set` is the name of the features in messages.
    pub fn new(set: &'static str, expected: usize, limit: u64) -> Self {
        Self { set, expected, limit, rows: 0, dim: 0, values: Vec::new(), file: None }
    }

    /// Adds the rows of `part`.
    ///
    /// # Errors
    /// For rows that go to a file: a number is not finite, or the system refuses to write.
    pub fn push(&mut self, part: &Features) -> Result<(), FeatureError> {
        let folder = env::temp_dir();
        if self.rows == 0 {
            self.dim = part.dim;
            let numbers = self.expected.saturating_mul(part.dim);
            match 4 * numbers as u64 <= self.limit {
                true => self.values.reserve_exact(numbers),
                false => {
                    let file = tempfile::tempfile_in(&folder).map_err(refused(&folder))?;
                    self.file = Some(BufWriter::new(file));
                }
            }
        }
        match &mut self.file {
            None => self.values.extend_from_slice(&part.values),
            Some(file) => {
                check_finite(self.set, self.rows, part.dim, &part.values)?;
                let mut write =
                    || part.values.iter().try_for_each(|x| file.write_all(&x.to_le_bytes()));
                write().map_err(refused(&folder))?;
            }
        }
        self.rows += part.rows;
        Ok(())
    }

    /// Returns all rows, with these labels.
    ///
    /// # Errors
    /// The errors of [`SpillWriter::push`].
    pub fn finish(self, labels: Option<Vec<i64>>) -> Result<FeatureRows, FeatureError> {
        let Self { rows, dim, values, .. } = self;
        let Some(file) = self.file else {
            return Ok(FeatureRows::Memory(Features { rows, dim, values, labels }));
        };
        let folder = env::temp_dir();
        let file = file.into_inner().map_err(|error| refused(&folder)(error.into_error()))?;
        let name = format!("{} in a temporary file in {}", self.set, folder.display());
        Ok(FeatureRows::File(FileRows {
            file,
            name,
            offset: 0,
            number: Number::F32,
            rows,
            dim,
            labels,
        }))
    }
}

fn refused(folder: &Path) -> impl Fn(io::Error) -> FeatureError {
    move |error| FeatureError::Spill {
        folder: folder.display().to_string(),
        what: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(values: [f32; 6]) -> Features {
        Features { rows: 3, dim: 2, values: values.to_vec(), labels: None }
    }

    fn kept(limit: u64) -> FeatureRows {
        let mut writer = SpillWriter::new("training features", 6, limit);
        writer.push(&part([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])).unwrap();
        writer.push(&part([-0.0, 1e-40, 3e38, 0.1, 0.2, 0.3])).unwrap();
        writer.finish(Some(vec![0, 1, 2, 0, 1, 2])).unwrap()
    }

    #[test]
    fn a_limit_moves_rows_to_a_file_and_changes_no_bit() {
        let (memory, file) = (kept(48), kept(47));
        assert!(matches!((&memory, &file), (FeatureRows::Memory(_), FeatureRows::File(_))));
        assert_eq!((memory.bytes_in_memory(), file.bytes_in_memory()), (48, 0));
        let all = |kept: &FeatureRows| {
            let source = kept.source();
            let mut values = vec![0.0; source.rows() * source.dim()];
            source.read(0, &mut values).unwrap();
            let bits: Vec<u32> = values.iter().map(|value| value.to_bits()).collect();
            (bits, source.labels().unwrap().to_vec())
        };
        assert_eq!(all(&memory), all(&file));
        let mut last = [0.0; 2];
        file.source().read(5, &mut last).unwrap();
        assert_eq!(last, [0.2, 0.3]);
    }

    #[test]
    fn a_number_that_is_not_finite_is_named_before_it_is_written() {
        let mut writer = SpillWriter::new("training features", 6, 0);
        writer.push(&part([0.0; 6])).unwrap();
        let error = writer.push(&part([0.0, 0.0, 0.0, f32::INFINITY, 0.0, 0.0])).unwrap_err();
        assert!(error.to_string().contains("training features: row 4, column 1 is inf"), "{error}");
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_is_named() {
        let folder = Path::new("/no/such/folder");
        let error = tempfile::tempfile_in(folder).map_err(refused(folder));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("/no/such/folder: ") && error.contains("TMPDIR"), "{error}");
    }
}
