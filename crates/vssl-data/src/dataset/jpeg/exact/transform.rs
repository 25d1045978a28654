//! The inverse cosine transform of libjpeg's `jidctint.c` ("islow"), after Loeffler, Ligtenberg and
//! Moschytz 1989. Called by [`super::scan`].

/// The coefficients of a block, row by row.
pub(super) type Block = [i16; 64];

/// Bits of the constants below, and those kept between the two passes.
const CONSTANT_BITS: u32 = 13;
const PASS_BITS: u32 = 2;

/// Multiplies the coefficients by the steps of quantisation and transforms them: 8 × 8 samples, row by row.
pub(super) fn block_to_samples(block: &Block, steps: &[i32; 64]) -> [u8; 64] {
    let mut work = [0; 64];
    for column in 0..8 {
        let line: [i64; 8] = std::array::from_fn(|row| {
            let at = row * 8 + column;
            i64::from(block[at]) * i64::from(steps[at])
        });
        for (row, value) in transform(line, CONSTANT_BITS - PASS_BITS).into_iter().enumerate() {
            work[row * 8 + column] = value;
        }
    }
    let mut samples = [0; 64];
    for (row, out) in work.chunks_exact(8).zip(samples.chunks_exact_mut(8)) {
        let line: [i64; 8] = std::array::from_fn(|at| row[at]);
        let values = transform(line, CONSTANT_BITS + PASS_BITS + 3);
        for (out, value) in out.iter_mut().zip(values) {
            *out = (value + 128).clamp(0, 255) as u8;
        }
    }
    samples
}

/// One dimension; the result is rounded and shifted down by `shift` bits.
fn transform(line: [i64; 8], shift: u32) -> [i64; 8] {
    // The constants times 2^13, with libjpeg's names.
    const FIX_0_298631336: i64 = 2446;
    const FIX_0_390180644: i64 = 3196;
    const FIX_0_541196100: i64 = 4433;
    const FIX_0_765366865: i64 = 6270;
    const FIX_0_899976223: i64 = 7373;
    const FIX_1_175875602: i64 = 9633;
    const FIX_1_501321110: i64 = 12299;
    const FIX_1_847759065: i64 = 15137;
    const FIX_1_961570560: i64 = 16069;
    const FIX_2_053119869: i64 = 16819;
    const FIX_2_562915447: i64 = 20995;
    const FIX_3_072711026: i64 = 25172;

    // The even part: `[z0, z1]` before and `[e0, e1, e2, e3]` after the butterflies.
    let z = (line[2] + line[6]) * FIX_0_541196100;
    let (t2, t3) = (z - line[6] * FIX_1_847759065, z + line[2] * FIX_0_765366865);
    let (t0, t1) = ((line[0] + line[4]) << CONSTANT_BITS, (line[0] - line[4]) << CONSTANT_BITS);
    let even = [t0 + t3, t1 + t2, t1 - t2, t0 - t3];

    // The odd part.
    let [t0, t1, t2, t3] = [line[7], line[5], line[3], line[1]];
    let z5 = (t0 + t2 + t1 + t3) * FIX_1_175875602;
    let z1 = -(t0 + t3) * FIX_0_899976223;
    let z2 = -(t1 + t2) * FIX_2_562915447;
    let z3 = z5 - (t0 + t2) * FIX_1_961570560;
    let z4 = z5 - (t1 + t3) * FIX_0_390180644;
    let odd = [
        t3 * FIX_1_501321110 + z1 + z4,
        t2 * FIX_3_072711026 + z2 + z3,
        t1 * FIX_2_053119869 + z2 + z4,
        t0 * FIX_0_298631336 + z1 + z3,
    ];

    let rounded = |value: i64| (value + (1 << (shift - 1))) >> shift;
    std::array::from_fn(|at| match at {
        0..4 => rounded(even[at] + odd[at]),
        _ => rounded(even[7 - at] - odd[7 - at]),
    })
}
