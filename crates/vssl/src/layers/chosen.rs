//! Tokens that are taken out of sequences: the same number of each image, another choice for each. Called by the
//! networks that see only a part of an image ([`crate::backbone::Vit`], `methods::{ijepa, mae}`).

use burn::tensor::{Int, Tensor, TensorData};

/// The numbers of the tokens that are taken of each image, in the order in which they are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Row by row.
    numbers: Vec<u32>,
    images: usize,
}

impl Chosen {
    /// Makes a choice of one list for each image.
    ///
    /// # Panics
    /// There is no list, or the lists have different lengths.
    pub fn new(lists: &[Vec<u32>]) -> Self {
        let count = lists.first().expect("a choice is made for an image at least").len();
        assert!(lists.iter().all(|list| list.len() == count), "the same number of each image");
        Self { numbers: lists.concat(), images: lists.len() }
    }

    /// Returns the number of images.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Returns the number of tokens that are taken of each image.
    pub fn count(&self) -> usize {
        self.numbers.len() / self.images
    }

    /// Takes the tokens of each image.
    ///
    /// # Shapes — `[images, tokens, width]` to `[images, count, width]`.
    ///
    /// # Panics
    /// The images are not as many as the choice is for.
    pub fn of(&self, x: Tensor<3>) -> Tensor<3> {
        let [images, tokens, width] = x.dims();
        assert_eq!(images, self.images, "a choice for each image");
        let first = |place: usize| place / self.count() * tokens;
        let rows = self.numbers.iter().enumerate();
        let rows = rows.map(|(place, &number)| (first(place) + number as usize) as i64).collect();
        self.take(x.reshape([images * tokens, width]), rows)
    }

    /// Takes for each image the rows of a table that all images share.
    ///
    /// # Shapes — `[tokens, width]` to `[images, count, width]`.
    pub fn of_table(&self, table: Tensor<2>) -> Tensor<3> {
        self.take(table, self.numbers.iter().map(|&number| i64::from(number)).collect())
    }

    /// # Shapes — `[rows, width]` to `[images, count, width]`.
    fn take(&self, x: Tensor<2>, rows: Vec<i64>) -> Tensor<3> {
        let (count, width) = (self.count(), x.dims()[1]);
        if count == 0 {
            return Tensor::zeros([self.images, 0, width], (&x.device(), x.dtype()));
        }
        let rows = TensorData::new(rows, [self.images * count]);
        let rows: Tensor<1, Int> = Tensor::from_data(rows, &x.device());
        x.select(0, rows).reshape([self.images, count, width])
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn tokens_are_taken_in_the_order_of_the_choice() {
        let device = Device::flex();
        let chosen = Chosen::new(&[vec![2, 0], vec![1, 1]]);
        assert_eq!((chosen.images(), chosen.count()), (2, 2));
        let values: Vec<f32> = (0..6).map(|i| i as f32).collect();
        let x = Tensor::<1>::from_floats(values.as_slice(), &device);
        let numbers = |x: Tensor<3>| x.into_data().iter::<f32>().collect::<Vec<_>>();
        assert_eq!(numbers(chosen.of(x.clone().reshape([2, 3, 1]))), [2.0, 0.0, 4.0, 4.0]);
        assert_eq!(numbers(chosen.of_table(x.reshape([6, 1]))), [2.0, 0.0, 1.0, 1.0]);
    }
}
