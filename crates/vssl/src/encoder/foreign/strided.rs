//! Views of a run of numbers: a shape, the steps between neighbours on each axis, and a start. Called by
//! [`super::tensors`] and [`super::source`].

use crate::formats::pickle::{Id, Pickle};

/// The largest number of axes of a tensor, as in PyTorch.
const MOST_AXES: usize = 64;

/// A view whose numbers need not lie side by side. It fits into the address space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Strided {
    shape: Vec<usize>,
    strides: Vec<usize>,
    start: usize,
    size: usize,
    span: usize,
}

impl Strided {
    /// Makes a view of numbers of `size` bytes that begins with the number `start`; `None` where shape and
    /// strides do not fit each other or into memory.
    pub(super) fn new(shape: Vec<u64>, strides: Vec<u64>, start: u64, size: u64) -> Option<Self> {
        if shape.len() != strides.len() {
            return None;
        }
        let all: u64 = shape.iter().try_fold(size, |all, &axis| all.checked_mul(axis))?;
        let mut span = u64::from(all > 0);
        if all > 0 {
            for (&axis, &stride) in shape.iter().zip(&strides) {
                span = span.checked_add((axis - 1).checked_mul(stride)?)?;
            }
        }
        let end = span.checked_add(start)?.checked_mul(size)?;
        isize::try_from(end.max(all)).ok()?;
        let narrow = |values: Vec<u64>| values.into_iter().map(|value| value as usize).collect();
        let (start, size, span) = (start as usize, size as usize, span as usize);
        Some(Self { shape: narrow(shape), strides: narrow(strides), start, size, span })
    }

    /// Makes a view of numbers that lie side by side; the last axis is the innermost unless `columns_first`
    /// says that it is the first axis.
    pub(super) fn whole(shape: Vec<u64>, columns_first: bool, size: u64) -> Option<Self> {
        let mut strides = vec![0; shape.len()];
        let mut step = 1u64;
        let axes: Vec<usize> = match columns_first {
            true => (0..shape.len()).collect(),
            false => (0..shape.len()).rev().collect(),
        };
        for axis in axes {
            strides[axis] = step;
            step = step.checked_mul(shape[axis])?;
        }
        Self::new(shape, strides, 0, size)
    }

    /// Returns the same numbers with their axes in another order; `None` where `order` is none.
    pub(super) fn turned(&self, order: &[u64]) -> Option<Self> {
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..self.shape.len() as u64) {
            return None;
        }
        let of = |all: &[usize]| order.iter().map(|&axis| all[axis as usize]).collect();
        Some(Self { shape: of(&self.shape), strides: of(&self.strides), ..self.clone() })
    }

    /// Returns the sizes of the axes.
    pub(super) fn shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    /// Returns the first byte of the view and how many bytes it reaches over.
    pub(super) fn window(&self) -> (usize, usize) {
        (self.start * self.size, self.span * self.size)
    }

    /// Returns the number of bytes that the numbers have side by side.
    pub(super) fn bytes(&self) -> u64 {
        (self.shape.iter().product::<usize>() * self.size) as u64
    }

    /// Returns the numbers in the order of the axes, the last axis innermost.
    ///
    /// `bytes`: what [`Strided::window`] names.
    pub(super) fn gather(&self, bytes: Vec<u8>) -> Vec<u8> {
        let count: usize = self.shape.iter().product();
        let mut place = vec![0; self.shape.len()];
        let mut gathered = Vec::new();
        if self.is_side_by_side() {
            return bytes;
        }
        for _ in 0..count {
            let at: usize = place.iter().zip(&self.strides).map(|(at, stride)| at * stride).sum();
            gathered.extend_from_slice(&bytes[at * self.size..][..self.size]);
            for axis in (0..place.len()).rev() {
                place[axis] += 1;
                if place[axis] < self.shape[axis] {
                    break;
                }
                place[axis] = 0;
            }
        }
        gathered
    }

    /// Whether the numbers are in order already. The stride of an axis of size 1 has no effect.
    fn is_side_by_side(&self) -> bool {
        let mut step = 1;
        self.shape.iter().zip(&self.strides).rev().all(|(&axis, &stride)| {
            let fits = axis == 1 || stride == step;
            step *= axis;
            fits
        })
    }
}

/// Returns a shape, strides or an order of axes.
pub(super) fn axes(pickle: &Pickle, id: Id) -> Option<Vec<u64>> {
    let few = pickle.elements(id).is_some_and(|axes| axes.len() <= MOST_AXES);
    if few { pickle.sizes(id) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_reads_its_numbers_in_the_order_of_its_axes() {
        let turned = Strided::new(vec![2, 3], vec![1, 2], 4, 1).unwrap();
        assert_eq!(turned.window(), (4, 6));
        assert_eq!(turned.gather(vec![0, 1, 2, 3, 4, 5]), [0, 2, 4, 1, 3, 5]);
        assert_eq!(turned, Strided { start: 4, ..Strided::whole(vec![2, 3], true, 1).unwrap() });
        let plain = Strided::whole(vec![2, 1, 3], false, 2).unwrap();
        assert_eq!((plain.window(), plain.strides.as_slice()), ((0, 12), &[3, 3, 1][..]));
        let order = Strided::whole(vec![2, 3, 1], false, 1).unwrap().turned(&[1, 2, 0]).unwrap();
        assert_eq!(order.shape(), [3, 1, 2]);
        assert_eq!(order.gather(vec![0, 1, 2, 3, 4, 5]), [0, 3, 1, 4, 2, 5]);
        assert!(plain.turned(&[0, 1, 1]).is_none() && plain.turned(&[0, 1]).is_none());
        let repeated = Strided::new(vec![2, 2], vec![0, 1], 0, 1).unwrap();
        assert_eq!(repeated.gather(vec![7, 8]), [7, 8, 7, 8]);
        let empty = Strided::whole(vec![0, 4], false, 4).unwrap();
        assert_eq!((empty.window(), empty.gather(Vec::new())), ((0, 0), Vec::new()));
    }

    #[test]
    fn what_no_memory_holds_is_no_view() {
        assert_eq!(Strided::new(vec![2], vec![1, 1], 0, 4), None);
        assert_eq!(Strided::new(vec![u64::MAX, 2], vec![1, 1], 0, 4), None);
        assert_eq!(Strided::new(vec![2], vec![u64::MAX], 0, 4), None);
        assert_eq!(Strided::new(vec![1 << 62], vec![0], 0, 4), None);
    }
}
