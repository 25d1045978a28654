//! Sums over long vectors on all threads, for the minimisation: cut into fixed pieces and added in their order,
//! so that they do not depend on the number of threads.

use rayon::prelude::*;

/// The numbers of a piece.
const PIECE: usize = 1 << 16;
/// The sums that run beside each other in a piece.
const LANES: usize = 16;

/// The sum of products, in double precision.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    let pieces: Vec<f64> = match a.len() <= PIECE {
        true => vec![dot_of_piece(a, b)],
        false => {
            let pairs = a.par_chunks(PIECE).zip(b.par_chunks(PIECE));
            pairs.map(|(a, b)| dot_of_piece(a, b)).collect()
        }
    };
    pieces.iter().sum()
}

fn dot_of_piece(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0.0; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for (lane, (&a, &b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += f64::from(a) * f64::from(b);
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(&a, &b)| f64::from(a) * f64::from(b));
    lanes.iter().sum::<f64>() + rest.sum::<f64>()
}

/// Adds `factor · what` to `to`.
pub(super) fn add(to: &mut [f32], factor: f64, what: &[f32]) {
    pairs(to, what, |to, what| *to = (f64::from(*to) + factor * f64::from(what)) as f32);
}

/// Adds `factor · what` to a point.
pub(super) fn add_to_point(to: &mut [f64], factor: f64, what: &[f32]) {
    pairs(to, what, |to, what| *to += factor * f64::from(what));
}

/// Replaces `b` by `a − b`.
pub(super) fn difference(a: &[f32], b: &mut [f32]) {
    pairs(b, a, |b, a| *b = a - *b);
}

/// Calls `each` with the numbers of the same place.
pub(super) fn pairs<T: Send, U: Copy + Sync>(
    to: &mut [T],
    what: &[U],
    each: impl Fn(&mut T, U) + Sync,
) {
    let piece = |(to, what): (&mut [T], &[U])| {
        to.iter_mut().zip(what).for_each(|(to, &what)| each(to, what));
    };
    match to.len() <= PIECE {
        true => piece((to, what)),
        false => to.par_chunks_mut(PIECE).zip(what.par_chunks(PIECE)).for_each(piece),
    }
}

/// The largest number without its sign.
pub(super) fn largest(x: &[f32]) -> f64 {
    let piece = |x: &[f32]| x.iter().fold(0.0_f32, |largest, x| x.abs().max(largest));
    f64::from(x.par_chunks(PIECE).map(piece).reduce(|| 0.0, f32::max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_many_pieces_are_those_of_the_definition() {
        for count in [0, 1, 15, 17, PIECE, PIECE + 1, 3 * PIECE + 77] {
            let a: Vec<f32> = (0..count).map(|i| ((i * 7919) % 1009) as f32 / 1009.0).collect();
            let b: Vec<f32> = (0..count).map(|i| ((i * 104_729) % 997) as f32 - 500.0).collect();
            let expected: f64 = a.iter().zip(&b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            assert!((dot(&a, &b) - expected).abs() <= 1e-9 * expected.abs(), "{count}");
            let mut sum = a.clone();
            add(&mut sum, 2.0, &b);
            assert!((0..count).all(|i| sum[i] == a[i] + 2.0 * b[i]), "{count}");
            difference(&b, &mut sum);
            assert!((0..count).all(|i| sum[i] == b[i] - (a[i] + 2.0 * b[i])), "{count}");
            assert_eq!(largest(&b), b.iter().fold(0.0, |m: f64, x| m.max(f64::from(x.abs()))));
        }
    }
}
