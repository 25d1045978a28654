//! The places of images behind a network: the patches of a transformer, or the pixels of a convolutional network's last
//! map. Networks that run outside the autodiff graph put them out as constants. Called by [`super::Backbone`] and by
//! `method::frozen`.

use burn::tensor::{GradientCheckpointingStrategy, Tensor};

use crate::layers::resized;

/// The features of the places of each image.
#[derive(Clone, Debug)]
pub struct Grid {
    /// The places row by row, `[n, rows · columns, dim]`.
    pub cells: Tensor<3>,
    /// The number of rows of an image.
    pub rows: usize,
    /// The number of columns of an image.
    pub columns: usize,
}

impl Grid {
    /// Returns the places of the last map of a convolutional network.
    ///
    /// # Shapes — `map`: `[n, dim, rows, columns]`.
    pub(super) fn of_map(map: Tensor<4>) -> Self {
        let [n, dim, rows, columns] = map.dims();
        let cells = map.permute([0, 2, 3, 1]).reshape([n, rows * columns, dim]);
        Self { cells, rows, columns }
    }

    /// Returns the places resized bilinearly to the rows and columns of `other`.
    ///
    /// # Shapes — the result: `[n, rows · columns, dim]` with those of `other`.
    pub fn resized_to(self, other: &Self) -> Tensor<3> {
        let [n, _, dim] = self.cells.dims();
        let cells: Tensor<4> = self.cells.reshape([n, self.rows, self.columns, dim]);
        let cells = resized(cells, [other.rows, other.columns], false);
        cells.reshape([n, other.rows * other.columns, dim])
    }
}

/// What a network puts out, as constants of a graph.
pub trait Constants {
    /// Takes the tensors into a graph of this strategy.
    fn into_graph(self, strategy: GradientCheckpointingStrategy) -> Self;
}

impl<const D: usize> Constants for Tensor<D> {
    fn into_graph(self, strategy: GradientCheckpointingStrategy) -> Self {
        Tensor::from_inner(self).with_gradient_checkpointing_strategy(strategy)
    }
}

impl Constants for Grid {
    fn into_graph(self, strategy: GradientCheckpointingStrategy) -> Self {
        Self { cells: self.cells.into_graph(strategy), ..self }
    }
}

impl<A: Constants, B: Constants> Constants for (A, B) {
    fn into_graph(self, strategy: GradientCheckpointingStrategy) -> Self {
        (self.0.into_graph(strategy), self.1.into_graph(strategy))
    }
}

impl<T: Constants> Constants for Option<T> {
    fn into_graph(self, strategy: GradientCheckpointingStrategy) -> Self {
        self.map(|inside| inside.into_graph(strategy))
    }
}

/// Runs a network that is off the autodiff device on images that may be on it. It is computed outside of the graph,
/// which would keep the activations of all layers for a backward pass that does not come.
pub fn outside_graph<T: Constants>(x: Tensor<4>, run: impl FnOnce(Tensor<4>) -> T) -> T {
    match x.gradient_checkpointing_strategy() {
        None => run(x),
        Some(strategy) => run(x.inner()).into_graph(strategy),
    }
}
