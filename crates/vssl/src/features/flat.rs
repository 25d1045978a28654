//! Rows that tell images apart as little as noise does: rows of zeros, which have no direction, and rows that are all
//! the same. An encoder that has collapsed gives such rows, and so do images of one colour. Called by
//! evaluations, which measure something of them all the same.

use super::{FeatureError, Source};

/// The numbers that are read in one go.
const PIECE: usize = 1 << 20;

/// How many rows of a set say nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flat {
    /// The number of rows.
    pub rows: usize,
    /// The number of rows whose entries are all zero.
    pub zero: usize,
    /// The number of rows whose entries are one number, which is not zero; 0 where a row has one entry.
    pub even: usize,
    /// The number of rows that are equal to the first row, which is counted as well.
    pub as_first: usize,
}

impl Flat {
    /// Counts the rows of `source`.
    ///
    /// # Errors
    /// The rows cannot be read.
    pub fn of(source: &dyn Source) -> Result<Self, FeatureError> {
        let (rows, dim) = (source.rows(), source.dim());
        let mut flat = Self { rows, ..Self::default() };
        if rows == 0 || dim == 0 {
            return Ok(flat);
        }
        let mut first = vec![0.0; dim];
        source.read(0, &mut first)?;
        let portion = (PIECE / dim).max(1);
        let mut values = vec![0.0; portion.min(rows) * dim];
        for begin in (0..rows).step_by(portion) {
            let values = &mut values[..portion.min(rows - begin) * dim];
            source.read(begin, values)?;
            for row in values.chunks_exact(dim) {
                flat.as_first += usize::from(row == first);
                if row.iter().all(|&value| value == row[0]) {
                    flat.zero += usize::from(row[0] == 0.0);
                    flat.even += usize::from(row[0] != 0.0 && dim > 1);
                }
            }
        }
        Ok(flat)
    }

    /// Returns a warning about the features of `set`, such as "training features"; `None` where every row says
    /// something.
    pub fn warning(&self, set: &str) -> Option<String> {
        let Self { rows, zero, even, as_first } = *self;
        let rows_are = |count: usize| match count {
            _ if count == rows => format!("all {rows} rows are"),
            1 => format!("1 of {rows} rows is"),
            _ => format!("{count} of {rows} rows are"),
        };
        let advice = "their neighbours and classes are arbitrary: is the encoder collapsed, or are these images \
                      of one colour?";
        if rows > 1 && as_first == rows {
            return Some(format!("{set}: all {rows} rows are equal; {advice}"));
        }
        let zero = (zero > 0).then(|| format!("{} zero in every entry", rows_are(zero)));
        let even = (even > 0).then(|| format!("{} one number in every entry", rows_are(even)));
        let found: Vec<String> = zero.into_iter().chain(even).collect();
        (!found.is_empty()).then(|| format!("{set}: {}; {advice}", found.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Features;

    fn warning(rows: &[[f32; 2]]) -> Option<String> {
        let (values, rows) = (rows.concat(), rows.len());
        let features = Features { rows, dim: 2, values, labels: None };
        Flat::of(&features).unwrap().warning("training features")
    }

    #[test]
    fn rows_that_say_nothing_are_counted() {
        assert_eq!(warning(&[[1.0, 2.0], [2.0, 1.0], [1.0, 2.0]]), None);
        assert_eq!(warning(&[[1.0, 2.0]]), None);
        let said = warning(&[[0.0, -0.0], [2.0, 1.0], [3.0, 3.0], [4.0, 4.0]]).unwrap();
        assert!(said.contains("1 of 4 rows is zero in every entry"), "{said}");
        assert!(said.contains("2 of 4 rows are one number in every entry"), "{said}");
        let said = warning(&[[0.5, 0.25]; 3]).unwrap();
        assert!(said.contains("training features: all 3 rows are equal"), "{said}");
    }

    #[test]
    fn rows_of_one_entry_are_not_taken_for_even_ones_and_no_row_is_no_trouble() {
        let of = |values: Vec<f32>| {
            let rows = values.len();
            Flat::of(&Features { rows, dim: 1, values, labels: None }).unwrap().warning("x")
        };
        assert_eq!(of(vec![1.0, 2.0]), None);
        assert!(of(vec![0.0, 2.0]).unwrap().contains("1 of 2 rows is zero"));
        assert_eq!(of(Vec::new()), None);
    }
}
