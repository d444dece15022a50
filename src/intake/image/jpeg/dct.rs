//! What are the levels of a block of 8 x 8 coefficients?
//!
//! The accurate integer transform of libjpeg (`jidctint.c`, after Loeffler, Ligtenberg and Moschytz, ICASSP 1989),
//! with the same rounding, so that levels are the same as those of libjpeg, bit by bit.

/// Coefficients or multipliers in rows of eight, in natural order.
pub(super) type Block<T> = [[T; 8]; 8];

/// Where the coefficients of a block stand, in the order in which they are coded (T.81, figure A.6).
pub(super) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// The place of the coefficient that is coded as number `at`, for reading and writing.
#[inline]
pub(super) fn coefficient(block: &mut Block<i16>, at: u32) -> Option<&mut i16> {
    let place = *ZIGZAG.get(at as usize)?;
    block.as_flattened_mut().get_mut(usize::from(place))
}

const CONST_BITS: u32 = 13;

/// Eight numbers that are computed with at once. Hostile coefficients wrap; those of real images never do.
#[derive(Clone, Copy)]
struct Lane([i32; 8]);

impl Lane {
    #[inline]
    fn with(mut self, other: Self, operation: impl Fn(i32, i32) -> i32) -> Self {
        for (one, other) in self.0.iter_mut().zip(other.0) {
            *one = operation(*one, other);
        }
        self
    }

    #[inline]
    fn map(mut self, operation: impl Fn(i32) -> i32) -> Self {
        for one in &mut self.0 {
            *one = operation(*one);
        }
        self
    }
}

impl std::ops::Add for Lane {
    type Output = Self;

    #[inline]
    fn add(self, other: Self) -> Self {
        self.with(other, i32::wrapping_add)
    }
}

impl std::ops::Sub for Lane {
    type Output = Self;

    #[inline]
    fn sub(self, other: Self) -> Self {
        self.with(other, i32::wrapping_sub)
    }
}

impl std::ops::Mul<i32> for Lane {
    type Output = Self;

    #[inline]
    fn mul(self, factor: i32) -> Self {
        self.map(|one| one.wrapping_mul(factor))
    }
}

/// The levels of a block, around 0: half of white is to be added.
///
/// `fraction` is the bits kept between the passes: 2 for samples of 8 bits, 1 for 12 (`PASS1_BITS`).
pub(super) fn inverse(block: &Block<i16>, multipliers: &Block<i32>, fraction: u32) -> Block<i32> {
    let mut input = [[0; 8]; 8];
    for ((to, from), factors) in input.iter_mut().zip(block).zip(multipliers) {
        for ((to, from), factor) in to.iter_mut().zip(from).zip(factors) {
            *to = i32::from(*from).wrapping_mul(*factor);
        }
    }
    let columns = pass(input, CONST_BITS - fraction);
    transposed(pass(transposed(columns), CONST_BITS + fraction + 3))
}

/// The same for a block of which all coefficients but the first are 0.
pub(super) fn inverse_flat(first: i16, multiplier: i32, fraction: u32) -> i32 {
    let value = i32::from(first).wrapping_mul(multiplier).wrapping_shl(fraction);
    value.wrapping_add(1 << (fraction + 2)) >> (fraction + 3)
}

fn transposed(rows: Block<i32>) -> Block<i32> {
    [
        rows.map(|row| row[0]),
        rows.map(|row| row[1]),
        rows.map(|row| row[2]),
        rows.map(|row| row[3]),
        rows.map(|row| row[4]),
        rows.map(|row| row[5]),
        rows.map(|row| row[6]),
        rows.map(|row| row[7]),
    ]
}

/// One dimension, of all columns at once. Factors are x 2^13, named as in `jidctint.c`.
#[inline]
fn pass(rows: Block<i32>, descale: u32) -> Block<i32> {
    let [in0, in1, in2, in3, in4, in5, in6, in7] = rows.map(Lane);
    // Even part.
    let z1 = (in2 + in6) * 4433;
    let even2 = z1 + in6 * -15137;
    let even3 = z1 + in2 * 6270;
    let shifted = |lane: Lane| lane.map(|one| one.wrapping_shl(CONST_BITS));
    let (even0, even1) = (shifted(in0 + in4), shifted(in0 - in4));
    let (a0, a3, a1, a2) = (even0 + even3, even0 - even3, even1 + even2, even1 - even2);
    // Odd part.
    let z5 = (in7 + in3 + in5 + in1) * 9633;
    let z3 = (in7 + in3) * -16069 + z5;
    let z4 = (in5 + in1) * -3196 + z5;
    let z1 = (in7 + in1) * -7373;
    let z2 = (in5 + in3) * -20995;
    let b0 = in7 * 2446 + z1 + z3;
    let b1 = in5 * 16819 + z2 + z4;
    let b2 = in3 * 25172 + z2 + z3;
    let b3 = in1 * 12299 + z1 + z4;
    let round = 1 << (descale - 1);
    [a0 + b3, a1 + b2, a2 + b1, a3 + b0, a3 - b0, a2 - b1, a1 - b2, a0 - b3]
        .map(|lane| lane.map(|one| one.wrapping_add(round) >> descale).0)
}
