//! The mean of each 2×2 pixels of channels-last images, as the shortcuts of ResNet-D have it. A window that reaches beyond
//! the image is the mean of the pixels inside.

use super::pool::{Shared, parallel_for};

/// The sizes of images `[batch, height, width, channels]`.
#[derive(Clone, Copy, Debug)]
pub struct Halving {
    /// The number of images.
    pub batch: usize,
    /// The rows of an image.
    pub height: usize,
    /// The columns of an image.
    pub width: usize,
    /// The channels of a pixel.
    pub channels: usize,
}

impl Halving {
    /// Returns the rows of the output.
    pub fn out_height(&self) -> usize {
        self.height.div_ceil(2)
    }

    /// Returns the columns of the output.
    pub fn out_width(&self) -> usize {
        self.width.div_ceil(2)
    }

    fn image(&self) -> usize {
        self.height * self.width * self.channels
    }

    fn out_image(&self) -> usize {
        self.out_height() * self.out_width() * self.channels
    }

    fn check(&self, input: usize, output: usize) {
        assert_eq!(input, self.batch * self.image(), "{self:?}: floats of the larger images");
        assert_eq!(output, self.batch * self.out_image(), "{self:?}: floats of the smaller images");
    }

    /// Calls `body` with the places of the pixels of each window and with that of its output, in an image.
    fn each(&self, mut body: impl FnMut(&[usize], usize)) {
        for row in 0..self.out_height() {
            for column in 0..self.out_width() {
                let mut places = [0; 4];
                let mut count = 0;
                for y in 2 * row..self.height.min(2 * row + 2) {
                    for x in 2 * column..self.width.min(2 * column + 2) {
                        places[count] = (y * self.width + x) * self.channels;
                        count += 1;
                    }
                }
                let to = (row * self.out_width() + column) * self.channels;
                body(&places[..count], to);
            }
        }
    }
}

/// Writes the means to `y`.
///
/// # Panics
///
/// If a slice does not have the size of its shape.
pub fn forward(of: &Halving, x: &[f32], y: &mut [f32]) {
    of.check(x.len(), y.len());
    let out = Shared::new(y);
    parallel_for(of.batch, |index| {
        // SAFETY: each task has its own image.
        let y = unsafe { out.slice(index * of.out_image(), of.out_image()) };
        let x = &x[index * of.image()..][..of.image()];
        of.each(|places, to| {
            let (y, share) = (&mut y[to..][..of.channels], 1.0 / places.len() as f32);
            y.copy_from_slice(&x[places[0]..][..of.channels]);
            for place in &places[1..] {
                let x = &x[*place..][..of.channels];
                y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
            }
            y.iter_mut().for_each(|y| *y *= share);
        });
    });
}

/// Writes the gradient with respect to the input to `dx`.
///
/// # Panics
///
/// If a slice does not have the size of its shape.
pub fn backward(of: &Halving, dy: &[f32], dx: &mut [f32]) {
    of.check(dx.len(), dy.len());
    let out = Shared::new(dx);
    parallel_for(of.batch, |index| {
        // SAFETY: each task has its own image.
        let dx = unsafe { out.slice(index * of.image(), of.image()) };
        let dy = &dy[index * of.out_image()..][..of.out_image()];
        of.each(|places, from| {
            let (dy, share) = (&dy[from..][..of.channels], 1.0 / places.len() as f32);
            for place in places {
                let dx = &mut dx[*place..][..of.channels];
                dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx = dy * share);
            }
        });
    });
}
