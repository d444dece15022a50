//! What are the levels of a block of 8 x 8 coefficients, and the coefficients of a block of levels?
//!
//! The accurate integer transforms of libjpeg (`jidctint.c`, `jfdctint.c`, after Loeffler, Ligtenberg and Moschytz,
//! ICASSP 1989), with the same rounding, so that numbers are the same as those of libjpeg, bit by bit.

use std::num::Wrapping;

/// Coefficients or multipliers in rows of eight, in natural order.
pub(super) type Block<T> = Strip<T, 8>;

/// Blocks beside each other, `N` columns together: what is done to columns is done to many at once.
pub(crate) type Strip<T, const N: usize> = [[T; N]; 8];

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

/// The levels of a block, around 0: half of white is to be added.
///
/// `fraction` is the bits kept between the passes: 2 for samples of 8 bits, 1 for 12 (`PASS1_BITS`). Hostile
/// coefficients wrap; those of real images never do.
pub(super) fn inverse(block: &Block<i16>, multipliers: &Block<i32>, fraction: u32) -> Block<i32> {
    let mut levels = [[0; 8]; 8];
    for ((to, from), factors) in levels.iter_mut().zip(block).zip(multipliers) {
        for ((to, from), factor) in to.iter_mut().zip(from).zip(factors) {
            *to = i32::from(*from).wrapping_mul(*factor);
        }
    }
    to_levels(&mut levels, fraction);
    levels
}

/// The same for a block of which all coefficients but the first are 0.
pub(super) fn inverse_flat(first: i16, multiplier: i32, fraction: u32) -> i32 {
    let value = i32::from(first).wrapping_mul(multiplier).wrapping_shl(fraction);
    value.wrapping_add(1 << (fraction + 2)) >> (fraction + 3)
}

/// Dequantised coefficients become levels around 0, as in `inverse`.
pub(crate) fn to_levels<const N: usize>(strip: &mut Strip<i32, N>, fraction: u32) {
    each_column(strip, |column| inverse_column(column, CONST_BITS - fraction));
    transpose(strip);
    each_column(strip, |column| inverse_column(column, CONST_BITS + fraction + 3));
    transpose(strip);
}

/// Levels of 8 bits around 0 become coefficients x 8.
pub(crate) fn to_coefficients<const N: usize>(strip: &mut Strip<i32, N>) {
    transpose(strip);
    each_column(strip, |column| forward_column(column, CONST_BITS - FRACTION, |sum| sum << FRACTION));
    transpose(strip);
    let even = |sum: i32| sum.wrapping_add(1 << (FRACTION - 1)) >> FRACTION;
    each_column(strip, |column| forward_column(column, CONST_BITS + FRACTION, even));
}

/// `PASS1_BITS` of 8 bits.
const FRACTION: u32 = 2;

/// Columns stand beside each other in memory: a compiler makes one operation of several of them.
#[expect(clippy::inline_always, reason = "called, it would not be done to several columns at once")]
#[inline(always)]
fn each_column<const N: usize>(strip: &mut Strip<i32, N>, change: impl Fn([i32; 8]) -> [i32; 8]) {
    let [row0, row1, row2, row3, row4, row5, row6, row7] = strip;
    let rows = row0.iter_mut().zip(row1).zip(row2).zip(row3).zip(row4).zip(row5).zip(row6).zip(row7);
    for (((((((at0, at1), at2), at3), at4), at5), at6), at7) in rows {
        [*at0, *at1, *at2, *at3, *at4, *at5, *at6, *at7] =
            change([*at0, *at1, *at2, *at3, *at4, *at5, *at6, *at7]);
    }
}

/// Not `block.map(|row| row[at])`, of which a compiler makes calls.
macro_rules! column {
    ($block:ident, $at:literal) => {
        [
            $block[0][$at],
            $block[1][$at],
            $block[2][$at],
            $block[3][$at],
            $block[4][$at],
            $block[5][$at],
            $block[6][$at],
            $block[7][$at],
        ]
    };
}

/// Each block of the strip by itself.
#[inline]
fn transpose<const N: usize>(strip: &mut Strip<i32, N>) {
    let [row0, row1, row2, row3, row4, row5, row6, row7] = strip;
    let blocks = eights(row0).zip(eights(row1)).zip(eights(row2)).zip(eights(row3));
    let blocks = blocks.zip(eights(row4)).zip(eights(row5)).zip(eights(row6)).zip(eights(row7));
    for (((((((row0, row1), row2), row3), row4), row5), row6), row7) in blocks {
        let block = [*row0, *row1, *row2, *row3, *row4, *row5, *row6, *row7];
        *row0 = column!(block, 0);
        *row1 = column!(block, 1);
        *row2 = column!(block, 2);
        *row3 = column!(block, 3);
        *row4 = column!(block, 4);
        *row5 = column!(block, 5);
        *row6 = column!(block, 6);
        *row7 = column!(block, 7);
    }
}

fn eights(row: &mut [i32]) -> std::slice::IterMut<'_, [i32; 8]> {
    row.as_chunks_mut().0.iter_mut()
}

/// One dimension back. Factors are x 2^13, named as in `jidctint.c`.
#[expect(clippy::inline_always, reason = "called, it would not be done to several columns at once")]
#[inline(always)]
fn inverse_column(column: [i32; 8], descale: u32) -> [i32; 8] {
    let [in0, in1, in2, in3, in4, in5, in6, in7] = wrapping(column);
    // Even part.
    let z1 = (in2 + in6) * Wrapping(4433);
    let even2 = z1 + in6 * Wrapping(-15137);
    let even3 = z1 + in2 * Wrapping(6270);
    let (even0, even1) = ((in0 + in4) << CONST_BITS as usize, (in0 - in4) << CONST_BITS as usize);
    let (a0, a3, a1, a2) = (even0 + even3, even0 - even3, even1 + even2, even1 - even2);
    // Odd part.
    let z5 = (in7 + in3 + in5 + in1) * Wrapping(9633);
    let z3 = (in7 + in3) * Wrapping(-16069) + z5;
    let z4 = (in5 + in1) * Wrapping(-3196) + z5;
    let z1 = (in7 + in1) * Wrapping(-7373);
    let z2 = (in5 + in3) * Wrapping(-20995);
    let b0 = in7 * Wrapping(2446) + z1 + z3;
    let b1 = in5 * Wrapping(16819) + z2 + z4;
    let b2 = in3 * Wrapping(25172) + z2 + z3;
    let b3 = in1 * Wrapping(12299) + z1 + z4;
    let round = Wrapping(1 << (descale - 1));
    let descaled = |sum: Wrapping<i32>| (sum + round).0 >> descale;
    [
        descaled(a0 + b3),
        descaled(a1 + b2),
        descaled(a2 + b1),
        descaled(a3 + b0),
        descaled(a3 - b0),
        descaled(a2 - b1),
        descaled(a1 - b2),
        descaled(a0 - b3),
    ]
}

/// One dimension on the way there, named as in `jfdctint.c`; `even` scales the two sums that no factor is in.
#[expect(clippy::inline_always, reason = "called, it would not be done to several columns at once")]
#[inline(always)]
fn forward_column(column: [i32; 8], descale: u32, even: impl Fn(i32) -> i32) -> [i32; 8] {
    let [in0, in1, in2, in3, in4, in5, in6, in7] = wrapping(column);
    let (a0, a1, a2, a3) = (in0 + in7, in1 + in6, in2 + in5, in3 + in4);
    let (b3, b2, b1, b0) = (in0 - in7, in1 - in6, in2 - in5, in3 - in4);
    // Even part.
    let (c0, c3, c1, c2) = (a0 + a3, a0 - a3, a1 + a2, a1 - a2);
    let z1 = (c2 + c3) * Wrapping(4433);
    let (even2, even6) = (z1 + c3 * Wrapping(6270), z1 + c2 * Wrapping(-15137));
    // Odd part.
    let z5 = (b0 + b2 + b1 + b3) * Wrapping(9633);
    let z3 = (b0 + b2) * Wrapping(-16069) + z5;
    let z4 = (b1 + b3) * Wrapping(-3196) + z5;
    let z1 = (b0 + b3) * Wrapping(-7373);
    let z2 = (b1 + b2) * Wrapping(-20995);
    let odd7 = b0 * Wrapping(2446) + z1 + z3;
    let odd5 = b1 * Wrapping(16819) + z2 + z4;
    let odd3 = b2 * Wrapping(25172) + z2 + z3;
    let odd1 = b3 * Wrapping(12299) + z1 + z4;
    let round = Wrapping(1 << (descale - 1));
    let descaled = |sum: Wrapping<i32>| (sum + round).0 >> descale;
    [
        even((c0 + c1).0),
        descaled(odd1),
        descaled(even2),
        descaled(odd3),
        even((c0 - c1).0),
        descaled(odd5),
        descaled(even6),
        descaled(odd7),
    ]
}

#[expect(clippy::inline_always, reason = "called, it would not be done to several columns at once")]
#[inline(always)]
fn wrapping([in0, in1, in2, in3, in4, in5, in6, in7]: [i32; 8]) -> [Wrapping<i32>; 8] {
    [
        Wrapping(in0),
        Wrapping(in1),
        Wrapping(in2),
        Wrapping(in3),
        Wrapping(in4),
        Wrapping(in5),
        Wrapping(in6),
        Wrapping(in7),
    ]
}
