//! The sizes of a convolution over channels-last images.

/// A convolution without groups whose stride and padding are the same in both directions.
///
/// Images are `[batch, height, width, in_channels]`, outputs `[batch, h', w', out_channels]`,
/// both dense in that order; weights are `[out_channels, in_channels, kernel.0, kernel.1]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// The number of images.
    pub batch: usize,
    /// The rows of an image.
    pub height: usize,
    /// The columns of an image.
    pub width: usize,
    /// The channels of an image.
    pub in_channels: usize,
    /// The channels of the output.
    pub out_channels: usize,
    /// The rows and columns of the filter.
    pub kernel: (usize, usize),
    /// The number of pixels from one output to the next.
    pub stride: usize,
    /// The number of zeros on each side of the image.
    pub padding: usize,
}

impl Conv {
    /// Returns the rows of the output.
    pub fn out_height(&self) -> usize {
        (self.height + 2 * self.padding - self.kernel.0) / self.stride + 1
    }

    /// Returns the columns of the output.
    pub fn out_width(&self) -> usize {
        (self.width + 2 * self.padding - self.kernel.1) / self.stride + 1
    }

    /// Returns the number of output pixels of the whole batch.
    pub fn pixels(&self) -> usize {
        self.batch * self.out_height() * self.out_width()
    }

    /// Returns the number of weights of one output channel.
    pub fn taps(&self) -> usize {
        self.kernel.0 * self.kernel.1 * self.in_channels
    }

    /// Returns the number of floats of the input.
    pub fn input_size(&self) -> usize {
        self.batch * self.height * self.width * self.in_channels
    }

    /// Returns the number of floats of the output.
    pub fn output_size(&self) -> usize {
        self.pixels() * self.out_channels
    }

    /// Returns the number of floats of the weights.
    pub fn weight_size(&self) -> usize {
        self.taps() * self.out_channels
    }

    /// Returns the number of multiplications and additions of one pass by the definition.
    pub fn operations(&self) -> f64 {
        2.0 * self.pixels() as f64 * self.taps() as f64 * self.out_channels as f64
    }

    /// Checks the sizes of the three slices, in floats.
    ///
    /// # Panics
    ///
    /// If a slice does not have the size of these shapes, or the filter is larger than the padded image.
    pub fn check(&self, input: usize, weight: usize, output: usize) {
        assert!(
            self.kernel.0 <= self.height + 2 * self.padding
                && self.kernel.1 <= self.width + 2 * self.padding
                && self.stride > 0,
            "{self:?}: the filter must fit the padded image"
        );
        assert_eq!(input, self.input_size(), "{self:?}: floats of the input");
        assert_eq!(weight, self.weight_size(), "{self:?}: floats of the weight");
        assert_eq!(output, self.output_size(), "{self:?}: floats of the output");
    }
}
