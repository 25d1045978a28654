//! Some images of a dataset: a limited number, evenly over its classes (`limit_train`,
//! `limit_validation`), or images with given numbers.

use std::sync::Arc;

use super::Dataset;
use crate::{DataError, Image};

/// Some images of another dataset, in its order.
pub struct Subset {
    whole: Arc<dyn Dataset>,
    indices: Vec<usize>,
    labels: Option<Vec<u32>>,
}

impl Subset {
    /// `limit` images of `whole`, or all when there are fewer. With labels, the first images of each
    /// class are taken in turn (a class that runs out leaves its share to the others); without labels,
    /// the first images. The choice has no randomness: it is the same for every seed.
    pub fn balanced(whole: Arc<dyn Dataset>, limit: usize) -> Self {
        let indices = match whole.labels() {
            Some(labels) => first_of_each(labels, whole.classes().len(), limit),
            None => (0..whole.len().min(limit)).collect(),
        };
        let labels =
            whole.labels().map(|labels| indices.iter().map(|&index| labels[index]).collect());
        Self { whole, indices, labels }
    }

    /// The images of `whole` with the given numbers, in the given order.
    ///
    /// # Errors
    /// [`DataError::Setting`] for a number that is not below the length of `whole`.
    pub fn of(whole: Arc<dyn Dataset>, indices: Vec<usize>) -> Result<Self, DataError> {
        let images = whole.len();
        if let Some(index) = indices.iter().find(|&&index| index >= images) {
            return Err(DataError::Setting(format!(
                "image number {index} of {images}; expected numbers from 0 below {images}"
            )));
        }
        let labels =
            whole.labels().map(|labels| indices.iter().map(|&index| labels[index]).collect());
        Ok(Self { whole, indices, labels })
    }
}

/// Indices in ascending order.
fn first_of_each(labels: &[u32], classes: usize, limit: usize) -> Vec<usize> {
    let mut of_class = vec![Vec::new(); classes];
    for (index, &label) in labels.iter().enumerate() {
        of_class[label as usize].push(index);
    }
    let most = of_class.iter().map(Vec::len).max().unwrap_or(0);
    let mut indices: Vec<usize> = (0..most)
        .flat_map(|round| of_class.iter().filter_map(move |class| class.get(round)).copied())
        .take(limit)
        .collect();
    indices.sort_unstable();
    indices
}

impl Dataset for Subset {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn image(&self, index: usize) -> Result<Image, DataError> {
        self.whole.image(self.indices[index]).map_err(|error| match error {
            DataError::BadImage { name, what, .. } => DataError::BadImage { name, index, what },
            other => other,
        })
    }

    fn labels(&self) -> Option<&[u32]> {
        self.labels.as_deref()
    }

    fn classes(&self) -> &[String] {
        self.whole.classes()
    }

    fn name(&self, index: usize) -> String {
        self.whole.name(self.indices[index])
    }

    fn stored_as(&self, index: usize) -> Option<(String, u64)> {
        self.whole.stored_as(self.indices[index])
    }

    fn file(&self, index: usize) -> Option<Result<Vec<u8>, DataError>> {
        self.whole.file(self.indices[index])
    }

    fn largest_of_sixteen_bits(&self, index: usize) -> Option<u16> {
        self.whole.largest_of_sixteen_bits(self.indices[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_take_turns_until_the_limit() {
        let labels = [0, 0, 0, 0, 1, 1, 2, 0];
        assert_eq!(first_of_each(&labels, 3, 3), [0, 4, 6]);
        assert_eq!(first_of_each(&labels, 3, 5), [0, 1, 4, 5, 6]);
    }

    #[test]
    fn a_class_that_runs_out_leaves_its_share() {
        let labels = [0, 0, 0, 0, 1, 1, 2, 0];
        assert_eq!(first_of_each(&labels, 3, 7), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(first_of_each(&labels, 3, 100), [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn an_empty_class_takes_no_turn() {
        assert_eq!(first_of_each(&[2, 0, 2, 0], 3, 2), [0, 1]);
    }
}
